//! What is not ours reaches the inner service as it came, and comes back as it was sent.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use mcp_layer::McpLayer;
use mcp_layer::registry::MemoryRegistry;
use serde_json::json;
use tower::{Layer, ServiceExt};

use crate::support::gateway::{Gateway, chat};
use crate::support::model::{BrokenOff, Model, raw_answer, respond, says};

fn layer() -> McpLayer {
    McpLayer::new(MemoryRegistry::default())
}

/// The frames that the inner service gets of a body with these frames.
async fn through(frames: &[&'static str]) -> Vec<Bytes> {
    let model = Model::new([says("hi")]);
    let frames: Vec<_> = frames
        .iter()
        .map(|f| Ok::<_, BrokenOff>(Frame::data(Bytes::from_static(f.as_bytes()))))
        .collect();
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::post("/v1/chat/completions").body(body).unwrap();
    layer().layer(model.clone()).oneshot(request).await.unwrap();
    model.asked()[0].frames.clone()
}

#[tokio::test]
async fn a_request_without_mcp_keeps_its_frames() {
    for frames in [
        &[r#"{"model":"m", "messages":[]}"#][..],
        &["{\"mod", "", "el\":\"m\"}"],
        &[r#"{"messages":[{"content":"what is \"mcp\"?"}],"a":{"mcp":{}}}"#],
        &[r#"["mcp"]"#],
        &[r#""mcp""#],
        &["not json at all"],
        &[r#"{"x":"\u0041"}"#],
        &[r#"{"content":"caf\u00e9","#],
        &[],
    ] {
        let expected: Vec<Bytes> = frames
            .iter()
            .map(|f| Bytes::from_static(f.as_bytes()))
            .collect();
        assert_eq!(through(frames).await, expected, "{frames:?}");
    }
}

#[tokio::test]
async fn a_body_in_crumbs_keeps_its_bytes_and_is_put_together() {
    let crumbs: Vec<&'static str> = (0..100_000).map(|i| ["x", ""][i % 2]).collect();
    let frames = through(&crumbs).await;
    assert_eq!(frames.concat(), crumbs.concat().as_bytes());
    assert!(frames.len() < 20_000, "{}", frames.len());
}

#[tokio::test]
async fn a_deeply_nested_request_that_is_not_ours_is_no_matter_of_ours() {
    let body = format!(
        r#"{{"x":{{"mcp":{}{}}}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let gateway = Gateway::new([says("hi")]).await;
    gateway.send_bytes(body.clone()).await;
    assert_eq!(gateway.model.asked()[0].body, body);
}

#[tokio::test]
async fn other_paths_other_methods_and_encoded_bodies_pass_unread() {
    let ours = json!({"mcp": {"enabled": true}}).to_string();
    for (method, path, encoding) in [
        (Method::POST, "/v1/embeddings", None),
        (Method::PUT, "/v1/chat/completions", None),
        (Method::POST, "/v1/chat/completions/x", None),
        (Method::POST, "/v1/chat/completions", Some("gzip")),
    ] {
        let gateway = Gateway::new([says("hi")]).await;
        let mut request = chat(ours.clone());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        if let Some(encoding) = encoding {
            request
                .headers_mut()
                .insert("content-encoding", HeaderValue::from_static(encoding));
        }
        gateway.request(request).await;
        assert_eq!(gateway.model.asked()[0].body, ours);
    }
}

#[tokio::test]
async fn only_configured_paths_are_ours() {
    let gateway = Gateway::new([says("hi")])
        .await
        .layered(|layer| layer.with_paths(["/chat"]));
    gateway.send(&json!({"mcp": {"enabled": true}})).await;
    assert_eq!(
        gateway.model.asked()[0].json(),
        json!({"mcp": {"enabled": true}})
    );
    let mut request = chat(json!({"mcp": {"enabled": true}}).to_string());
    *request.uri_mut() = "/chat".parse().unwrap();
    assert_eq!(gateway.request(request).await.status, 400);
}

#[tokio::test]
async fn the_size_of_a_body_is_known_on_both_sides() {
    let gateway = Gateway::new([raw_answer(200, &[], ["a", "b"])]).await;
    let response = gateway.respond(chat("{}")).await.unwrap();
    assert_eq!(gateway.model.asked()[0].announced, Some(2));
    assert!(!response.body().is_end_stream());

    let empty = chat("");
    let gateway = Gateway::new([says("hi")]).await;
    gateway.respond(empty).await.unwrap();
    assert_eq!(gateway.model.asked()[0].announced, Some(0));
}

#[tokio::test]
async fn an_answer_that_passes_keeps_frames_trailers_and_errors() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("1"));
    let frames = vec![
        Ok(Frame::data(Bytes::from_static(b"data: a\n\n"))),
        Ok(Frame::trailers(trailers.clone())),
    ];
    let gateway = Gateway::new([respond(
        200,
        &[("content-type", "text/event-stream")],
        frames,
    )])
    .await;
    let response = gateway.respond(chat(r#"{"stream":true}"#)).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers(), Some(&trailers));

    let frames = vec![
        Ok(Frame::data(Bytes::from_static(b"data: a\n\n"))),
        Err(BrokenOff),
    ];
    let gateway = Gateway::new([respond(200, &[], frames)]).await;
    let mut body = gateway.respond(chat("{}")).await.unwrap().into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "data: a\n\n"
    );
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn a_request_body_that_breaks_off_reaches_the_inner_service_as_it_is() {
    let frames = vec![
        Ok(Frame::data(Bytes::from_static(b"{\"mcp\":"))),
        Err(BrokenOff),
    ];
    let request = Request::post("/v1/chat/completions")
        .body(StreamBody::new(futures_util::stream::iter(frames)))
        .unwrap();
    let inner = tower::service_fn(|request: Request<mcp_layer::RequestBody<_>>| async move {
        let mut body = request.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let broken = body.frame().await.unwrap().is_err();
        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(format!(
            "{} {broken}",
            first.len()
        )))))
    });
    let response = layer().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "7 true"
    );
}

#[tokio::test]
async fn tokens_meant_for_mcp_servers_never_reach_the_provider() {
    for (path, body) in [("/v1/models", "{}"), ("/v1/chat/completions", "{}")] {
        let gateway = Gateway::new([says("hi")]).await;
        let mut request = chat(body);
        *request.uri_mut() = path.parse().unwrap();
        for name in ["x-mcp-auth-github", "x-mcp-auth-s", "x-other"] {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static("s3cret"));
        }
        gateway.request(request).await;
        let headers = &gateway.model.asked()[0].headers;
        assert!(
            headers
                .keys()
                .all(|name| !name.as_str().starts_with("x-mcp-auth-"))
        );
        assert!(headers.contains_key("x-other"));
    }
}
