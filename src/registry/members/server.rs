//! The members of a server, and the functions that read and write a server by them.

use url::Url;

use super::{
    about::{Given, Kind},
    auth,
    faults::Faults,
    member::{Member, member, read_all},
    node::{Fault, Members, Node, Step},
    secrets::{Secrets, Writer},
    tree::Tree,
    value::{read_tools, write_tools},
};
use crate::registry::{
    Error, Server,
    server::{in_vain, parse_name, parse_url},
};

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
        .kind(Kind::Prose {
            longest: 200,
            lines: 1,
        })
        .hint("The name that people read in lists, such as GitHub Production. Leave empty for the server name."),
    member!(Server, description, "Description")
        .kind(Kind::Prose {
            longest: 2000,
            lines: 3,
        })
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
    member!(Server, grants, "Grants").description(
        "What single projects may do with it: the tools that they may use of those that are selected, \
         and how often. A project without a grant may use all of them, without limits.",
    ),
    member!(Server, instructions, "Instructions").description(
        "Whether the server's own words on how to use its tools go to models, in a system message.",
    ),
    member!(Server, share_session, "Sessions")
        .description("Who shares one session of the server, and so sees what it remembers."),
    member!(Server, trace_context, "Traces").description(
        "Whether the server is told which trace a call is a part of; null: where its host is the \
         operator's own.",
    ),
    member!(Server, call, "Longest silence of a call")
        .description(
            "Seconds, from 1 to 86400, after which a call without progress is given up; null: that of \
             the limits, 60.",
        )
        .hint(
            "In seconds. A call is given up when the server says nothing for so long: no result, and \
             no progress. Leave empty for the gateway's limit, which is 60 unless it was changed.",
        ),
    member!(Server, call_max, "Longest call")
        .description(
            "Seconds, from 1 to 86400, that a call may take, whatever progress it makes; null: that \
             of the limits, 600, or call if that is more. No call outlasts its request's deadline.",
        )
        .hint(
            "In seconds, however much progress it makes. Leave empty for the gateway's limit, which is \
             600 unless it was changed. No call outlasts the deadline of its request, 300 by default.",
        ),
    member!(Server, on_change, "Changed tools")
        .given(Given::NotInFiles)
        .description(
            "Whether a tool whose definition has changed is offered before somebody accepts it; null \
             when it is created: block in a database, allow where there is none.",
        ),
    member!(Server, new_tools, "New tools")
        .given(Given::NotInFiles)
        .description(
            "The same for a tool that appears later, where all tools are selected.",
        ),
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
/// All faults, each with the path of its value. Where the URL is wrong, the authentication is not
/// looked at: what may be kept of it depends on the URL.
pub(crate) fn read(
    members: &Members<'_>,
    name: &str,
    secrets: &dyn Secrets,
) -> Result<Server, Faults<Fault>> {
    let mut faults = Vec::new();
    let name = parse_name(name).map_err(|error| refused(members, error));
    let url = read_url(members, secrets);
    let is_placed = url.is_ok();
    let mut server = match (name, url) {
        (Ok(name), Ok(url)) => Server::of(name, url),
        // Of another server, all the rest is looked at just as well.
        (name, url) => {
            let other = Server::new("other", "https://other.invalid");
            let mut other = other.map_err(|error| members.refused(error))?;
            faults.extend(name.err());
            match url {
                Ok(url) => other.url = url,
                Err(fault) => faults.push(fault),
            }
            other
        }
    };
    let rest = SERVER
        .iter()
        .filter(|member| is_placed || member.name != "auth");
    faults.extend(read_all(rest, &mut server, members, secrets));
    if faults.is_empty()
        && let Some(project) = server.granted_in_vain()
    {
        faults.push(members.fault("grants", in_vain(project)));
    }
    Faults::unless(faults, server)
}

fn read_url(members: &Members<'_>, secrets: &dyn Secrets) -> Result<Url, Fault> {
    let at = members.require("url")?;
    let url = parse_url(at.text()?).map_err(|error| refused(members, error))?;
    secrets.url(&at, url)
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

/// The reader of name and URL, which does nothing: [`read`] needs both before there is a server.
fn read_before(_: &mut Server, _: &Node<'_>, _: &dyn Secrets) -> Result<(), Faults<Fault>> {
    Ok(())
}
