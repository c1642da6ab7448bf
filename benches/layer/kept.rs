//! Turns that call tools of the caller's beside ours, and what is kept of them.
//!
//! A turn that goes back in part is held against one of the same size that calls only the caller's
//! tools, and so goes back as it came. A request whose history has ten turns of that kind is held
//! against one that has the same history whole, as the model saw it.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex},
};

use mcp_layer::{
    McpLayer,
    registry::{
        BoxFuture, Error, ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore,
        MemoryExchanges, StoredExchange,
    },
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::Layer;

use crate::{
    pair::{Group, Pair},
    rounds::PATH,
    support::{McpServer, Model, SERVER, TOOL, calls_tool, completion, post, prose, says, send},
};

const OWN: &str = "lookup";
const TURNS: usize = 10;

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let server = McpServer::start(20);
    Group {
        name: "kept",
        pairs: vec![
            split(runtime, &server),
            history(
                runtime,
                &server,
                "a history with ten turns that went back in part",
                300,
            ),
            history(runtime, &server, "the same, with results of 4 KiB", 4 << 10),
        ],
        check: Box::new(|| ()),
    }
}

/// A turn that calls these tools.
fn turn(number: usize, tools: [&str; 3]) -> String {
    let arguments = json!({"query": "how does a tower layer work", "limit": 10}).to_string();
    let call = |(index, name): (usize, &str)| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"id": format!("call_{number}_{index}"), "type": "function", "function": function})
    };
    let calls: Vec<_> = tools.into_iter().enumerate().map(call).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    completion("tool_calls", message)
}

fn mixed(number: usize) -> String {
    let ours = format!("{SERVER}__{TOOL}");
    turn(number, [&ours, OWN, OWN])
}

fn body(messages: &[Value]) -> String {
    json!({
        "model": "m",
        "messages": messages,
        "tools": [{"type": "function", "function": {"name": OWN}}],
        "mcp": {"enabled": true, "servers": [SERVER], "auto_execute_tools": true},
    })
    .to_string()
}

fn question() -> Vec<Value> {
    vec![json!({"role": "user", "content": prose(450)})]
}

/// The ids of the calls of an answer.
fn ids(answer: &Value) -> Vec<String> {
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array();
    let ids = calls.into_iter().flatten().map(|call| call["id"].as_str());
    ids.map(|id| id.unwrap().to_owned()).collect()
}

fn ask(runtime: &Runtime, layer: &McpLayer, model: &Model, messages: &[Value]) -> Value {
    let answer = send(layer.layer(model.clone()), post(PATH, body(messages)));
    serde_json::from_slice(&runtime.block_on(answer)).unwrap()
}

fn split(runtime: &Rc<Runtime>, server: &McpServer) -> Pair {
    let own = Model::new([turn(0, [OWN; 3])]);
    let mixed = Model::new([mixed(0)]);
    let layer = server.layer();
    let came = ids(&ask(runtime, &layer, &own, &question()));
    assert_eq!(came, ["call_0_0", "call_0_1", "call_0_2"]);
    let kept = ids(&ask(runtime, &layer, &mixed, &question()));
    assert!(
        kept.len() == 2 && kept.iter().all(|id| id.starts_with("mcp_")),
        "{kept:?}"
    );
    let request = post(PATH, body(&question()));
    let repeat = |model: Model| {
        let (service, request) = (layer.layer(model), request.clone());
        move || {
            let (service, request) = (service.clone(), request.clone());
            async move { drop(send(service, request).await) }
        }
    };
    let name = "a turn of three calls, one of them ours, that goes back in part";
    Pair::new(name, runtime, repeat(own), repeat(mixed))
}

/// A history in which each result of the caller's tools has so many bytes.
fn history(runtime: &Rc<Runtime>, server: &McpServer, name: &'static str, bytes: usize) -> Pair {
    let layer = server.layer();
    let mut messages = question();
    for number in 0..TURNS {
        let answer = ask(runtime, &layer, &Model::new([mixed(number)]), &messages);
        messages.push(answer["choices"][0]["message"].clone());
        let answered = ids(&answer)
            .into_iter()
            .map(|id| json!({"role": "tool", "tool_call_id": id, "content": prose(bytes)}));
        messages.extend(answered);
    }
    let calls = server.calls();
    let (model, seen) = Model::new([says("That is how.")]).recording();
    ask(runtime, &layer, &model, &messages);
    ask(runtime, &layer, &model, &messages);
    assert_eq!(server.calls(), calls + 1, "the last open call ran, once");
    let seen: Vec<_> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|frames| frames.concat())
        .collect();
    assert!(seen[0] == seen[1], "what is restored is the same each time");
    let whole: Value = serde_json::from_slice(&seen[0]).unwrap();
    let whole = whole["messages"].as_array().unwrap();
    assert_eq!(whole.len(), 1 + 4 * TURNS);

    let model = Model::new([says("That is how.")]);
    let repeat = |messages: &[Value]| {
        let (service, request) = (layer.layer(model.clone()), post(PATH, body(messages)));
        move || {
            let (service, request) = (service.clone(), request.clone());
            async move { drop(send(service, request).await) }
        }
    };
    Pair::new(name, runtime, repeat(whole), repeat(&messages))
}

/// A store that knows how large its records are.
struct Measured {
    store: MemoryExchanges,
    bytes: Arc<Mutex<HashMap<ExchangeId, usize>>>,
}

impl ExchangeStore for Measured {
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>> {
        self.store.key()
    }

    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        if let Some(data) = &record.data {
            self.bytes.lock().unwrap().insert(id, data.len());
        }
        self.store.put(owner, id, record, expected)
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        self.store.get(owner, ids)
    }

    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        self.store.find(owner, topic)
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.bytes.lock().unwrap().remove(&id);
        self.store.remove(owner, id, version)
    }
}

/// Prints what is kept of three rounds of four calls before a turn that goes back in part, and the
/// size of the messages themselves.
pub fn print_bytes(runtime: &Rc<Runtime>) {
    let server = McpServer::start(20);
    let bytes = Arc::<Mutex<HashMap<_, _>>>::default();
    let store = MemoryExchanges::default();
    let layer = server.layer().with_exchanges(Measured {
        store,
        bytes: bytes.clone(),
    });
    let rounds = (0..3).map(|_| calls_tool(&format!("{SERVER}__{TOOL}"), 4));
    let (model, seen) = Model::new(rounds.chain([mixed(3)])).recording();
    let answer = ask(runtime, &layer, &model, &question());
    assert_eq!(answer["mcp"]["rounds"], 3, "{answer}");
    // What was needed for a repeat is removed behind the answer's back.
    runtime.block_on(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    });
    let seen = seen.lock().unwrap();
    let (first, last) = (seen[0].concat().len(), seen[3].concat().len());
    // The other records are of the exchange, for its repeats.
    let bytes = bytes.lock().unwrap();
    let kept = bytes.values().max().unwrap();
    println!(
        "kept of three rounds of four calls and a turn that went back in part: {kept} bytes, of which {} are messages of the rounds; {} bytes of other records",
        last - first,
        bytes.values().sum::<usize>() - kept
    );
}
