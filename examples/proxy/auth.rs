//! Callers' API keys: whose project a request belongs to.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mcp_layer::{CallerId, Project};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    config::{Invalid, secret},
    refusal::Refusal,
};

/// One of the `[[api_keys]]`: the key in an environment variable, or its SHA-256.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[api_keys]]")]
pub struct ApiKey {
    key_env: Option<String>,
    key_sha256: Option<String>,
    project: String,
}

type Sha = [u8; 32];

/// The callers' keys, by their digests; without any, everybody is the project `default`.
#[derive(Clone)]
pub struct Keys(Arc<[(Sha, Caller)]>);

/// Whom a key stands for.
#[derive(Clone)]
struct Caller {
    project: Project,
    id: CallerId,
}

impl Keys {
    pub fn new(keys: Vec<ApiKey>) -> Result<Self, Invalid> {
        let mut known: Vec<(Sha, Caller)> = Vec::with_capacity(keys.len());
        for key in keys {
            if key.project.trim().is_empty() {
                return Err(Invalid::new("api_keys: a project has no name"));
            }
            let digest = key.digest()?;
            if known.iter().any(|(other, _)| *other == digest) {
                return Err(Invalid::new(format!(
                    "api_keys: the key of project {:?} is there twice",
                    key.project
                )));
            }
            let caller = Caller {
                project: Project::new(key.project),
                id: CallerId::new(format!("key {}", known.len())),
            };
            known.push((digest, caller));
        }
        Ok(Self(known.into()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The projects that callers can have.
    pub fn projects(&self) -> impl Iterator<Item = &str> {
        let everybody = self.is_empty().then_some("default");
        self.0
            .iter()
            .map(|(_, caller)| caller.project.name())
            .chain(everybody)
    }

    /// Whose key is in these headers.
    fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let digest: Sha = Sha256::digest(bearer(headers)?).into();
        // All keys are looked at, whichever it is: the time taken tells nothing.
        let mut found = None;
        for (known, caller) in &*self.0 {
            if same(known, &digest) {
                found = Some(caller);
            }
        }
        found.cloned()
    }
}

impl ApiKey {
    fn digest(&self) -> Result<Sha, Invalid> {
        match (&self.key_env, &self.key_sha256) {
            (Some(env), None) => Ok(Sha256::digest(secret("api_keys.key_env", env)?).into()),
            (None, Some(hex)) => from_hex(hex).ok_or_else(|| {
                Invalid::new(
                    "api_keys.key_sha256: must be 64 hexadecimal digits, as sha256sum prints them",
                )
            }),
            _ => Err(Invalid::new(format!(
                "api_keys: the key of project {:?} needs either key_env or key_sha256",
                self.project
            ))),
        }
    }
}

/// Finds out the caller's project, and takes the key off the request: it is for this proxy only.
pub async fn authenticate(State(keys): State<Keys>, mut request: Request, next: Next) -> Response {
    if keys.is_empty() {
        request.extensions_mut().insert(Project::default());
        return next.run(request).await;
    }
    let Some(caller) = keys.caller(request.headers()) else {
        let message = "the API key is missing or unknown; send it as: Authorization: Bearer KEY";
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
        let challenge = HeaderValue::from_static("Bearer");
        return ([(header::WWW_AUTHENTICATE, challenge)], refusal).into_response();
    };
    request.headers_mut().remove(header::AUTHORIZATION);
    request.extensions_mut().insert(caller.project);
    // The key is gone, but its callers are still to be told apart.
    request.extensions_mut().insert(caller.id);
    next.run(request).await
}

/// The token of the one `Authorization: Bearer …`.
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
