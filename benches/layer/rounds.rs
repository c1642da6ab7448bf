//! The whole tool loop, against a straight line of the same calls.
//!
//! The straight line knows beforehand what every turn brings. It asks the model, reads the answer
//! without looking at it, posts the `tools/call`s with reqwest, reads their answers without
//! looking at them, and builds the next turn's body by concatenation. It parses nothing, checks
//! nothing and bounds nothing.
//!
//! Both sides send the model the same bytes and the server the same calls; the long conversation
//! shows that the length of what was said before does not matter.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::Layer;

use crate::{
    pair::{Group, Pair},
    support::{McpServer, Model, SERVER, TOOL, calls_tool, post, prose, says, send},
};

pub const PATH: &str = "/v1/chat/completions";

/// How often the model calls tools, how many at once, and how much was said before.
struct Shape {
    name: &'static str,
    rounds: usize,
    calls: usize,
    messages: usize,
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "one round of one call",
        rounds: 1,
        calls: 1,
        messages: 1,
    },
    Shape {
        name: "three rounds of four calls",
        rounds: 3,
        calls: 4,
        messages: 1,
    },
    Shape {
        name: "one round of one call, after 400 messages",
        rounds: 1,
        calls: 1,
        messages: 400,
    },
    Shape {
        name: "three rounds of four calls, after 400 messages",
        rounds: 3,
        calls: 4,
        messages: 400,
    },
];

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let servers = SHAPES.map(|_| McpServer::start(20));
    let pairs = SHAPES.iter().zip(&servers);
    Group {
        name: "rounds",
        pairs: pairs.map(|(shape, s)| pair(runtime, shape, s)).collect(),
        check: Box::new(move || servers.iter().for_each(McpServer::assert_listed_once)),
    }
}

fn pair(runtime: &Rc<Runtime>, shape: &Shape, server: &McpServer) -> Pair {
    let name = format!("{SERVER}__{TOOL}");
    let turns = (0..shape.rounds).map(|_| calls_tool(&name, shape.calls));
    let model = Model::new(turns.chain([says("That is how.")]));
    let request = post(PATH, request_body(shape.messages));

    let (recording, seen) = model.clone().recording();
    let layer = server.layer();
    let answer = runtime.block_on(send(layer.layer(recording), request.clone()));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["mcp"]["rounds"], shape.rounds, "{answer}");
    assert_eq!(server.calls() as usize, shape.rounds * shape.calls);
    let turns: Vec<_> = seen.lock().unwrap().iter().map(|t| t.concat()).collect();

    let (recording, seen) = model.clone().recording();
    StraightLine::new(&turns, recording, server, shape.calls).check(runtime, &turns, &seen);
    assert_eq!(server.calls() as usize, 2 * shape.rounds * shape.calls);

    let service = layer.layer(model.clone());
    runtime.block_on(async {
        for _ in 0..100 {
            send(service.clone(), request.clone()).await;
        }
    });
    server.assert_listed_once();

    let line = Rc::new(StraightLine::new(&turns, model, server, shape.calls));
    Pair::new(
        shape.name,
        runtime,
        move || {
            let line = line.clone();
            async move { line.run().await }
        },
        move || {
            let (service, request) = (service.clone(), request.clone());
            async move { drop(send(service, request).await) }
        },
    )
}

/// A request with auto-execution after so many messages of 500 bytes; `messages` comes last, so
/// that the text of a turn is easily taken apart.
pub fn request_body(messages: usize) -> String {
    let message = |index: usize| {
        let role = if index.is_multiple_of(2) {
            "user"
        } else {
            "assistant"
        };
        json!({"role": role, "content": prose(450)}).to_string()
    };
    let messages: Vec<_> = (0..messages).map(message).collect();
    format!(
        r#"{{"model":"m","mcp":{{"enabled":true,"servers":["{SERVER}"],"auto_execute_tools":true}},"messages":[{}]}}"#,
        messages.join(",")
    )
}

/// The calls of a conversation and nothing else.
struct StraightLine {
    model: Model,
    http: reqwest::Client,
    url: reqwest::Url,
    call: Bytes,
    calls: usize,
    /// What stands before the messages that rounds append, what each round appends, and the rest.
    before: Vec<u8>,
    rounds: Vec<Vec<u8>>,
    behind: Vec<u8>,
}

impl StraightLine {
    /// The line that leads to these bodies of turns.
    fn new(turns: &[Vec<u8>], model: Model, server: &McpServer, calls: usize) -> Self {
        const BEHIND: &[u8] = br#"],"tools":["#;
        let place = turns[0]
            .windows(BEHIND.len())
            .rposition(|w| w == BEHIND)
            .unwrap();
        let (before, behind) = turns[0].split_at(place);
        let appended = |turn: &Vec<u8>| turn[before.len()..turn.len() - behind.len()].to_vec();
        let appended: Vec<_> = turns.iter().map(appended).collect();
        let rounds = appended
            .windows(2)
            .map(|pair| pair[1][pair[0].len()..].to_vec());
        let arguments = json!({"query": "how does a tower layer work", "limit": 10});
        let call = json!({"jsonrpc": "2.0", "id": 1_u64 << 51, "method": "tools/call",
            "params": {"name": TOOL, "arguments": arguments}});
        Self {
            model,
            http: reqwest::Client::builder()
                .tcp_nodelay(true)
                .no_proxy()
                .tls_certs_only([])
                .build()
                .unwrap(),
            url: server.url().parse().unwrap(),
            call: call.to_string().into(),
            calls,
            rounds: rounds.collect(),
            before: before.to_vec(),
            behind: behind.to_vec(),
        }
    }

    async fn run(&self) {
        let mut appended = Vec::new();
        self.ask(&appended).await;
        for round in &self.rounds {
            join_all((0..self.calls).map(|_| self.call())).await;
            appended.extend_from_slice(round);
            self.ask(&appended).await;
        }
    }

    async fn ask(&self, appended: &[u8]) {
        let body = [&self.before, appended, &self.behind].concat();
        send(self.model.clone(), post(PATH, body)).await;
    }

    async fn call(&self) {
        let request = self.http.post(self.url.clone()).body(self.call.clone());
        let response = request
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2025-11-25")
            .send();
        response.await.unwrap().bytes().await.unwrap();
    }

    /// Makes sure that the model gets the same bytes from this line as from the layer.
    fn check(
        &self,
        runtime: &Runtime,
        turns: &[Vec<u8>],
        seen: &std::sync::Mutex<Vec<Vec<Bytes>>>,
    ) {
        runtime.block_on(self.run());
        let seen: Vec<_> = seen.lock().unwrap().iter().map(|t| t.concat()).collect();
        assert!(seen == turns, "the straight line's turns are others");
    }
}
