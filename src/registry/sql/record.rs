//! The stored form of a server: JSON in clear, and one sealed record for its secrets.
//!
//! The URL and the authentication may have secrets in them, so both are sealed as a whole, and the
//! JSON contains them without the secrets, for operators to see. If somebody changes only one of
//! the two, they no longer match, and the server's secrets do not open.
//!
//! All of it is in one row, which is read and written as a whole: no reader meets the secret of one
//! version with the URL of another, and no value is sent under another header's name.

use std::{cell::Cell, fmt, io, time::SystemTime};

use sqlx::{Row, any::AnyRow};
use url::Url;
use zeroize::Zeroizing;

use super::{
    observed, text,
    time::{milliseconds, time},
};
use crate::{
    registry::{
        Auth, AuthKind, Error, Gate, OAuth2, Projects, Server, ServerId, Source, StaticHeader,
        members::{
            self, Blank, ClientProof, Entered, Fault, Given, HeaderValue, Kind, Members, Node,
            SERVER, Tree, Word, Words, Writer,
        },
    },
    secret::{ExposeSecret, KeyRing, OpenError, Place, SecretString},
    url_keys,
};

/// The longest record, in bytes: a description, a thousand projects and 512 tools fit.
const RECORD_LEN: usize = 256 * 1024;

/// The field that the secrets of a server are sealed for.
const AUTH: &str = "auth";
/// The member of a record that says whether it has a sealed part.
const SEALED: &str = "sealed";

/// The vocabulary of a record. Nobody reads its messages; a record was checked when it was entered.
const WORDS: Words = Words {
    blank: Blank::Kept,
    ..Words::JSON
};

/// The writer of the JSON in clear; `CLEAR` writes the part that is sealed.
const SHOWN: Writer = Writer {
    url: |url| url_keys::covered(url).into(),
    time: |at| milliseconds(at).unsigned_abs().into(),
    secret: |_| true.into(),
};
const CLEAR: Writer = Writer {
    url: |url| url.as_str().into(),
    secret: |secret| secret.expose_secret().into(),
    ..SHOWN
};

/// A server as it is written to the database.
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
        let record = Record::of(server)?;
        for member in SERVER
            .iter()
            .filter(|member| matches!(member.kind, Kind::Prose { .. }))
        {
            let prose = record.0.get(member.name).as_text();
            prose.map_or(Ok(()), |prose| text::check_long(member.name, prose))?;
        }
        if let Projects::Only(projects) = &server.projects {
            projects
                .iter()
                .try_for_each(|p| text::check("projects", p))?;
        }
        // Trees do not fail to be written.
        let text = serde_json::to_string(&record.0).map_err(Error::unavailable)?;
        if text.len() > RECORD_LEN {
            let reason = format!("the record is longer than {RECORD_LEN} bytes");
            return Err(Error::invalid("server", reason));
        }
        let sealed = match record.is_sealed() {
            false => None,
            true => {
                let clear = Tree::new()
                    .with("url", server.url.as_str())
                    .with("auth", members::write_auth(&server.auth, &CLEAR));
                let origin = record.origin()?;
                let place = place(&server.organization, &server.id, &origin, server.version);
                Some(ring.seal(&place, &secret_json(&clear)?))
            }
        };
        Ok(Self {
            record: text,
            search: text::search(server),
            auth: server.auth.kind().word(),
            sealed_by: sealed.as_ref().map(|_| ring.newest().to_string()),
            sealed,
        })
    }
}

/// A query for rows that [`read`] takes; the servers are `s`.
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

/// Reads a server from a row of [`select_servers`].
///
/// Secrets that do not open are no error: the server is then [`Auth::Unreadable`].
pub(super) fn read(row: &AnyRow, ring: &KeyRing) -> Result<Server, Broken> {
    let id: ServerId = row.try_get::<&str, _>(0)?.parse().map_err(|_| Broken)?;
    let (organization, name): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
    let version = row.try_get::<i64, _>(3)?.unsigned_abs();
    let record = Record::parse(row.try_get(4)?)?;
    let origin = record.origin()?;
    let sealed: Option<&[u8]> = row.try_get(5)?;
    // Where something was sealed and is not there, somebody took it away.
    let opened = sealed.ok_or(OpenError::Format);
    let opened = opened
        .and_then(|sealed| ring.open(&place(organization, &id, &origin, version), sealed))
        .and_then(|opened| record.server(name, &opened));
    let mut server = match opened {
        Ok(server) => server,
        Err(error) => {
            let shape = record.shape(name)?;
            if matches!(shape.auth, Auth::Unreadable(_)) {
                tracing::error!(server = name, %error, "the server's stored credential does not open");
            }
            shape
        }
    };
    server.id = id;
    server.organization = organization.into();
    server.on_change.get_or_insert(Gate::Block);
    server.new_tools.get_or_insert(Gate::Block);
    server.pins = observed::pins(row.try_get(9)?);
    server.draft = row.try_get::<i64, _>(6)? != 0;
    server.source = Source::Store;
    server.created_at = Some(time(row.try_get(7)?));
    server.updated_at = Some(time(row.try_get(8)?));
    server.version = version;
    Ok(server)
}

/// The field and the origin that the secrets of a stored record are sealed for.
pub(super) fn sealed_for(record: &str) -> Result<(&'static str, String), Broken> {
    Ok((AUTH, Record::parse(record)?.origin()?))
}

fn place<'a>(
    organization: &'a str,
    server: &'a ServerId,
    origin: &'a str,
    version: u64,
) -> Place<'a> {
    Place {
        organization,
        server: server.as_str(),
        field: AUTH,
        origin,
        version,
    }
}

/// The name of a kind of authentication, in the column and in the record.
pub(super) fn kind(kind: AuthKind) -> &'static str {
    kind.word()
}

/// The error of a row that cannot be read at all, not even without its secrets.
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

broken_by!(sqlx::Error Fault members::NotJson url::ParseError);

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Self::unavailable(broken)
    }
}

/// The JSON in clear. Unknown members are an error: they come from a newer version, and may matter.
struct Record<'t>(Tree<'t>);

impl<'t> Record<'t> {
    fn of(server: &'t Server) -> Result<Self, Error> {
        if matches!(server.auth, Auth::Unreadable(_)) {
            let reason = "the stored credential does not open; enter it anew";
            return Err(Error::invalid("auth", reason));
        }
        let has_secret = match &server.auth {
            Auth::StaticHeaders(_) => true,
            Auth::OAuth2(oauth) => oauth.has_proof(),
            Auth::None | Auth::TokenPassthrough(_) | Auth::Unreadable(_) => false,
        };
        let is_sealed = has_secret || url_keys::covered(&server.url) != server.url;
        let record = members::write(server, &SHOWN, is_stored);
        Ok(Self(record.with(SEALED, is_sealed)))
    }

    fn parse(text: &'t str) -> Result<Self, Broken> {
        Ok(Self(Tree::json(text.as_bytes())?))
    }

    fn is_sealed(&self) -> bool {
        matches!(self.0.get(SEALED), Tree::Flag(true))
    }

    /// The origin that the secrets are for: a client secret's authorization server, else the
    /// server's.
    fn origin(&self) -> Result<String, Broken> {
        let auth = self.0.get("auth");
        if let Some(issuer) = auth.get("issuer").as_text() {
            return Ok(issuer.to_owned());
        }
        let token_url = auth.get("token_url").as_text();
        let url = token_url.or(self.0.get("url").as_text()).ok_or(Broken)?;
        Ok(Url::parse(url)?.origin().ascii_serialization())
    }

    /// Reads the server with its `sealed` part, which without its secrets must equal the JSON in
    /// clear.
    fn server(&self, name: &str, sealed: &SecretString) -> Result<Server, OpenError> {
        let sealed =
            Tree::json(sealed.expose_secret().as_bytes()).map_err(|_| OpenError::Format)?;
        let url = sealed.get("url").as_text().and_then(|url| url.parse().ok());
        let covered = (SHOWN.url)(&url.ok_or(OpenError::Format)?);
        let auth = without_secrets(sealed.get("auth"));
        if *self.0.get("url") != covered.into() || *self.0.get("auth") != auth {
            return Err(OpenError::Refused);
        }
        let mut whole = self.0.clone();
        for member in ["url", "auth"] {
            whole.set(member, sealed.get(member).clone());
        }
        match read_tree(&whole, name) {
            Ok((server, true)) => Ok(server),
            _ => Err(OpenError::Format),
        }
    }

    /// Reads the server without its secrets; if it should have some, it is [`Auth::Unreadable`].
    fn shape(&self, name: &str) -> Result<Server, Fault> {
        let (mut server, is_whole) = read_tree(&self.0, name)?;
        if self.is_sealed() || !is_whole {
            server.auth = Auth::Unreadable(Box::new(server.auth));
        }
        Ok(server)
    }
}

/// Returns `true` for a member of the record; the rest are in columns.
fn is_stored(given: Given) -> bool {
    matches!(given, Given::Everywhere | Given::NotInFiles)
}

/// Reads the server of `tree`; the flag says whether its secrets are in there.
fn read_tree(tree: &Tree<'_>, name: &str) -> Result<(Server, bool), Fault> {
    let members = Node::new(tree, &WORDS).table("must be an object")?;
    members.allow(members::names(is_stored).chain([SEALED]))?;
    let secrets = Stored::default();
    let server = members::read(&members, name, &secrets).map_err(members::Faults::first)?;
    Ok((server, !secrets.are_missing.get()))
}

/// Replaces each secret of an authentication in clear by the mark that the JSON in clear has for
/// it.
fn without_secrets<'t>(clear: &Tree<'t>) -> Tree<'t> {
    match clear {
        Tree::List(items) => items.iter().map(without_secrets).collect(),
        Tree::Table(members) => {
            let members = members.iter().map(|(name, value)| match &**name {
                "set" => (name.clone(), true.into()),
                _ => (name.clone(), without_secrets(value)),
            });
            Tree::Table(members.collect())
        }
        other => other.clone(),
    }
}

/// The secrets of a record, in clear once the sealed part is opened.
#[derive(Default)]
struct Stored {
    are_missing: Cell<bool>,
}

impl Stored {
    fn secret(
        &self,
        members: &Members<'_>,
        name: &str,
    ) -> Result<(Option<SecretString>, Option<SystemTime>), Fault> {
        let secret = members.require(name)?.table("must be an object")?;
        secret.allow(["set", "updated_at"])?;
        let value = secret.require("set")?.as_text().map(SecretString::from);
        self.are_missing
            .set(self.are_missing.get() || value.is_none());
        let at = secret.get("updated_at").map(|at| at.count()).transpose()?;
        Ok((value, at.map(|at| time(at.try_into().unwrap_or(i64::MAX)))))
    }
}

impl members::Secrets for Stored {
    fn header(&self, header: &Members<'_>, name: &str, _: &Url) -> Result<HeaderValue, Fault> {
        let (value, set_at) = self.secret(header, "value")?;
        if let Some(value) = value {
            return Ok(HeaderValue::Given(value, set_at));
        }
        let name = name.parse();
        let name = name.map_err(|_| header.fault("name", "is no header's name"))?;
        Ok(HeaderValue::Kept(
            StaticHeader::without_value(name).with_set_at(set_at),
        ))
    }

    fn client_proof(
        &self,
        auth: &Members<'_>,
        proof: ClientProof,
        _: &OAuth2,
        _: &Url,
    ) -> Result<Entered<SecretString>, Fault> {
        match auth.get(proof.member()) {
            Some(_) => self.secret(auth, proof.member()),
            None => Ok((None, None)),
        }
    }

    fn oauth2(&self, oauth: OAuth2) -> Result<Auth, Error> {
        match self.are_missing.get() {
            true => Ok(Auth::OAuth2(Box::new(oauth))),
            false => Auth::oauth2(oauth),
        }
    }
}

/// Writes the JSON of secrets into a buffer of the right length: a growing one leaves copies
/// behind.
fn secret_json(secrets: &Tree<'_>) -> Result<SecretString, Error> {
    struct Length(usize);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    serde_json::to_writer(&mut length, secrets).map_err(Error::unavailable)?;
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *json, secrets).map_err(Error::unavailable)?;
    let json = std::str::from_utf8(&json).map_err(Error::unavailable)?;
    Ok(json.into())
}
