//! The limits of a call: what is taken before it runs, and given back after it.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::gateway::Gateway;
use crate::{
    project::Project,
    registry::{
        self, CallLimit, CallLimits, ProjectGrant, Server,
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
    /// Whether it is of one tool; otherwise of all of a server's.
    is_of_tool: bool,
    retry_after: Option<Duration>,
}

/// The same for the receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LimitNote {
    of: String,
    /// Whole seconds, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

/// A limit of a project: what it is of, and whether that is one tool.
type Limit = (CallLimit, bool);

/// Takes a call of `project` to `tool` of `server`, which may take so long.
///
/// Where nothing is limited no store is asked.
///
/// # Errors
/// A limit is reached, or nobody can tell.
pub(crate) async fn take(
    gateway: &Gateway,
    project: &Project,
    (server, tool): (&Server, &str),
    time: Duration,
) -> Result<Option<Slot>, NotTaken> {
    let Some(grant) = server.grants.of(project.name()) else {
        return Ok(None);
    };
    let (limits, quotas): (Vec<Limit>, Vec<Quota>) = quotas(project, (server, grant), tool).unzip();
    if quotas.is_empty() {
        return Ok(None);
    }
    let taken = gateway.usage.take(&quotas, time + SLACK).await;
    match taken.map_err(NotTaken::Unknown)? {
        Taken::Granted(lease) => Ok(Some(Slot {
            usage: gateway.usage.clone(),
            lease,
        })),
        Taken::Refused { quota, retry_after } => {
            let reached = limits.get(quota).zip(quotas.get(quota));
            let unknown = || NotTaken::Unknown(registry::Error::unavailable("another limit"));
            let (&(of, is_of_tool), quota) = reached.ok_or_else(unknown)?;
            Err(NotTaken::Reached(Reached {
                of,
                limit: quota.limit,
                is_of_tool,
                retry_after,
            }))
        }
    }
}

/// The quotas of a call: of its tool, and of all of the server's.
fn quotas(
    project: &Project,
    (server, grant): (&Server, &ProjectGrant),
    tool: &str,
) -> impl Iterator<Item = (Limit, Quota)> {
    let of_tool = grant.tool_limits().get(tool).copied().unwrap_or_default();
    let all = [(of_tool, Some(tool)), (grant.limits(), None)];
    all.into_iter().flat_map(move |(limits, tool)| {
        let limits: Vec<_> = CallLimits::iter(&limits).collect();
        limits.into_iter().map(move |(of, limit)| {
            let whose = (project.organization(), project.name());
            let quota = Quota {
                id: UsageId::of_calls(whose, &server.id, tool, of),
                of: of.into(),
                limit: limit.into(),
            };
            ((of, tool.is_some()), quota)
        })
    })
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

impl Reached {
    pub(crate) fn note(&self) -> LimitNote {
        LimitNote {
            of: self.of.as_str().to_owned(),
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
        let (limited, it) = match self.is_of_tool {
            true => ("this tool", "it"),
            false => ("the tools of this server", "they"),
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
            is_of_tool: true,
            retry_after: Some(Duration::from_millis(41_001)),
        };
        assert_eq!(
            reached.to_string(),
            "not run: the limit of 10 calls a minute for this tool is reached; it may be called again in 42 s"
        );
        let note = serde_json::to_string(&reached.note()).unwrap();
        assert_eq!(note, r#"{"of":"calls_per_minute","retry_after_s":42}"#);
        (reached.of, reached.limit, reached.is_of_tool) = (CallLimit::AtOnce, 1, false);
        reached.retry_after = None;
        assert_eq!(
            reached.to_string(),
            "not run: the limit of 1 call at once for the tools of this server is reached; they may be called again when one of the calls that run has ended"
        );
        let note = serde_json::to_string(&reached.note()).unwrap();
        assert_eq!(note, r#"{"of":"calls_at_once"}"#);
    }
}
