//! HTTP around a rewritten body, and how the inner service is treated.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use mcp_layer::registry::{MemoryRegistry, Server};
use mcp_layer::{McpLayer, RequestBody};
use serde_json::json;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt};

use crate::support::evil::{Evil, Step};
use crate::support::gateway::{Gateway, auto, chat, connections};
use crate::support::model::{called, calls, raw_answer, said, says};

#[tokio::test]
async fn each_turn_has_the_callers_headers_but_those_of_another_body_or_another_answer() {
    let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))]), says("hi")]).await;
    let mut request = chat(auto(json!({})).to_string());
    for (name, value) in [
        ("authorization", "Bearer key"),
        ("x-request-id", "1"),
        ("idempotency-key", "once"),
        ("content-length", "7"),
        ("content-md5", "x"),
        ("content-digest", "x"),
        ("range", "bytes=0-1"),
        ("if-none-match", "x"),
        ("expect", "100-continue"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("accept-encoding", "gzip, br"),
        ("x-mcp-auth-s", "s3cret"),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(7_u8);
    gateway.request(request).await;

    let turns = gateway.model.asked();
    for turn in &turns {
        assert_eq!(turn.uri.path(), "/v1/chat/completions");
        assert_eq!(turn.headers["authorization"], "Bearer key");
        assert_eq!(turn.headers["x-request-id"], "1");
        assert_eq!(turn.headers["accept-encoding"], "identity");
        assert_eq!(turn.headers["content-length"], turn.body.len().to_string());
        assert_eq!(turn.announced, Some(turn.body.len() as u64));
        for gone in [
            "content-md5",
            "content-digest",
            "range",
            "if-none-match",
            "expect",
            "te",
            "trailer",
            "x-mcp-auth-s",
        ] {
            assert!(!turn.headers.contains_key(gone), "{gone}");
        }
    }
    assert!(!turns[0].headers.contains_key("idempotency-key"));
    assert!(!turns[1].headers.contains_key("idempotency-key"));
}

#[tokio::test]
async fn the_answer_has_the_headers_of_the_last_turn_but_those_of_its_old_body() {
    let last = [
        ("content-type", "application/json"),
        ("x-request-id", "last"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("etag", "x"),
        ("content-md5", "x"),
        ("digest", "x"),
        ("content-length", "3"),
        ("trailer", "x"),
    ];
    let first = raw_answer(
        200,
        &[("x-request-id", "first")],
        [called(&[("s__echo", json!({"text": "x"}))]).to_string()],
    );
    let gateway = Gateway::new([first, raw_answer(200, &last, [said("hi").to_string()])]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.headers["x-request-id"], "last");
    assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(
        reply.headers["content-length"],
        reply.body.len().to_string()
    );
    for gone in ["etag", "content-md5", "digest", "trailer"] {
        assert!(!reply.headers.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn a_hung_server_holds_no_permit_of_the_inner_service() {
    let evil = Evil::serve(|_| vec![Step::Hang]).await;
    let servers = [Server::new("hung", &evil.url()).unwrap()];
    let layer = McpLayer::new(MemoryRegistry::new(servers).unwrap())
        .with_connections(connections(mcp_layer::mcp::ServerLimits::default()));
    let inner = tower::service_fn(
        |request: Request<RequestBody<Full<bytes::Bytes>>>| async move {
            drop(request.into_body().collect().await);
            Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from(
                said("hi").to_string(),
            ))))
        },
    );
    let service = layer.layer(ConcurrencyLimit::new(inner, 1));

    let hung = json!({"messages": [], "mcp": {"enabled": true, "servers": ["hung"]}});
    let waiting = tokio::spawn(service.clone().oneshot(chat(hung.to_string())));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    for _ in 0..3 {
        let others = service.clone().oneshot(chat(r#"{"messages":[]}"#));
        tokio::time::timeout(Duration::from_secs(2), others)
            .await
            .expect("nobody waits")
            .unwrap();
    }
    waiting.abort();
}

#[tokio::test]
async fn a_hung_tool_holds_no_permit_of_the_inner_service() {
    let script = [calls(&[("s__slow", json!({"ms": 10_000}))]), says("hi")];
    let gateway = Gateway::new(script).await;
    let service = gateway
        .layer
        .layer(ConcurrencyLimit::new(gateway.model.clone(), 1));
    let waiting = tokio::spawn(service.clone().oneshot(chat(auto(json!({})).to_string())));
    crate::support::until("the tool runs", || gateway.server.calls() == 1).await;
    let other = service.oneshot(chat("{}"));
    tokio::time::timeout(Duration::from_secs(2), other)
        .await
        .expect("nobody waits")
        .unwrap();
    waiting.abort();
}

#[tokio::test]
async fn the_inner_service_is_made_ready_once_for_each_call_of_it() {
    #[derive(Clone, Default)]
    struct Counting {
        ready: bool,
        readied: Arc<AtomicUsize>,
        called: Arc<AtomicUsize>,
        script: Arc<std::sync::Mutex<Vec<String>>>,
    }
    impl Service<Request<RequestBody<Full<bytes::Bytes>>>> for Counting {
        type Response = Response<Full<bytes::Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Infallible>> {
            if !std::mem::replace(&mut self.ready, true) {
                self.readied.fetch_add(1, Ordering::SeqCst);
            }
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<RequestBody<Full<bytes::Bytes>>>) -> Self::Future {
            assert!(
                std::mem::take(&mut self.ready),
                "called without being ready"
            );
            self.called.fetch_add(1, Ordering::SeqCst);
            let body = self.script.lock().unwrap().remove(0);
            std::future::ready(Ok(Response::new(Full::new(body.into()))))
        }
    }
    let gateway = Gateway::new([]).await;
    let inner = Counting::default();
    let turn = called(&[("s__echo", json!({"text": "x"}))]).to_string();
    *inner.script.lock().unwrap() = vec![turn.clone(), turn, said("hi").to_string()];
    let service = gateway.layer.layer(inner.clone());
    service
        .oneshot(chat(auto(json!({})).to_string()))
        .await
        .unwrap();
    assert_eq!(inner.called.load(Ordering::SeqCst), 3);
    assert_eq!(inner.readied.load(Ordering::SeqCst), 3);
}
