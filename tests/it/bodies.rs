//! Bodies that callers send slowly, at once and in crumbs: what is held of them has limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mcp_layer::{CallerId, Limits, McpBody, Project};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use crate::support::admin::{Operator, request};
use crate::support::gateway::{Gateway, auto, chat};
use crate::support::model::{Answer, AnswerBody, BrokenOff, calls, raw_answer, says};
use crate::support::until;

const KIB: usize = 1 << 10;

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    limits.body_bytes = 128 * KIB;
    limits.caller_body_bytes = 256 * KIB;
    limits.all_body_bytes = 1024 * KIB;
    change(&mut limits);
    limits
}

async fn gateway(answers: impl IntoIterator<Item = Answer>, limits: Limits) -> Gateway {
    let gateway = Gateway::new(answers).await;
    gateway.layered(|layer| layer.with_limits(limits))
}

type Answered = Result<Response<McpBody<AnswerBody>>, BrokenOff>;

/// Sends a chat completion whose body comes as this stream does.
fn sent(
    gateway: &Gateway,
    caller: &str,
    body: impl Stream<Item = Bytes> + Send + 'static,
) -> JoinHandle<Answered> {
    let body = StreamBody::new(body.map(|data| Ok::<_, BrokenOff>(Frame::data(data))));
    let mut request = Request::post("/v1/chat/completions").body(body).unwrap();
    let authorization = format!("Bearer {caller}").parse().unwrap();
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, authorization);
    let service = gateway.layer.layer(gateway.model.clone());
    tokio::spawn(service.oneshot(request))
}

/// So many bytes, and then silence.
fn unfinished(bytes: usize) -> impl Stream<Item = Bytes> + Send + 'static {
    let some = stream::repeat_with(|| Bytes::from_static(&[b'x'; KIB])).take(bytes / KIB);
    some.chain(stream::pending())
}

/// Status, code and `Retry-After` of a refusal.
async fn refusal(answered: JoinHandle<Answered>) -> (u16, Value, Option<String>) {
    let (parts, body) = answered.await.unwrap().unwrap().into_parts();
    let wait = parts.headers.get(header::RETRY_AFTER);
    let wait = wait.map(|wait| wait.to_str().unwrap().to_owned());
    let body = body.collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(
        !body["error"]["message"].as_str().unwrap().is_empty(),
        "{body}"
    );
    (parts.status.as_u16(), body["error"]["code"].clone(), wait)
}

fn overloaded() -> (u16, Value, Option<String>) {
    (503, json!("overloaded"), Some("1".to_owned()))
}

/// Waits until all that can go on has done so; there is no timer in what is waited for.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_callers_bodies_have_a_share_and_others_go_on() {
    let gateway = gateway([says("hi"), says("hi"), says("hi")], limits(|_| {})).await;
    let dripped: Vec<_> = (0..12)
        .map(|_| sent(&gateway, "hog", unfinished(100 * KIB)))
        .collect();
    settled().await;
    let (refused, held): (Vec<_>, Vec<_>) = dripped.into_iter().partition(|r| r.is_finished());
    assert_eq!(held.len(), 2, "all that 256 KiB have room for");
    for refused in refused {
        assert_eq!(refusal(refused).await, overloaded());
    }
    assert!(gateway.model.asked().is_empty());

    let short = || stream::iter([Bytes::from_static(b"{}")]);
    let other = sent(&gateway, "other", short());
    assert_eq!(other.await.unwrap().unwrap().status(), 200);
    // What is left of the share is the caller's own to use.
    let small = sent(&gateway, "hog", short());
    assert_eq!(small.await.unwrap().unwrap().status(), 200);

    held.into_iter().for_each(|held| held.abort());
    settled().await;
    let whole = stream::repeat_with(|| Bytes::from_static(&[b'x'; KIB])).take(100);
    let later = sent(&gateway, "hog", whole);
    assert_eq!(later.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn all_bodies_together_have_a_limit_below_which_short_requests_still_fit() {
    let gateway = gateway([says("hi")], limits(|_| {})).await;
    let dripped: Vec<_> = (0..60)
        .map(|caller| sent(&gateway, &format!("hog-{caller}"), unfinished(100 * KIB)))
        .collect();
    settled().await;
    let (refused, held): (Vec<_>, Vec<_>) = dripped.into_iter().partition(|r| r.is_finished());
    assert!((6..=8).contains(&held.len()), "{}", held.len());
    for refused in refused {
        assert_eq!(refusal(refused).await, overloaded());
    }
    let short = sent(&gateway, "other", stream::iter([Bytes::from("{}")]));
    assert_eq!(short.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_id_of_the_proxys_tells_callers_apart_whatever_else_they_send() {
    let gateway = gateway([says("hi")], limits(|_| {})).await;
    let ask = |id: &str, authorization: usize, bytes| {
        let body = unfinished(bytes).map(|data| Ok::<_, BrokenOff>(Frame::data(data)));
        let mut request = Request::post("/v1/chat/completions")
            .header(header::AUTHORIZATION, authorization)
            .body(StreamBody::new(body))
            .unwrap();
        request.extensions_mut().insert(Project::new("web"));
        request.extensions_mut().insert(CallerId::new(id));
        let service = gateway.layer.layer(gateway.model.clone());
        tokio::spawn(service.oneshot(request))
    };
    let hog: Vec<_> = (0..4).map(|n| ask("hog", n, 100 * KIB)).collect();
    let other = ask("other", 0, 100 * KIB);
    settled().await;
    assert_eq!(hog.iter().filter(|hog| hog.is_finished()).count(), 2);
    assert!(!other.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_past_its_time_is_a_408_whatever_it_is() {
    let gateway = gateway([], limits(|_| {})).await;
    let drip = stream::unfold((), |()| async {
        sleep(Duration::from_secs(10)).await;
        Some((Bytes::from_static(b" "), ()))
    });
    let started = tokio::time::Instant::now();
    let answered = sent(&gateway, "slow", drip);
    assert_eq!(
        refusal(answered).await,
        (408, json!("request_timeout"), None)
    );
    assert_eq!(started.elapsed().as_secs(), 60);
}

/// A byte of a buffer of which every byte stays as long as this one does.
struct Pinned(Arc<AtomicUsize>);

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        b" "
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thousand of them, and how many buffers there were at once.
fn single_bytes() -> (impl Stream<Item = Bytes> + Send + 'static, Arc<AtomicUsize>) {
    let (buffers, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let seen = most.clone();
    let bytes = stream::repeat_with(move || {
        let now = 1 + buffers.fetch_add(1, Ordering::Relaxed);
        seen.fetch_max(now, Ordering::Relaxed);
        Bytes::from_owner(Pinned(buffers.clone()))
    });
    (bytes.take(1000), most)
}

#[tokio::test]
async fn a_body_in_single_bytes_keeps_no_buffer_for_each() {
    let gateway = gateway([says("hi")], limits(|_| {})).await;
    let (bytes, most) = single_bytes();
    let answered = sent(&gateway, "crumbs", bytes);
    assert_eq!(answered.await.unwrap().unwrap().status(), 200);
    assert_eq!(gateway.model.asked()[0].frames.len(), 1000);
    assert!(most.load(Ordering::Relaxed) <= 2, "{most:?}");
}

#[tokio::test]
async fn neither_does_one_of_the_operators_side() {
    let (bytes, most) = single_bytes();
    let body = Body::from_stream(bytes.map(Ok::<_, BrokenOff>));
    let request = request("POST", "/api/v1/servers", Some("")).map(|_| body);
    let answer = Operator::memory().pass(request).await;
    assert_eq!(answer.error(400).0, "invalid_json");
    assert!(most.load(Ordering::Relaxed) <= 2, "{most:?}");
}

#[tokio::test]
async fn crumbs_count_with_what_is_kept_beside_them() {
    let limits = limits(|limits| limits.body_bytes = 1 << 20);
    let gateway = gateway([], limits).await;
    // 10,000 bytes, and some hundred thousand of what tells them apart.
    let crumbs = stream::repeat_with(|| Bytes::from_static(b" ")).take(10_000);
    assert_eq!(
        refusal(sent(&gateway, "crumbs", crumbs)).await,
        overloaded()
    );
}

#[tokio::test]
async fn a_request_is_counted_until_its_exchange_has_ended() {
    let slow = calls(&[("s__slow", json!({"ms": 60_000}))]);
    let limits = limits(|limits| limits.body_bytes = 256 * KIB);
    let gateway = gateway([slow, says("hi"), says("hi")], limits).await;
    let body = |kib| auto(json!({"padding": "x".repeat(kib * KIB)})).to_string();
    let service = gateway.layer.layer(gateway.model.clone());
    let running = tokio::spawn(service.oneshot(chat(body(200))));
    until("the tool is called", || gateway.server.calls() == 1).await;

    let refused = gateway.send_bytes(body(100)).await;
    assert_eq!(refused.error(), (503, "overloaded".into(), Value::Null));
    assert_eq!(gateway.send_bytes(body(10)).await.status, 200);
    running.abort();
    assert!(running.await.is_err_and(|ended| ended.is_cancelled()));
    assert_eq!(gateway.send_bytes(body(100)).await.status, 200);
}

#[tokio::test]
async fn an_answer_without_room_is_passed_on_as_it_comes() {
    let answer = json!({"choices": [{"message": {"content": "y".repeat(300 * KIB)}}]}).to_string();
    let limits = limits(|limits| limits.body_bytes = 1 << 20);
    let json = [("content-type", "application/json")];
    let gateway = gateway([raw_answer(200, &json, [answer.clone()])], limits).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, answer);
}
