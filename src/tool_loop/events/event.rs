//! One event, and how it is written.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::trace::Excerpt;

/// The whole numbers that are written without a fraction: all that a double holds exactly.
const WHOLE: f64 = (1_u64 << 53) as f64;

/// Something that is told of a call.
pub(super) struct Event {
    /// Each call has its own.
    pub(super) head: Arc<Head>,
    pub(super) kind: Kind,
}

/// What all events of a call have in common, as the receipt has it.
#[derive(Serialize)]
pub(super) struct Head {
    pub(super) round: u64,
    pub(super) id: String,
    /// `null` for a tool that none of the servers offers.
    pub(super) server: Option<String>,
    pub(super) tool: String,
}

/// What has happened. Texts are there only where the operator allows that.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Kind {
    Started {
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        arguments: Option<Excerpt>,
    },
    Progress {
        #[serde(serialize_with = "number")]
        progress: f64,
        #[serde(
            skip_serializing_if = "Option::is_none",
            serialize_with = "some_number"
        )]
        total: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<Excerpt>,
    },
    Finished {
        duration_ms: u64,
        is_error: bool,
        result_bytes: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<Excerpt>,
    },
}

/// The member `mcp` of the chunk that tells it.
#[derive(Serialize)]
struct Member<'a> {
    event: &'static str,
    #[serde(flatten)]
    head: &'a Head,
    #[serde(flatten)]
    kind: &'a Kind,
}

impl Event {
    /// The member `mcp` as JSON.
    pub(super) fn written(&self) -> Option<String> {
        let member = Member {
            event: self.kind.name(),
            head: &self.head,
            kind: &self.kind,
        };
        serde_json::to_string(&member).ok()
    }

    pub(super) fn is_progress(&self) -> bool {
        matches!(self.kind, Kind::Progress { .. })
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "call_started",
            Self::Progress { .. } => "call_progress",
            Self::Finished { .. } => "call_finished",
        }
    }

    /// The bytes of its text.
    pub(super) fn text_len(&self) -> usize {
        let text = match self {
            Self::Started { arguments, .. } => arguments,
            Self::Progress { message, .. } => message,
            Self::Finished { result, .. } => result,
        };
        text.as_ref().map_or(0, Excerpt::len)
    }

    pub(super) fn drop_text(&mut self) {
        match self {
            Self::Started { arguments, .. } => *arguments = None,
            Self::Progress { message, .. } => *message = None,
            Self::Finished { result, .. } => *result = None,
        }
    }
}

/// A number as a person would write it: most progress counts something.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
fn number<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    match number.fract() == 0.0 && number.abs() < WHOLE {
        true => to.serialize_i64(*number as i64),
        false => to.serialize_f64(*number),
    }
}

fn some_number<S: Serializer>(some: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match some {
        Some(some) => number(some, to),
        None => to.serialize_none(),
    }
}
