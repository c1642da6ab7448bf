//! What is tolerated of authorization servers, by whose authority, and what never is.
//!
//! | what | is read as | authority |
//! |---|---|---|
//! | an issuer with or without the slash at its root, in metadata and where it is entered | one issuer ([`issuer`](crate::issuer)) | RFC 3986 section 6.2.3; modelcontextprotocol/python-sdk#1919 |
//! | metadata at one place that are broken, or of another issuer | go on to the next place of the same origin ([`search`](super::search)) | RFC 8414 section 3.1, RFC 9728 section 3.1; outline/outline#11572 |
//! | metadata behind an issuer's path | one more place ([`metadata`](super::metadata)) | RFC 8414 section 5; Okta, Keycloak |
//! | an optional member that is null, empty or of another type | absent | RFC 6749 section 5.1; modelcontextprotocol/typescript-sdk#1923 |
//! | a list that is one text | a list of it | RFC 6749 section 3.3 has the same for scopes |
//! | a boolean in quotes | the boolean | |
//! | `expires_in` as text, with a fraction, or too large | whole seconds, at most 366 days | LibreChat-AI/librechat.ai#420 |
//! | `expires_in` that is 0, negative or no number | absent: a 401 tells | QwenLM/qwen-code#5510 |
//! | `scope` as a list, or with commas | scopes | ramosbugs/oauth2-rs#86 (Twitch), GitHub |
//! | no `token_type` | Bearer, the only one that MCP has | MCP, basic/authorization; cmd-johnson/deno-oauth2-client#37 (LinkedIn) |
//! | JSON under another media type, or with a byte order mark | JSON ([`endpoint`](super::endpoint)) | RFC 8259 section 8.1; golang/oauth2 does the same |
//! | a form where JSON was asked for | its members ([`endpoint`](super::endpoint)) | GitHub, Facebook |
//! | an error with status 200 | an error | GitHub; modelcontextprotocol/typescript-sdk#1342 |
//! | an error as an object, as plain text, or under `error_code` | its code | supabase/auth#2829 |
//! | any 2xx for tokens and clients | success | MoonshotAI/kimi-cli#1625 (201) |
//! | a registration whose method is `""` or null | the method that was asked for | sigbit/mcp-auth-proxy#173 |
//!
//! Never, whoever sends it:
//!
//! | what | authority |
//! |---|---|
//! | an issuer of another host, in metadata or in a callback; another path, port or scheme | RFC 8414 section 3.3, RFC 9207 section 2.4 |
//! | a callback without `iss`, where it is promised | RFC 9207 section 2.4; cloudflare/mcp-server-cloudflare#449 |
//! | metadata of another resource | RFC 9728 section 3.3 |
//! | metadata that do not promise PKCE with S256; an operator may enter the endpoints | MCP, basic/authorization |
//! | a token type other than Bearer | RFC 6749 section 7.1 |
//! | an endpoint over http, or within a private network, that nobody entered | RFC 6749 section 3.1.2.1, RFC 9728 section 7.7 |
//! | a redirect, of metadata, registration or a token endpoint | RFC 9700 section 4.11 |
//! | a member that is read, given twice | RFC 8259 section 4: nobody knows which one is meant |
//! | a required member of another type | |
//! | a second request with one code | RFC 6749 section 4.1.2 |

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use url::Url;

use crate::scopes::Scopes;

/// The longest lifetime. Nobody means a longer one, and this can be added to any date.
pub(super) const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Parses a JSON object, perhaps behind a byte order mark. The parser's error is dropped, since it may quote the text.
pub(super) fn object<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // A derived `Deserialize` accepts a list for an object, member by member.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(text).ok()
}

/// A text that is not empty.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    })
}

/// A list of texts, or a single one.
pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) if !text.is_empty() => Some(vec![text]),
        Value::Array(items) => items.into_iter().map(only_text).collect(),
        _ => None,
    })
}

fn only_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Scopes in a text or a list; what cannot be scopes, or is none, counts as absent.
pub(super) fn scopes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Scopes>, D::Error> {
    let scopes = match Value::deserialize(from)? {
        Value::String(text) => Scopes::parse(&text).ok(),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.into_iter().map(only_text).collect();
            items.and_then(|items| Scopes::new(items).ok())
        }
        _ => None,
    };
    Ok(scopes.filter(|scopes| !scopes.is_empty()))
}

/// A boolean, perhaps in quotes.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Bool(flag) => flag,
        Value::String(text) => text == "true",
        _ => false,
    })
}

/// An absolute URL. Whether it may be used is asked elsewhere.
pub(super) fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    Ok(text(from)?.and_then(|text| text.parse().ok()))
}

/// A time in seconds, as a number or in quotes.
pub(super) fn lifetime<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    // Any number is JSON, but not any number can be read.
    let written = Box::<RawValue>::deserialize(from)?;
    let written = written.get().trim_matches('"');
    let seconds = match written.starts_with(|first: char| first.is_ascii_digit()) {
        true => written.parse().unwrap_or(0.0),
        false => 0.0,
    };
    let seconds = f64::min(seconds, MAX_LIFE.as_secs_f64()).floor();
    Ok((seconds >= 1.0).then(|| Duration::from_secs_f64(seconds)))
}
