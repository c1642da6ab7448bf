//! Callers that speak HTTP/2 with prior knowledge, as load balancers do.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{API_KEY, Proxy, UPSTREAM_KEY, Upstream, question, until};
use crate::{KEYS, evidence};

const PATIENCE: Duration = Duration::from_secs(20);

type Sent = UnsyncBoxBody<Bytes, Infallible>;

/// One connection.
#[derive(Clone)]
struct Caller(SendRequest<Sent>);

impl Caller {
    async fn new(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn send(&mut self, request: Request<Sent>) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }

    async fn get(&mut self, url: &str) -> hyper::Result<Response<Incoming>> {
        let body = Full::default().boxed_unsync();
        self.send(Request::get(url).body(body).unwrap()).await
    }

    async fn chat(&mut self, body: &Value) -> hyper::Result<Response<Incoming>> {
        self.send(chat(Full::from(body.to_string()).boxed_unsync()))
            .await
    }
}

/// A key that is for the provider: where the proxy has no keys, it is passed on.
const OWN_KEY: &str = "for-the-provider";

fn chat(body: Sent) -> Request<Sent> {
    chat_with(OWN_KEY, body)
}

fn chat_with(key: &str, body: Sent) -> Request<Sent> {
    Request::post("http://localhost/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .body(body)
        .unwrap()
}

async fn read(answer: Response<Incoming>) -> (StatusCode, Value) {
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    evidence::left("caller", &body[..]);
    (status, serde_json::from_slice(&body).unwrap())
}

fn before(upstream: &Upstream, rest: &str) -> Proxy {
    Proxy::with(&format!("upstream = \"{}/v1\"\n{rest}", upstream.url), &[])
}

#[tokio::test]
async fn a_request_passes_as_it_does_over_http_1() {
    let upstream = Upstream::start().await;
    let config = format!(
        "upstream = \"{}/v1\"\nupstream_key_env = \"PROVIDER\"\n{KEYS}",
        upstream.url
    );
    let proxy = Proxy::with(&config, &[("PROVIDER", UPSTREAM_KEY), ("WEB", API_KEY)]);
    let mut caller = Caller::new(proxy.address()).await;
    let body = json!({"model": "echo", "messages": ["x".repeat(300_000)]});
    let sent = Full::from(body.to_string()).boxed_unsync();
    let answer = caller.send(chat_with(API_KEY, sent)).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    let (status, seen) = read(answer).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(seen["authorization"], "Bearer UPSTREAM_KEY");
    assert_eq!(seen["body"], body.to_string()[..1000]);
    assert_eq!(seen["content-length"], body.to_string().len().to_string());
    assert_eq!(seen["host"], upstream.url.strip_prefix("http://").unwrap());

    for (url, expected) in [
        ("http://localhost/v1/models", StatusCode::UNAUTHORIZED),
        ("http://localhost/healthz", StatusCode::OK),
        ("http://localhost/nothing", StatusCode::NOT_FOUND),
    ] {
        let (status, _) = read(caller.get(url).await.unwrap()).await;
        assert_eq!(status, expected, "{url}");
    }
    // What the connection began with is no method, and neither are methods that begin like it.
    for method in ["PROPFIND", "PR", "PRINT"] {
        let answer = proxy.raw(&format!(
            "{method} /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn a_loop_runs_and_a_stream_comes_piece_by_piece_beside_it() {
    let proxy = Proxy::start(&[]);
    let mut caller = Caller::new(proxy.address()).await;
    let (status, answer) = read(caller.chat(&question("demo", "Add 1 and 2")).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["mcp"]["rounds"], 1);

    let upstream = Upstream::start().await;
    let proxy = before(&upstream, "");
    let mut caller = Caller::new(proxy.address()).await;
    let body = json!({"model": "stream", "stream": true});
    let mut answer = caller.chat(&body).await.unwrap().into_body();
    let mut piece = async || answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(piece().await, "data: one\n\n");
    let (status, _) = read(caller.chat(&json!({"model": "echo"})).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    upstream.go_on();
    assert_eq!(piece().await, "data: [DONE]\n\n");
}

#[tokio::test]
async fn the_name_in_a_request_is_held_to_the_rules_for_hosts() {
    let proxy = Proxy::start(&[]);
    let mut caller = Caller::new(proxy.address()).await;
    for (host, expected) in [
        ("localhost:1", StatusCode::OK),
        ("127.0.0.1", StatusCode::OK),
        ("evil.example.com", StatusCode::FORBIDDEN),
    ] {
        let url = format!("http://{host}/v1/models");
        let (status, _) = read(caller.get(&url).await.unwrap()).await;
        assert_eq!(status, expected, "{host}");
    }
}

#[tokio::test]
async fn a_stream_takes_a_place_as_a_connection_does() {
    let upstream = Upstream::start().await;
    let proxy = before(&upstream, "[limits]\nconnections = 16\n");
    let caller = Caller::new(proxy.address()).await;
    // A quarter of the places is one address's: one is the connection's.
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut caller = caller.clone();
        waiting.push(tokio::spawn(async move {
            caller.chat(&json!({"model": "wait"})).await
        }));
        upstream.asked().await;
    }
    let mut caller = caller;
    let answer = caller.get("http://localhost/v1/models").await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    let (status, answer) = read(answer).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["error"]["code"], "overloaded");
    let answer = caller.get("http://localhost/healthz").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    until("places are free again", async || {
        let answer = caller.get("http://localhost/v1/models").await.unwrap();
        answer.status() == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_nobody_takes_is_let_go_and_the_others_go_on() {
    let upstream = Upstream::start().await;
    let proxy = before(&upstream, "[limits]\nidle_write = 2\n");
    let mut caller = Caller::new(proxy.address()).await;
    let endless = json!({"model": "endless", "stream": true});
    let _ignored = caller.chat(&endless).await.unwrap();
    let mut read = caller.chat(&endless).await.unwrap().into_body();
    let slowly = async {
        while upstream.left() == 0 {
            assert!(read.frame().await.unwrap().is_ok());
            sleep(Duration::from_millis(1)).await;
        }
        assert!(read.frame().await.unwrap().is_ok());
    };
    timeout(PATIENCE, slowly).await.unwrap();
    assert_eq!(upstream.left(), 1, "whoever reads is still there");
    let answer = caller.get("http://localhost/healthz").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let upstream = Upstream::start().await;
    let proxy = before(&upstream, "[limits]\nidle = 1\n");
    let mut caller = Caller::new(proxy.address()).await;
    let begun = Frame::data(Bytes::from("{"));
    let silent = stream::unfold(Some(begun), async |frame| match frame {
        Some(frame) => Some((Ok(frame), None)),
        None => std::future::pending().await,
    });
    let answer = caller.send(chat(StreamBody::new(silent).boxed_unsync()));
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(read(answer).await.0, StatusCode::REQUEST_TIMEOUT);
}

#[cfg(unix)]
#[tokio::test]
async fn a_stop_lets_running_streams_end_and_takes_no_new_ones() {
    let upstream = Upstream::start().await;
    let mut proxy = before(&upstream, "");
    let mut caller = Caller::new(proxy.address()).await;
    let mut runs = caller.clone();
    let running = tokio::spawn(async move { runs.chat(&json!({"model": "wait"})).await });
    upstream.asked().await;
    proxy.terminate();
    proxy.until_draining().await;
    until("the connection takes no more", async || {
        let late = timeout(PATIENCE, caller.chat(&json!({"model": "echo"}))).await;
        match late.unwrap() {
            Ok(answer) => {
                assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
                false
            }
            Err(_) => true,
        }
    })
    .await;
    // Whoever comes late is told so, too, once.
    let mut late = Caller::new(proxy.address()).await;
    let (status, told) = read(late.chat(&json!({"model": "echo"})).await.unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(told["error"]["code"], "shutting_down");
    assert!(!running.is_finished());
    upstream.go_on();
    let answer = running.await.unwrap().unwrap();
    assert_eq!(read(answer).await.0, StatusCode::OK);
    assert_eq!(proxy.wait(), 0);
}

#[tokio::test]
async fn whoever_gives_up_every_request_is_let_go() {
    let upstream = Upstream::start().await;
    let proxy = before(&upstream, "");
    let mut caller = Caller::new(proxy.address()).await;
    let hang = json!({"model": "hang"});
    let mut given_up = 0;
    while let Ok(()) = caller.0.ready().await {
        let hangs = caller.chat(&hang);
        if let Ok(Err(_)) = timeout(Duration::from_millis(10), hangs).await {
            break;
        }
        given_up += 1;
        assert!(given_up < 300);
    }
    assert!(given_up >= 100, "{given_up}");
    assert_eq!(proxy.get("/healthz").await.0, StatusCode::OK);
}

/// The preface, and an empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// `GET /v1/models` on this stream, reset at once.
fn reset(stream: u32) -> Vec<u8> {
    let head = b"\x82\x86\x04\x0a/v1/models\x01\x09localhost";
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let stream = stream.to_be_bytes();
        [&length[1..], &[kind, flags], &stream, payload].concat()
    };
    // END_STREAM and END_HEADERS; CANCEL.
    [frame(1, 5, head), frame(3, 0, &[0, 0, 0, 8])].concat()
}

/// CVE-2023-44487: what is reset counts for no limit of streams, and costs its work all the same.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_and_reset_without_end_end_the_connection() {
    let upstream = Upstream::start().await;
    let proxy = before(&upstream, "");
    let flood = async {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        for first in 0.. {
            let many: Vec<u8> = (0..50)
                .flat_map(|n| reset(100 * first + 2 * n + 1))
                .collect();
            if stream.write_all(&many).await.is_err() {
                return;
            }
        }
    };
    assert!(timeout(PATIENCE, flood).await.is_ok(), "it is still there");
    // The rest of what was sent has been read, but not answered.
    let answered = proxy
        .logged()
        .matches("finished processing request")
        .count();
    assert!(answered < 1000, "{answered}");
    assert_eq!(proxy.get("/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_connection_without_requests_is_closed() {
    let proxy = Proxy::with("[limits]\nheader_read = 1\n", &[]);
    // Also if its other side never finishes a head, or closing.
    let unfinished = [PREFACE, &reset(1)[..12]].concat();
    for begun in [
        &b""[..],
        b"P",
        b"PRI ",
        &PREFACE[..20],
        PREFACE,
        &unfinished,
    ] {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer));
        assert!(read.await.is_ok(), "{begun:?}");
    }
}
