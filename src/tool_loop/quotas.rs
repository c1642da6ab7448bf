//! The limits of a call: what is taken before it runs, and given back after it.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::gateway::Gateway;
use crate::{
    caller::Caller,
    project::Project,
    registry::{
        self, CallLimit, CallLimits, Server,
        usage::{Quota, Taken, UsageId, UsageLease, UsageStore},
    },
};

/// The time beyond that of a call for which it counts as running, so that a lease ends after it.
const SLACK: Duration = Duration::from_secs(5);

/// What a call has taken of the limits of its project. Dropped, it gives back what counts what runs.
pub(crate) struct Slot {
    usage: Arc<dyn UsageStore>,
    lease: Option<UsageLease>,
}

/// Why a call does not run.
pub(crate) enum NotTaken {
    Reached(Reached),
    Unknown(registry::Error),
}

/// A limit that is reached; `Display` is worded for models.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    of: CallLimit,
    limit: u64,
    whose: Scope,
    retry_after: Option<Duration>,
}

/// The calls that a limit counts.
#[derive(Clone, Copy, Debug)]
enum Scope {
    /// The project's calls to one tool.
    Tool,
    /// The project's calls to all tools of a server.
    Server,
    /// The caller's calls.
    Caller,
}

/// The same for the receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LimitNote {
    of: String,
    /// The calls that it counts: those of a key, or to a server or a tool.
    #[serde(rename = "for", default, skip_serializing_if = "String::is_empty")]
    whose: String,
    /// Whole seconds, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

/// A limit: what it is of, and which calls it counts.
type Limit = (CallLimit, Scope);

/// Takes a call of `project` and `caller` to `tool` of `server`, which may take so long.
///
/// Where nothing is limited no store is asked.
///
/// # Errors
/// A limit is reached, or nobody can tell.
pub(crate) async fn take(
    gateway: &Gateway,
    (project, caller): (&Project, &Caller),
    (server, tool): (&Server, &str),
    time: Duration,
) -> Result<Option<Slot>, NotTaken> {
    let whose = (project.organization(), project.name());
    let mut quotas = Quotas::default();
    if let Some(grant) = server.grants.of(project.name()) {
        if let Some(limits) = grant.tool_limits().get(tool) {
            let id = |of| UsageId::of_calls(whose, &server.id, Some(tool), of);
            quotas.add(Scope::Tool, *limits, id);
        }
        let id = |of| UsageId::of_calls(whose, &server.id, None, of);
        quotas.add(Scope::Server, grant.limits(), id);
    }
    if let Some((id, limits)) = caller.limited() {
        quotas.add(Scope::Caller, limits, |of| {
            UsageId::of_caller(whose, id, of)
        });
    }
    if quotas.0.is_empty() {
        return Ok(None);
    }
    let (limits, quotas): (Vec<Limit>, Vec<Quota>) = quotas.0.into_iter().unzip();
    let taken = gateway.usage.take(&quotas, time + SLACK).await;
    match taken.map_err(NotTaken::Unknown)? {
        Taken::Granted(lease) => Ok(Some(Slot {
            usage: gateway.usage.clone(),
            lease,
        })),
        Taken::Refused { quota, retry_after } => {
            let reached = limits.get(quota).zip(quotas.get(quota));
            let unknown = || NotTaken::Unknown(registry::Error::unavailable("another limit"));
            let (&(of, whose), quota) = reached.ok_or_else(unknown)?;
            Err(NotTaken::Reached(Reached {
                of,
                limit: quota.limit,
                whose,
                retry_after,
            }))
        }
    }
}

/// The quotas of a call, the narrowest first: that is the one to be told of.
#[derive(Default)]
struct Quotas(Vec<(Limit, Quota)>);

impl Quotas {
    fn add(&mut self, whose: Scope, limits: CallLimits, id: impl Fn(CallLimit) -> UsageId) {
        let quotas = limits.iter().map(|(of, limit)| {
            let quota = Quota {
                id: id(of),
                of: of.into(),
                limit: limit.into(),
            };
            ((of, whose), quota)
        });
        self.0.extend(quotas);
    }
}

impl Slot {
    /// Gives back what counts what runs, before anybody is told that the call has ended: the next one
    /// may come at once.
    pub(crate) async fn give_back(mut self) {
        if let Some(lease) = self.lease.take() {
            give_back(&*self.usage, lease).await;
        }
    }
}

impl Drop for Slot {
    /// A call that was cancelled does not run any more.
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            let usage = self.usage.clone();
            tokio::spawn(async move { give_back(&*usage, lease).await });
        }
    }
}

async fn give_back(usage: &dyn UsageStore, lease: UsageLease) {
    if let Err(error) = usage.give_back(lease).await {
        tracing::warn!(%error, "an ended call counts as running until its lease ends");
    }
}

impl Scope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Server => "server",
            Self::Caller => "key",
        }
    }
}

impl Reached {
    pub(crate) fn note(&self) -> LimitNote {
        LimitNote {
            of: self.of.as_str().to_owned(),
            whose: self.whose.as_str().to_owned(),
            retry_after_s: self.retry_after.map(whole_seconds),
        }
    }
}

/// Seconds, rounded up: after them there is more.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).max(1) as u64
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = match self.limit {
            1 => "1 call".to_owned(),
            limit => format!("{limit} calls"),
        };
        let of = match self.of {
            CallLimit::PerMinute => " a minute",
            CallLimit::PerDay => " a day",
            CallLimit::AtOnce => " at once",
        };
        let (limited, it) = match self.whose {
            Scope::Tool => ("this tool", "it"),
            Scope::Server => ("the tools of this server", "they"),
            Scope::Caller => ("all tools", "they"),
        };
        write!(
            f,
            "not run: the limit of {calls}{of} for {limited} is reached; {it} may be called again "
        )?;
        match self.retry_after {
            Some(time) => write!(f, "in {} s", whole_seconds(time)),
            None => f.write_str("when one of the calls that run has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_told_when_it_may_call_again() {
        let mut reached = Reached {
            of: CallLimit::PerMinute,
            limit: 10,
            whose: Scope::Tool,
            retry_after: Some(Duration::from_millis(41_001)),
        };
        assert_eq!(
            reached.to_string(),
            "not run: the limit of 10 calls a minute for this tool is reached; it may be called again in 42 s"
        );
        let note = serde_json::to_string(&reached.note()).unwrap();
        assert_eq!(
            note,
            r#"{"of":"calls_per_minute","for":"tool","retry_after_s":42}"#
        );
        (reached.of, reached.limit, reached.whose) = (CallLimit::AtOnce, 1, Scope::Server);
        reached.retry_after = None;
        assert_eq!(
            reached.to_string(),
            "not run: the limit of 1 call at once for the tools of this server is reached; they may be called again when one of the calls that run has ended"
        );
        let note = serde_json::to_string(&reached.note()).unwrap();
        assert_eq!(note, r#"{"of":"calls_at_once","for":"server"}"#);
    }
}
