//! Connections that are told to end when the proxy is stopping.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt},
    stream::FuturesUnordered,
};
use tokio::sync::watch::{Receiver, Sender};

/// All running connections.
pub struct Running(Sender<()>);

impl Running {
    pub fn new() -> Self {
        Self(Sender::new(()))
    }

    /// Adds a connection, which runs until the answer is dropped.
    pub fn add(&self) -> Told {
        let mut stops = self.0.subscribe();
        let told = async move {
            let _ = stops.changed().await;
            stops
        };
        Told {
            waits: [told.boxed()].into_iter().collect(),
            runs: None,
        }
    }

    pub fn count(&self) -> usize {
        self.0.receiver_count()
    }

    /// Tells all connections, and returns when they have ended.
    pub async fn stop(self) {
        self.0.send_replace(());
        self.0.closed().await;
    }
}

/// Ready, once, when the connection shall end.
///
/// A connection asks each time that it is woken. A set of futures only looks at those that were
/// woken themselves, where the channel would lock something that all connections share.
pub struct Told {
    waits: FuturesUnordered<BoxFuture<'static, Receiver<()>>>,
    runs: Option<Receiver<()>>,
}

impl Future for Told {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.waits.poll_next_unpin(cx) {
            Poll::Ready(Some(runs)) => {
                self.runs = Some(runs);
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }
}
