//! A server as an operator enters it.

use std::{sync::Arc, time::SystemTime};

use url::Url;

use super::{
    body::{Members, Value},
    fault::{Code, Fault},
    secrets::{Former, auth},
    view::READ_ONLY,
};
use crate::{
    connect::Connections,
    mcp::Transport,
    registry::{
        Auth, Error, Gate, Projects, SelectedTool, Server, ShareSession, ToolPolicy, ToolSelection,
    },
    url_keys,
};

/// The members that are entered.
const ENTERED: [&str; 15] = [
    "name",
    "display_name",
    "description",
    "url",
    "transport",
    "projects",
    "auth",
    "tools",
    "share_session",
    "trace_context",
    "on_change",
    "new_tools",
    "enabled",
    "draft",
    "version",
];

/// Reads servers for one organization.
pub(super) struct Reader<'a> {
    pub(super) organization: Arc<str>,
    /// They know where servers may be.
    pub(super) connections: &'a Connections,
    pub(super) now: SystemTime,
}

impl Reader<'_> {
    /// A server that is not there yet.
    ///
    /// What only answers have is ignored, the version too: a server is copied by sending what was
    /// read under another name. Its secrets are not copied, and have to be entered.
    pub(super) fn create(&self, body: &[u8]) -> Result<Server, Fault> {
        let members = members(body)?;
        let name = members.require("name")?.text()?;
        self.server(&members, &name, None)
    }

    /// What is to be in the place of `stored`, with the version that was read.
    pub(super) fn replace(&self, body: &[u8], stored: &Server) -> Result<Server, Fault> {
        let members = members(body)?;
        if let Some(name) = members.get("name")
            && name.text()? != stored.name.as_str()
        {
            return Err(name.fault("differs from the name in the path; a server keeps its name"));
        }
        let version = members.require("version")?.count()?;
        if version != stored.version {
            // Before its secrets: those that it means to keep may be others by now.
            let (name, version) = (stored.name.clone(), stored.version);
            return Err(Error::Stale { name, version }.into());
        }
        let server = self.server(&members, stored.name.as_str(), Some(stored))?;
        Ok(Server { version, ..server })
    }

    /// What `stored`, a draft, is under the name that a body gives it: another server, with the
    /// secrets of this one.
    pub(super) fn rename(&self, body: &[u8], stored: &Server) -> Result<Server, Fault> {
        let members = members(body)?;
        let name = members.require("name")?.text()?;
        self.server(&members, &name, Some(stored))
    }

    fn server(
        &self,
        members: &Members<'_>,
        name: &str,
        stored: Option<&Server>,
    ) -> Result<Server, Fault> {
        let url = members.require("url")?;
        let mut server = Server::new(name, &url.text()?)?;
        server.url = with_keys(&url, server.url, stored)?;
        self.check(&url, &server.url)?;
        let former = Former::of(stored, &server.url, self.now, self.connections);
        server.organization = self.organization.clone();
        server.display_name = members.read("display_name", words)?.flatten();
        server.description = members.read("description", words)?.flatten();
        server.transport = members.read("transport", transport)?.unwrap_or_default();
        server.projects = members.read("projects", projects)?.unwrap_or_default();
        server.auth = members
            .read("auth", |value| auth(value, &former))?
            .unwrap_or_default();
        server.tools = members.read("tools", tools)?.unwrap_or_default();
        server.share_session = members
            .read("share_session", share_session)?
            .unwrap_or_default();
        server.trace_context = members.read("trace_context", Value::flag)?;
        server.on_change = members.read("on_change", gate)?;
        server.new_tools = members.read("new_tools", gate)?;
        server.enabled = members.read("enabled", Value::flag)?.unwrap_or(true);
        server.draft = members.read("draft", Value::flag)?.unwrap_or(false);
        Ok(server)
    }

    fn check(&self, value: &Value<'_>, url: &Url) -> Result<(), Fault> {
        self.connections
            .may_reach(url)
            .map_err(|error| value.fault(&format!("cannot be used: {error}")))
    }
}

/// `entered` with the keys that are stored, where it has what answers show in their place.
fn with_keys(value: &Value<'_>, entered: Url, stored: Option<&Server>) -> Result<Url, Fault> {
    if !url_keys::is_covered(&entered) {
        return Ok(entered);
    }
    let reason = match stored {
        Some(stored) if matches!(stored.auth, Auth::Unreadable(_)) => {
            "has a key that is stored and cannot be opened; enter it anew in the place of …"
        }
        Some(stored) if stored.url.origin() != entered.origin() => {
            "has another origin than the key in it was entered for; enter it in the place of …"
        }
        Some(stored) => {
            let kept = url_keys::uncovered(&entered, &stored.url);
            return kept.ok_or_else(|| value.fault(NOT_STORED));
        }
        None => NOT_STORED,
    };
    Err(value.fault(reason))
}

const NOT_STORED: &str = "has … where no key is stored that could be kept; enter it";

fn members(body: &[u8]) -> Result<Members<'_>, Fault> {
    let known: Vec<&str> = ENTERED.into_iter().chain(READ_ONLY).collect();
    Value::parse(body, Code::InvalidServer)?.members(&known)
}

/// A text for people; an empty field of a form is none.
fn words(value: &Value<'_>) -> Result<Option<String>, Fault> {
    let text = value.as_text();
    let text = text.ok_or_else(|| value.fault("must be a string"))?;
    Ok((!text.is_empty()).then_some(text))
}

fn transport(value: &Value<'_>) -> Result<Transport, Fault> {
    match value.as_text().as_deref() {
        Some("streamable_http") => Ok(Transport::StreamableHttp),
        Some("sse") => Ok(Transport::Sse),
        _ => Err(value.fault("must be \"streamable_http\" or \"sse\"")),
    }
}

fn projects(value: &Value<'_>) -> Result<Projects, Fault> {
    if value.as_text().as_deref() == Some("all") {
        return Ok(Projects::All);
    }
    let items = value.items("must be \"all\" or a list of projects")?;
    let projects = items
        .iter()
        .map(Value::text)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Projects::only(projects)?)
}

fn tools(value: &Value<'_>) -> Result<ToolSelection, Fault> {
    if value.as_text().as_deref() == Some("all") {
        return Ok(ToolSelection::All);
    }
    let items = value.items("must be \"all\" or a list of tools")?;
    let tools = items.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    Ok(ToolSelection::only(tools)?)
}

fn tool(value: &Value<'_>) -> Result<SelectedTool, Fault> {
    if !value.is_object() {
        return value
            .text()
            .map(SelectedTool::from)
            .map_err(|_| value.fault("must be a name or {\"name\", \"policy\"}"));
    }
    let members = value.members(&["name", "policy"])?;
    let name = members.require("name")?.text()?;
    let policy = members.read("policy", policy)?.unwrap_or_default();
    Ok(SelectedTool::new(name, policy))
}

fn policy(value: &Value<'_>) -> Result<ToolPolicy, Fault> {
    match value.as_text().as_deref() {
        Some("auto") => Ok(ToolPolicy::Auto),
        Some("ask_first") => Ok(ToolPolicy::AskFirst),
        _ => Err(value.fault("must be \"auto\" or \"ask_first\"")),
    }
}

fn share_session(value: &Value<'_>) -> Result<ShareSession, Fault> {
    let sharing = value
        .as_text()
        .as_deref()
        .and_then(|word| word.parse().ok());
    sharing.ok_or_else(|| value.fault(ShareSession::EXPECTED))
}

fn gate(value: &Value<'_>) -> Result<Gate, Fault> {
    match value.as_text().as_deref() {
        Some("allow") => Ok(Gate::Allow),
        Some("block") => Ok(Gate::Block),
        _ => Err(value.fault("must be \"block\" or \"allow\"")),
    }
}
