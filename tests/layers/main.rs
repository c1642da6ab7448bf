//! Every layer of tower 0.5 and tower-http 0.7 on both sides of `McpLayer`: each stack compiles and
//! answers. Which side is right for what:
//!
//! | layer | outside: once for a request | inside: at each turn of the model |
//! |---|---|---|
//! | tower: timeout | longer than `Limits::deadline`; it cuts the loop | **right**: for one turn |
//! | tower: concurrency limit, load-shed | **right**: bounds exchanges; load-shed needs the limit | bounds turns, with tools running in between |
//! | tower: rate limit, buffer | counts requests | **right**: counts what a provider counts |
//! | tower: retry | wrong: runs tools again | **right**: the turn alone; its body is to be collected first |
//! | timeout, of an answer | longer than `Limits::deadline` | **right** |
//! | timeout, of a request's body | **right**: a caller that falls silent | no effect: the body is whole |
//! | timeout, of an answer's body | longer than `Limits::keep_alive` | **right**: a provider that falls silent |
//! | limit | **right**, and no more than `Limits::body_bytes` | more than outside: turns carry results of tools |
//! | trace, request-id | **right**: one for the exchange | besides: one for each turn |
//! | cors, normalize-path, validate-request | **right**: nothing is read for whom they refuse | too late |
//! | compression | **right** | wrong: the layer reads what the model says |
//! | decompression of requests | **right**: the layer must read them | too late |
//! | decompression of answers | pointless | **right**, for a provider that compresses |
//! | catch-panic | **right**: for all below | a turn that panics becomes an answer of status 500 |
//! | set-header | **right** for callers | **right** for the provider, at every turn |
//! | sensitive-headers | **right**, outermost | too late for spans outside |
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Json, Router, routing::post};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use mcp_layer::{
    Connections, McpLayer,
    outbound::{EgressRules, Outbound},
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{
    Service, ServiceBuilder, ServiceExt,
    buffer::BufferLayer,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer, RateLimitLayer},
    load_shed::LoadShedLayer,
    retry::{Policy, RetryLayer},
    timeout::TimeoutLayer,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::CorsLayer,
    decompression::{DecompressionLayer, RequestDecompressionLayer},
    limit::RequestBodyLimitLayer,
    normalize_path::NormalizePathLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::SetSensitiveHeadersLayer,
    set_header::{SetRequestHeaderLayer, SetResponseHeaderLayer},
    timeout::{
        RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimeoutLayer as HttpTimeoutLayer,
    },
    trace::TraceLayer,
    validate_request::ValidateRequestHeaderLayer,
};

const LONG: Duration = Duration::from_secs(600);

/// The layer with a server of revision 2026-07-28, which has one tool.
async fn mcp() -> McpLayer {
    async fn server(Json(asked): Json<Value>) -> Json<Value> {
        let result = match asked["method"].as_str().unwrap() {
            "server/discover" => json!({"resultType": "complete", "capabilities": {"tools": {}},
                "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private"}),
            "tools/list" => json!({"resultType": "complete",
                "tools": [{"name": "wave", "inputSchema": {"type": "object"}}]}),
            _ => json!({"content": [{"type": "text", "text": "waved"}]}),
        };
        Json(json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/mcp", post(server));
    tokio::spawn(async { axum::serve(listener, app).await });
    let server = Server::new("a", &format!("http://{address}/mcp")).unwrap();
    let rules = EgressRules::parse(["127.0.0.1"]).unwrap();
    McpLayer::new(MemoryRegistry::new([server]).unwrap())
        .with_connections(Connections::new(Outbound::new(rules)))
}

/// Calls the tool, and says `hi` once it was run.
#[derive(Clone)]
struct Model;

impl<B> Service<Request<B>> for Model
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Debug,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(async {
            let read = request.into_body().collect().await.unwrap().to_bytes();
            let asked: Value = serde_json::from_slice(&read).unwrap();
            let messages = asked["messages"].as_array().unwrap();
            let call = json!([{"id": "call_1", "type": "function",
                "function": {"name": "a__wave", "arguments": "{}"}}]);
            let (reason, message) = match messages.last().unwrap()["role"].as_str().unwrap() {
                "tool" => ("stop", json!({"role": "assistant", "content": "hi"})),
                _ => (
                    "tool_calls",
                    json!({"role": "assistant", "content": null, "tool_calls": call}),
                ),
            };
            let said =
                json!({"choices": [{"index": 0, "finish_reason": reason, "message": message}]});
            let mut answer = Response::new(Full::from(said.to_string()));
            let json = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(header::CONTENT_TYPE, json);
            Ok(answer)
        })
    }
}

/// Asks for tools, and gets what the model says, with a receipt.
async fn answers<S, B>(service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Debug,
    B: Body,
    B::Error: Debug,
{
    let asked = r#"{"model":"m","messages":[{"role":"user","content":"hello"}],"mcp":{"enabled":true,"servers":["a"],"auto_execute_tools":true}}"#;
    let request = Request::post("/v1/chat/completions")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::from(asked))
        .unwrap();
    let answer = service.oneshot(request).await.unwrap();
    let status = answer.status();
    let said = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, StatusCode::OK, "{said:?}");
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(said["choices"][0]["message"]["content"], "hi");
    assert_eq!(said["mcp"]["calls"][0]["is_error"], false, "{said}");
}

/// Tries each layer on both sides; where a layer makes a service that is not `Clone`, which the
/// layer asks of what is inside of it, a buffer stands between.
macro_rules! both {
    ($($name:ident: $layer:expr, buffered;)*) => {$(
        #[tokio::test]
        async fn $name() {
            answers(ServiceBuilder::new().layer($layer).layer(mcp().await).service(Model)).await;
            let inside = ServiceBuilder::new().layer(BufferLayer::new(8)).layer($layer);
            answers(ServiceBuilder::new().layer(mcp().await).layer(inside.into_inner()).service(Model)).await;
        }
    )*};
    ($($name:ident: $layer:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            answers(ServiceBuilder::new().layer($layer).layer(mcp().await).service(Model)).await;
            answers(ServiceBuilder::new().layer(mcp().await).layer($layer).service(Model)).await;
        }
    )*};
}

both! {
    timeout: TimeoutLayer::new(LONG);
    concurrency_limit: ConcurrencyLimitLayer::new(1);
    global_concurrency_limit: GlobalConcurrencyLimitLayer::new(1);
    load_shed: LoadShedLayer::new();
    buffer: BufferLayer::new(8);
    retry: RetryLayer::new(Never);
    http_timeout: HttpTimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, LONG);
    request_body_timeout: RequestBodyTimeoutLayer::new(LONG);
    response_body_timeout: ResponseBodyTimeoutLayer::new(LONG);
    limit: RequestBodyLimitLayer::new(20 << 20);
    trace: TraceLayer::new_for_http();
    cors: CorsLayer::permissive();
    compression: CompressionLayer::new();
    decompression: DecompressionLayer::new();
    decompression_of_requests: RequestDecompressionLayer::new();
    catch_panic: CatchPanicLayer::new();
    request_id_set: SetRequestIdLayer::x_request_id(MakeRequestUuid);
    request_id_propagated: PropagateRequestIdLayer::x_request_id();
    request_header: SetRequestHeaderLayer::overriding(header::USER_AGENT, HeaderValue::from_static("gateway"));
    response_header: SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    sensitive_headers: SetSensitiveHeadersLayer::new([header::AUTHORIZATION]);
    validate_request: ValidateRequestHeaderLayer::accept("application/json");
    normalize_path: NormalizePathLayer::trim_trailing_slash();
}

both! {
    rate_limit: RateLimitLayer::new(100, Duration::from_secs(1)), buffered;
}

/// Retries nothing: what is tried here is that it fits.
#[derive(Clone)]
struct Never;

impl<B, A, E> Policy<Request<B>, A, E> for Never {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, _: &mut Result<A, E>) -> Option<Ready<()>> {
        None
    }

    fn clone_request(&mut self, _: &Request<B>) -> Option<Request<B>> {
        None
    }
}

/// Tries a turn again, once, if the model was not there.
#[derive(Clone)]
struct Once {
    tried: bool,
}

impl<A, E> Policy<Request<Full<Bytes>>, Response<A>, E> for Once {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Full<Bytes>>,
        answer: &mut Result<Response<A>, E>,
    ) -> Option<Ready<()>> {
        let is_gone = answer.as_ref().is_ok_and(|answer| answer.status() == 503);
        let again = is_gone && !self.tried;
        self.tried = true;
        again.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a_turn_is_tried_again_once_its_body_is_collected() {
    let turns = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = turns.clone();
    let flaky = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let turn = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            let mut answer = Model.oneshot(request).await?;
            if turn == 0 {
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let retried = ServiceBuilder::new()
        .layer(RetryLayer::new(Once { tried: false }))
        .service(flaky);
    let collected = tower::service_fn(move |request: Request<mcp_layer::RequestBody<_>>| {
        let retried = retried.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            retried
                .oneshot(Request::from_parts(head, Full::from(body)))
                .await
        }
    });
    answers(ServiceBuilder::new().layer(mcp().await).service(collected)).await;
    assert_eq!(turns.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[tokio::test]
async fn compressed_requests_and_answers_pass_with_both_codings_outside() {
    let service = ServiceBuilder::new()
        .layer(DecompressionLayer::new())
        .layer(
            CompressionLayer::new()
                .compress_when(tower_http::compression::predicate::SizeAbove::new(0)),
        )
        .layer(RequestDecompressionLayer::new())
        .layer(mcp().await)
        .service(Model);
    answers(service).await;
}
