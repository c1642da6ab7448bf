//! The record of a server.

use std::{
    collections::BTreeSet,
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use url::Url;

use super::{Auth, Error, Gate, Pins, ShareSession};
use crate::{mcp::Transport, name::ServerName, project::Project, random::fill_random};

/// A registered server: where it is, who may use it, and which of its tools are offered.
///
/// The fields check themselves; the `with_…` methods are there for building.
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
    /// Immutable. Random: a server that is removed and made again is another one. Of a server
    /// that is declared in a file it is made from the name: there it is the same one again.
    pub id: ServerId,
    /// The organization that the server belongs to; default `default`.
    pub organization: Arc<str>,
    /// The slug, unique in the organization.
    pub name: ServerName,
    /// A name for people; see [`Server::display_name`].
    pub display_name: Option<String>,
    /// What the server is for, for people.
    pub description: Option<String>,
    /// The endpoint. Whether it may be reached is decided by the egress rules at each use.
    pub url: Url,
    /// The transport to begin with; default [`Transport::StreamableHttp`].
    pub transport: Transport,
    /// The projects that may use the server; default all of the organization.
    pub projects: Projects,
    /// How the gateway authenticates; default [`Auth::None`].
    pub auth: Auth,
    /// The tools that are offered to models; default all.
    pub tools: ToolSelection,
    /// Who shares one session of the server; default [`ShareSession::Project`].
    pub share_session: ShareSession,
    /// Whether the server is told which trace a call is a part of (`traceparent` and `tracestate`,
    /// as headers and in `_meta`). Default `None`: where its host is the operator's own, which is
    /// what the egress rules [say](crate::outbound::Outbound::is_own).
    pub trace_context: Option<bool>,
    /// What becomes of a tool that is no longer what was accepted. Default `None`, for the store
    /// to decide: one that lasts takes [`Gate::Block`], others [`Gate::Allow`].
    pub on_change: Option<Gate>,
    /// What becomes of a tool that appears later, where all tools are selected; default as above.
    pub new_tools: Option<Gate>,
    /// What was accepted of its tools; `None` before the first listing, and where nothing is
    /// pinned. Registries give it; on the way into a [`ServerStore`](super::ServerStore) it means
    /// nothing.
    pub pins: Option<Arc<Pins>>,
    /// The operator's switch; default on.
    pub enabled: bool,
    /// A server that is not finished: no caller finds it, and after [`DRAFT_LIFE`] it is gone.
    /// Default off.
    pub draft: bool,
    /// Where it is from; default [`Source::Store`].
    pub source: Source,
    /// When it was inserted; a [`ServerStore`](super::ServerStore) keeps it.
    pub created_at: Option<SystemTime>,
    /// When it was replaced last, or inserted; likewise.
    pub updated_at: Option<SystemTime>,
    /// Counts the operator's edits, from 1; a [`ServerStore`](super::ServerStore) keeps it.
    pub version: u64,
}

impl Server {
    /// A server that all projects may use, with all its tools and without authentication.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is no slug and a URL that is not an absolute
    /// `http` or `https` one, or that carries a user, a password or a fragment.
    pub fn new(name: &str, url: &str) -> Result<Self, Error> {
        Ok(Self {
            id: ServerId::random(),
            organization: "default".into(),
            name: name
                .parse()
                .map_err(|e| Error::invalid("name", format!("{e}")))?,
            display_name: None,
            description: None,
            url: parse_url(url)?,
            transport: Transport::default(),
            projects: Projects::All,
            auth: Auth::None,
            tools: ToolSelection::All,
            share_session: ShareSession::default(),
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
        })
    }

    /// The name for people: the one given, else the slug.
    pub fn display_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(self.name.as_str())
    }

    /// Whether `project` may use the server.
    pub fn is_usable_by(&self, project: &Project) -> bool {
        *self.organization == *project.organization() && self.projects.contains(project.name())
    }

    /// Replaces the organization.
    #[must_use]
    pub fn with_organization(mut self, organization: impl Into<Arc<str>>) -> Self {
        self.organization = organization.into();
        self
    }

    /// Replaces the transport to begin with.
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

    /// Replaces the authentication.
    #[must_use]
    pub fn with_auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Says who shares one session of the server.
    #[must_use]
    pub fn with_share_session(mut self, share_session: ShareSession) -> Self {
        self.share_session = share_session;
        self
    }

    /// Says whether the server is told of traces.
    #[must_use]
    pub fn with_trace_context(mut self, trace_context: Option<bool>) -> Self {
        self.trace_context = trace_context;
        self
    }

    /// Sets the operator's switch.
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

fn parse_url(text: &str) -> Result<Url, Error> {
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

/// How long a draft lasts after its last change: a day.
pub const DRAFT_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a server is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A store, where an operator can change it.
    #[default]
    Store,
    /// A file, which says all there is to say about it.
    File,
}

/// A server's identity: 128 bits in hex, random or a digest, never another server's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(Arc<str>);

impl ServerId {
    /// A new identity.
    ///
    /// # Panics
    /// When the system gives no random numbers; nothing here is safe without them.
    pub fn random() -> Self {
        let mut bits = [0; 16];
        fill_random(&mut bits);
        Self(format!("{:032x}", u128::from_be_bytes(bits)).into())
    }

    /// The identity of the server that a file declares by this name: the same one in every process
    /// and after every restart, so that what is stored about it is found again.
    #[cfg(feature = "file")]
    pub(super) fn of_declared(name: &ServerName) -> Self {
        use sha2::{Digest, Sha256};

        let digest = Sha256::new()
            .chain_update("mcp-layer declared server\0")
            .chain_update(name.as_str())
            .finalize();
        Self(crate::hex::hex(&digest[..16]).into())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerId {
    type Err = InvalidServerId;

    fn from_str(text: &str) -> Result<Self, InvalidServerId> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(digit) {
            return Err(InvalidServerId);
        }
        Ok(Self(text.into()))
    }
}

/// A text that is no [`ServerId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidServerId;

impl fmt::Display for InvalidServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a server's identity is 32 hex digits in lower case")
    }
}

impl std::error::Error for InvalidServerId {}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The projects that may use a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Projects {
    /// Every project of the organization.
    #[default]
    All,
    /// These projects; never empty.
    Only(BTreeSet<String>),
}

impl Projects {
    /// These projects.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list, which no caller could ever use.
    pub fn only<P: Into<String>>(projects: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let projects: BTreeSet<String> = projects.into_iter().map(Into::into).collect();
        if projects.is_empty() {
            return Err(Error::invalid(
                "projects",
                "name at least one project, or \"all\"",
            ));
        }
        Ok(Self::Only(projects))
    }

    /// Whether `project` is among them.
    pub fn contains(&self, project: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(projects) => projects.contains(project),
        }
    }
}

/// The tools of a server that are offered to models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolSelection {
    /// Every tool that the server lists, each with [`ToolPolicy::Auto`].
    #[default]
    All,
    /// These tools; never empty.
    Only(Vec<SelectedTool>),
}

impl ToolSelection {
    /// These tools.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list and a name given twice.
    pub fn only<T: Into<SelectedTool>>(tools: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        let tools: Vec<SelectedTool> = tools.into_iter().map(Into::into).collect();
        if tools.is_empty() {
            return Err(Error::invalid(
                "tools",
                "name at least one tool, or \"all\"",
            ));
        }
        for (index, tool) in tools.iter().enumerate() {
            if tools[..index].iter().any(|other| other.name == tool.name) {
                return Err(Error::invalid(
                    "tools",
                    format!("{:?} is given twice", tool.name),
                ));
            }
        }
        Ok(Self::Only(tools))
    }

    /// The policy of a tool by its own name; `None` where it is not offered.
    pub fn policy(&self, tool: &str) -> Option<ToolPolicy> {
        match self {
            Self::All => Some(ToolPolicy::Auto),
            Self::Only(tools) => tools.iter().find(|t| t.name == tool).map(|t| t.policy),
        }
    }
}

/// A tool that is offered, by its own name at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedTool {
    name: String,
    policy: ToolPolicy,
}

impl SelectedTool {
    /// A tool with a policy.
    pub fn new(name: impl Into<String>, policy: ToolPolicy) -> Self {
        Self {
            name: name.into(),
            policy,
        }
    }

    /// The tool's own name at the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What happens when a model calls it.
    pub fn policy(&self) -> ToolPolicy {
        self.policy
    }
}

impl<T: Into<String>> From<T> for SelectedTool {
    fn from(name: T) -> Self {
        Self::new(name, ToolPolicy::Auto)
    }
}

/// What happens when a model calls a tool in a request with auto-execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolPolicy {
    /// It is run.
    #[default]
    Auto,
    /// The turn goes back to the caller, who approves by resuming.
    AskFirst,
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

    #[test]
    fn an_identity_is_read_back_from_its_text() {
        let id = ServerId::random();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        let upper = "A".repeat(32);
        for text in ["", "0", &id.as_str()[1..], &format!("{id:?}0"), &upper] {
            assert_eq!(text.parse::<ServerId>(), Err(InvalidServerId), "{text:?}");
        }
    }
}
