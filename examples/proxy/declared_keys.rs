//! Callers' API keys as the configuration file declares them.

use std::path::{Path, PathBuf};

use mcp_layer::{
    Project,
    registry::{ApiKey, ApiKeyDigest, ApiKeyId, CallLimit, CallLimits, Error},
    secret::ExposeSecret,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{auth::LONGEST, config::Invalid, secrets::Named};

/// An entry of `[[api_keys]]`: the key in an environment variable or a file, or its SHA-256.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[api_keys]]")]
pub struct DeclaredKey {
    name: Option<String>,
    key_env: Option<String>,
    key_file: Option<PathBuf>,
    key_sha256: Option<String>,
    project: String,
    #[serde(default)]
    limits: KeyLimits,
}

/// The most calls of tools that requests with a key may make.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of limits")]
struct KeyLimits {
    calls_per_minute: Option<u32>,
    calls_per_day: Option<u32>,
    calls_at_once: Option<u32>,
}

/// Reads the keys of all entries.
pub fn read(entries: &[DeclaredKey]) -> Result<Vec<ApiKey>, Invalid> {
    let mut known: Vec<ApiKey> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let place = format!("api_keys[{index}]");
        let told = format!("api_keys: number {}", index + 1);
        let invalid = |reason: &str| Invalid::new(format!("{told}: {reason}"));
        if entry.project.trim().is_empty() {
            return Err(invalid("the project has no name"));
        }
        let digest = entry.digest(&told)?;
        if known.iter().any(|other| other.digest == digest) {
            return Err(invalid("this key already exists"));
        }
        let name = entry.name(&place);
        let id = id(&place, &name);
        let key = ApiKey::new(id, digest, name, Project::new(&*entry.project));
        let key = key.and_then(|key| Ok(key.with_limits(entry.limits.read()?)));
        known.push(key.map_err(|error| invalid(&error.to_string()))?);
    }
    Ok(known)
}

/// Lists the files that keys are read from.
pub fn files(entries: &[DeclaredKey]) -> impl Iterator<Item = &Path> {
    entries.iter().filter_map(|entry| entry.key_file.as_deref())
}

impl KeyLimits {
    fn read(self) -> Result<CallLimits, Error> {
        let all = [
            (CallLimit::PerMinute, self.calls_per_minute),
            (CallLimit::PerDay, self.calls_per_day),
            (CallLimit::AtOnce, self.calls_at_once),
        ];
        let mut set = all.into_iter().filter_map(|(of, calls)| Some((of, calls?)));
        set.try_fold(CallLimits::default(), |limits, (of, calls)| {
            limits.with(of, calls)
        })
    }
}

impl DeclaredKey {
    /// What the key is called: its name, or else the place that it is read from.
    fn name(&self, place: &str) -> String {
        let file = self.key_file.as_deref().and_then(Path::file_name);
        let file = file.map(|name| name.to_string_lossy().into_owned());
        let place = || place.to_owned();
        (self.name.clone())
            .or_else(|| self.key_env.clone())
            .or(file)
            .unwrap_or_else(place)
    }

    fn digest(&self, place: &str) -> Result<ApiKeyDigest, Invalid> {
        let invalid = |reason: &str| Invalid::new(format!("{place}: {reason}"));
        let named = Named {
            variable: self.key_env.clone(),
            file: self.key_file.clone(),
        };
        match (named.read(&format!("{place}: key"))?, &self.key_sha256) {
            (Some(key), None) if key.expose_secret().len() > LONGEST => {
                Err(invalid(&format!("a key has at most {LONGEST} bytes")))
            }
            (Some(key), None) => Ok(ApiKeyDigest::of(key.expose_secret())),
            (None, Some(hex)) => from_hex(hex).ok_or_else(|| {
                invalid("key_sha256 must be 64 hexadecimal digits, as sha256sum prints them")
            }),
            _ => Err(invalid("needs one of key_file, key_env or key_sha256")),
        }
    }
}

/// An id for lists: not made of the key, which somebody may have chosen so that it can be guessed.
fn id(place: &str, name: &str) -> ApiKeyId {
    let digest = Sha256::new()
        .chain_update(place)
        .chain_update([0])
        .chain_update(name)
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    ApiKeyId(id)
}

fn from_hex(hex: &str) -> Option<ApiKeyDigest> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(ApiKeyDigest(bytes))
}
