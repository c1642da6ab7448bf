//! What a round with images costs in memory, counted at the allocator: in a program of its own, since
//! the allocator counts for all of it. The model, the caller and the MCP server keep nothing, so what
//! is counted is the layer, its client, and the sockets of both sides.
//!
//! ```text
//! cargo test --test memory -- --nocapture
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Json, State},
    routing::post,
};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use mcp_layer::{
    Connections, McpBody, McpLayer, MediaPatterns, RequestBody,
    outbound::{EgressRules, Outbound},
    registry::{MemoryRegistry, Server},
};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Held by whoever counts.
static ALONE: Mutex<()> = Mutex::const_new(());

const MIB: usize = 1 << 20;
/// The Base64 of all images of a round.
const IMAGES: usize = 4 * MIB - 4096;
/// Two copies, with the slack of a text that grew as it came, an eighth, and all else.
const MOST: f64 = 2.15;

/// How the server sends its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// JSON of a length that the head says.
    Whole,
    /// JSON in chunks.
    Chunks,
    /// An event of a stream.
    Event,
}

/// A server of revision 2026-07-28. Its tool gives a result that was made before anything is counted.
#[derive(Clone)]
struct Gallery {
    form: Form,
    /// The result of a call, in pieces, but for the id.
    result: Arc<[Bytes]>,
    /// How often the second of these comes.
    repeats: usize,
}

impl Gallery {
    /// A result with so many images, which have so much Base64 together.
    fn new(form: Form, images: usize, bytes: usize) -> Self {
        let each = bytes / images / 4 * 4;
        let image = format!("iVBORw0KGgoA{}", "A".repeat(each - 12));
        let image = json!({"type": "image", "data": image, "mimeType": "image/png"});
        let result = json!({"resultType": "complete", "content": vec![image; images]});
        let result = Bytes::from(format!(r#"{{"jsonrpc":"2.0","result":{result},"id":"#));
        // As a network would bring it.
        let pieces = result.chunks(16 << 10).map(|piece| result.slice_ref(piece));
        Self {
            form,
            result: pieces.collect(),
            repeats: 1,
        }
    }

    /// The same image, so much longer.
    fn longer(mut self, bytes: usize) -> Self {
        self.repeats = bytes / self.result[1].len();
        self
    }

    fn answer(&self, id: &Value) -> Response<Body> {
        let (before, behind) = match self.form {
            Form::Event => ("data: ", "}\n\n"),
            _ => ("", "}"),
        };
        let kind = match self.form {
            Form::Event => "text/event-stream",
            _ => "application/json",
        };
        let id = Bytes::from(format!("{id}{behind}"));
        let more = (self.repeats - 1) * self.result[1].len();
        let length = self.result.iter().map(Bytes::len).sum::<usize>() + more + id.len();
        let (result, repeats) = (self.result.clone(), self.repeats);
        let places = (0..result.len()).flat_map(move |place| {
            let times = if place == 1 { repeats } else { 1 };
            std::iter::repeat_n(place, times)
        });
        let pieces = places.map(move |place| result[place].clone());
        let pieces = [Bytes::from(before)].into_iter().chain(pieces).chain([id]);
        let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)));
        let answer = Response::builder().header(header::CONTENT_TYPE, kind);
        let answer = match self.form {
            Form::Whole => answer.header(header::CONTENT_LENGTH, length),
            _ => answer,
        };
        answer.body(body).unwrap()
    }
}

async fn serve(State(gallery): State<Gallery>, Json(asked): Json<Value>) -> Response<Body> {
    let result = match asked["method"].as_str().unwrap() {
        "server/discover" => json!({"resultType": "complete", "capabilities": {"tools": {}},
            "supportedVersions": ["2026-07-28"], "ttlMs": 600_000, "cacheScope": "public"}),
        "tools/list" => json!({"resultType": "complete", "ttlMs": 600_000, "cacheScope": "public",
            "tools": [{"name": "see", "inputSchema": {"type": "object"}}]}),
        _ => return gallery.answer(&asked["id"]),
    };
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(answer.to_string().into())
        .unwrap()
}

async fn started(gallery: Gallery) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/mcp", post(serve)).with_state(gallery);
    tokio::spawn(async { axum::serve(listener, app).await });
    Server::new("s", &format!("http://{address}/mcp")).unwrap()
}

/// A model's turn: so many calls of the server's tool, or an answer.
fn turn(calls: usize) -> Bytes {
    completion(&vec!["s__see"; calls])
}

/// A model's turn with these calls, or an answer.
fn completion(calls: &[&str]) -> Bytes {
    let call = |(index, name): (usize, &&str)| {
        json!({"id": format!("call_{index}"), "type": "function",
            "function": {"name": name, "arguments": "{}"}})
    };
    let (message, reason) = match calls {
        [] => (json!({"role": "assistant", "content": "seen"}), "stop"),
        calls => {
            let calls: Vec<_> = calls.iter().enumerate().map(call).collect();
            (
                json!({"role": "assistant", "content": null, "tool_calls": calls}),
                "tool_calls",
            )
        }
    };
    let choice = json!({"index": 0, "message": message, "finish_reason": reason});
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})
        .to_string()
        .into()
}

type Service = BoxCloneService<Request<Full<Bytes>>, Response<McpBody<Full<Bytes>>>, Infallible>;

/// A layer before a model, and what goes through it.
struct Scene {
    service: Service,
    /// The longest turn that the model was sent.
    shown: Arc<AtomicUsize>,
}

impl Scene {
    /// The model takes these turns, again and again.
    async fn new(gallery: Gallery, layer: fn(McpLayer) -> McpLayer, turns: Vec<Bytes>) -> Self {
        let rules = EgressRules::parse(["127.0.0.1"]).unwrap();
        let server = started(gallery).await;
        let mcp = McpLayer::new(MemoryRegistry::new([server]).unwrap())
            .with_connections(Connections::new(Outbound::new(rules)))
            .with_media_models(MediaPatterns::none().with_images(["*"]));
        let shown = Arc::new(AtomicUsize::new(0));
        let (asked, longest) = (Arc::new(AtomicUsize::new(0)), shown.clone());
        let turns: Arc<[Bytes]> = turns.into();
        let model = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
            let (asked, longest, turns) = (asked.clone(), longest.clone(), turns.clone());
            async move {
                let (mut body, mut bytes) = (pin!(request.into_body()), 0);
                while let Some(frame) = body.frame().await {
                    bytes += frame.unwrap().into_data().unwrap().len();
                }
                longest.fetch_max(bytes, Ordering::Relaxed);
                let place = asked.fetch_add(1, Ordering::Relaxed) % turns.len();
                Ok::<_, Infallible>(Response::new(Full::new(turns[place].clone())))
            }
        });
        let service = BoxCloneService::new(layer(mcp).layer(model));
        Self { service, shown }
    }

    /// The model's answer to these messages.
    async fn ask(&self, messages: Value) -> Value {
        let own = json!({"type": "function", "function": {"name": "lookup"}});
        let body = json!({"model": "m", "messages": messages, "tools": [own],
            "mcp": {"enabled": true, "servers": ["s"], "auto_execute_tools": true}});
        let request = Request::post("/v1/chat/completions")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let answer = self.service.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let answer = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{answer:?}");
        serde_json::from_slice(&answer).unwrap()
    }

    /// The same, and the most bytes that are taken meanwhile beyond those that are taken before.
    async fn counted(&self, messages: Value) -> (Value, usize) {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let answer = self.ask(messages).await;
        (answer, MEMORY.peak_usage().saturating_sub(before))
    }

    fn shown(&self) -> usize {
        self.shown.load(Ordering::Relaxed)
    }
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// So many bytes in copies of the images of a round.
fn copies(bytes: usize) -> f64 {
    bytes as f64 / IMAGES as f64
}

/// What an exchange takes in which the model calls the tool so many times in each of the `rounds`, and
/// the longest turn.
async fn cost(
    gallery: Gallery,
    layer: fn(McpLayer) -> McpLayer,
    rounds: &[usize],
) -> (usize, usize) {
    let turns = rounds.iter().copied().chain([0]).map(turn).collect();
    let scene = Scene::new(gallery, layer, turns).await;
    // The first lists the tools and opens the connection.
    scene.ask(json!([user("0")])).await;
    scene.ask(json!([user("1")])).await;
    let (_, bytes) = scene.counted(json!([user("2")])).await;
    (bytes, scene.shown())
}

fn kept(layer: McpLayer) -> McpLayer {
    layer
}

fn unkept(layer: McpLayer) -> McpLayer {
    layer.without_exchanges()
}

/// How the layer is set up, how many images a result has, how many calls the rounds have, and the
/// most copies.
type Row = (
    &'static str,
    fn(McpLayer) -> McpLayer,
    usize,
    &'static [usize],
    f64,
);

#[tokio::test]
async fn a_round_with_four_mib_of_images_costs_no_more_than_two_copies_of_them() {
    let _alone = ALONE.lock().await;
    let rows: [Row; 6] = [
        ("nothing is kept", unkept, 1, &[1], MOST),
        ("nothing is kept, 20 images", unkept, 20, &[1], MOST),
        (
            "nothing is kept, two rounds",
            unkept,
            1,
            &[1, 1],
            2.0 * MOST,
        ),
        ("kept in memory", kept, 1, &[1], MOST),
        ("kept in memory, 20 images", kept, 20, &[1], MOST),
        // The second step is written while the first is stored, and a stored text is a copy of the
        // one that is written: three copies of the images of both rounds.
        ("kept in memory, two rounds", kept, 1, &[1, 1], 6.2),
    ];
    let mut dear = Vec::new();
    for (name, layer, images, rounds, most) in rows {
        for form in [Form::Whole, Form::Chunks, Form::Event] {
            let gallery = Gallery::new(form, images, IMAGES);
            let (bytes, shown) = cost(gallery, layer, rounds).await;
            assert!(shown > IMAGES - 4096, "{shown}");
            let copies = copies(bytes);
            println!("{name}, {form:?}: {copies:.2} copies");
            if copies > most {
                dear.push((name, form, copies));
            }
        }
    }
    assert!(dear.is_empty(), "{dear:#?}");
}

#[tokio::test]
async fn a_turn_that_goes_back_is_written_with_its_images_once_and_read_without_a_copy() {
    let _alone = ALONE.lock().await;
    let turns = vec![turn(1), completion(&["lookup"]), turn(0)];
    let gallery = Gallery::new(Form::Whole, 1, IMAGES);
    let scene = Scene::new(gallery, kept, turns).await;
    for number in 0..4 {
        let asked = user(&number.to_string());
        let (answer, back) = scene.counted(json!([asked])).await;
        let message = &answer["choices"][0]["message"];
        let id = &message["tool_calls"][0]["id"];
        let told = json!({"role": "tool", "tool_call_id": id, "content": "x"});
        let (answer, on) = scene.counted(json!([asked, message, told])).await;
        assert_eq!(answer["choices"][0]["message"]["content"], "seen");
        let (back, on) = (copies(back), copies(on));
        println!("goes back: {back:.2} copies, goes on: {on:.2}");
        // The first lists the tools and opens the connection.
        if number == 0 {
            continue;
        }
        // The journal of the round, what the model was shown, and the text of the turn, which a store has
        // as a copy of what was written.
        assert!(back < 4.1 && on < 0.1);
    }
}

#[tokio::test]
async fn media_of_a_hundred_megabytes_cost_what_the_limit_allows_and_are_an_error() {
    let _alone = ALONE.lock().await;
    for form in [Form::Whole, Form::Chunks, Form::Event] {
        let gallery = Gallery::new(form, 1, 64 << 10).longer(100_000_000);
        let (bytes, shown) = cost(gallery, kept, &[1]).await;
        println!("100 MB, {form:?}: {:.2} MiB", bytes as f64 / MIB as f64);
        assert!(shown < 64 << 10, "{shown}");
        // The limit is 8 MiB, and what grows to that is there twice while it is moved.
        assert!(bytes < 17 * MIB, "{bytes}");
    }
}
