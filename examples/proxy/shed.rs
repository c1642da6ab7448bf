//! Answers to connections without a place, at next to no cost.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Request, StatusCode, header};
use tokio::{net::TcpStream, time::Instant};

use crate::{answer::Answer, refusal::Refusal, routes};

/// The time limit of such a connection, the rest of a body included.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// The time limit for the head of its request.
pub const HEAD: Duration = Duration::from_secs(1);
/// The `Retry-After`: a place is free as soon as a connection ends, or has been silent.
const WAIT: &str = "1";
/// The pause between lines in the log.
const PAUSE: Duration = Duration::from_secs(10);

const MESSAGE: &str = "the proxy has no place for another connection, from this address or at all; try again, or reuse an open connection";

/// Returns true for health checks, which are always answered: a load balancer must not take a busy
/// proxy for a dead one.
pub fn is_health<B>(request: &Request<B>) -> bool {
    matches!(request.uri().path(), routes::HEALTH | routes::READY)
}

/// Answers anything else.
pub fn refused() -> Answer {
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", MESSAGE);
    let mut answer = Answer::from(refusal);
    let wait = HeaderValue::from_static(WAIT);
    answer.headers_mut().insert(header::RETRY_AFTER, wait);
    answer
}

/// Answers without reading the request, and closes the connection without waiting.
pub fn at_once(stream: TcpStream) {
    // It was just accepted, so there is room for an answer; tokio would first wait to be told so.
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

/// A report to the log: one line in a while, however many connections there are.
pub struct Report {
    listener: &'static str,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    count: u64,
    said: Option<Instant>,
}

impl Report {
    pub fn new(listener: &'static str) -> Self {
        Self {
            listener,
            counted: Mutex::default(),
        }
    }

    pub fn count(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.count += 1;
        if counted.said.is_none_or(|said| said.elapsed() >= PAUSE) {
            let (listener, connections) = (self.listener, counted.count);
            tracing::warn!(listener, connections, "no place for connections");
            *counted = Counted {
                count: 0,
                said: Some(Instant::now()),
            };
        }
    }
}
