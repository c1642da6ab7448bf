//! The caller of a request, and the headers meant for the layer alone.

use std::{collections::BTreeMap, hash::Hash};

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION, request};

#[cfg(feature = "admin")]
use crate::trace::RecordedAs;
use crate::{
    chat::ChatRequest,
    keyed::{Digest, Keyed},
    name::ServerName,
    project::Project,
    registry::CallLimits,
    subject_token::{InvalidSubjectToken, SubjectToken},
    trace::TraceId,
    trace_parent::TraceParent,
    whose::{CallerId, CallerLimits, Whose},
};

/// The prefix of the layer's own headers.
const OURS: &str = "x-mcp-";

/// The prefix of the headers with a caller's token for one server, `x-mcp-auth-{server}`.
const SERVER_TOKEN: &str = "x-mcp-auth-";

/// The longest token in bytes; longer ones count as missing, since no header carries as much.
const TOKEN_LEN: usize = 8 * 1024;

/// A request's caller, as far as the loop needs to know.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    pub(crate) project: Option<Project>,
    pub(crate) tokens: CallerTokens,
    pub(crate) trace: Option<TraceParent>,
    /// The id to record the exchange under, where somebody waits for it under that.
    pub(crate) recorded_as: Option<TraceId>,
    /// The key or person that the proxy's authentication found.
    id: Option<CallerId>,
    /// The most calls of tools that it may make.
    limits: CallerLimits,
    /// A hash of all else that tells people apart who share a key. It has no key, so it is never
    /// kept or shown.
    person: Digest,
}

impl Caller {
    /// Returns the caller of a request whose [`CallerTokens`] were taken before.
    pub(crate) fn of(
        parts: &request::Parts,
        mut tokens: CallerTokens,
        request: &ChatRequest,
    ) -> Self {
        let project: Option<Project> = parts.extensions.get().cloned();
        let id = parts.extensions.get::<CallerId>();
        let mut person = Keyed::without_key("person");
        if id.is_none() {
            add_all(&mut person, parts.headers.get_all(AUTHORIZATION));
        }
        person.add(tokens.tokens.len().to_be_bytes());
        for (server, token) in &tokens.tokens {
            person.add(server);
            person.add(token);
        }
        add_ours(&mut person, &parts.headers);
        for user in &request.users {
            person.add_optional(user.as_deref());
        }
        for token in request.asks.tokens() {
            person.add(token);
        }
        tokens.subject = sent(parts);
        if let Some(Ok(subject)) = &tokens.subject {
            // Not the token, which is another one every few minutes.
            person.add(subject.issuer());
            person.add(subject.subject());
        }
        let person = person.finish();
        let of = project.clone().unwrap_or_default();
        tokens.whose = Some(Whose::new(&of, id, |caller| caller.add(person)));
        Self {
            project,
            tokens,
            trace: TraceParent::of(&parts.headers),
            recorded_as: recorded_as(parts),
            id: id.cloned(),
            limits: parts.extensions.get().copied().unwrap_or_default(),
            person,
        }
    }
}

impl Caller {
    /// An operator, who acts for `project` and looks for the exchange under this id.
    #[cfg(feature = "admin")]
    pub(crate) fn operator(project: Project, tokens: CallerTokens, recorded_as: TraceId) -> Self {
        Self {
            project: Some(project),
            tokens,
            recorded_as: Some(recorded_as),
            ..Self::default()
        }
    }

    /// Who is to be counted, and what they may; `None` where nothing is limited.
    pub(crate) fn limited(&self) -> Option<(&str, CallLimits)> {
        let CallerLimits(limits) = self.limits;
        let id = self.id.as_ref().filter(|_| !limits.is_empty())?;
        Some((id.as_str(), limits))
    }

    /// The hash of the caller with this key, the same in all processes that have it.
    pub(crate) fn hashed(&self, key: &[u8; 32]) -> Digest {
        let project = self.project.clone().unwrap_or_default();
        let mut hash = Keyed::with_key(key, "exchange");
        hash.add(project.organization());
        hash.add(project.name());
        hash.add_optional(self.id.as_ref().map(CallerId::as_str));
        hash.add(self.person);
        hash.finish()
    }
}

/// The token that says who the caller is, or why there is none although one was sent: what was refused
/// stays refused.
fn sent(parts: &request::Parts) -> Option<Sent> {
    let token = || parts.extensions.get().cloned().map(Ok);
    parts.extensions.get().copied().map(Err).or_else(token)
}

#[cfg(feature = "admin")]
fn recorded_as(parts: &request::Parts) -> Option<TraceId> {
    let recorded_as = parts.extensions.get();
    recorded_as.map(|RecordedAs(id)| *id)
}

/// Only operators choose ids.
#[cfg(not(feature = "admin"))]
fn recorded_as(_: &request::Parts) -> Option<TraceId> {
    None
}

/// Identifies the caller whose bodies are counted together: by project, and by id or else
/// `Authorization`.
pub(crate) fn whose(parts: &request::Parts) -> impl Hash {
    let id: Option<&CallerId> = parts.extensions.get();
    let authorization = match id {
        Some(_) => None,
        None => parts.headers.get(AUTHORIZATION),
    };
    (parts.extensions.get::<Project>(), id, authorization)
}

/// Adds the headers `x-mcp-…`, in the order of their names.
fn add_ours(person: &mut Keyed, headers: &HeaderMap) {
    let mut names: Vec<&HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(OURS))
        .collect();
    names.sort_by_key(|name| name.as_str());
    for name in names {
        person.add(name.as_str());
        add_all(person, headers.get_all(name));
    }
}

fn add_all<'a>(person: &mut Keyed, values: impl IntoIterator<Item = &'a HeaderValue>) {
    for value in values {
        person.add_optional(Some(value));
    }
    person.add_optional(None::<&[u8]>);
}

/// What was sent to say who a caller is.
type Sent = Result<SubjectToken, InvalidSubjectToken>;

/// The one whom a token was given to, among the callers of a project.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) token: SubjectToken,
    pub(crate) whose: Whose,
}

impl Subject {
    /// The account that usage is charged to: nobody can make up a subject whose token is exchanged, so each
    /// has one of its own, however many share a key.
    pub(crate) fn payer(&self) -> Digest {
        Keyed::new("subject")
            .with(self.whose.payer)
            .with(self.token.issuer())
            .with(self.token.subject())
            .finish()
    }
}

/// A caller's own tokens, for servers with token passthrough, and the one that is exchanged.
///
/// Callers send the tokens in headers `x-mcp-auth-{server}`. Each reaches its own server and
/// nothing else: no model, no other server, no log.
///
/// ```
/// use mcp_layer::CallerTokens;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-mcp-auth-github", "Bearer my-own".parse()?);
/// let tokens = CallerTokens::take(&mut headers);
/// assert!(headers.is_empty());
/// assert!(!format!("{tokens:?}").contains("my-own"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CallerTokens {
    tokens: BTreeMap<String, HeaderValue>,
    /// What says who the caller is, to be exchanged.
    subject: Option<Sent>,
    /// The caller; `None` for an anonymous one of the project `default`.
    whose: Option<Whose>,
}

impl CallerTokens {
    /// Removes every `x-mcp-auth-…` header from a request.
    ///
    /// A header that is given twice, empty or longer than 8 KiB counts as missing: nobody can guess
    /// which of two tokens is meant.
    pub fn take(headers: &mut HeaderMap) -> Self {
        let is_token = |name: &&HeaderName| name.as_str().starts_with(SERVER_TOKEN);
        // Most requests have none.
        let names: Vec<HeaderName> = headers.keys().filter(is_token).cloned().collect();
        let mut tokens = BTreeMap::new();
        for name in names {
            let once = headers.get_all(&name).iter().count() == 1;
            let value = headers.remove(&name);
            let token = value.filter(|value| once && (1..=TOKEN_LEN).contains(&value.len()));
            if let Some(mut token) = token {
                token.set_sensitive(true);
                tokens.insert(name.as_str()[SERVER_TOKEN.len()..].to_owned(), token);
            }
        }
        Self {
            tokens,
            subject: None,
            whose: None,
        }
    }

    /// Sets the token that says who the caller is, which servers with
    /// [`OAuthGrant::TokenExchange`](crate::registry::OAuthGrant::TokenExchange) have exchanged. The layer
    /// takes it from the extensions of a request.
    #[must_use]
    pub fn with_subject(mut self, subject: SubjectToken) -> Self {
        self.subject = Some(Ok(subject));
        self
    }

    /// Takes that token off the header in which callers send it, if it is there, as a layer with a
    /// [subject header](crate::McpLayer::with_subject_header) does. One that was [set](Self::with_subject)
    /// stays.
    #[must_use]
    pub fn with_subject_of(mut self, headers: &mut HeaderMap, header: &HeaderName) -> Self {
        let sent = SubjectToken::take(headers, header);
        self.subject = self.subject.or(sent);
        self
    }

    /// Sets the project and the caller that the tokens belong to; by default an anonymous caller of
    /// the project `default`. The layer does so for its requests.
    #[must_use]
    pub fn of_caller(mut self, project: &Project, id: Option<&CallerId>) -> Self {
        self.whose = Some(Whose::new(project, id, |_| {}));
        self
    }

    /// Reads a token that a caller gives; `None` if no header can have it, or it is longer than 8 KiB.
    pub(crate) fn token(text: &str) -> Option<HeaderValue> {
        let token = HeaderValue::from_str(text).ok();
        let mut token = token.filter(|token| (1..=TOKEN_LEN).contains(&token.len()))?;
        token.set_sensitive(true);
        Some(token)
    }

    /// Adds the token for `server` that a request has in its body.
    pub(crate) fn add(&mut self, server: &ServerName, token: HeaderValue) {
        self.tokens.insert(server.to_string(), token);
    }

    /// Returns the one whose token is exchanged, if there is one.
    ///
    /// # Errors
    /// Why what was sent is no token.
    pub(crate) fn subject(&self) -> Result<Option<Subject>, InvalidSubjectToken> {
        let token = self.subject.clone().transpose()?;
        Ok(token.map(|token| Subject {
            token,
            whose: self.whose(),
        }))
    }

    /// Returns the owner of the tokens, who pays for what is kept for them.
    pub(crate) fn whose(&self) -> Whose {
        self.whose.unwrap_or_default()
    }

    /// Returns the token for a server.
    pub(crate) fn of(&self, server: &ServerName) -> Option<&HeaderValue> {
        self.tokens.get(server.as_str())
    }

    /// Returns all tokens.
    pub(crate) fn all(&self) -> impl Iterator<Item = &HeaderValue> {
        self.tokens.values()
    }

    /// Returns the name of the header with the token for `server`.
    pub(crate) fn header(server: &ServerName) -> String {
        format!("{SERVER_TOKEN}{server}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_like_another_has_its_own_token() {
        let mut headers = HeaderMap::new();
        for (name, token) in [("X-MCP-Auth-A-B", "for a-b"), ("x-mcp-auth-a-", "nobody's")] {
            headers.insert(name.parse::<HeaderName>().unwrap(), token.parse().unwrap());
        }
        let tokens = CallerTokens::take(&mut headers);
        let of = |server: &str| tokens.of(&server.parse().unwrap());
        assert_eq!(of("a-b").unwrap(), "for a-b");
        assert_eq!([of("a"), of("b"), of("a-b-c")], [None; 3]);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_token_that_is_not_given_exactly_once_is_not_given() {
        let mut headers = HeaderMap::new();
        headers.append("x-mcp-auth-twice", HeaderValue::from_static("a"));
        headers.append("x-mcp-auth-twice", HeaderValue::from_static("b"));
        headers.append("x-mcp-auth-empty", HeaderValue::from_static(""));
        let long = "x".repeat(TOKEN_LEN + 1);
        headers.append("x-mcp-auth-long", long.parse().unwrap());
        headers.append("x-mcp-auth-", HeaderValue::from_static("a"));
        headers.append("authorization", HeaderValue::from_static("kept"));
        let tokens = CallerTokens::take(&mut headers);
        for name in ["twice", "empty", "long"] {
            assert_eq!(tokens.of(&name.parse().unwrap()), None, "{name}");
        }
        assert_eq!(headers.len(), 1);
    }
}
