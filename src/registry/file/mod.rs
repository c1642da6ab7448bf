//! A registry declared in TOML, read again when the file changes.
//!
//! ```text
//! file ──value──▶ TOML with its places ──entry──▶ servers, models ──state──▶ what `find` reads
//!   ▲                                                                          │
//!   └──────────── watch: looks, and reads again after a change ◀───────────────┘
//! ```
//!
//! Other keys of the file are left to the program that owns it.

mod auth;
mod entry;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod state;
mod value;
mod watch;
#[cfg(test)]
pub(super) mod written;

use std::{env, fmt, future::ready, io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

pub use self::error::FileError;
use self::watch::{Asked, Follower};
pub(super) use self::{state::Declared, watch::Guard};
use super::{
    error::Error, future::BoxFuture, model_rules::ModelRules, model_store::ModelRegistry,
    server::Server, server_registry::ServerRegistry,
};
use crate::{name::ServerName, project::Project};

/// The organization of all that a file declares.
pub(super) const ORGANIZATION: &str = "default";

/// Servers from the `[[servers]]` of a TOML file, and aliases and defaults from its `[[models]]` and
/// `[[defaults]]`, all of the organization `default`.
///
/// ```toml
/// [[servers]]
/// name = "deepwiki-mcp"
/// display_name = "DeepWiki"              # default: the name
/// description = "Answers about code"     # default: none
/// url = "https://mcp.deepwiki.com/mcp"
/// transport = "streamable_http"          # the default; or "sse"
/// projects = "all"                       # the default; or ["web", "batch"]
/// tools = "all"                          # the default; or names, or { name, policy, always, fingerprint } each
/// enabled = true                         # the default
///
/// [servers.auth]                         # default: type = "none"
/// type = "static_headers"
/// headers = [{ name = "Authorization", value_env = "DEEPWIKI_AUTH" }]
/// ```
///
/// `value_env` names the environment variable that holds the whole value of the header, such as
/// `Bearer …`. It must be set and not empty, even for a server that is not enabled. `value_file`
/// instead names a file with the value, which on Unix only its owner may be able to read
/// ([`SecretSource`](crate::secret::SecretSource)). For OAuth 2.0 these are `client_secret_env` and
/// `client_secret_file`. Both are read again whenever the file of servers is. Nothing else is
/// interpolated.
///
/// A tool's `policy` is `"auto"` (default) or `"ask_first"`. With a `fingerprint`, as the log and
/// the dashboard show it, the tool is withheld as soon as its definition differs. An unknown key in
/// an entry is an error. Keys beside `servers`, `models` and `defaults` are ignored, and a file
/// without `servers` is a registry without servers.
///
/// ```toml
/// [[models]]                             # an alias: callers name it as their model
/// name = "gpt-5-docs"
/// model = "gpt-5"                        # what the upstream is asked for
/// servers = ["deepwiki-mcp"]
/// projects = "all"                       # the default; or ["web", "batch"]
///
/// [[defaults]]                           # for requests that ask for no servers
/// project = "web"
/// models = ["gpt-5*"]                    # default: ["*"]
/// servers = ["deepwiki-mcp"]
/// ```
///
/// They have the rules of [`ModelRules`], and are a [`ModelRegistry`] for
/// [`McpLayer::with_models`](crate::McpLayer::with_models).
///
/// A server's `id` is derived from its name, so it is the same in every process, after a restart,
/// and for a server that was removed and added again. Data that is stored elsewhere by id, such as
/// an OAuth authorization, stays with the server.
///
/// `Clone` is cheap and gives the same registry. `Debug` shows names only.
///
/// ```
/// use mcp_layer::{McpLayer, registry::FileRegistry};
///
/// let text = r#"
///     listen = "127.0.0.1:8787"   # not ours: left alone
///
///     [[servers]]
///     name = "deepwiki-mcp"
///     url = "https://mcp.deepwiki.com/mcp"
///     tools = ["ask_question", { name = "delete_page", policy = "ask_first" }]
///
///     [servers.auth]
///     type = "static_headers"
///     headers = [{ name = "Authorization", value_env = "DEEPWIKI_AUTH" }]
/// "#;
/// let registry = FileRegistry::parse(text, |name| {
///     (name == "DEEPWIKI_AUTH").then(|| "Bearer s3cret".to_owned())
/// })?;
/// assert_eq!(registry.servers()[0].name.as_str(), "deepwiki-mcp");
/// let layer = McpLayer::new(registry);
///
/// let error = FileRegistry::parse(text, |_| None).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "servers \"deepwiki-mcp\": auth.headers[0].value_env: \
///      environment variable DEEPWIKI_AUTH is not set (line 11)"
/// );
/// # Ok::<(), mcp_layer::registry::FileError>(())
/// ```
#[derive(Clone)]
pub struct FileRegistry {
    // A reload swaps the whole map, so a reader never sees half of a file and never waits.
    state: Arc<ArcSwap<Declared>>,
    /// Whoever follows the file; `None` if there is none.
    follower: Option<mpsc::Sender<Asked>>,
}

impl FileRegistry {
    /// Reads the file, and follows its changes from then on.
    ///
    /// This call blocks while it reads the file, so make it at startup. Secrets come from the
    /// environment of the process and from files; both are read again at each reload.
    ///
    /// A task checks the file's time and length twice a second, and reads it once they have changed
    /// and then stayed the same for one check. So a change takes effect after about a second, and a
    /// half-written file is not read. While a changed file is faulty, the last good state stays in
    /// force, and the fault is logged once per change. A server's `version` counts up when its
    /// entry changes.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse); [`FileError::Read`] and [`FileError::TooLarge`] (over
    /// 1 MiB); [`FileError::NoRuntime`] outside of a tokio runtime, which needs its time enabled.
    ///
    /// # Cancellation
    /// The task ends within half a second after the last clone is dropped, and with its runtime.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let runtime = runtime()?;
        let (state, follower) = Follower::open(path.as_ref(), process_env)?;
        let (asking, asked) = mpsc::channel(1);
        runtime.spawn(follower.run(Box::new(|_| Box::pin(ready(Ok(())))), asked));
        Ok(Self {
            state,
            follower: Some(asking),
        })
    }

    /// Opens the file like [`open`](Self::open); `guard` has to accept what it declares, now and
    /// after each change.
    pub(super) async fn open_guarded(path: &Path, guard: Guard) -> Result<Self, FileError> {
        let runtime = runtime()?;
        let (state, follower) = Follower::open(path, process_env)?;
        guard(state.load_full()).await?;
        let (asking, asked) = mpsc::channel(1);
        runtime.spawn(follower.run(guard, asked));
        Ok(Self {
            state,
            follower: Some(asking),
        })
    }

    /// Reads TOML text; `env` gives the value of an environment variable, or `None`.
    ///
    /// No file is followed, and no runtime is needed.
    ///
    /// # Errors
    /// [`FileError::Toml`] if the text is not TOML, and [`FileError::Entry`] if an entry breaks a
    /// rule: an unknown key, a value of the wrong type, two servers of one name, a variable that is
    /// not set, a secret's file that others may read, or a secret in the text itself.
    pub fn parse(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, FileError> {
        let declared = state::after(&Declared::default(), entry::declared(text, &env)?);
        Ok(Self {
            state: Arc::new(ArcSwap::from_pointee(declared)),
            follower: None,
        })
    }

    /// Reads the file at once, whether or not it has changed: the files and variables of its secrets
    /// may have. What was [parsed](Self::parse) has no file, and stays.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); the last good state stays in force.
    ///
    /// # Cancellation
    /// The file is read all the same.
    pub async fn reload(&self) -> Result<(), FileError> {
        let Some(follower) = &self.follower else {
            return Ok(());
        };
        let (answer, read) = oneshot::channel();
        // Its task ends with its runtime, and with the last clone.
        let gone = || FileError::Read {
            source: io::Error::other("nobody follows it any more"),
        };
        follower.send(answer).await.map_err(|_| gone())?;
        read.await.map_err(|_| gone())?
    }

    /// The current servers, sorted by name; disabled ones included.
    pub fn servers(&self) -> Vec<Arc<Server>> {
        self.state.load().servers.values().cloned().collect()
    }

    /// The current aliases and defaults.
    pub fn models(&self) -> Arc<ModelRules> {
        self.state.load().models.clone()
    }

    /// What the file declares now.
    pub(super) fn state(&self) -> Arc<Declared> {
        self.state.load_full()
    }
}

impl ServerRegistry for FileRegistry {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(async move {
            let declared = self.state.load();
            Ok(names
                .iter()
                .filter_map(|name| declared.servers.get(name))
                .filter(|server| server.is_usable_by(project))
                .cloned()
                .collect())
        })
    }

    fn visible<'a>(
        &'a self,
        project: &'a Project,
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(async move {
            let mut servers = self.servers();
            servers.retain(|server| server.is_usable_by(project));
            Ok(servers)
        })
    }
}

impl ModelRegistry for FileRegistry {
    fn rules(&self, organization: &str) -> Arc<ModelRules> {
        match organization == ORGANIZATION {
            true => self.models(),
            false => Arc::default(),
        }
    }
}

/// Shows names only: a URL can have a secret in its query.
impl fmt::Debug for FileRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRegistry")
            .field(
                "servers",
                &self.state.load().servers.keys().collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

fn runtime() -> Result<Handle, FileError> {
    Handle::try_current().map_err(|source| FileError::NoRuntime {
        source: source.into(),
    })
}

/// Reads an environment variable of the process.
///
/// Bytes that are not UTF-8 are replaced rather than treated as unset: no header can carry the
/// result, and the error then says so instead of "not set".
fn process_env(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::written::{env, written};
    use super::*;
    use crate::registry::conformance;

    const TWO: &str = r#"
        [[servers]]
        name = "web-only"
        url = "https://b.example/mcp?key=s3cret"
        projects = ["web"]

        [[servers]]
        name = "all"
        url = "https://a.example/mcp"
        [servers.auth]
        type = "static_headers"
        headers = [{ name = "x-api-key", value_env = "KEY" }]
    "#;

    fn registry() -> FileRegistry {
        FileRegistry::parse(TWO, |_| Some("s3cret".into())).unwrap()
    }

    async fn found(project: Project, names: &[&str]) -> Vec<String> {
        let names: Vec<ServerName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let servers = registry().find(&project, &names).await.unwrap();
        servers.iter().map(|s| s.name.to_string()).collect()
    }

    #[tokio::test]
    async fn every_clause_of_a_registry_holds() {
        conformance::reading::all(async |servers| {
            FileRegistry::parse(&written(&servers), env).unwrap()
        })
        .await;
    }

    #[tokio::test]
    async fn a_project_finds_its_own_servers_and_those_of_all() {
        let names = ["web-only", "all", "absent"];
        assert_eq!(
            found(Project::new("web"), &names).await,
            ["web-only", "all"]
        );
        assert_eq!(found(Project::new("batch"), &names).await, ["all"]);
        assert!(found(Project::new("web"), &[]).await.is_empty());
    }

    #[tokio::test]
    async fn another_organization_finds_nothing() {
        let project = Project::new("web").with_organization("other");
        assert!(found(project, &["web-only", "all"]).await.is_empty());
    }

    #[test]
    fn servers_are_listed_by_name() {
        let names: Vec<_> = registry()
            .servers()
            .iter()
            .map(|s| s.name.to_string())
            .collect();
        assert_eq!(names, ["all", "web-only"]);
    }

    // What databases have is found by it: it must never change.
    #[test]
    fn an_identity_is_made_from_the_name_and_is_the_same_everywhere() {
        let ids = |registry: FileRegistry| {
            let servers = registry.servers();
            servers
                .iter()
                .map(|s| s.id.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ids(registry()),
            [
                "b4c136a191e3542fcdf80273b2a13a67",
                "13d5f2a06e402f680407102ac5f04a1e"
            ]
        );
        assert_eq!(ids(registry()), ids(registry()));
    }

    #[test]
    fn debug_shows_names_and_no_secret() {
        let shown = format!("{:?}", registry());
        assert!(shown.contains("web-only"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn following_without_a_runtime_is_an_error_and_no_panic() {
        let error = FileRegistry::open("absent.toml").unwrap_err();
        assert!(matches!(error, FileError::NoRuntime { .. }), "{error}");
    }
}
