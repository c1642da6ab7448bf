//! Callers: so many connections, each with its next request as soon as it has its answer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::requests::{Asked, Expected};

/// Connections to one program.
pub struct Callers {
    connections: Vec<SendRequest<Full<Bytes>>>,
    address: SocketAddr,
}

/// What a turn of requests took.
pub struct Turn {
    pub took: Duration,
    /// Of each request.
    pub times: Vec<Duration>,
}

/// What all callers of a turn share.
struct Order {
    address: SocketAddr,
    asked: Asked,
    expected: Expected,
    /// Requests that are still to be sent.
    left: AtomicUsize,
}

impl Callers {
    pub async fn connect(address: SocketAddr, count: usize) -> Self {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(connect(address).await);
        }
        Self {
            connections,
            address,
        }
    }

    /// Sends so many requests, and checks each answer.
    pub async fn send(self, asked: &Asked, expected: &Expected, requests: usize) -> Turn {
        let order = Arc::new(Order {
            address: self.address,
            asked: asked.clone(),
            expected: expected.clone(),
            left: AtomicUsize::new(requests),
        });
        let started = Instant::now();
        let callers = self.connections.into_iter();
        let callers: JoinSet<_> = callers.map(|c| order.clone().work_off(c)).collect();
        let times = callers.join_all().await.concat();
        Turn {
            took: started.elapsed(),
            times,
        }
    }
}

impl Order {
    async fn work_off(self: Arc<Self>, mut connection: SendRequest<Full<Bytes>>) -> Vec<Duration> {
        let mut times = Vec::new();
        while self.take_one() {
            let started = Instant::now();
            connection.ready().await.unwrap();
            let response = connection.send_request(self.asked.of(self.address));
            let response = response.await.unwrap();
            let status = response.status();
            let answer = response.into_body().collect().await.unwrap().to_bytes();
            times.push(started.elapsed());
            if status != StatusCode::OK || !self.expected.is_met(&answer) {
                let answer = String::from_utf8_lossy(&answer);
                panic!("not the expected answer: {status} {answer}");
            }
        }
        times
    }

    fn take_one(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }
}

/// How much of an answer is read before the next request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Begun,
    End,
}

/// A connection with the answer that is still read, if one is.
pub type Held = (SendRequest<Full<Bytes>>, Option<Incoming>);

/// Has so many connections, each with one request sent.
pub async fn hold(address: SocketAddr, asked: &Asked, count: usize, until: Until) -> Vec<Held> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = connect(address).await;
        let response = connection.send_request(asked.of(address));
        let response = response.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut answer = response.into_body();
        let rest = match until {
            Until::Begun => {
                answer.frame().await.unwrap().unwrap();
                Some(answer)
            }
            Until::End => {
                answer.collect().await.unwrap();
                None
            }
        };
        held.push((connection, rest));
    }
    held
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
