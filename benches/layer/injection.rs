//! Requests that are given tools and nothing more, against the inner service alone.
//!
//! The tools are in the cache, and the model's answer goes through: this is what `mcp` costs a
//! request before any tool is called.

use std::rc::Rc;

use serde_json::json;
use tokio::runtime::Runtime;
use tower::Layer;

use crate::{
    pair::{Group, Pair},
    support::{McpServer, Model, SERVER, post, prose, says, send},
};

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let few = McpServer::start(20);
    let many = McpServer::start(128);
    Group {
        name: "injection",
        pairs: vec![
            pair(runtime, "injection of 20 tools", &few),
            pair(runtime, "injection of 128 tools", &many),
        ],
        check: Box::new(move || {
            few.assert_listed_once();
            many.assert_listed_once();
        }),
    }
}

fn pair(runtime: &Rc<Runtime>, name: &'static str, server: &McpServer) -> Pair {
    let message = json!({"role": "user", "content": prose(1900)});
    let mut body = json!({"model": "m", "messages": [message]});
    let without = post("/v1/chat/completions", body.to_string());
    body["mcp"] = json!({"enabled": true, "servers": [SERVER]});
    let with = post("/v1/chat/completions", body.to_string());

    let model = Model::new([says("yes")]);
    let service = server.layer().layer(model.clone());
    runtime.block_on(async {
        for _ in 0..100 {
            send(service.clone(), with.clone()).await;
        }
    });
    server.assert_listed_once();

    Pair::new(
        name,
        runtime,
        move || {
            let (model, request) = (model.clone(), without.clone());
            async move { drop(send(model, request).await) }
        },
        move || {
            let (service, request) = (service.clone(), with.clone());
            async move { drop(send(service, request).await) }
        },
    )
}
