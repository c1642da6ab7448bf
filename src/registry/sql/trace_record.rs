//! The record of an exchange as it is stored.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    sealed_steps,
    time::{milliseconds, span, time},
};
use crate::{
    registry::Error,
    secret::KeyRing,
    trace::{Outcome, Step, StoppedBy, Trace},
};

/// The most that the steps of a record may take. A database is no archive of what tools say.
const STEPS: usize = 256 << 10;

/// The separator of the names of servers.
const SEPARATOR: char = '\u{1f}';

/// All of a record but its steps and who may see it.
#[derive(Serialize, Deserialize)]
struct Stored {
    project: String,
    model: Option<String>,
    servers: Vec<String>,
    started_at: i64,
    duration: i64,
    rounds: u64,
    calls: u64,
    #[serde(default)]
    failed_calls: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tools: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    called: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    stopped_by: Option<StoppedBy>,
    outcome: Outcome,
    usage: Option<Map<String, Value>>,
}

/// A record as it goes into the table.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) organization: String,
    pub(super) project: String,
    pub(super) model: String,
    pub(super) servers: String,
    pub(super) outcome: String,
    pub(super) record: String,
    pub(super) failed_calls: i64,
    pub(super) search: String,
    pub(super) sealed_by: String,
    /// The steps.
    pub(super) sealed: Vec<u8>,
}

/// The record as it is stored, with its steps sealed by the newest key.
pub(super) fn write(trace: &Trace, ring: &KeyRing) -> Result<Row, Error> {
    let stored = Stored {
        project: trace.project.to_string(),
        model: trace.model.as_deref().map(str::to_owned),
        servers: trace.servers.clone(),
        started_at: milliseconds(trace.started_at),
        duration: span(trace.duration),
        rounds: trace.rounds,
        calls: trace.calls,
        failed_calls: trace.failed_calls,
        tools: trace.tools.clone(),
        called: trace.called.clone(),
        refusal: trace.refusal.clone(),
        stopped_by: trace.stopped_by,
        outcome: trace.outcome,
        usage: trace.usage.clone(),
    };
    let id = trace.id.to_string();
    let steps = steps(&trace.steps())?;
    Ok(Row {
        sealed: sealed_steps::sealed(&trace.organization, &id, steps, ring),
        sealed_by: ring.newest().to_string(),
        failed_calls: i64::try_from(trace.failed_calls).unwrap_or(i64::MAX),
        search: column(&trace.search_text()).into_owned(),
        id,
        organization: trace.organization.to_string(),
        project: column(&trace.project).into_owned(),
        model: column(trace.model.as_deref().unwrap_or_default()).into_owned(),
        servers: trace.servers.iter().map(|name| server(name)).collect(),
        outcome: trace.outcome.to_string(),
        record: serde_json::to_string(&stored).map_err(Error::unavailable)?,
    })
}

/// Reads a record from these texts; without steps for a list.
pub(super) fn read(
    id: &str,
    organization: &str,
    record: &str,
    steps: Option<&str>,
) -> Result<Trace, Error> {
    let id = id.parse().map_err(Error::unavailable)?;
    let stored: Stored = serde_json::from_str(record).map_err(Error::unavailable)?;
    let steps = steps.map_or(Ok(Vec::new()), serde_json::from_str);
    let started_at = time(stored.started_at);
    let mut trace = Trace::new(id, organization, stored.project, started_at, stored.outcome);
    trace.model = stored.model.map(Into::into);
    trace.servers = stored.servers;
    trace.duration = Duration::from_millis(stored.duration.max(0).unsigned_abs());
    (trace.rounds, trace.calls) = (stored.rounds, stored.calls);
    (trace.tools, trace.called) = (stored.tools, stored.called);
    (trace.failed_calls, trace.refusal) = (stored.failed_calls, stored.refusal);
    trace.stopped_by = stored.stopped_by;
    trace.usage = stored.usage;
    Ok(trace.with_steps(steps.map_err(Error::unavailable)?))
}

/// A caller's text in a form that a column takes: PostgreSQL rejects NUL.
pub(super) fn column(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => text.replace('\0', "\u{fffd}").into(),
        false => text.into(),
    }
}

/// A name as it stands in the list of servers.
pub(super) fn server(name: &str) -> String {
    let name = column(name).replace(SEPARATOR, "\u{fffd}");
    format!("{SEPARATOR}{name}{SEPARATOR}")
}

/// The steps as JSON. If they are too long, they lose their payloads, and if that does not suffice,
/// only the first ones are kept.
fn steps(steps: &[Step]) -> Result<String, Error> {
    let whole = serde_json::to_string(steps).map_err(Error::unavailable)?;
    if whole.len() <= STEPS {
        return Ok(whole);
    }
    let mut text = String::from("[");
    for step in steps {
        let mut step = step.clone();
        if let Step::Call(call) = &mut step {
            call.payloads_dropped |= call.arguments.is_some() || call.result.is_some();
        }
        step.drop_payloads();
        let step = serde_json::to_string(&step).map_err(Error::unavailable)?;
        if text.len() + step.len() + 2 > STEPS {
            break;
        }
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&step);
    }
    text.push(']');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance::traces::trace;

    #[test]
    fn steps_that_are_too_long_lose_their_payloads_first() {
        let mut step = trace(1).steps()[0].clone();
        if let Step::Call(call) = &mut step {
            call.arguments = Some("x".repeat(8 << 10));
        }
        for (count, least, dropped) in [(20, 20, false), (100, 100, true), (5000, 800, true)] {
            let trace = trace(1).with_steps(vec![step.clone(); count]);
            let kept = super::steps(&trace.steps()).unwrap();
            assert!(kept.len() <= STEPS);
            let row = write(&trace, &KeyRing::generate()).unwrap();
            let read = read(&row.id, "default", &row.record, Some(&kept)).unwrap();
            let steps = read.steps();
            assert!(steps.len() >= least, "{count}: {}", steps.len());
            let Step::Call(call) = &steps[0] else {
                panic!("{:?}", steps[0]);
            };
            assert_eq!(call.payloads_dropped, dropped);
            assert_eq!(call.arguments.is_some(), !dropped);
        }
    }
}
