//! Callers' API keys, and the project that each belongs to.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use mcp_layer::{
    CallerId, Project,
    admin::{ClientAddress, Throttle},
    secret::ExposeSecret,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{answer::Answer, config::Invalid, log::Unlogged, refusal::Refusal, secrets::Named};

/// An entry of `[[api_keys]]`: the key in an environment variable or a file, or its SHA-256.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[api_keys]]")]
pub struct ApiKey {
    key_env: Option<String>,
    key_file: Option<PathBuf>,
    key_sha256: Option<String>,
    project: String,
}

type Sha = [u8; 32];

/// The longest key in bytes; longer ones are not even hashed.
const LONGEST: usize = 4096;

/// The callers' keys by their digests; without any, everybody is the project `default`.
#[derive(Clone)]
pub struct Keys(Arc<[Key]>);

/// A key's digest, its project, and its id for the layer.
struct Key(Sha, Project, CallerId);

/// The project of a request, and the id of its key.
pub struct Caller {
    pub project: Project,
    pub id: Option<CallerId>,
}

impl Caller {
    /// Tells the layer whose a request is.
    pub fn mark<B>(self, request: &mut Request<B>) {
        let extensions = request.extensions_mut();
        extensions.insert(self.project);
        if let Some(id) = self.id {
            extensions.insert(id);
        }
    }
}

impl Keys {
    pub fn new(keys: Vec<ApiKey>) -> Result<Self, Invalid> {
        let mut known: Vec<Key> = Vec::with_capacity(keys.len());
        for (index, key) in keys.into_iter().enumerate() {
            let place = format!("api_keys[{index}]");
            let invalid = |reason: &str| Invalid::new(format!("{place}: {reason}"));
            if key.project.trim().is_empty() {
                return Err(invalid("the project has no name"));
            }
            let digest = key.digest(&place)?;
            if known.iter().any(|Key(other, ..)| *other == digest) {
                return Err(invalid("this key already exists"));
            }
            let id = CallerId::new(digest.map(|byte| format!("{byte:02x}")).concat());
            known.push(Key(digest, Project::new(key.project), id));
        }
        Ok(Self(known.into()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the projects of all keys.
    pub fn projects(&self) -> impl Iterator<Item = &str> {
        let everybody = self.is_empty().then_some("default");
        self.0
            .iter()
            .map(|Key(_, project, _)| project.name())
            .chain(everybody)
    }

    /// Returns the caller with these headers. Without keys the layer looks at `Authorization`,
    /// which is passed on to the upstream.
    fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        if self.is_empty() {
            return Some(Caller {
                project: Project::default(),
                id: None,
            });
        }
        let key = bearer(headers).filter(|key| key.len() <= LONGEST)?;
        let digest: Sha = Sha256::digest(key).into();
        // All keys are compared, so that the time taken tells nothing.
        let mut found = None;
        for Key(known, project, id) in &*self.0 {
            if same(known, &digest) {
                found = Some((project, id));
            }
        }
        let (project, id) = found?;
        Some(Caller {
            project: project.clone(),
            id: Some(id.clone()),
        })
    }
}

impl ApiKey {
    fn digest(&self, place: &str) -> Result<Sha, Invalid> {
        let invalid = |reason: &str| Invalid::new(format!("{place}{reason}"));
        let named = Named {
            variable: self.key_env.clone(),
            file: self.key_file.clone(),
        };
        match (named.read(&format!("{place}.key"))?, &self.key_sha256) {
            (Some(key), None) if key.expose_secret().len() > LONGEST => {
                Err(invalid(&format!(": a key has at most {LONGEST} bytes")))
            }
            (Some(key), None) => Ok(Sha256::digest(key.expose_secret()).into()),
            (None, Some(hex)) => from_hex(hex).ok_or_else(|| {
                invalid(".key_sha256: must be 64 hexadecimal digits, as sha256sum prints them")
            }),
            _ => Err(invalid(" needs one of key_file, key_env or key_sha256")),
        }
    }
}

/// The keys, with a count of wrong ones that keeps them from filling the log.
pub struct Door {
    pub keys: Keys,
    pub throttle: Throttle,
}

/// Wrong keys of one address that are logged within a minute.
const LOGGED: u32 = 10;

impl Door {
    /// Identifies the caller, and removes the key from the request: it is for this proxy only.
    pub fn admit<B>(&self, request: &mut Request<B>) -> Option<Caller> {
        let caller = self.keys.caller(request.headers())?;
        if !self.keys.is_empty() {
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        Some(caller)
    }

    /// Answers 401, never 429: clients retry that one.
    pub fn refuse(&self, from: ClientAddress) -> Answer {
        let wrong = self.throttle.wrong(Some(from), SystemTime::now());
        if wrong.times == 1 {
            let address = from.0.to_string();
            tracing::warn!(
                address,
                "an unknown API key, or none; only the first few from one address within a minute are logged"
            );
        }
        let message = "the API key is missing or unknown; send it as: Authorization: Bearer KEY";
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
        let mut refused = Answer::from(refusal);
        let challenge = HeaderValue::from_static("Bearer");
        refused
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        if wrong.times > LOGGED {
            refused.extensions_mut().insert(Unlogged);
        }
        refused
    }
}

/// Returns the token of the only `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Compares in constant time.
fn same(a: &Sha, b: &Sha) -> bool {
    a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn from_hex(hex: &str) -> Option<Sha> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
