//! Requests of 2 KiB that are not the layer's, against the inner service alone, and against the layer
//! without aliases and defaults.

use std::rc::Rc;

use mcp_layer::{
    McpLayer,
    registry::{DefaultServers, MemoryRegistry, ModelAlias},
};
use serde_json::json;
use tokio::runtime::Runtime;
use tower::Layer;

use crate::{
    pair::{Group, Pair},
    support::{Model, post, prose, says, send},
};

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let pairs = [
        ("pass-through of a chat completion", "/v1/chat/completions"),
        ("pass-through of another path", "/v1/embeddings"),
    ];
    Group {
        name: "pass_through",
        pairs: pairs
            .map(|(name, path)| pair(runtime, name, path))
            .into_iter()
            .chain([by_model(runtime)])
            .collect(),
        check: Box::new(|| {}),
    }
}

/// What it costs that there are 100 aliases and 100 defaults, of which none is for the request: at most
/// a tenth.
fn by_model(runtime: &Rc<Runtime>) -> Pair {
    let server = || ["s".parse().unwrap()];
    let alias = |at| ModelAlias::new(format!("m-tools-{at}"), "m", server());
    let default = |at| DefaultServers::new("default", server()).with_models([format!("m-{at}*")]);
    let layer = McpLayer::new(MemoryRegistry::default());
    let other = layer
        .clone()
        .with_model_aliases((0..100).map(alias))
        .unwrap();
    let other = other.with_defaults((0..100).map(default)).unwrap();
    let request = post("/v1/chat/completions", body());
    let model = Model::new([says("yes")]);
    let [none, many] = [layer, other].map(|layer| layer.layer(model.clone()));
    let same = request.clone();
    Pair::new(
        "pass-through with 100 aliases and 100 defaults",
        runtime,
        move || {
            let (service, request) = (none.clone(), same.clone());
            async move { drop(send(service, request).await) }
        },
        move || {
            let (service, request) = (many.clone(), request.clone());
            async move { drop(send(service, request).await) }
        },
    )
}

fn body() -> String {
    let message = json!({"role": "user", "content": prose(1850)});
    json!({"model": "m", "messages": [message], "temperature": 0.7}).to_string()
}

fn pair(runtime: &Rc<Runtime>, name: &'static str, path: &'static str) -> Pair {
    let body = body();
    assert!((1900..2200).contains(&body.len()), "{}", body.len());
    let request = post(path, body);
    let model = Model::new([says("yes")]);
    let layer = McpLayer::new(MemoryRegistry::default());

    // The inner service gets the very bytes that came in, not a copy of them.
    let (recording, seen) = model.clone().recording();
    let sent = runtime.block_on(async {
        send(layer.layer(recording.clone()), request.clone()).await;
        send(recording, request.clone()).await
    });
    assert!(!sent.is_empty());
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].len(), 1);
    assert_eq!(
        seen[0][0].as_ptr(),
        seen[1][0].as_ptr(),
        "the body was copied"
    );

    let service = layer.layer(model.clone());
    let same = request.clone();
    Pair::new(
        name,
        runtime,
        move || {
            let (model, request) = (model.clone(), same.clone());
            async move { drop(send(model, request).await) }
        },
        move || {
            let (service, request) = (service.clone(), request.clone());
            async move { drop(send(service, request).await) }
        },
    )
}
