//! The stored form of an observation: JSON in columns.
//!
//! Nothing here is sealed: anyone who can write to the database can accept a tool, as they can
//! point a server elsewhere. Unreadable observations are dropped, and never make a server fail.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use sqlx::{Row, any::AnyRow};

use super::time::{milliseconds, time};
use crate::{
    hex::hex,
    inactive::Inactive,
    registry::{
        definition::Fingerprint,
        error::Error,
        observation::{Failure, Observation, Stage},
        pins::Pins,
    },
};

/// An observation on its way to the database.
pub(super) struct ObservationRow {
    pub(super) health: String,
    pub(super) pins: Option<String>,
    pub(super) listed: String,
    /// A digest that shows whether these definitions are stored already.
    pub(super) digest: String,
    // Megabytes, for some servers, so they become text only where they are needed.
    definitions: BTreeMap<Fingerprint, Arc<str>>,
}

impl ObservationRow {
    pub(super) fn new(observation: &Observation) -> Result<Self, Error> {
        let mut digest = Sha256::new();
        for fingerprint in observation.definitions.keys() {
            digest.update(fingerprint.to_string());
        }
        Ok(Self {
            health: json(&Health::of(observation))?,
            pins: observation.pins.as_deref().map(json).transpose()?,
            listed: json(&observation.listed)?,
            digest: hex(&digest.finalize()),
            definitions: observation.definitions.clone(),
        })
    }

    pub(super) fn definitions(&self) -> Result<String, Error> {
        let definitions = self.definitions.iter();
        let definitions: BTreeMap<_, &str> =
            definitions.map(|(pin, text)| (pin, &**text)).collect();
        json(&definitions)
    }
}

// Serializing maps with text keys does not fail.
fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::unavailable)
}

/// Reads an observation from a row of `version, health, pins, listed, …`, without definitions.
pub(super) fn read(row: &AnyRow) -> Result<Observation, sqlx::Error> {
    let version: i64 = row.try_get(0)?;
    let health: Health = parse("health", row.try_get(1)?).unwrap_or_default();
    Ok(Observation {
        version: version.unsigned_abs(),
        record_version: health.record_version,
        failures: health.failures,
        failing_since: health.failing_since.map(time),
        last_failure: health.last_failure.map(Failure::from),
        listed_at: health.listed_at.map(time),
        listed: parse("listed", row.try_get(3)?).unwrap_or_default(),
        instructions: health.instructions,
        pins: pins(row.try_get(2)?),
        definitions: BTreeMap::new(),
    })
}

/// Reads the accepted tools. If they cannot be read, none is accepted until an operator accepts
/// them again: without any pins, the next listing would accept whatever it finds.
pub(super) fn pins(text: Option<&str>) -> Option<Arc<Pins>> {
    text.map(|text| Arc::new(parse("pins", text).unwrap_or_default()))
}

/// Reads definitions; `None` if they cannot be read.
pub(super) fn definitions(text: &str) -> Option<BTreeMap<Fingerprint, Arc<str>>> {
    let definitions: BTreeMap<Fingerprint, String> = parse("definitions", text)?;
    let definitions = definitions.into_iter();
    Some(definitions.map(|(pin, text)| (pin, text.into())).collect())
}

fn parse<T: DeserializeOwned>(column: &str, text: &str) -> Option<T> {
    serde_json::from_str(text)
        .inspect_err(|_| {
            tracing::error!(column, "what was observed of a server cannot be read");
        })
        .ok()
}

/// The health of a server.
#[derive(Default, Serialize, Deserialize)]
struct Health {
    record_version: u64,
    failures: u32,
    failing_since: Option<i64>,
    last_failure: Option<FailureRecord>,
    listed_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instructions: Option<Fingerprint>,
}

impl Health {
    fn of(observation: &Observation) -> Self {
        Self {
            record_version: observation.record_version,
            failures: observation.failures,
            failing_since: observation.failing_since.map(milliseconds),
            last_failure: observation.last_failure.as_ref().map(FailureRecord::from),
            listed_at: observation.listed_at.map(milliseconds),
            instructions: observation.instructions,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct FailureRecord {
    stage: Stage,
    reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    Disabled,
    Unreachable(String),
    NeedsAuthorization,
    CredentialInvalid,
    TokenMissing,
    TokenRefused,
    TokenUnfit(String),
    TooManyCredentials,
    NoTools,
}

impl From<&Failure> for FailureRecord {
    fn from(failure: &Failure) -> Self {
        Self {
            stage: failure.stage,
            reason: match &failure.reason {
                Inactive::Disabled => Reason::Disabled,
                Inactive::Unreachable { message } => Reason::Unreachable(message.clone()),
                Inactive::NeedsAuthorization => Reason::NeedsAuthorization,
                Inactive::CredentialInvalid => Reason::CredentialInvalid,
                Inactive::TokenMissing => Reason::TokenMissing,
                Inactive::TokenRefused => Reason::TokenRefused,
                Inactive::TokenUnfit { message } => Reason::TokenUnfit(message.to_string()),
                Inactive::TooManyCredentials => Reason::TooManyCredentials,
                Inactive::NoTools => Reason::NoTools,
            },
            detail: failure.detail.clone(),
            at: milliseconds(failure.at),
        }
    }
}

impl From<FailureRecord> for Failure {
    fn from(record: FailureRecord) -> Self {
        let reason = match record.reason {
            Reason::Disabled => Inactive::Disabled,
            Reason::Unreachable(message) => Inactive::Unreachable { message },
            Reason::NeedsAuthorization => Inactive::NeedsAuthorization,
            Reason::CredentialInvalid => Inactive::CredentialInvalid,
            Reason::TokenMissing => Inactive::TokenMissing,
            Reason::TokenRefused => Inactive::TokenRefused,
            Reason::TokenUnfit(message) => Inactive::TokenUnfit {
                message: message.into(),
            },
            Reason::TooManyCredentials => Inactive::TooManyCredentials,
            Reason::NoTools => Inactive::NoTools,
        };
        Self {
            detail: record.detail,
            ..Self::new(record.stage, reason, time(record.at))
        }
    }
}
