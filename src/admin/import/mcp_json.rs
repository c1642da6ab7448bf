//! What a file of servers says, in the words of the programs that write such files.
//!
//! | program | servers | of each |
//! |---|---|---|
//! | Claude Desktop, Claude Code, Cursor, Windsurf, Cline, Gemini CLI | `mcpServers` | `command`, `args`, `env`, or `url` (`serverUrl`, `httpUrl`), `headers` |
//! | VS Code, `mcp.json` | `servers` | the same, with `type` |
//! | VS Code, `settings.json` | `mcp.servers`, as one name or as two | the same |
//!
//! A file without any of these may be such a list itself.

use std::collections::BTreeSet;

use crate::registry::members::{Fault, Members, Node, Tree, Words};

/// The most servers of one file: nobody has as many by hand, and each is read and stored.
pub(super) const SERVERS: usize = 200;
/// The most members without a meaning here that are told of one server.
const UNREAD: usize = 20;
/// The longest name of a server: it is in every fault of it, and is shown to people.
const NAME: usize = 200;
/// The most arguments and the most variables of a server that is a program, and the longest text of
/// these: each argument is held against each variable, and no file that people write has as many.
const WORDS: usize = 256;
const WORD: usize = 16 * 1024;
/// The members that have a list of servers.
const LISTS: [&str; 3] = ["mcpServers", "servers", "mcp.servers"];
/// The members that have an address.
const ADDRESSES: [&str; 3] = ["url", "serverUrl", "httpUrl"];
/// The members that are read, or say nothing of a server that is kept elsewhere.
const KNOWN: [&str; 16] = [
    "args",
    "auth",
    "command",
    "cwd",
    "description",
    "disabled",
    "enabled",
    "env",
    "headers",
    "httpUrl",
    "name",
    "serverUrl",
    "transport",
    "transportType",
    "type",
    "url",
];
/// The program by which others reach servers over HTTP, as if these spoke over stdio.
const REMOTE: &str = "mcp-remote";

/// One server of a file.
pub(super) struct Entry<'t> {
    /// Its name in the file.
    pub(super) name: &'t str,
    /// The path to it, for faults.
    pub(super) place: String,
    pub(super) description: Option<&'t str>,
    pub(super) is_disabled: bool,
    /// The names of members that mean nothing here.
    pub(super) unread: Vec<&'t str>,
    pub(super) reached: Reached<'t>,
}

/// The way to a server.
pub(super) enum Reached<'t> {
    Remote(Remote<'t>),
    Local(Local<'t>),
}

/// A server that is reached over HTTP.
pub(super) struct Remote<'t> {
    pub(super) url: &'t str,
    pub(super) is_sse: bool,
    /// Names and values.
    pub(super) headers: Vec<(&'t str, &'t str)>,
    /// The OAuth 2.0 client, if one is named.
    pub(super) client: Option<Client<'t>>,
}

/// An OAuth 2.0 client.
pub(super) struct Client<'t> {
    pub(super) id: Option<&'t str>,
    pub(super) scopes: Vec<&'t str>,
    pub(super) has_secret: bool,
}

/// A server that is a program, and speaks over stdio.
pub(super) struct Local<'t> {
    pub(super) command: &'t str,
    pub(super) args: Vec<&'t str>,
    /// Names and values.
    pub(super) env: Vec<(&'t str, &'t str)>,
    pub(super) directory: Option<&'t str>,
}

/// All servers of a file, in its order, or what is wrong with each.
///
/// # Errors
/// The file is none of servers, or has too many.
pub(super) fn entries<'t>(file: &'t Tree<'t>) -> Result<Vec<Result<Entry<'t>, Fault>>, Fault> {
    let whole = Node::new(file, &Words::JSON);
    let mut named = Vec::new();
    for list in lists(&whole)? {
        named.extend(
            list.table("must be an object of servers by their names")?
                .entries(),
        );
    }
    if named.is_empty() {
        return Err(whole.fault("has no servers"));
    }
    if named.len() > SERVERS {
        let reason = format!(
            "has {} servers; at most {SERVERS} are imported at once",
            named.len()
        );
        return Err(whole.fault(reason));
    }
    let entries = named.iter().map(|(name, at)| entry(name, at));
    Ok(entries.collect())
}

/// The lists of servers of a file.
fn lists<'t>(whole: &Node<'t>) -> Result<Vec<Node<'t>>, Fault> {
    let members = whole.table("must be an object")?;
    let mut lists: Vec<_> = LISTS.iter().filter_map(|name| members.get(name)).collect();
    if let Some(Ok(mcp)) = members.get("mcp").map(|mcp| mcp.table("")) {
        lists.extend(mcp.get("servers"));
    }
    let is_server = |(_, at): (&str, Node<'t>)| {
        let reached = at.table("").ok();
        reached.is_some_and(|server| {
            server.has("command") || ADDRESSES.iter().any(|name| server.has(name))
        })
    };
    if lists.is_empty() && members.entries().count() > 0 && members.entries().all(is_server) {
        lists.push(whole.clone());
    }
    match lists.is_empty() {
        true => Err(whole.fault(format!("has none of {}", LISTS.join(", ")))),
        false => Ok(lists),
    }
}

fn entry<'t>(name: &'t str, at: &Node<'t>) -> Result<Entry<'t>, Fault> {
    if name.len() > NAME {
        return Err(at.fault(format!("has a name of more than {NAME} bytes")));
    }
    let members = at.table("must be an object")?;
    let mut seen = BTreeSet::new();
    if let Some((twice, _)) = members.entries().find(|(name, _)| !seen.insert(*name)) {
        return Err(members.fault(twice, "is given twice"));
    }
    let flag = |name| members.get(name).map(|at| at.flag()).transpose();
    let is_disabled = flag("disabled")? == Some(true) || flag("enabled")? == Some(false);
    let unread = seen
        .iter()
        .filter(|name| !KNOWN.contains(name) && name.len() <= NAME);
    let description = members.get("description").and_then(|at| at.as_text());
    Ok(Entry {
        name,
        place: at.fault("").place(&Words::JSON),
        description: description.filter(|text| !text.is_empty()),
        is_disabled,
        unread: unread.copied().take(UNREAD).collect(),
        reached: reached(&members)?,
    })
}

fn reached<'t>(members: &Members<'t>) -> Result<Reached<'t>, Fault> {
    let addresses = ADDRESSES.iter().filter_map(|name| members.get(name));
    let addresses: Vec<Node<'t>> = addresses.collect();
    match (&addresses[..], members.get("command")) {
        ([url], None) => remote(members, url.text()?).map(Reached::Remote),
        ([], Some(command)) => {
            word(&command)?;
            let local = local(members, command.text()?)?;
            Ok(bridged(&local).map_or(Reached::Local(local), Reached::Remote))
        }
        ([], None) => Err(members.at().fault("has neither url nor command")),
        ([_, ..], _) => {
            let reason = "has more than one of url, serverUrl, httpUrl and command";
            Err(members.at().fault(reason))
        }
    }
}

fn remote<'t>(members: &Members<'t>, url: &'t str) -> Result<Remote<'t>, Fault> {
    let mut headers = Vec::new();
    if let Some(given) = members.get("headers") {
        let given = given.table("must be an object of texts")?;
        for (name, at) in given.entries() {
            headers.push((name, at.text()?));
        }
    }
    let auth = members.get("auth").and_then(|auth| auth.table("").ok());
    Ok(Remote {
        url,
        is_sse: is_sse(members)?.unwrap_or_else(|| ends_as_sse(url)),
        headers,
        client: auth.and_then(|auth| client(&auth)),
    })
}

/// The transport that is named; `None` if none is.
fn is_sse(members: &Members<'_>) -> Result<Option<bool>, Fault> {
    let named = ["type", "transport", "transportType"];
    let Some(at) = named.iter().find_map(|name| members.get(name)) else {
        return Ok(None);
    };
    match &*at.text()?.to_ascii_lowercase() {
        "sse" => Ok(Some(true)),
        "http" | "streamable-http" | "streamable_http" | "streamablehttp" | "remote" => {
            Ok(Some(false))
        }
        _ => Err(at.fault("must be http, streamable-http or sse where there is a url")),
    }
}

fn ends_as_sse(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/').ends_with("/sse")
}

/// The client of Cursor's `auth`; of others nothing is known.
fn client<'t>(auth: &Members<'t>) -> Option<Client<'t>> {
    let scopes = auth.get("scopes").and_then(|at| at.texts("").ok());
    let client = Client {
        id: auth.get("CLIENT_ID").and_then(|at| at.as_text()),
        scopes: scopes.unwrap_or_default(),
        has_secret: auth.has("CLIENT_SECRET"),
    };
    client.id.is_some().then_some(client)
}

fn local<'t>(members: &Members<'t>, command: &'t str) -> Result<Local<'t>, Fault> {
    let args = members.get("args");
    let args = args
        .map(|at| at.items("must be a list of texts"))
        .transpose()?
        .unwrap_or_default();
    let env = members.get("env");
    let env = env.map(|at| at.table("must be an object")).transpose()?;
    let env: Vec<_> = env.iter().flat_map(Members::entries).collect();
    for (name, count) in [("args", args.len()), ("env", env.len())] {
        if count > WORDS {
            return Err(members.fault(name, format!("has more than {WORDS}")));
        }
    }
    let arg = |at: &Node<'t>| word(at)?.ok_or_else(|| at.fault("must be a string"));
    // Numbers and the like are no secrets.
    let variable = |(name, at): (_, Node<'t>)| {
        let value = word(&at)?.unwrap_or_default();
        Ok::<_, Fault>((name, value))
    };
    let directory = members.get("cwd");
    let directory = directory
        .map(|at| word(&at).and_then(|_| at.text()))
        .transpose()?;
    Ok(Local {
        command,
        args: args.iter().map(arg).collect::<Result<_, _>>()?,
        env: env.into_iter().map(variable).collect::<Result<_, _>>()?,
        directory,
    })
}

/// A text of a command or its variables; `None` if it is none.
fn word<'t>(at: &Node<'t>) -> Result<Option<&'t str>, Fault> {
    match at.as_text() {
        Some(text) if text.len() > WORD => Err(at.fault(format!("has more than {WORD} bytes"))),
        text => Ok(text),
    }
}

/// The server behind a command that only bridges to it, such as
/// `npx -y mcp-remote https://mcp.example.com/mcp --header "X-Key: …"`.
fn bridged<'t>(local: &Local<'t>) -> Option<Remote<'t>> {
    let is_bridge = |word: &str| {
        word.strip_prefix(REMOTE)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
    };
    let behind = match is_bridge(local.command) {
        true => &local.args[..],
        false => {
            let at = local.args.iter().position(|word| is_bridge(word))?;
            &local.args[at + 1..]
        }
    };
    let url = behind
        .iter()
        .find(|word| word.starts_with("https://") || word.starts_with("http://"))?;
    let of = |flag: &str| {
        let at = behind.iter().enumerate().filter(|(_, word)| **word == flag);
        let at: Vec<_> = at
            .filter_map(|(at, _)| behind.get(at + 1).copied())
            .collect();
        at
    };
    let headers = of("--header")
        .into_iter()
        .filter_map(|header| header.split_once(':'));
    let transport = of("--transport");
    Some(Remote {
        url,
        is_sse: match transport.first() {
            Some(transport) => transport.starts_with("sse"),
            None => ends_as_sse(url),
        },
        headers: headers
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect(),
        client: None,
    })
}
