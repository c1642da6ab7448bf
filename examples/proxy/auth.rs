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
pub struct Keys(Arc<[Key]>);

/// A key's digest, whose it is, and how the layer tells it from others.
struct Key(Sha, Project, CallerId);

impl Keys {
    pub fn new(keys: Vec<ApiKey>) -> Result<Self, Invalid> {
        let mut known: Vec<Key> = Vec::with_capacity(keys.len());
        for key in keys {
            if key.project.trim().is_empty() {
                return Err(Invalid::new("api_keys: a project has no name"));
            }
            let digest = key.digest()?;
            if known.iter().any(|Key(other, ..)| *other == digest) {
                return Err(Invalid::new(format!(
                    "api_keys: the key of project {:?} is there twice",
                    key.project
                )));
            }
            let id = CallerId::new(digest.map(|byte| format!("{byte:02x}")).concat());
            known.push(Key(digest, Project::new(key.project), id));
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
            .map(|Key(_, project, _)| project.name())
            .chain(everybody)
    }

    /// The project of a request with these headers, and which of its keys was sent. Without keys
    /// the layer looks at `Authorization`, which goes through to the upstream.
    fn caller(&self, headers: &HeaderMap) -> Option<(Project, Option<CallerId>)> {
        if self.is_empty() {
            return Some((Project::default(), None));
        }
        let digest: Sha = Sha256::digest(bearer(headers)?).into();
        // All keys are looked at, whichever it is: the time taken tells nothing.
        let mut found = None;
        for Key(known, project, id) in &*self.0 {
            if same(known, &digest) {
                found = Some((project, id));
            }
        }
        let (project, id) = found?;
        Some((project.clone(), Some(id.clone())))
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
    let Some((project, id)) = keys.caller(request.headers()) else {
        let message = "the API key is missing or unknown; send it as: Authorization: Bearer KEY";
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
        let challenge = HeaderValue::from_static("Bearer");
        return ([(header::WWW_AUTHENTICATE, challenge)], refusal).into_response();
    };
    if !keys.is_empty() {
        request.headers_mut().remove(header::AUTHORIZATION);
    }
    request.extensions_mut().insert(project);
    if let Some(id) = id {
        request.extensions_mut().insert(id);
    }
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
