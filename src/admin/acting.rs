//! Who acts: known for the time of one request, to all that runs in it.
//!
//! The gate finds out who it is. What then asks is spread over all layers: a route for the role, a
//! store for the audit, the frame of a page for the name. None of them is given anything for it, so
//! none can be given somebody else.

use std::{future::Future, net::IpAddr, sync::Arc};

use tokio::task_local;

use super::{
    fault::{Code, Fault},
    role::Role,
};

task_local! {
    static ACTING: Acting;
}

/// Whoever sent a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Acting {
    /// The operator; `None` where nobody is known, as on the way to a session.
    pub(super) operator: Option<Known>,
    /// The client address, where the server that accepted the request tells it.
    pub(super) from: Option<IpAddr>,
}

/// An operator who is known.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: Arc<str>,
    pub(super) role: Role,
    pub(super) via: Via,
    /// The id of the session, if there is one.
    pub(super) session: Option<Arc<str>>,
}

/// How an operator is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// By a token in the request.
    Token,
    /// By a session that began with a token.
    Session,
    /// By a session that began at a provider.
    Oidc,
}

impl Via {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Oidc => "oidc",
        }
    }
}

impl Acting {
    /// Runs what is done for a request of this one.
    pub(super) async fn during<T>(self, doing: impl Future<Output = T>) -> T {
        ACTING.scope(self, doing).await
    }

    /// Whoever sent the request that is being answered; nobody outside of one.
    pub(super) fn now() -> Self {
        ACTING.try_with(Self::clone).unwrap_or_default()
    }

    /// The client address as text; empty where it is not known.
    pub(super) fn address(&self) -> String {
        let from = self.from.map(|from| from.to_canonical().to_string());
        from.unwrap_or_default()
    }

    /// Returns `true` if the operator has this role or more.
    pub(super) fn may(&self, least: Role) -> bool {
        let operator = self.operator.as_ref();
        operator.is_some_and(|operator| operator.role >= least)
    }

    /// Refuses `what` to an operator with less than this role.
    pub(super) fn require(&self, least: Role, what: &str) -> Result<(), Fault> {
        if self.may(least) {
            return Ok(());
        }
        let who = match &self.operator {
            Some(operator) => format!(
                "you are {}, who has the role {}",
                operator.name, operator.role
            ),
            None => "nobody is signed in".to_owned(),
        };
        let message = format!("{what} needs the role {least}; {who}");
        Err(Fault::new(Code::Forbidden, message))
    }
}
