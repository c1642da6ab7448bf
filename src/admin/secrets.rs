//! How an operator has the gateway authenticate: secrets are entered, or kept as they are.

use std::time::SystemTime;

use secrecy::SecretString;
use url::Url;

use super::{
    body::{Members, Value},
    fault::Fault,
};
use crate::{
    connect::Connections,
    registry::{self, Auth, OAuth2, Server, StaticHeader},
    scopes::Scopes,
    token_auth::TokenAuth,
};

/// What was stored before, as far as secrets of it may be kept.
pub(super) struct Former<'a> {
    auth: Kept<'a>,
    now: SystemTime,
    connections: &'a Connections,
}

#[derive(Clone, Copy)]
enum Kept<'a> {
    /// There was nothing.
    Nothing,
    /// They are for the origin that the server had.
    Moved,
    /// They do not open.
    Unreadable,
    Auth(&'a Auth),
}

/// A secret, as it is given.
enum Secret {
    Entered(SecretString),
    /// `{"set": true, …}`, as it was read: the one that is stored.
    AsBefore,
}

impl<'a> Former<'a> {
    /// What `stored` leaves to a server at `url`.
    pub(super) fn of(
        stored: Option<&'a Server>,
        url: &Url,
        now: SystemTime,
        connections: &'a Connections,
    ) -> Self {
        let auth = match stored {
            None => Kept::Nothing,
            Some(stored) if stored.url.origin() != url.origin() => Kept::Moved,
            Some(stored) => match &stored.auth {
                Auth::Unreadable(_) => Kept::Unreadable,
                auth => Kept::Auth(auth),
            },
        };
        Self {
            auth,
            now,
            connections,
        }
    }

    fn header(&self, name: &str) -> Result<&'a StaticHeader, &'static str> {
        let kept = match self.auth()? {
            Auth::StaticHeaders(headers) => headers.iter().find(|header| header.name() == name),
            _ => None,
        };
        kept.ok_or(NOTHING)
    }

    /// The client secret, which is for one authorization server.
    fn client_secret(&self, oauth: &OAuth2) -> Result<&'a OAuth2, &'static str> {
        let Auth::OAuth2(former) = self.auth()? else {
            return Err(NOTHING);
        };
        if former.client_secret.is_none() {
            return Err(NOTHING);
        }
        let origin = |url: &Option<Url>| url.as_ref().map(Url::origin);
        let is_same =
            former.issuer == oauth.issuer && origin(&former.token_url) == origin(&oauth.token_url);
        match is_same {
            true => Ok(former),
            false => Err("was entered for another authorization server; enter it anew"),
        }
    }

    fn auth(&self) -> Result<&'a Auth, &'static str> {
        match self.auth {
            Kept::Auth(auth) => Ok(auth),
            Kept::Nothing => Err(NOTHING),
            Kept::Moved => Err("was entered for another origin; with a new url, enter it anew"),
            Kept::Unreadable => Err("is stored and cannot be opened; enter it anew"),
        }
    }
}

/// The members of an authentication with OAuth 2.0.
const OAUTH: [&str; 9] = [
    "type",
    "client_id",
    "client_secret",
    "authorization_url",
    "token_url",
    "scopes",
    "issuer",
    "resource",
    "token_auth",
];

/// Nothing that could be kept.
const NOTHING: &str = "is not stored, so it cannot be kept; enter it";

/// The member `auth`.
pub(super) fn auth(value: &Value<'_>, former: &Former<'_>) -> Result<Auth, Fault> {
    let known: Vec<&str> = ["headers", "header"].into_iter().chain(OAUTH).collect();
    let kind = value.members(&known)?.require("type")?;
    match kind.as_text().as_deref() {
        Some("none") => value.members(&["type"]).map(|_| Auth::None),
        Some("static_headers") => {
            let members = value.members(&["type", "headers"])?;
            static_headers(&members.require("headers")?, former)
        }
        Some("oauth2") => oauth(&value.members(&OAUTH)?, former),
        Some("token_passthrough") => {
            let members = value.members(&["type", "header"])?;
            let header = members.read("header", Value::text)?;
            Ok(Auth::token_passthrough(header.as_deref())?)
        }
        _ => {
            Err(kind
                .fault("must be \"none\", \"static_headers\", \"oauth2\" or \"token_passthrough\""))
        }
    }
}

fn static_headers(value: &Value<'_>, former: &Former<'_>) -> Result<Auth, Fault> {
    let items = value.items("must be a list of {\"name\", \"value\"}")?;
    if items.is_empty() {
        return Err(value.fault("must name at least one header"));
    }
    let mut headers: Vec<StaticHeader> = Vec::with_capacity(items.len());
    for item in &items {
        let header = header(item, former)?;
        if headers.iter().any(|other| other.name() == header.name()) {
            return Err(item.fault("has the name of another header of the list"));
        }
        headers.push(header);
    }
    Ok(Auth::StaticHeaders(headers))
}

fn header(value: &Value<'_>, former: &Former<'_>) -> Result<StaticHeader, Fault> {
    let members = value.members(&["name", "value"])?;
    let name = members.require("name")?.text()?.to_ascii_lowercase();
    // With a value that any header can have, only the name can be wrong.
    if let Err(error) = StaticHeader::new(&name, "x") {
        return Err(members.fault("name", &said(&error)));
    }
    let given = members.require("value")?;
    match secret(&given)? {
        Secret::Entered(entered) => StaticHeader::new(&name, entered)
            .map(|header| header.with_set_at(Some(former.now)))
            .map_err(|error| given.fault(&said(&error))),
        Secret::AsBefore => former
            .header(&name)
            .cloned()
            .map_err(|reason| given.fault(reason)),
    }
}

fn oauth(members: &Members<'_>, former: &Former<'_>) -> Result<Auth, Fault> {
    let mut oauth = OAuth2 {
        client_id: members.read("client_id", Value::text)?,
        authorization_url: members.read("authorization_url", |value| url(value, None))?,
        token_url: members.read("token_url", |value| url(value, Some(former)))?,
        scopes: members.read("scopes", scopes)?.unwrap_or_default(),
        issuer: members.read("issuer", |value| issuer(value, former))?,
        resource: members.read("resource", Value::text)?,
        token_auth: members.read("token_auth", token_auth)?,
        ..OAuth2::default()
    };
    if let Some(given) = members.get("client_secret") {
        (oauth.client_secret, oauth.client_secret_set_at) = match secret(&given)? {
            Secret::Entered(entered) => (Some(entered), Some(former.now)),
            Secret::AsBefore => {
                let kept = former.client_secret(&oauth);
                let kept = kept.map_err(|reason| given.fault(reason))?;
                (kept.client_secret.clone(), kept.client_secret_set_at)
            }
        };
    }
    Ok(Auth::oauth2(oauth)?)
}

/// A text, or what an answer says of a secret.
fn secret(value: &Value<'_>) -> Result<Secret, Fault> {
    if !value.is_object() {
        return match value.as_text() {
            Some(text) if text.is_empty() => Err(value.fault("is empty")),
            Some(text) => Ok(Secret::Entered(text.into())),
            None => Err(value.fault("must be a string, or {\"set\": true} to keep what is stored")),
        };
    }
    let members = value.members(&["set", "updated_at"])?;
    match members.require("set")?.flag()? {
        true => Ok(Secret::AsBefore),
        false => Err(value.fault("is not set; enter it")),
    }
}

/// A URL; `reached` says by whom it is to be reachable, if by us.
fn url(value: &Value<'_>, reached: Option<&Former<'_>>) -> Result<Url, Fault> {
    let url: Url = value
        .text()?
        .parse()
        .map_err(|_| value.fault("is not an absolute URL"))?;
    let may_reach = reached.map_or(Ok(()), |former| former.connections.may_reach(&url));
    match may_reach {
        Ok(()) => Ok(url),
        Err(error) => Err(value.fault(&format!("cannot be used: {error}"))),
    }
}

fn issuer(value: &Value<'_>, former: &Former<'_>) -> Result<String, Fault> {
    url(value, Some(former))?;
    // As it was written: an issuer is compared character by character.
    value.text()
}

/// A list of scopes, or a text with blanks or commas between them.
fn scopes(value: &Value<'_>) -> Result<Scopes, Fault> {
    let scopes = match value.as_text() {
        Some(text) => Scopes::parse(&text),
        None => {
            let items = value.items("must be a list of scopes, or one text")?;
            let items = items.iter().map(Value::text);
            Scopes::new(items.collect::<Result<Vec<_>, _>>()?)
        }
    };
    scopes.map_err(|error| value.fault(&format!("cannot be used: {error}")))
}

fn token_auth(value: &Value<'_>) -> Result<TokenAuth, Fault> {
    match value.as_text().as_deref() {
        Some("client_secret_basic") => Ok(TokenAuth::ClientSecretBasic),
        Some("client_secret_post") => Ok(TokenAuth::ClientSecretPost),
        Some("none") => Ok(TokenAuth::None),
        _ => {
            Err(value.fault("must be \"client_secret_basic\", \"client_secret_post\" or \"none\""))
        }
    }
}

/// What a record's own check has to say, without the member, which is known better here.
fn said(error: &registry::Error) -> String {
    match error {
        registry::Error::Invalid { reason, .. } => format!("cannot be used: {reason}"),
        error => error.to_string(),
    }
}
