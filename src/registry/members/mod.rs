//! The members of a server, each described once; every text of a server is read and written by that
//! description.
//!
//! ```text
//! TOML file ────┐                                         ┌──▶ REST answer, form of a page
//! REST body ────┼─▶ Tree ──read──▶ Server ──write──▶ Tree ┤
//! form of a page│          ▲           ▲                  └──▶ stored record
//! stored record ┘       SERVER      Secrets
//! ```
//!
//! A row of [`SERVER`] (or of [`OAUTH2`](auth::OAUTH2) for an OAuth 2.0 client) describes one
//! member completely: its name, where it may be given, how it is read from a [`Tree`] and written
//! to one, its schema in the OpenAPI document, and its label and hint on a page.
//!
//! Secrets are the one thing that differs between texts: a file names environment variables, a form
//! keeps what is stored, a stored record is opened with a key. Each text therefore brings its own
//! [`Secrets`].
//!
//! # Adding a member
//! 1. Add the field to [`Server`] with its default in [`Server::new`], and a row to [`SERVER`]. The
//! row's order is the order in which pages and documents list it. 2. If the field's type is new,
//! implement [`Value`](value::Value) for it, or [`Word`] for an enum whose values are single words.
//! For anything that reads more than its own value, use `Member::new` with functions of your own.
//! 3. Say where the member may be given with [`Given`]; the default is everywhere.
//!
//! Files, REST, the OpenAPI document, forms and stored records then have it; a choice on a page
//! also needs its template and a line in `dashboard/fields.rs`. A stored record without the member
//! reads as the default. A record with an unknown member is refused by older versions of the
//! program, so count up the version in `registry/sql/schema.rs`.

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

/// A member of `T`, which is a server or its OAuth 2.0 client: its description, and the functions
/// that read and write it.
pub(crate) struct Member<T: 'static> {
    about: About,
    /// `true` for a URL that the gateway itself connects to; [`Secrets::reach`] checks it before it
    /// is read.
    is_reached: bool,
    read: Read<T>,
    write: Write<T>,
}

/// The description of a member, for pages and for the OpenAPI document.
#[derive(Clone, Copy)]
/// The name in every text, which is the name of the field.
pub(crate) struct About {
    pub(crate) name: &'static str,
    /// The label on pages, also used in their messages.
    pub(crate) label: &'static str,
    /// The explanation below the label on a page, in HTML; empty for none.
    pub(crate) hint: &'static str,
    /// The description in the OpenAPI document; empty for none.
    pub(crate) description: &'static str,
    /// The message of a page for a value that the record refuses, if there are better words than
    /// the record's own.
    pub(crate) refusal: Option<&'static str>,
    /// The form of the value, from which the schema and the field of a form follow.
    pub(crate) kind: Kind,
    /// `true` if the member has no default, so that answers have `null` where it is not set.
    pub(crate) is_optional: bool,
    /// The texts in which the member may be given.
    pub(crate) given: Given,
}

impl<T> Deref for Member<T> {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

/// The form of a member's value.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Text for people: the most characters that a page takes, and the height of its field in
    /// lines.
    Prose(usize, usize),
    /// A server's name.
    Name,
    /// Text for programs, such as an id.
    Code,
    /// An absolute URL.
    Url,
    /// One of a few words: the name of the schema, and the words.
    Word(&'static str, fn() -> Vec<&'static str>),
    Flag,
    /// A list of OAuth 2.0 scopes.
    Scopes,
    Secret,
    /// Anything else, by the name of its schema.
    Schema(&'static str),
}

/// The texts in which a member may be given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// Files, REST, pages and stored records.
    Everywhere,
    /// Wherever a server is entered, but not in a stored record: the database has a column for it.
    Entered,
    /// Everywhere but in files: a file is the whole truth about its servers.
    NotInFiles,
    /// REST only.
    OverRest,
}

/// Reads a value into its field of `T`. The value is neither absent nor null.
type Read<T> = fn(&mut T, &Node<'_>, &dyn Secrets) -> Result<(), Fault>;
/// Writes the field of `T` as a value; [`Tree::Null`] if it is not set.
type Write<T> = for<'t> fn(&'t T, &Writer) -> Tree<'t>;

/// A member that is read and written by the type of the field of its name.
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

/// The knowledge of a text that its tree does not contain: where its secrets are, and which URLs
/// may be reached.
pub(crate) trait Secrets {
    /// Finds the value of the header `name` of a server at `url`.
    fn header(&self, header: &Members<'_>, name: &str, url: &Url) -> Result<HeaderValue, Fault>;

    /// Finds the secret of the client `oauth` of a server at `url`, and the time when it was
    /// entered; `None` for a client without a secret.
    fn client_secret(
        &self,
        auth: &Members<'_>,
        oauth: &OAuth2,
        url: &Url,
    ) -> Result<(Option<SecretString>, Option<SystemTime>), Fault>;

    /// Resolves the URL that `entered` stands for: one with a covered key means the stored URL.
    /// Default: `entered` itself.
    fn url(&self, _at: &Node<'_>, entered: Url) -> Result<Url, Fault> {
        Ok(entered)
    }

    /// Refuses a URL that the egress rules forbid. Default: accepts every URL, for texts that are
    /// checked elsewhere.
    fn reach(&self, _at: &Node<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Checks the members of `oauth` together. Default: [`Auth::oauth2`].
    fn oauth2(&self, oauth: OAuth2) -> Result<Auth, Error> {
        Auth::oauth2(oauth)
    }
}

/// The value of a static header.
pub(crate) enum HeaderValue {
    /// A new value, and the time when it was entered, if known.
    Given(SecretString, Option<SystemTime>),
    /// The stored header, unchanged.
    Kept(StaticHeader),
}

/// The representation of values that not every text shows in the same way.
pub(crate) struct Writer {
    /// The text of a URL, in clear or with its keys covered.
    pub(crate) url: fn(&Url) -> String,
    /// The value of a time.
    pub(crate) time: fn(SystemTime) -> Tree<'static>,
    /// The value of a secret that is set: the secret itself, or a mark that it exists.
    pub(crate) secret: for<'t> fn(&'t SecretString) -> Tree<'t>,
}

/// The members of a server, in the order in which pages and documents list them.
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

/// Reads the server `name` from `members`. Absent members have their defaults.
///
/// Unknown members are ignored: callers first decide which ones to [allow](Members::allow).
///
/// # Errors
/// The first [`Fault`], with the path of its value.
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

/// Reads those members of `all` that are present into `of`.
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

/// Writes `server` as a table of the members that `is_given` selects.
pub(crate) fn write<'s>(
    server: &'s Server,
    writer: &Writer,
    is_given: impl Fn(Given) -> bool,
) -> Tree<'s> {
    let members = SERVER.iter().filter(|member| is_given(member.given));
    let members = members.map(|member| (member.name.into(), (member.write)(server, writer)));
    Tree::Table(members.collect())
}

/// The names of the members that `is_given` selects.
pub(crate) fn names(is_given: impl Fn(Given) -> bool) -> impl Iterator<Item = &'static str> {
    let members = SERVER.iter().filter(move |member| is_given(member.given));
    members.map(|member| member.name)
}

/// Turns a record's error into a fault of the member that it names, with the page's own words if
/// there are some.
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

/// The reader of name and URL, which does nothing: [`read`] needs both before there is a server.
fn read_before(_: &mut Server, _: &Node<'_>, _: &dyn Secrets) -> Result<(), Fault> {
    Ok(())
}
