//! Connections for which there is no place: they are told so, and cost next to nothing.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use tokio::{net::TcpStream, time::Instant};

use crate::refusal::Refusal;

/// How long such a connection may last, the rest of a body included.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take for the head of its request.
pub const HEAD: Duration = Duration::from_secs(1);
/// When to come back: a place is free as soon as a connection ends, or has been silent.
const WAIT: &str = "1";
/// Between two lines of the log.
const PAUSE: Duration = Duration::from_secs(10);

const MESSAGE: &str = "there are more connections than the proxy takes, from this address or together; try again, or send the next request over a connection that is open";

/// Answers health checks, and nothing else: a load balancer must not take a busy proxy for a dead
/// one.
pub async fn all_but_health(request: Request, next: Next) -> Response {
    match request.uri().path() {
        "/healthz" | "/readyz" => next.run(request).await,
        _ => {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", MESSAGE);
            let wait = HeaderValue::from_static(WAIT);
            ([(header::RETRY_AFTER, wait)], refusal).into_response()
        }
    }
}

/// Answers without having read the request, and closes the connection: nothing is waited for.
pub fn at_once(stream: TcpStream) {
    // It was just accepted, so that there is room for an answer; tokio would first wait to be
    // told so.
    let Ok(mut stream) = stream.into_std() else {
        return;
    };
    let _ = stream.write(ANSWER.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    // With the request unread the connection would be reset, and the answer lost on some systems.
    let _ = stream.read(&mut [0; 16 << 10]);
}

static ANSWER: LazyLock<String> = LazyLock::new(|| {
    let body = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", MESSAGE).body();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: {WAIT}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
});

/// What the log says of them: one line in a while, however many there are.
#[derive(Default)]
pub struct Report(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    count: u64,
    said: Option<Instant>,
}

impl Report {
    pub fn count(&self, listener: &str) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.count += 1;
        if counted.said.is_none_or(|said| said.elapsed() >= PAUSE) {
            let connections = counted.count;
            tracing::warn!(listener, connections, "no place for connections");
            *counted = Counted {
                count: 0,
                said: Some(Instant::now()),
            };
        }
    }
}
