//! The clock by which a server's status is judged and secrets are dated.

use std::{sync::Arc, time::SystemTime};

/// The time, as the operator's side is told it; tests bring their own.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    pub(super) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(super) fn now(&self) -> SystemTime {
        (self.0)()
    }
}
