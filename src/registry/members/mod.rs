//! The members of a server, each described once, and what is read and written by that.
//!
//! ```text
//! TOML ─────────┐                                         ┌──▶ an answer of REST, a page's form
//! a body of REST├─▶ Tree ──read──▶ Server ──write──▶ Tree ┤
//! a page's form │          ▲           ▲                  └──▶ a stored record
//! stored record ┘       SERVER      Secrets
//! ```
//!
//! A row of [`SERVER`] (of [`OAUTH2`](auth::OAUTH2) for OAuth 2.0) is all that there is to say of
//! a member: what it is called and where it is given, how it is read from a [`Tree`] and written
//! into one, what its schema is in the OpenAPI document, its label and its hint on a page. What a
//! text has of secrets differs: a file names variables, an operator keeps what is stored, a record
//! is opened. That is for the text's [`Secrets`] to know.

mod auth;
mod node;
mod tree;
mod value;
mod word;

use std::{ops::Deref, time::SystemTime};

use secrecy::SecretString;
use url::Url;

use self::value::{read_tools, write_tools};
pub(crate) use self::{
    auth::{HEADER, HEADER_VALUE, HEADERS, OAUTH2, PASSTHROUGH, method, write as write_auth},
    node::{Blank, Fault, Members, Node, Step, Tone, Words},
    tree::{NotJson, Tree},
    word::Word,
};
use super::{Auth, Error, OAuth2, Server, StaticHeader};

/// A member of `T`: of a server, or of its OAuth 2.0 client.
pub(crate) struct Member<T: 'static> {
    about: About,
    /// Whether it is a URL that we are to reach.
    is_reached: bool,
    read: Read<T>,
    write: Write<T>,
}

/// What there is to say of a member.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    /// What people call it.
    pub(crate) label: &'static str,
    /// What a page says below the label, in HTML.
    pub(crate) hint: &'static str,
    /// What the OpenAPI document says.
    pub(crate) description: &'static str,
    /// What a page says of a value that the record refuses, where it has better words.
    pub(crate) refusal: Option<&'static str>,
    pub(crate) kind: Kind,
    /// Whether it may be absent for good: an answer has null then.
    pub(crate) is_optional: bool,
    pub(crate) given: Given,
}

impl<T> Deref for Member<T> {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

/// What a value looks like.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A text for people; a page takes so many characters, in so many lines.
    Prose(usize, usize),
    /// A server's name.
    Name,
    /// A text for programs.
    Code,
    Url,
    /// One of these words, as the schema of this name.
    Word(&'static str, fn() -> Vec<&'static str>),
    Flag,
    /// Scopes of OAuth 2.0.
    Scopes,
    Secret,
    /// What the schema of this name describes.
    Schema(&'static str),
}

/// Where a member is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    Everywhere,
    /// By whoever enters a server: what is stored has a column for it.
    Entered,
    /// Not in a file, which says all there is to say.
    NotInFiles,
    /// Over REST only.
    OverRest,
}

type Read<T> = fn(&mut T, &Node<'_>, &dyn Secrets) -> Result<(), Fault>;
type Write<T> = for<'t> fn(&'t T, &Writer) -> Tree<'t>;

/// The member of a struct in the field of its name.
macro_rules! member {
    ($of:ty, $name:ident, $label:literal) => {
        $crate::registry::members::Member::<$of>::new(
            stringify!($name),
            $label,
            $crate::registry::members::value::looks(|of: &$of| &of.$name),
            |of, at, _| {
                of.$name = $crate::registry::members::value::Value::read(at)?;
                Ok(())
            },
            |of, writer| $crate::registry::members::value::Value::write(&of.$name, writer),
        )
    };
}
use member;

/// What a text of a server cannot say by itself: where its secrets are, and what may be reached.
pub(crate) trait Secrets {
    /// The value of the header `name` of a server at `url`.
    fn header(&self, header: &Members<'_>, name: &str, url: &Url) -> Result<HeaderValue, Fault>;

    /// The secret of the client `oauth` of a server at `url`, if it has one, and since when.
    fn client_secret(
        &self,
        auth: &Members<'_>,
        oauth: &OAuth2,
        url: &Url,
    ) -> Result<(Option<SecretString>, Option<SystemTime>), Fault>;

    /// The URL that `entered` means.
    fn url(&self, _at: &Node<'_>, entered: Url) -> Result<Url, Fault> {
        Ok(entered)
    }

    /// Refuses what is no URL that may be reached, where that is known.
    fn reach(&self, _at: &Node<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Checks the members of `oauth` together.
    fn oauth2(&self, oauth: OAuth2) -> Result<Auth, Error> {
        Auth::oauth2(oauth)
    }
}

/// A header's value.
pub(crate) enum HeaderValue {
    /// It is given, at this time.
    Given(SecretString, Option<SystemTime>),
    /// It is that of a header which there is.
    Kept(StaticHeader),
}

/// How a text shows what is not plain.
pub(crate) struct Writer {
    pub(crate) url: fn(&Url) -> String,
    pub(crate) time: fn(SystemTime) -> Tree<'static>,
    /// What stands for a secret that there is.
    pub(crate) secret: for<'t> fn(&'t SecretString) -> Tree<'t>,
}

/// The members of a server, in the order in which they are told.
pub(crate) static SERVER: &[Member<Server>] = &[
    Member::new(
        "name",
        "Server name",
        (Kind::Name, false),
        read_before,
        |server, _| server.name.as_str().into(),
    )
    .given(Given::Entered)
    .refusal("Use 1–40 lowercase letters, digits and single hyphens.")
    .hint(
        "A unique name, by which callers ask for this server, such as \
         <code>github-production</code>: lowercase letters, digits and single hyphens.",
    ),
    member!(Server, display_name, "Display name")
        .kind(Kind::Prose(200, 1))
        .hint("What people read in lists, such as Github Production. Empty: the server name."),
    member!(Server, description, "Description")
        .kind(Kind::Prose(2000, 3))
        .hint("What this server is good for."),
    Member::new(
        "url",
        "Server URL",
        (Kind::Url, false),
        read_before,
        |server, writer| (writer.url)(&server.url).into(),
    )
    .description("Keys in it are shown as … in answers; sent back, that keeps them.")
    .hint(
        "The address of the MCP endpoint. It begins with https://, unless the gateway may reach \
         the host over plain http. A key in it is stored sealed and shown as …; leave that to \
         keep the key.",
    ),
    member!(Server, transport, "Server type"),
    member!(Server, projects, "Project scope"),
    Member::new(
        "tools",
        "Tools",
        (Kind::Schema("Selection"), false),
        |server, at, _| {
            (server.tools, server.pins) = read_tools(at)?;
            Ok(())
        },
        |server, _| write_tools(&server.tools),
    ),
    member!(Server, share_session, "Sessions")
        .description("Who shares one session of the server, and so sees what it remembers."),
    member!(Server, trace_context, "Traces").description(
        "Whether the server is told which trace a call is a part of; null: where its host is the \
         operator's own.",
    ),
    member!(Server, on_change, "Changed tools").given(Given::NotInFiles),
    member!(Server, new_tools, "New tools").given(Given::NotInFiles),
    member!(Server, enabled, "Enabled"),
    Member::new(
        "auth",
        "Authentication",
        (Kind::Schema("Auth"), false),
        |server, at, secrets| {
            server.auth = auth::read(at, &server.url, secrets)?;
            Ok(())
        },
        |server, writer| auth::write(&server.auth, writer),
    ),
    member!(Server, draft, "Draft").given(Given::OverRest),
];

/// The server that `members` say, of this name.
///
/// Which members there may be is for the caller to [allow](Members::allow).
pub(crate) fn read(
    members: &Members<'_>,
    name: &str,
    secrets: &dyn Secrets,
) -> Result<Server, Fault> {
    let url = members.require("url")?;
    let mut server = Server::new(name, url.text()?).map_err(|error| refused(members, error))?;
    server.url = secrets.url(&url, server.url)?;
    read_all(SERVER, &mut server, members, secrets)?;
    Ok(server)
}

/// Reads those of `all` that are there into `of`.
fn read_all<T>(
    all: &[Member<T>],
    of: &mut T,
    members: &Members<'_>,
    secrets: &dyn Secrets,
) -> Result<(), Fault> {
    for member in all {
        let Some(at) = members.get(member.name) else {
            continue;
        };
        // A field that nobody filled in.
        if matches!(member.kind, Kind::Prose(..)) && at.is_blank() {
            continue;
        }
        if member.is_reached {
            secrets.reach(&at)?;
        }
        (member.read)(of, &at, secrets)?;
    }
    Ok(())
}

/// `server` as a table of the members that are `given` where it is written.
pub(crate) fn write<'s>(
    server: &'s Server,
    writer: &Writer,
    is_given: impl Fn(Given) -> bool,
) -> Tree<'s> {
    let members = SERVER.iter().filter(|member| is_given(member.given));
    let members = members.map(|member| (member.name.into(), (member.write)(server, writer)));
    Tree::Table(members.collect())
}

/// The names of the members that are given somewhere.
pub(crate) fn names(is_given: impl Fn(Given) -> bool) -> impl Iterator<Item = &'static str> {
    let members = SERVER.iter().filter(move |member| is_given(member.given));
    members.map(|member| member.name)
}

fn refused(members: &Members<'_>, error: Error) -> Fault {
    let fault = members.refused(error);
    let name = match fault.path.last() {
        Some(Step::Member(name)) => SERVER.iter().find(|member| member.name == name),
        _ => None,
    };
    match name.and_then(|member| member.refusal) {
        Some(words) => fault.with_page(words),
        None => fault,
    }
}

impl<T> Member<T> {
    const fn new(
        name: &'static str,
        label: &'static str,
        (kind, is_optional): (Kind, bool),
        read: Read<T>,
        write: Write<T>,
    ) -> Self {
        let about = About {
            name,
            label,
            hint: "",
            description: "",
            refusal: None,
            kind,
            is_optional,
            given: Given::Everywhere,
        };
        Self {
            about,
            is_reached: false,
            read,
            write,
        }
    }

    const fn kind(mut self, kind: Kind) -> Self {
        self.about.kind = kind;
        self
    }

    const fn hint(mut self, hint: &'static str) -> Self {
        self.about.hint = hint;
        self
    }

    const fn description(mut self, description: &'static str) -> Self {
        self.about.description = description;
        self
    }

    const fn refusal(mut self, words: &'static str) -> Self {
        self.about.refusal = Some(words);
        self
    }

    const fn given(mut self, given: Given) -> Self {
        self.about.given = given;
        self
    }

    const fn reached(mut self) -> Self {
        self.is_reached = true;
        self
    }
}

/// Name and URL are read before the rest: there is no server without them.
fn read_before(_: &mut Server, _: &Node<'_>, _: &dyn Secrets) -> Result<(), Fault> {
    Ok(())
}
