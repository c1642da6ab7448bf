//! Requests of 2 KiB that are not the layer's, against the inner service alone.

use std::rc::Rc;

use mcp_layer::{McpLayer, registry::MemoryRegistry};
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
        pairs: pairs.map(|(name, path)| pair(runtime, name, path)).into(),
        check: Box::new(|| {}),
    }
}

fn pair(runtime: &Rc<Runtime>, name: &'static str, path: &'static str) -> Pair {
    let message = json!({"role": "user", "content": prose(1850)});
    let body = json!({"model": "m", "messages": [message], "temperature": 0.7}).to_string();
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
