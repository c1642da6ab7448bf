//! Connections to servers with OAuth 2.0.

use std::sync::Arc;

use super::{Connections, Shared, access::Grants};

impl Connections {
    /// The same, without what was connected so far, for servers with OAuth 2.0 too.
    pub(crate) fn with_grants(&self, grants: Arc<dyn Grants>) -> Self {
        let Shared {
            outbound,
            limits,
            watch,
            ..
        } = &*self.shared;
        let (outbound, limits) = (outbound.clone(), limits.clone());
        Self {
            shared: Arc::new(Shared::new(outbound, limits, Some(grants), watch.clone())),
        }
    }
}
