//! A server as it is stored: JSON for what anybody may see, and one sealed record for its secrets.
//!
//! A URL with keys in it is among the secrets, whole: the JSON has it with covers, so that it can
//! be looked at, and whoever changes one of both has a server whose secrets do not open.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use sqlx::{Row, any::AnyRow};
use url::Url;

use super::{
    observed, text,
    time::{milliseconds, time},
};
use crate::{
    mcp::Transport,
    registry::{
        Auth, AuthKind, Error, Gate, OAuth2, Projects, SelectedTool, Server, ShareSession, Source,
        StaticHeader, ToolPolicy, ToolSelection,
    },
    scopes::Scopes,
    secret::{ExposeSecret, KeyRing, OpenError, Place, SecretString},
    token_auth::TokenAuth,
    url_keys,
};

/// The longest record, in bytes: a description, a thousand projects and 512 tools fit.
const RECORD_LEN: usize = 256 * 1024;

/// A server on its way to the database.
pub(super) struct Written {
    pub(super) record: String,
    pub(super) search: String,
    pub(super) auth: &'static str,
    pub(super) sealed: Option<Vec<u8>>,
    pub(super) sealed_by: Option<String>,
}

impl Written {
    /// Seals the secrets of `server` with the newest key.
    pub(super) fn new(server: &Server, ring: &KeyRing) -> Result<Self, Error> {
        text::check("organization", &server.organization)?;
        for (field, text) in [
            ("display_name", &server.display_name),
            ("description", &server.description),
        ] {
            text.as_deref()
                .map_or(Ok(()), |t| text::check_long(field, t))?;
        }
        if let Projects::Only(projects) = &server.projects {
            projects
                .iter()
                .try_for_each(|p| text::check("projects", p))?;
        }
        let record = Record::of(server)?;
        // Plain structs with string keys do not fail to be written.
        let text = serde_json::to_string(&record).map_err(Error::unavailable)?;
        if text.len() > RECORD_LEN {
            let reason = format!("the record is longer than {RECORD_LEN} bytes");
            return Err(Error::invalid("server", reason));
        }
        let secrets = record.sealed(&server.url, secrets(&server.auth))?;
        let sealed = secrets.map(|secrets| {
            let origin = record.origin();
            let place = place(server, record.field(), &origin, server.version);
            ring.seal(&place, &secrets)
        });
        Ok(Self {
            record: text,
            search: text::search(server),
            auth: kind(server.auth.kind()),
            sealed_by: sealed.as_ref().map(|_| ring.newest().to_string()),
            sealed,
        })
    }
}

/// The statement for rows that [`read`] reads; the servers are `s`.
macro_rules! select_servers {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.organization, s.name, s.version, s.record, s.sealed, s.draft,
                 s.created_at, s.updated_at, o.pins
             FROM mcp_servers AS s LEFT JOIN mcp_observations AS o
                 ON o.organization = s.organization AND o.server = s.id ",
            $rest
        )
    };
}
pub(super) use select_servers;

/// A server from a row of [`select_servers`].
///
/// Secrets that do not open are no reason to fail: the server is then [`Auth::Unreadable`].
pub(super) fn read(row: &AnyRow, ring: &KeyRing) -> Result<Server, Broken> {
    let organization: &str = row.try_get(1)?;
    let version: i64 = row.try_get(3)?;
    let record = Record::parse(row.try_get(4)?)?;
    let (origin, field, sealed_url) = (record.origin(), record.field(), record.sealed_url);
    let mut server = Server {
        id: parse(row.try_get(0)?)?,
        organization: organization.into(),
        name: parse(row.try_get(2)?)?,
        display_name: record.display_name,
        description: record.description,
        url: record.url,
        transport: record.transport,
        projects: match record.projects {
            None => Projects::All,
            Some(projects) => Projects::only(projects)?,
        },
        auth: Auth::None,
        tools: match record.tools {
            None => ToolSelection::All,
            Some(tools) => ToolSelection::only(tools.into_iter().map(SelectedTool::from))?,
        },
        share_session: record.share_session,
        trace_context: record.trace_context,
        on_change: Some(record.on_change),
        new_tools: Some(record.new_tools),
        pins: observed::pins(row.try_get(9)?),
        enabled: record.enabled,
        draft: row.try_get::<i64, _>(6)? != 0,
        source: Source::Store,
        created_at: Some(time(row.try_get(7)?)),
        updated_at: Some(time(row.try_get(8)?)),
        version: version.unsigned_abs(),
    };
    let sealed: Option<&[u8]> = row.try_get(5)?;
    let opened = sealed.map(|sealed| {
        let place = place(&server, field, &origin, server.version);
        ring.open(&place, sealed)
    });
    let auth = match sealed_url {
        false => record.auth.auth(opened),
        true => match opened_url(opened, &server.url) {
            Ok((url, secrets)) => {
                server.url = url;
                record.auth.auth(secrets.map(Ok))
            }
            // A secret there may be or not: it goes with the URL.
            Err(error) => match record.auth.auth(None) {
                Ok(shape) | Err((shape, _)) => Err((shape, error)),
            },
        },
    };
    server.auth = auth.unwrap_or_else(|(shape, error)| {
        tracing::error!(server = %server.name, %error, "the server's stored credential does not open");
        Auth::Unreadable(Box::new(shape))
    });
    Ok(server)
}

/// The URL with its keys, which is `shown` without them, and what else was sealed.
fn opened_url(
    opened: Option<Result<SecretString, OpenError>>,
    shown: &Url,
) -> Result<(Url, Option<SecretString>), OpenError> {
    let opened = opened.unwrap_or(Err(OpenError::Format))?;
    let secrets: UrlSecrets =
        serde_json::from_str(opened.expose_secret()).map_err(|_| OpenError::Format)?;
    match url_keys::covered(&secrets.url) == *shown {
        true => Ok((secrets.url, secrets.auth.map(SecretString::from))),
        false => Err(OpenError::Refused),
    }
}

/// The field and the origin that a stored record's secrets are sealed for.
pub(super) fn sealed_for(record: &str) -> Result<(&'static str, String), Broken> {
    let record = Record::parse(record)?;
    Ok((record.field(), record.origin()))
}

/// What the sealed record of a server is called; with a URL in it, it is another text.
const AUTH: &str = "auth";
const URL_AND_AUTH: &str = "url and auth";

/// A kind of authentication, as it is called in the column and in the record.
pub(super) fn kind(kind: AuthKind) -> &'static str {
    match kind {
        AuthKind::None => "none",
        AuthKind::StaticHeaders => "static_headers",
        AuthKind::OAuth2 => "oauth2",
        AuthKind::TokenPassthrough => "token_passthrough",
    }
}

fn place<'a>(server: &'a Server, field: &'a str, origin: &'a str, version: u64) -> Place<'a> {
    Place {
        organization: &server.organization,
        server: server.id.as_str(),
        field,
        origin,
        version,
    }
}

/// A row that is none of ours: not even the server without its secrets can be read.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stored record cannot be read")
    }
}

impl std::error::Error for Broken {}

macro_rules! broken_by {
    ($($error:ty)*) => {$(
        impl From<$error> for Broken {
            fn from(_: $error) -> Self {
                Self
            }
        }
    )*};
}

broken_by!(sqlx::Error serde_json::Error Error);

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Self::unavailable(broken)
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Broken> {
    text.parse().map_err(|_| Broken)
}

/// What anybody may see. Unknown members are of a newer program, and may matter.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    display_name: Option<String>,
    description: Option<String>,
    /// Without its keys.
    url: Url,
    /// Whether it has some, and is sealed with them.
    #[serde(default)]
    sealed_url: bool,
    transport: Transport,
    /// Absent for all.
    projects: Option<BTreeSet<String>>,
    auth: AuthRecord,
    /// Absent for all.
    tools: Option<Vec<ToolRecord>>,
    #[serde(default)]
    share_session: ShareSession,
    #[serde(default)]
    trace_context: Option<bool>,
    on_change: Gate,
    new_tools: Gate,
    enabled: bool,
}

/// What is sealed where the URL has keys in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlSecrets {
    url: Url,
    auth: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolRecord {
    name: String,
    ask_first: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum AuthRecord {
    None,
    StaticHeaders {
        headers: Vec<HeaderRecord>,
    },
    #[serde(rename = "oauth2")]
    OAuth2(Box<OAuth2Record>),
    TokenPassthrough {
        header: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderRecord {
    name: String,
    set_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OAuth2Record {
    client_id: Option<String>,
    /// Whether a secret is sealed beside.
    client_secret: bool,
    client_secret_set_at: Option<i64>,
    authorization_url: Option<Url>,
    token_url: Option<Url>,
    scopes: Scopes,
    issuer: Option<String>,
    resource: Option<String>,
    token_auth: Option<TokenAuth>,
}

impl Record {
    fn of(server: &Server) -> Result<Self, Error> {
        let mut record = Self {
            display_name: server.display_name.clone(),
            description: server.description.clone(),
            url: server.url.clone(),
            sealed_url: false,
            transport: server.transport,
            projects: match &server.projects {
                Projects::All => None,
                Projects::Only(projects) => Some(projects.clone()),
            },
            auth: AuthRecord::of(&server.auth)?,
            tools: match &server.tools {
                ToolSelection::All => None,
                ToolSelection::Only(tools) => Some(tools.iter().map(ToolRecord::from).collect()),
            },
            share_session: server.share_session,
            trace_context: server.trace_context,
            on_change: server.on_change.unwrap_or(Gate::Block),
            new_tools: server.new_tools.unwrap_or(Gate::Block),
            enabled: server.enabled,
        };
        record.cover();
        Ok(record)
    }

    /// Takes the keys out of the URL.
    fn cover(&mut self) {
        let covered = url_keys::covered(&self.url);
        self.sealed_url = covered != self.url;
        self.url = covered;
    }

    /// The text to seal, of the URL with its keys and what else is secret; `None` without any.
    fn sealed(&self, url: &Url, auth: Option<SecretString>) -> Result<Option<SecretString>, Error> {
        if !self.sealed_url {
            return Ok(auth);
        }
        let secrets = UrlSecrets {
            url: url.clone(),
            auth: auth.map(|auth| auth.expose_secret().to_owned()),
        };
        // Plain structs do not fail to be written.
        let text = serde_json::to_string(&secrets).map_err(Error::unavailable)?;
        Ok(Some(text.into()))
    }

    fn field(&self) -> &'static str {
        match self.sealed_url {
            false => AUTH,
            true => URL_AND_AUTH,
        }
    }

    fn parse(text: &str) -> Result<Self, Broken> {
        Ok(serde_json::from_str(text)?)
    }

    /// Whom the secrets are for: a client secret's authorization server, else the server.
    fn origin(&self) -> String {
        if let AuthRecord::OAuth2(oauth) = &self.auth {
            if let Some(issuer) = &oauth.issuer {
                return issuer.clone();
            }
            if let Some(url) = &oauth.token_url {
                return url.origin().ascii_serialization();
            }
        }
        self.url.origin().ascii_serialization()
    }
}

impl AuthRecord {
    fn of(auth: &Auth) -> Result<Self, Error> {
        Ok(match auth {
            Auth::None => Self::None,
            Auth::StaticHeaders(headers) => Self::StaticHeaders {
                headers: headers.iter().map(HeaderRecord::from).collect(),
            },
            Auth::OAuth2(oauth) => Self::OAuth2(Box::new(OAuth2Record {
                client_id: oauth.client_id.clone(),
                client_secret: oauth.client_secret.is_some(),
                client_secret_set_at: oauth.client_secret_set_at.map(milliseconds),
                authorization_url: oauth.authorization_url.clone(),
                token_url: oauth.token_url.clone(),
                scopes: oauth.scopes.clone(),
                issuer: oauth.issuer.clone(),
                resource: oauth.resource.clone(),
                token_auth: oauth.token_auth,
            })),
            Auth::TokenPassthrough(header) => Self::TokenPassthrough {
                header: header.to_string(),
            },
            Auth::Unreadable(_) => {
                let reason = "the stored credential does not open; enter it anew";
                return Err(Error::invalid("auth", reason));
            }
        })
    }

    /// The authentication with its secrets; without them where they do not open.
    fn auth(
        self,
        opened: Option<Result<SecretString, OpenError>>,
    ) -> Result<Auth, (Auth, OpenError)> {
        // Where a secret belongs and there is none, somebody took it away.
        let opened = || opened.unwrap_or(Err(OpenError::Format));
        match self {
            Self::None => Ok(Auth::None),
            Self::TokenPassthrough { header } => header
                .parse()
                .map(Auth::TokenPassthrough)
                .map_err(|_| (Auth::None, OpenError::Format)),
            Self::StaticHeaders { headers } => opened()
                .and_then(|secrets| with_values(&headers, &secrets))
                .map_err(|error| (shape(&headers), error)),
            Self::OAuth2(record) => {
                let wanted = record.client_secret;
                let mut oauth = OAuth2 {
                    client_id: record.client_id,
                    client_secret: None,
                    client_secret_set_at: record.client_secret_set_at.map(time),
                    authorization_url: record.authorization_url,
                    token_url: record.token_url,
                    scopes: record.scopes,
                    issuer: record.issuer,
                    resource: record.resource,
                    token_auth: record.token_auth,
                };
                if wanted {
                    match opened() {
                        Ok(secret) => oauth.client_secret = Some(secret),
                        Err(error) => return Err((Auth::OAuth2(Box::new(oauth)), error)),
                    }
                }
                let shape = Auth::OAuth2(Box::new(OAuth2 {
                    client_secret: None,
                    ..oauth.clone()
                }));
                Auth::oauth2(oauth).map_err(|_| (shape, OpenError::Format))
            }
        }
    }
}

/// The text to seal: a JSON list of the headers with their values, or the client's secret.
fn secrets(auth: &Auth) -> Option<SecretString> {
    match auth {
        Auth::StaticHeaders(headers) => {
            let headers = headers.iter();
            let headers: Vec<_> = headers
                .map(|header| (header.name().as_str(), header.value().expose_secret()))
                .collect();
            // Text in lists does not fail to be written.
            Some(serde_json::to_string(&headers).unwrap_or_default().into())
        }
        Auth::OAuth2(oauth) => oauth.client_secret.clone(),
        Auth::None | Auth::TokenPassthrough(_) | Auth::Unreadable(_) => None,
    }
}

/// The headers from the text that was sealed, which has their names too: whoever can write to the
/// database cannot have a value sent under another name.
fn with_values(records: &[HeaderRecord], secrets: &SecretString) -> Result<Auth, OpenError> {
    let headers: Vec<(String, String)> =
        serde_json::from_str(secrets.expose_secret()).map_err(|_| OpenError::Format)?;
    let names = records.iter().map(|record| &record.name);
    if !headers.iter().map(|(name, _)| name).eq(names) {
        return Err(OpenError::Refused);
    }
    match Auth::static_headers(headers) {
        Ok(Auth::StaticHeaders(headers)) => {
            let dated = headers.into_iter().zip(records);
            let dated = dated.map(|(header, record)| header.with_set_at(record.set_at.map(time)));
            Ok(Auth::StaticHeaders(dated.collect()))
        }
        _ => Err(OpenError::Format),
    }
}

fn shape(records: &[HeaderRecord]) -> Auth {
    let headers = records.iter().filter_map(|record| {
        let header = StaticHeader::without_value(record.name.parse().ok()?);
        Some(header.with_set_at(record.set_at.map(time)))
    });
    Auth::StaticHeaders(headers.collect())
}

impl From<&StaticHeader> for HeaderRecord {
    fn from(header: &StaticHeader) -> Self {
        Self {
            name: header.name().to_string(),
            set_at: header.set_at().map(milliseconds),
        }
    }
}

impl From<&SelectedTool> for ToolRecord {
    fn from(tool: &SelectedTool) -> Self {
        Self {
            name: tool.name().to_owned(),
            ask_first: tool.policy() == ToolPolicy::AskFirst,
        }
    }
}

impl From<ToolRecord> for SelectedTool {
    fn from(record: ToolRecord) -> Self {
        let policy = match record.ask_first {
            true => ToolPolicy::AskFirst,
            false => ToolPolicy::Auto,
        };
        Self::new(record.name, policy)
    }
}
