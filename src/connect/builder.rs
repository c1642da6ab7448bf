//! The builder of connections.

use std::{fmt, sync::Arc};

use super::{access::Grants, connections::Connections, watch::Watch};
use crate::{mcp::ServerLimits, outbound::Outbound, registry::ObservationStore};

/// Configures [`Connections`]; [`build`](Self::build) creates them.
///
/// All settings are made here, before anything is connected, so that no change of a setting can
/// drop sessions or tool lists.
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
    /// Creates connections over `outbound` with default settings: short for
    /// `Connections::builder(outbound).build()`.
    #[must_use]
    pub fn new(outbound: Outbound) -> Self {
        Self::builder(outbound).build()
    }

    /// Begins to configure connections over `outbound`, which all their requests go through.
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
    /// Replaces the limits of time and size for servers; see [`ServerLimits`] for the defaults.
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the store to which successes and failures of servers are reported; default none.
    ///
    /// Pins of tools are kept there, and operators see in it whether a server is up. Without a
    /// store, tools are only withheld because of pins in a server's own record.
    pub fn observations(mut self, store: impl ObservationStore) -> Self {
        self.watch = Some(Watch::new(store));
        self
    }

    /// Sets the source of access tokens for servers with OAuth 2.0.
    #[cfg_attr(
        not(feature = "oauth"),
        allow(dead_code, reason = "its one caller is `oauth`'s")
    )]
    pub(crate) fn grants(mut self, grants: Arc<dyn Grants>) -> Self {
        self.grants = Some(grants);
        self
    }

    /// Creates the connections. No server is connected before its first use.
    #[must_use]
    pub fn build(self) -> Connections {
        if let Some(grants) = &self.grants {
            grants.limit(&self.limits);
        }
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
