//! The record of an exchange as it is stored.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::time::{milliseconds, span, time};
use crate::{
    registry::Error,
    trace::{Span, Trace},
};

/// The most that the spans of a record may take. A database is no archive of what tools say.
const SPANS: usize = 256 << 10;

/// Between the names of servers.
const SEPARATOR: char = '\u{1f}';

/// The attributes that are long, and go first.
const PAYLOADS: [&str; 2] = ["gen_ai.tool.call.arguments", "gen_ai.tool.call.result"];

/// All of a record but its spans and who may see it.
#[derive(Serialize, Deserialize)]
struct Stored {
    project: String,
    model: Option<String>,
    servers: Vec<String>,
    started_at: i64,
    duration: i64,
    rounds: u64,
    calls: u64,
    stopped_by: Option<String>,
    outcome: String,
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
    pub(super) spans: String,
}

/// The record as it is stored.
pub(super) fn write(trace: &Trace) -> Result<Row, Error> {
    let stored = Stored {
        project: trace.project.to_string(),
        model: trace.model.as_deref().map(str::to_owned),
        servers: trace.servers.clone(),
        started_at: milliseconds(trace.started_at),
        duration: span(trace.duration),
        rounds: trace.rounds,
        calls: trace.calls,
        stopped_by: trace.stopped_by.as_deref().map(str::to_owned),
        outcome: trace.outcome.to_string(),
        usage: trace.usage.clone(),
    };
    Ok(Row {
        id: trace.id.to_string(),
        organization: trace.organization.to_string(),
        project: column(&trace.project).into_owned(),
        model: column(trace.model.as_deref().unwrap_or_default()).into_owned(),
        servers: trace.servers.iter().map(|name| server(name)).collect(),
        outcome: column(&trace.outcome).into_owned(),
        record: serde_json::to_string(&stored).map_err(Error::unavailable)?,
        spans: spans(&trace.spans())?,
    })
}

/// The record of these texts; without spans where it is one of a list.
pub(super) fn read(
    id: &str,
    organization: &str,
    record: &str,
    spans: Option<&str>,
) -> Result<Trace, Error> {
    let stored: Stored = serde_json::from_str(record).map_err(Error::unavailable)?;
    let spans = spans.map_or(Ok(Vec::new()), serde_json::from_str);
    Ok(Trace {
        id: id.parse().map_err(Error::unavailable)?,
        organization: organization.into(),
        project: stored.project.into(),
        model: stored.model.map(Into::into),
        servers: stored.servers,
        started_at: time(stored.started_at),
        duration: std::time::Duration::from_millis(stored.duration.max(0).unsigned_abs()),
        rounds: stored.rounds,
        calls: stored.calls,
        stopped_by: stored.stopped_by.map(Into::into),
        outcome: stored.outcome.into(),
        usage: stored.usage,
        spans: spans.map_err(Error::unavailable)?.into(),
    })
}

/// A text of a caller's as a column can have it: PostgreSQL takes no NUL.
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

/// The spans as JSON: without payloads where they are too long, and then those that fit.
fn spans(spans: &[Span]) -> Result<String, Error> {
    let whole = serde_json::to_string(spans).map_err(Error::unavailable)?;
    if whole.len() <= SPANS {
        return Ok(whole);
    }
    let mut text = String::from("[");
    for span in spans {
        let mut span = span.clone();
        for name in PAYLOADS {
            if span.attributes.remove(name).is_some() {
                span.attributes
                    .insert("mcp_layer.payloads_dropped".to_owned(), true.into());
            }
        }
        let span = serde_json::to_string(&span).map_err(Error::unavailable)?;
        if text.len() + span.len() + 2 > SPANS {
            break;
        }
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&span);
    }
    text.push(']');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance::traces::trace;

    #[test]
    fn spans_that_are_too_long_lose_their_payloads_first() {
        let mut span = trace(1).spans()[0].clone();
        span.attributes
            .insert(PAYLOADS[0].to_owned(), "x".repeat(8 << 10).into());
        for (count, kept, dropped) in [(20, 20, false), (100, 100, true), (5000, 1000, true)] {
            let trace = trace(1).with_spans(vec![span.clone(); count]);
            let row = write(&trace).unwrap();
            assert!(row.spans.len() <= SPANS);
            let read = read(&row.id, "default", &row.record, Some(&row.spans)).unwrap();
            let spans = read.spans();
            assert!(spans.len() >= kept, "{count}");
            let attributes = &spans[0].attributes;
            assert_eq!(
                attributes.contains_key("mcp_layer.payloads_dropped"),
                dropped
            );
            assert_eq!(attributes.contains_key(PAYLOADS[0]), !dropped);
        }
    }
}
