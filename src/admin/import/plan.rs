//! What the import of a file would do: which drafts it makes, and what is left to the operator.

use std::collections::HashSet;

use serde::Serialize;
use url::Url;

use super::{
    bridge::Bridge,
    mcp_json::{Entry, Local, Reached, Remote},
    placeholder::placeholders,
    slug::{numbered, slug},
};
use crate::{
    admin::{
        edit::is_reserved,
        fault::{Code, Fault, Faults},
        records::Records,
    },
    connect::Connections,
    name::ServerName,
    outbound,
    registry::{
        Server, is_reserved_header,
        members::{self, Tree, Word},
    },
    url_keys,
};

/// The port of the first bridge, as in the guide; each further one has the next.
const PORT: u16 = 8001;

/// What the import of a file would do.
#[derive(Serialize)]
pub(in super::super) struct Plan {
    pub(in super::super) drafts: Vec<Draft>,
    pub(in super::super) rest: Vec<Rest>,
}

/// A server that becomes a draft. It has no secret but in its record.
#[derive(Serialize)]
pub(in super::super) struct Draft {
    pub(in super::super) name: ServerName,
    /// The name in the file.
    pub(in super::super) from: String,
    /// Why the name is not that of the file.
    pub(in super::super) renamed: Option<String>,
    /// The address, without the keys in it.
    pub(in super::super) url: String,
    pub(in super::super) transport: &'static str,
    pub(in super::super) auth: &'static str,
    /// The names of the headers that were read.
    pub(in super::super) headers: Vec<String>,
    /// What is still to be entered.
    pub(in super::super) to_enter: Vec<ToEnter>,
    pub(in super::super) disabled: bool,
    /// Members of the file that were not read.
    pub(in super::super) unread: Vec<String>,
    #[serde(skip)]
    server: Server,
}

/// A value that the file leaves open.
#[derive(Serialize)]
pub(in super::super) struct ToEnter {
    /// The member of the server, such as `auth.headers[0].value`.
    pub(in super::super) member: String,
    /// What stands in the file in its place.
    pub(in super::super) placeholders: Vec<String>,
}

/// A server that cannot become a draft, with what to do about it.
#[derive(Serialize)]
pub(in super::super) struct Rest {
    /// The name in the file.
    pub(in super::super) from: String,
    pub(in super::super) reason: String,
    /// The command of a bridge, where one helps.
    pub(in super::super) command: Option<String>,
    /// Where the bridge makes the server reachable.
    pub(in super::super) url: Option<String>,
    /// The names of the variables to set for that command.
    pub(in super::super) env: Vec<String>,
    pub(in super::super) disabled: bool,
}

impl Plan {
    /// The plan for these entries beside the servers that are there.
    pub(super) async fn of(
        entries: Vec<Result<Entry<'_>, members::Fault>>,
        records: &Records,
        connections: &Connections,
    ) -> Result<Self, Faults> {
        let mut plan = Self {
            drafts: Vec::new(),
            rest: Vec::new(),
        };
        let (mut taken, mut faults) = (HashSet::new(), Vec::new());
        let mut ports = PORT..;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(fault) => {
                    faults.push(Fault::from(fault).with_code(Code::InvalidRequest));
                    continue;
                }
            };
            match &entry.reached {
                Reached::Local(local) => plan
                    .rest
                    .push(Rest::behind_bridge(&entry, local, &mut ports)),
                Reached::Remote(remote) => match closed(remote.url, connections) {
                    Some(reason) => plan.rest.push(Rest::of(&entry, reason)),
                    None => {
                        let name = free(entry.name, &mut taken, records).await?;
                        match Draft::of(&entry, remote, name, records) {
                            Ok(draft) => plan.drafts.push(draft),
                            Err(found) => faults.extend(found),
                        }
                    }
                },
            }
        }
        Faults::unless(faults, plan)
    }

    /// The records of the drafts.
    pub(super) fn into_servers(self) -> Vec<Server> {
        self.drafts.into_iter().map(|draft| draft.server).collect()
    }
}

/// Why no draft can be made for this address, and what to do; `None` if one can, or if the record
/// itself has to refuse it.
fn closed(url: &str, connections: &Connections) -> Option<String> {
    let Ok(parsed) = Url::parse(url) else {
        let open = placeholders(url);
        let reason = "has a placeholder in the name or the port of its address; create it by hand";
        return (!open.is_empty()).then(|| reason.to_owned());
    };
    match connections.may_reach(&parsed) {
        Err(error @ (outbound::Error::PlainHttp | outbound::Error::Denied)) => {
            Some(error.advice_on(&parsed))
        }
        _ => None,
    }
}

/// A name for a server that is called `name` in the file, and why it is not that.
async fn free(
    name: &str,
    taken: &mut HashSet<String>,
    records: &Records,
) -> Result<(ServerName, Option<String>), Fault> {
    let slug = slug(name);
    let mut why = (slug != name)
        .then(|| "a name has lower-case letters, digits and single hyphens".to_owned());
    for n in 1.. {
        let tried = numbered(&slug, n);
        let Ok(read) = tried.parse::<ServerName>() else {
            break;
        };
        let is_free = !taken.contains(&tried)
            && !is_reserved(&read)
            && records.taken(read.clone()).await?.is_none();
        taken.insert(tried);
        if is_free {
            return Ok((read, why));
        }
        why = Some(format!("the name {slug} is taken"));
        // As many as can be there, and then some: they are asked for one by one.
        if n > 1000 {
            break;
        }
    }
    let message = format!("all names like {slug} are taken; rename it in the file");
    Err(Fault::new(Code::Conflict, message))
}

impl Draft {
    fn of(
        entry: &Entry<'_>,
        remote: &Remote<'_>,
        (name, renamed): (ServerName, Option<String>),
        records: &Records,
    ) -> Result<Self, Faults> {
        let (mut headers, mut unread) = (Vec::new(), entry.unread.clone());
        for (header, value) in &remote.headers {
            // The connection sets these itself.
            match is_reserved_header(header) {
                true => unread.push(header),
                false => headers.push((*header, *value)),
            }
        }
        let auth = auth(remote, &headers);
        let display = (entry.name != name.as_str() && !entry.name.is_empty()).then_some(entry.name);
        let record = Tree::new()
            .with("name", name.as_str())
            .with("display_name", display)
            .with("description", entry.description)
            .with("url", remote.url)
            .with(
                "transport",
                if remote.is_sse {
                    "sse"
                } else {
                    "streamable_http"
                },
            )
            .with("auth", auth)
            .with("enabled", !entry.is_disabled)
            .with("draft", true);
        let read = records.reader().create(&record);
        let server = read.map_err(|faults| faults.map(|fault| within(&entry.place, &fault)))?;
        Ok(Self {
            from: entry.name.to_owned(),
            renamed,
            url: url_keys::shown(&server.url),
            transport: server.transport.word(),
            auth: server.auth.kind().word(),
            headers: headers.iter().map(|(name, _)| (*name).to_owned()).collect(),
            to_enter: to_enter(remote, &headers),
            disabled: entry.is_disabled,
            unread: unread.into_iter().map(str::to_owned).collect(),
            name,
            server,
        })
    }
}

/// The authentication that the file names.
fn auth<'t>(remote: &Remote<'t>, headers: &[(&'t str, &'t str)]) -> Tree<'t> {
    let kind = |kind: &'t str| Tree::new().with("type", kind);
    match (&remote.client, headers) {
        (None, []) => kind("none"),
        (Some(client), []) => {
            let scopes = client.scopes.iter().copied();
            let scopes = (!client.scopes.is_empty()).then(|| scopes.collect::<Tree<'_>>());
            kind("oauth2")
                .with("client_id", client.id)
                .with("scopes", scopes)
        }
        (_, headers) => {
            let header = |(name, value): &(&'t str, &'t str)| {
                Tree::new().with("name", *name).with("value", *value)
            };
            kind("static_headers").with("headers", headers.iter().map(header).collect::<Tree<'_>>())
        }
    }
}

/// What the file leaves to be entered.
fn to_enter(remote: &Remote<'_>, headers: &[(&str, &str)]) -> Vec<ToEnter> {
    let values = headers.iter().enumerate();
    let values = values.map(|(at, (_, value))| (format!("auth.headers[{at}].value"), *value));
    let open = [("url".to_owned(), remote.url)].into_iter().chain(values);
    let open = open.map(|(member, value)| ToEnter {
        member,
        placeholders: placeholders(value),
    });
    let mut open: Vec<_> = open.filter(|open| !open.placeholders.is_empty()).collect();
    // It is for an authorization server that the file does not name.
    if headers.is_empty()
        && remote
            .client
            .as_ref()
            .is_some_and(|client| client.has_secret)
    {
        open.push(ToEnter {
            member: "auth.client_secret".to_owned(),
            placeholders: Vec::new(),
        });
    }
    open
}

/// A fault of a server's record as one of the file.
fn within(place: &str, fault: &Fault) -> Fault {
    Fault::new(
        Code::InvalidRequest,
        format!("{place}: {}", fault.message()),
    )
    .at(place)
}

impl Rest {
    fn of(entry: &Entry<'_>, reason: String) -> Self {
        Self {
            from: entry.name.to_owned(),
            reason,
            command: None,
            url: None,
            env: Vec::new(),
            disabled: entry.is_disabled,
        }
    }

    /// A server that speaks over stdio.
    fn behind_bridge(
        entry: &Entry<'_>,
        local: &Local<'_>,
        ports: &mut impl Iterator<Item = u16>,
    ) -> Self {
        let env = local
            .env
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let port = ports.next().unwrap_or(PORT);
        let Some(bridge) = Bridge::to(local, port) else {
            let reason = "speaks over stdio, and its command has invisible or control characters, \
                          which are not to be pasted into a terminal";
            return Self {
                env,
                ..Self::of(entry, reason.to_owned())
            };
        };
        let covered = match bridge.is_covered {
            true => ", put what it hides in the place of …",
            false => "",
        };
        let reason = format!(
            "speaks over stdio: run a bridge{covered}, then create a server with its address; the \
             gateway needs --allow-egress 127.0.0.1:{port}"
        );
        Self {
            command: Some(bridge.command),
            url: Some(bridge.url),
            env,
            ..Self::of(entry, reason)
        }
    }
}
