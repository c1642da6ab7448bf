//! The record of a server.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use url::Url;

use super::{
    auth::Auth,
    definition::Fingerprint,
    error::Error,
    grant::{ProjectGrant, ProjectGrants},
    pins::{Gate, Pins, ToolState},
    projects::Projects,
    server_id::ServerId,
    share_session::ShareSession,
    tool_selection::{SelectedTool, ToolSelection},
};
use crate::{mcp::Transport, name::ServerName, project::Project};

/// A registered server: its address, the projects that may use it, and the tools that are offered.
///
/// The types of the fields enforce their rules; the `with_…` methods are for building a record.
///
/// ```
/// use mcp_layer::registry::Server;
///
/// let server = Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?
///     .with_projects(["web"])?
///     .with_tools(["ask_question"])?;
/// assert_eq!(server.display_name(), "deepwiki-mcp");
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Server {
    /// The id, which never changes. It is random, so recreating a server gives it a new id; the id
    /// of a server in a file is derived from its name, and stays the same.
    pub id: ServerId,
    /// The organization that the server belongs to; default `default`.
    pub organization: Arc<str>,
    /// The name by which callers ask for the server; a slug, unique in the organization.
    pub name: ServerName,
    /// The name for people; see [`Server::display_name`].
    pub display_name: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// The MCP endpoint. The egress rules decide at each use whether it may be reached.
    pub url: Url,
    /// The transport to try first; default [`Transport::StreamableHttp`].
    pub transport: Transport,
    /// The projects that may use the server; default all of the organization.
    pub projects: Projects,
    /// The authentication; default [`Auth::None`].
    pub auth: Auth,
    /// The tools that are offered to models; default all.
    pub tools: ToolSelection,
    /// What single projects may do with it: the tools that they may use of these, and how often. By
    /// default all of them, without limits.
    pub grants: ProjectGrants,
    /// Whether the server's own words on how to use its tools go to models that are offered them:
    /// at most 4 KiB, in a system message. Default `false`: a model follows what it reads there, and
    /// the server can write anything.
    pub instructions: bool,
    /// The callers that share one session of the server; default [`ShareSession::Project`].
    pub share_session: ShareSession,
    /// The longest silence of a call, in whole seconds; default `None`: that of the limits
    /// ([`ServerLimits::call`](crate::mcp::ServerLimits::call), 60 s). It may be longer than theirs.
    /// Each progress that the server reports begins it anew.
    pub call: Option<Duration>,
    /// The longest call, in whole seconds; default `None`: that of the limits
    /// ([`ServerLimits::call_max`](crate::mcp::ServerLimits::call_max), 600 s), or `call` if that is
    /// longer. It may be longer than theirs, but no call outlasts its request's
    /// [`deadline`](crate::Limits::deadline).
    pub call_max: Option<Duration>,
    /// Trace propagation: `true` sends `traceparent` and `tracestate`, as headers and in `_meta`.
    /// Default `None`: only to hosts that are the operator's own by the
    /// [egress rules](crate::outbound::Outbound::is_own).
    pub trace_context: Option<bool>,
    /// The rule for a tool whose definition has changed since it was accepted. Default `None`, for
    /// the store to decide: a database takes [`Gate::Block`], others [`Gate::Allow`].
    pub on_change: Option<Gate>,
    /// The rule for tools that appear later, if all tools are selected; default as for `on_change`.
    pub new_tools: Option<Gate>,
    /// The accepted tools; `None` before the first listing, and if nothing is pinned. Stores set
    /// it, and ignore it in records that they are given.
    pub pins: Option<Arc<Pins>>,
    /// The operator's switch; default `true`. A disabled server is found, so that callers get a
    /// reason, and is never called.
    pub enabled: bool,
    /// Marks an unfinished server: no caller finds it, and it expires after [`DRAFT_LIFE`]. Default
    /// `false`.
    pub draft: bool,
    /// The origin of the record; default [`Source::Store`].
    pub source: Source,
    /// The time of the insertion; set by a [`ServerStore`](super::ServerStore).
    pub created_at: Option<SystemTime>,
    /// The time of the last replacement, or else of the insertion; set by a store.
    pub updated_at: Option<SystemTime>,
    /// The number of the operator's edits, from 1; set by a store.
    pub version: u64,
}

impl Server {
    /// Creates a server that all projects may use, with all its tools and without authentication.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is not a slug, and for a URL that is not absolute with
    /// the scheme `http` or `https`, or that contains a user, a password or a fragment.
    pub fn new(name: &str, url: &str) -> Result<Self, Error> {
        Ok(Self::of(parse_name(name)?, parse_url(url)?))
    }

    /// The server of this name at this URL, which have been checked.
    pub(super) fn of(name: ServerName, url: Url) -> Self {
        Self {
            id: ServerId::random(),
            organization: "default".into(),
            name,
            display_name: None,
            description: None,
            url,
            transport: Transport::default(),
            projects: Projects::All,
            auth: Auth::None,
            tools: ToolSelection::All,
            grants: ProjectGrants::default(),
            instructions: false,
            share_session: ShareSession::default(),
            call: None,
            call_max: None,
            trace_context: None,
            on_change: None,
            new_tools: None,
            pins: None,
            enabled: true,
            draft: false,
            source: Source::Store,
            created_at: None,
            updated_at: None,
            version: 1,
        }
    }

    /// The name for people: the display name, or else the slug.
    pub fn display_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(self.name.as_str())
    }

    /// Returns `true` if `project` may use the server.
    pub fn is_usable_by(&self, project: &Project) -> bool {
        *self.organization == *project.organization() && self.projects.contains(project.name())
    }

    /// The first project that has a grant, and may not use the server.
    pub(super) fn granted_in_vain(&self) -> Option<&str> {
        let mut projects = self.grants.iter().map(ProjectGrant::project);
        projects.find(|project| !self.projects.contains(project))
    }

    /// The longest silence of a call and the longest call, where the limits are these.
    pub(crate) fn call_time(&self, call: Duration, call_max: Duration) -> (Duration, Duration) {
        let whole = || call_max.max(self.call.unwrap_or_default());
        (
            self.call.unwrap_or(call),
            self.call_max.unwrap_or_else(whole),
        )
    }

    /// The reason why a selected tool with this fingerprint is withheld; `None` if it is offered.
    ///
    /// `pins` are used if the record has none of its own. Without any, nothing is withheld: the
    /// server's tools have never been listed.
    pub fn withheld(&self, tool: &str, now: Fingerprint, pins: Option<&Pins>) -> Option<ToolState> {
        let state = self.pins.as_deref().or(pins)?.state(tool, now);
        let gate = match state {
            ToolState::Changed => self.on_change,
            // A tool that is named in the selection was chosen by its name.
            ToolState::New if self.tools == ToolSelection::All => self.new_tools,
            ToolState::New | ToolState::Approved | ToolState::Removed => None,
        };
        (gate == Some(Gate::Block)).then_some(state)
    }

    /// Returns `true` if instructions with this fingerprint wait for an operator who accepts them:
    /// they are not those that were accepted, and [`on_change`](Self::on_change) blocks.
    ///
    /// `pins` are used if the record has none of its own.
    pub fn withholds_instructions(&self, now: Fingerprint, pins: Option<&Pins>) -> bool {
        let accepted = self.pins.as_deref().or(pins).and_then(Pins::instructions);
        self.on_change == Some(Gate::Block) && accepted.is_some_and(|accepted| accepted != now)
    }

    /// Replaces the organization.
    #[must_use]
    pub fn with_organization(mut self, organization: impl Into<Arc<str>>) -> Self {
        self.organization = organization.into();
        self
    }

    /// Replaces the transport to try first.
    #[must_use]
    pub fn with_transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Replaces the projects that may use the server.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list.
    pub fn with_projects<P: Into<String>>(
        mut self,
        projects: impl IntoIterator<Item = P>,
    ) -> Result<Self, Error> {
        self.projects = Projects::only(projects)?;
        Ok(self)
    }

    /// Replaces the tools that are offered.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list and a name given twice.
    pub fn with_tools<T: Into<SelectedTool>>(
        mut self,
        tools: impl IntoIterator<Item = T>,
    ) -> Result<Self, Error> {
        self.tools = ToolSelection::only(tools)?;
        Ok(self)
    }

    /// Replaces what single projects may do with it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for two grants of one project, for more than 1,000, and for one of a project
    /// that may not use the server.
    pub fn with_grants(
        mut self,
        grants: impl IntoIterator<Item = ProjectGrant>,
    ) -> Result<Self, Error> {
        self.grants = ProjectGrants::new(grants)?;
        match self.granted_in_vain() {
            Some(project) => Err(Error::invalid("grants", in_vain(project))),
            None => Ok(self),
        }
    }

    /// Replaces the authentication.
    #[must_use]
    pub fn with_auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Replaces whether the server's instructions go to models.
    #[must_use]
    pub fn with_instructions(mut self, instructions: bool) -> Self {
        self.instructions = instructions;
        self
    }

    /// Replaces the callers that share one session of the server.
    #[must_use]
    pub fn with_share_session(mut self, share_session: ShareSession) -> Self {
        self.share_session = share_session;
        self
    }

    /// Replaces the longest silence of a call, and the longest call; `None` for those of the limits.
    ///
    /// # Errors
    /// [`Error::Invalid`] for less than a second, more than a day, and parts of seconds.
    pub fn with_call_time(
        mut self,
        call: Option<Duration>,
        call_max: Option<Duration>,
    ) -> Result<Self, Error> {
        for (field, time) in [("call", call), ("call_max", call_max)] {
            if time.is_some_and(|time| !is_call_time(time)) {
                return Err(Error::invalid(field, CALL_TIME));
            }
        }
        (self.call, self.call_max) = (call, call_max);
        Ok(self)
    }

    /// Replaces the rule for trace propagation.
    #[must_use]
    pub fn with_trace_context(mut self, trace_context: Option<bool>) -> Self {
        self.trace_context = trace_context;
        self
    }

    /// Replaces the operator's switch.
    #[must_use]
    pub fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }
}

impl fmt::Debug for Server {
    /// Shows the origin, not the URL: paths and queries sometimes hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("id", &self.id)
            .field("organization", &self.organization)
            .field("name", &self.name)
            .field("origin", &self.url.origin().ascii_serialization())
            .field("transport", &self.transport)
            .field("projects", &self.projects)
            .field("auth", &self.auth)
            .field("tools", &self.tools)
            .field("enabled", &self.enabled)
            .field("draft", &self.draft)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The rule for times of calls.
pub(crate) const CALL_TIME: &str = "must be a number of seconds, from 1 to 86400";

/// Returns `true` for whole seconds, at least one and at most a day: more is no call.
pub(crate) fn is_call_time(time: Duration) -> bool {
    time.subsec_nanos() == 0 && (1..=86_400).contains(&time.as_secs())
}

/// The fault of a grant for this project, which may not use the server.
pub(super) fn in_vain(project: &str) -> String {
    format!(
        "names the project {project:?}, which may not use the server; add it to projects, or remove its grant"
    )
}

/// Reads a server's name.
pub(super) fn parse_name(text: &str) -> Result<ServerName, Error> {
    text.parse()
        .map_err(|error| Error::invalid("name", format!("{error}")))
}

/// Reads a server's URL.
pub(super) fn parse_url(text: &str) -> Result<Url, Error> {
    let url: Url = text
        .parse()
        .map_err(|_| Error::invalid("url", "not an absolute URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::invalid(
            "url",
            "the scheme is neither https nor http",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid(
            "url",
            "carries a user or a password; use the server's authentication instead",
        ));
    }
    if url.fragment().is_some() {
        return Err(Error::invalid("url", "has a fragment"));
    }
    Ok(url)
}

/// The life of a draft after its last change: a day.
pub const DRAFT_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The origin of a server's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A store, where an operator can change it.
    #[default]
    Store,
    /// A file, where it is declared and which only its author changes.
    File,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_key_that_is_in_a_url() {
        let server = Server::new("s", "https://mcp.example.com/s3cret/mcp?key=s3cret").unwrap();
        let debug = format!("{server:?}");
        assert!(debug.contains("https://mcp.example.com") && !debug.contains("s3cret"));
    }
}
