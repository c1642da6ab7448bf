//! The builder of connections.

use std::{fmt, sync::Arc};

use super::{access::Grants, connections::Connections, watch::Watch};
use crate::{mcp::ServerLimits, outbound::Outbound, registry::ObservationStore};

/// Sets up [`Connections`]; [`build`](Self::build) makes them.
///
/// Everything is decided here, before anything is connected: built connections are never set up
/// anew, so no session and no tool list is lost that way.
///
/// ```
/// use std::time::Duration;
/// use mcp_layer::{Connections, mcp::ServerLimits, registry::MemoryRegistry};
/// use mcp_layer::outbound::{EgressRules, Outbound};
///
/// let registry = MemoryRegistry::default();
/// let mut limits = ServerLimits::default();
/// limits.list = Duration::from_secs(5);
/// let connections = Connections::builder(Outbound::new(EgressRules::default()))
///     .limits(limits)
///     .observations(registry.clone())
///     .build();
/// # Ok::<(), mcp_layer::outbound::Error>(())
/// ```
#[must_use = "it connects nothing before it is built"]
pub struct ConnectionsBuilder {
    outbound: Outbound,
    limits: ServerLimits,
    grants: Option<Arc<dyn Grants>>,
    watch: Option<Watch>,
}

impl Connections {
    /// Connections over `outbound` with the defaults of every setting: short for
    /// `Connections::builder(outbound).build()`.
    #[must_use]
    pub fn new(outbound: Outbound) -> Self {
        Self::builder(outbound).build()
    }

    /// The builder of connections over `outbound`, the one way out that all their requests take.
    pub fn builder(outbound: Outbound) -> ConnectionsBuilder {
        ConnectionsBuilder {
            outbound,
            limits: ServerLimits::default(),
            grants: None,
            watch: None,
        }
    }
}

impl ConnectionsBuilder {
    /// Replaces the limits of what a server may take and give; see [`ServerLimits`] for the
    /// defaults.
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Replaces the store that is told what is seen of servers; default none.
    ///
    /// Tools are pinned by what is noted there, and an operator sees in it whether a server is up.
    pub fn observations(mut self, store: impl ObservationStore) -> Self {
        self.watch = Some(Watch::new(store));
        self
    }

    /// Replaces the source of access tokens for servers with OAuth 2.0.
    #[cfg_attr(
        not(feature = "oauth"),
        allow(dead_code, reason = "its one caller is `oauth`'s")
    )]
    pub(crate) fn grants(mut self, grants: Arc<dyn Grants>) -> Self {
        self.grants = Some(grants);
        self
    }

    /// Connections with these settings. Nothing is connected yet: a server is when it is first
    /// used.
    #[must_use]
    pub fn build(self) -> Connections {
        Connections::assemble(self.outbound, self.limits, self.grants, self.watch)
    }
}

impl fmt::Debug for ConnectionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionsBuilder")
            .field("limits", &self.limits)
            .field("authorizations", &self.grants.is_some())
            .field("observations", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
