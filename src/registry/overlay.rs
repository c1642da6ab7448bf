//! What a file declares, on top of what stores have.

use std::{fmt, ops::Bound, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;

use super::{
    error::Error,
    file::{Declared, FileError, FileRegistry, Guard, ORGANIZATION},
    future::BoxFuture,
    listing::{Filter, Listing, Page},
    model_memory::MemoryModels,
    model_rules::ModelRules,
    model_store::{ModelRegistry, ModelStore},
    observation::Observation,
    observation_store::ObservationStore,
    server::Server,
    server_id::ServerId,
    server_registry::ServerRegistry,
    server_store::{ServerStore, Store},
};
use crate::{name::ServerName, project::Project, schema_dialect::SchemaDialect, secret::Doubtful};

/// The number of concurrent queries when names are checked: a file of fifty servers takes a few
/// round trips, and most of the store's connections stay free.
const AT_ONCE: usize = 4;

/// A registry that combines the servers of a file with those of a store.
///
/// Servers in the file are *declared*, and can only be changed there: for them,
/// [`insert`](ServerStore::insert), [`replace`](ServerStore::replace) and
/// [`remove`](ServerStore::remove) fail with [`Error::Declared`]. Everything else goes to the
/// store, including observations of declared servers.
///
/// No name may be in both. A file with a name that the store has, even as a draft, is refused, at
/// startup and after each change. If another replica adds such a name to the store later, the
/// declared server takes precedence and hides the other one.
///
/// The same holds for aliases of models: the file's lie over those of a [`ModelStore`], which
/// [`open_with`](Self::open_with) takes, and stored ones that do not agree with the file's are
/// refused. Its defaults come before the stored ones.
///
/// `Clone` is cheap and gives the same registry.
///
/// ```
/// use mcp_layer::registry::{Error, MemoryRegistry, Overlay, Server, ServerStore};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let text = r#"
///     [[servers]]
///     name = "declared"
///     url = "https://a.example/mcp"
/// "#;
/// let overlay = Overlay::parse(text, |_| None, MemoryRegistry::default()).await?;
///
/// overlay.insert(Server::new("added", "https://b.example/mcp")?).await?;
/// let refused = overlay.remove("default", &"declared".parse()?).await;
/// assert!(matches!(refused, Err(Error::Declared { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Overlay {
    file: FileRegistry,
    store: Arc<dyn Store>,
    models: Arc<dyn ModelStore>,
    laid: Arc<ArcSwapOption<Laid>>,
}

/// The rules of a file over those of a store, with both: it is laid anew when one of them changes.
struct Laid {
    declared: Arc<ModelRules>,
    stored: Arc<ModelRules>,
    rules: Arc<ModelRules>,
}

impl Overlay {
    /// Reads a file, as [`FileRegistry::open`] does, and follows its changes from then on.
    ///
    /// A changed file is also refused while the store has one of its names, or cannot be asked: the
    /// last good state stays in force, and the fault is logged once. The store is asked again every
    /// 10 s, since the remedy may be to remove its server.
    ///
    /// # Errors
    /// Those of [`FileRegistry::open`], [`FileError::Taken`] and [`FileError::Store`].
    ///
    /// # Cancellation
    /// Dropping the future stops everything. Later, the task that follows the file holds the store,
    /// and ends within half a second after the last clone is dropped.
    pub async fn open(path: impl AsRef<Path>, store: impl Store) -> Result<Self, FileError> {
        Self::open_for(path, store, SchemaDialect::default()).await
    }

    /// Like [`open`](Self::open), for an upstream that reads tools in `dialect`: a file is also
    /// refused for a name that it [refuses](SchemaDialect::name_fault).
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and [`FileError::Name`].
    ///
    /// # Cancellation
    /// That of [`open`](Self::open).
    pub async fn open_for(
        path: impl AsRef<Path>,
        store: impl Store,
        dialect: SchemaDialect,
    ) -> Result<Self, FileError> {
        Self::open_with(path, store, MemoryModels::default(), dialect).await
    }

    /// Like [`open_for`](Self::open_for), with a store of aliases and defaults: a file is also refused
    /// for an alias of a name that the store has, and for what does not agree with it otherwise.
    ///
    /// # Errors
    /// Those of [`open_for`](Self::open_for), and [`FileError::Models`].
    ///
    /// # Cancellation
    /// That of [`open`](Self::open).
    pub async fn open_with(
        path: impl AsRef<Path>,
        store: impl Store,
        models: impl ModelStore,
        dialect: SchemaDialect,
    ) -> Result<Self, FileError> {
        let store: Arc<dyn Store> = Arc::new(store);
        let models: Arc<dyn ModelStore> = Arc::new(models);
        let guard = guard(store.clone(), models.clone(), dialect);
        let file = FileRegistry::open_guarded(path.as_ref(), guard).await?;
        Ok(Self::over(file, store, models))
    }

    /// Reads TOML text, as [`FileRegistry::parse`] does; no file is followed.
    ///
    /// # Errors
    /// Those of [`FileRegistry::parse`], [`FileError::Taken`] and [`FileError::Store`].
    pub async fn parse(
        text: &str,
        env: impl Fn(&str) -> Option<String>,
        store: impl Store,
    ) -> Result<Self, FileError> {
        Self::parse_with(text, env, store, MemoryModels::default()).await
    }

    /// Like [`parse`](Self::parse), with a store of aliases and defaults.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and [`FileError::Models`].
    pub async fn parse_with(
        text: &str,
        env: impl Fn(&str) -> Option<String>,
        store: impl Store,
        models: impl ModelStore,
    ) -> Result<Self, FileError> {
        Self::parse_for(text, env, store, models, SchemaDialect::default()).await
    }

    /// Like [`parse_with`](Self::parse_with), for an upstream that reads tools in `dialect`.
    ///
    /// # Errors
    /// Those of [`parse_with`](Self::parse_with), and [`FileError::Name`].
    pub async fn parse_for(
        text: &str,
        env: impl Fn(&str) -> Option<String>,
        store: impl Store,
        models: impl ModelStore,
        dialect: SchemaDialect,
    ) -> Result<Self, FileError> {
        let file = FileRegistry::parse(text, env)?;
        let store: Arc<dyn Store> = Arc::new(store);
        let models: Arc<dyn ModelStore> = Arc::new(models);
        guard(store.clone(), models.clone(), dialect)(file.state()).await?;
        Ok(Self::over(file, store, models))
    }

    /// Reads the file at once, as [`FileRegistry::reload`] does; what it declares is held against the
    /// stores as at any change.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with); the last good state stays in force.
    ///
    /// # Cancellation
    /// The file is read all the same.
    pub async fn reload(&self) -> Result<(), FileError> {
        self.file.reload().await
    }

    fn over(file: FileRegistry, store: Arc<dyn Store>, models: Arc<dyn ModelStore>) -> Self {
        let laid = Arc::default();
        Self {
            file,
            store,
            models,
            laid,
        }
    }
}

impl Overlay {
    /// What the file has of an organization.
    fn of_file(&self, organization: &str) -> Option<Arc<Declared>> {
        (organization == ORGANIZATION).then(|| self.file.state())
    }

    /// Refuses changes of declared servers.
    fn refuse_declared(&self, organization: &str, name: &ServerName) -> Result<(), Error> {
        match self.of_file(organization) {
            Some(declared) if declared.servers.contains_key(name) => {
                Err(Error::Declared { name: name.clone() })
            }
            _ => Ok(()),
        }
    }
}

fn guard(store: Arc<dyn Store>, models: Arc<dyn ModelStore>, dialect: SchemaDialect) -> Guard {
    Box::new(move |declared| {
        let (store, models) = (store.clone(), models.clone());
        Box::pin(async move {
            for name in declared.servers.keys() {
                if let Some(reason) = dialect.name_fault(name) {
                    let name = name.clone();
                    return Err(FileError::Name { name, reason });
                }
            }
            check(&*store, &declared).await?;
            check_models(&*models, &declared.models).await
        })
    })
}

/// Refuses names that the store has.
async fn check(store: &dyn Store, declared: &Declared) -> Result<(), FileError> {
    let names: Vec<&ServerName> = declared.servers.keys().collect();
    for names in names.chunks(AT_ONCE) {
        let got = join_all(names.iter().map(|name| store.get(ORGANIZATION, name))).await;
        for (name, got) in names.iter().zip(got) {
            match got {
                Ok(_) => {
                    let name = ServerName::clone(name);
                    return Err(FileError::Taken { name });
                }
                Err(Error::NotFound { .. }) => {}
                Err(source) => return Err(FileError::Store { source }),
            }
        }
    }
    Ok(())
}

/// Refuses aliases and defaults that do not agree with those of the store.
async fn check_models(models: &dyn ModelStore, declared: &ModelRules) -> Result<(), FileError> {
    if declared.are_none() {
        return Ok(());
    }
    let stored = models.load_rules(ORGANIZATION).await;
    let (stored, _) = stored.map_err(|source| FileError::Store { source })?;
    together(declared, &stored).map_err(|source| FileError::Models { source })?;
    Ok(())
}

/// The rules of a file and those of a store as one.
fn together(declared: &ModelRules, stored: &ModelRules) -> Result<ModelRules, Error> {
    let of_both = declared.aliases().iter().map(|alias| &alias.name);
    let mut of_both = of_both.filter(|name| stored.aliases().iter().any(|of| of.name == **name));
    if let Some(name) = of_both.next() {
        let name = Doubtful(name);
        let reason = format!(
            "{name} is an alias of the configuration file and of the store; remove one of the two"
        );
        return Err(Error::invalid("models", reason));
    }
    let aliases = declared.aliases().iter().chain(stored.aliases()).cloned();
    let defaults = declared.defaults().iter().chain(stored.defaults()).cloned();
    // As with servers, the file's word counts.
    let others = stored.budgets();
    let others = others.filter(|budget| declared.budget(budget.project()).is_none());
    let budgets = declared.budgets().chain(others).cloned();
    ModelRules::new(aliases, defaults)?.with_budgets(budgets)
}

impl ServerRegistry for Overlay {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        let of_file = self.of_file(project.organization());
        let declared = match of_file {
            Some(declared) if names.iter().any(|name| declared.servers.contains_key(name)) => {
                declared
            }
            // The store's own answer, without another box around it.
            _ => return self.store.find(project, names),
        };
        Box::pin(async move {
            let mut found = Vec::with_capacity(names.len());
            let mut others = Vec::new();
            for name in names {
                match declared.servers.get(name) {
                    Some(server) if server.is_usable_by(project) => found.push(server.clone()),
                    Some(_) => {}
                    None => others.push(name.clone()),
                }
            }
            // A store that is down keeps nobody from the servers of the file.
            if !others.is_empty() {
                found.extend(self.store.find(project, &others).await?);
            }
            Ok(found)
        })
    }

    fn visible<'a>(
        &'a self,
        project: &'a Project,
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        let Some(declared) = self.of_file(project.organization()) else {
            return self.store.visible(project);
        };
        Box::pin(async move {
            let declared = &declared.servers;
            let mut visible = self.store.visible(project).await?;
            // Whatever the store has under a name of the file is hidden.
            visible.retain(|server| !declared.contains_key(&server.name));
            let of_file = declared
                .values()
                .filter(|server| server.is_usable_by(project));
            visible.extend(of_file.cloned());
            Ok(visible)
        })
    }
}

impl ServerStore for Overlay {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a Filter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>> {
        Box::pin(async move {
            let below = self.store.list(organization, filter, page).await?;
            let Some(declared) = self.of_file(organization) else {
                return Ok(below);
            };
            let declared = &declared.servers;
            let after = page.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
            // Beyond the end of the store's page there may be more of the store's.
            let is_within = |name: &ServerName| below.next.as_ref().is_none_or(|last| name <= last);
            let of_file = declared
                .range((after, Bound::Unbounded))
                .take_while(|(name, _)| is_within(name))
                .map(|(_, server)| server)
                .filter(|server| filter.matches(server));
            let of_store = below
                .servers
                .iter()
                .filter(|server| !declared.contains_key(&server.name));
            let mut servers: Vec<_> = of_file.chain(of_store).cloned().collect();
            servers.sort_by(|a, b| a.name.cmp(&b.name));
            let limit = page.size();
            let next = if servers.len() > limit {
                servers.truncate(limit);
                servers.last().map(|last| last.name.clone())
            } else {
                below.next
            };
            Ok(Listing::new(servers, next))
        })
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            let declared = self.of_file(organization);
            match declared.as_ref().and_then(|file| file.servers.get(name)) {
                Some(server) => Ok(server.clone()),
                None => self.store.get(organization, name).await,
            }
        })
    }

    fn insert(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            self.refuse_declared(&server.organization, &server.name)?;
            self.store.insert(server).await
        })
    }

    fn replace(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            self.refuse_declared(&server.organization, &server.name)?;
            self.store.replace(server).await
        })
    }

    fn remove<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.refuse_declared(organization, name)?;
            self.store.remove(organization, name).await
        })
    }
}

impl ModelRegistry for Overlay {
    fn rules(&self, organization: &str) -> Arc<ModelRules> {
        let stored = self.models.rules(organization);
        let declared = self.declared(organization);
        if declared.are_none() {
            return stored;
        }
        let laid = self.laid.load();
        if let Some(laid) = &*laid
            && Arc::ptr_eq(&laid.declared, &declared)
            && Arc::ptr_eq(&laid.stored, &stored)
        {
            return laid.rules.clone();
        }
        let rules = together(&declared, &stored).map(Arc::new);
        let rules = rules.unwrap_or_else(|error| {
            // Another replica, with another file, has stored what this file declares.
            tracing::error!(%error, "the stored aliases and defaults do not agree with those of the file, which count alone");
            declared.clone()
        });
        self.laid.store(Some(Arc::new(Laid {
            declared,
            stored,
            rules: rules.clone(),
        })));
        rules
    }
}

impl ModelStore for Overlay {
    fn declared(&self, organization: &str) -> Arc<ModelRules> {
        self.file.rules(organization)
    }

    fn load_rules<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>> {
        self.models.load_rules(organization)
    }

    fn replace_rules<'a>(
        &'a self,
        organization: &'a str,
        rules: ModelRules,
        version: u64,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move {
            together(&self.declared(organization), &rules)?;
            self.models
                .replace_rules(organization, rules, version)
                .await
        })
    }
}

impl ObservationStore for Overlay {
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        self.store.observation(organization, server)
    }

    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        self.store.observations(organization, servers)
    }

    fn observe<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.store.observe(organization, server, observation)
    }

    fn claim_probes<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
        every: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
        self.store.claim_probes(organization, servers, every)
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{env::temp_dir, fs, process};

    use tokio::time::sleep;

    use super::*;
    use crate::registry::{
        conformance,
        file::written::{env, written},
        memory::MemoryRegistry,
        model_rules::ModelAlias,
        server::Source,
    };

    fn server(name: &str) -> Server {
        Server::new(name, "https://store.example/mcp").unwrap()
    }

    fn name(name: &str) -> ServerName {
        name.parse().unwrap()
    }

    fn text(names: &[&str]) -> String {
        let servers: Vec<_> = names.iter().map(|name| server(name)).collect();
        written(&servers)
    }

    async fn overlay(declared: &[&str], stored: &[&str]) -> Overlay {
        let store = MemoryRegistry::new(stored.iter().map(|name| server(name))).unwrap();
        Overlay::parse(&text(declared), env, store).await.unwrap()
    }

    /// A store that does not answer.
    #[derive(Default)]
    struct Down(MemoryRegistry);

    fn down<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(async { Err(Error::unavailable("down")) })
    }

    impl ServerRegistry for Down {
        fn find<'a>(
            &'a self,
            _: &'a Project,
            _: &'a [ServerName],
        ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
            down()
        }
    }

    impl ServerStore for Down {
        fn list<'a>(
            &'a self,
            _: &'a str,
            _: &'a Filter,
            _: &'a Page,
        ) -> BoxFuture<'a, Result<Listing, Error>> {
            down()
        }

        fn get<'a>(
            &'a self,
            _: &'a str,
            _: &'a ServerName,
        ) -> BoxFuture<'a, Result<Arc<Server>, Error>> {
            down()
        }

        fn insert(&self, _: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
            down()
        }

        fn replace(&self, _: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
            down()
        }

        fn remove<'a>(&'a self, _: &'a str, _: &'a ServerName) -> BoxFuture<'a, Result<(), Error>> {
            down()
        }
    }

    impl ObservationStore for Down {
        fn observation<'a>(
            &'a self,
            a: &'a str,
            b: &'a ServerId,
        ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
            self.0.observation(a, b)
        }

        fn observations<'a>(
            &'a self,
            a: &'a str,
            b: &'a [ServerId],
        ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
            self.0.observations(a, b)
        }

        fn observe<'a>(
            &'a self,
            a: &'a str,
            b: &'a ServerId,
            c: &'a Observation,
        ) -> BoxFuture<'a, Result<bool, Error>> {
            self.0.observe(a, b, c)
        }

        fn claim_probes<'a>(
            &'a self,
            a: &'a str,
            b: &'a [ServerId],
            c: Duration,
        ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
            self.0.claim_probes(a, b, c)
        }
    }

    #[tokio::test]
    async fn every_clause_of_a_registry_and_of_a_store_holds() {
        let memory = |servers: Vec<Server>| MemoryRegistry::new(servers).unwrap();
        conformance::reading::all(async |servers| {
            Overlay::parse(&written(&servers), env, memory(Vec::new()))
                .await
                .unwrap()
        })
        .await;
        // Every second one in the store.
        conformance::reading::all(async |servers| {
            let halves = [0, 1].map(|half| servers.iter().skip(half).step_by(2).cloned());
            let [declared, stored] = halves.map(Iterator::collect::<Vec<_>>);
            Overlay::parse(&written(&declared), env, memory(stored))
                .await
                .unwrap()
        })
        .await;
        conformance::stores::all(async || overlay(&[], &[]).await).await;
        conformance::observations::all(async || overlay(&[], &[]).await).await;
        conformance::models::all(async || overlay(&[], &[]).await).await;
    }

    #[tokio::test]
    async fn pages_have_the_servers_of_both_by_name_whatever_their_size() {
        let overlay = overlay(&["b", "c", "f", "z"], &["a", "d", "e", "g", "h"]).await;
        let meant = ["a", "b", "c", "d", "e", "f", "g", "h", "z"];
        for limit in 1..=10 {
            let mut page = Page {
                limit,
                ..Page::default()
            };
            let mut names = Vec::new();
            loop {
                let listed = overlay.list("default", &Filter::default(), &page).await;
                let listing = listed.unwrap();
                assert!(listing.servers.len() <= limit);
                for server in &listing.servers {
                    let is_declared = ["b", "c", "f", "z"].contains(&server.name.as_str());
                    assert_eq!(server.source == Source::File, is_declared);
                    names.push(server.name.to_string());
                }
                page.after = listing.next;
                if page.after.is_none() {
                    break;
                }
            }
            assert_eq!(names, meant, "{limit}");
        }
    }

    #[tokio::test]
    async fn filters_are_for_the_servers_of_both() {
        let mut declared = server("declared").with_projects(["web"]).unwrap();
        declared.description = Some("Wiki".to_owned());
        let mut stored = server("stored");
        stored.description = Some("wiki, too".to_owned());
        let store = MemoryRegistry::new([stored, server("other")]).unwrap();
        let overlay = Overlay::parse(&written(&[declared]), env, store).await;
        let overlay = overlay.unwrap();
        let names = async |filter: Filter| {
            let listed = overlay.list("default", &filter, &Page::default()).await;
            let servers = listed.unwrap().servers;
            let names = servers.iter().map(|server| server.name.to_string());
            names.collect::<Vec<_>>()
        };
        let text = Some("WIKI".to_owned());
        let filter = Filter {
            text,
            ..Filter::default()
        };
        assert_eq!(names(filter).await, ["declared", "stored"]);
        let project = Some("batch".to_owned());
        let filter = Filter {
            project,
            ..Filter::default()
        };
        assert_eq!(names(filter).await, ["other", "stored"]);
        let filter = Filter {
            drafts: true,
            ..Filter::default()
        };
        assert!(names(filter).await.is_empty());
    }

    #[tokio::test]
    async fn what_the_file_declares_is_not_changed() {
        let overlay = overlay(&["a"], &["b"]).await;
        let refusals = [
            overlay.insert(server("a")).await.unwrap_err(),
            overlay.replace(server("a")).await.unwrap_err(),
            overlay.remove("default", &name("a")).await.unwrap_err(),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Error::Declared { name } if name.as_str() == "a"));
        }
        assert_eq!(
            overlay.get("default", &name("a")).await.unwrap().source,
            Source::File
        );
        // Names are an organization's.
        let theirs = server("a").with_organization("other");
        overlay.insert(theirs).await.unwrap();
        assert_eq!(
            overlay.get("other", &name("a")).await.unwrap().source,
            Source::Store
        );
        overlay.remove("other", &name("a")).await.unwrap();
    }

    #[tokio::test]
    async fn a_declared_server_hides_one_that_was_added_behind_the_files_back() {
        let overlay = overlay(&["a", "c"], &["b"]).await;
        let mut hidden = server("a");
        hidden.description = Some("hidden".to_owned());
        overlay.store.insert(hidden.clone()).await.unwrap();
        overlay
            .store
            .insert(Server {
                name: name("c"),
                ..hidden
            })
            .await
            .unwrap();

        let found = overlay
            .find(&Project::default(), &[name("a")])
            .await
            .unwrap();
        assert_eq!((found.len(), found[0].source), (1, Source::File));
        for limit in 1..=4 {
            let mut page = Page {
                limit,
                ..Page::default()
            };
            let mut listed = Vec::new();
            loop {
                let filter = Filter::default();
                let listing = overlay.list("default", &filter, &page).await.unwrap();
                listed.extend(listing.servers.iter().map(|s| s.name.to_string()));
                page.after = listing.next;
                if page.after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, ["a", "b", "c"], "{limit}");
        }
        // Nor does a filter that only the hidden one fits bring it to light.
        let text = Some("hidden".to_owned());
        let filter = Filter {
            text,
            ..Filter::default()
        };
        let listing = overlay.list("default", &filter, &Page::default()).await;
        assert!(listing.unwrap().servers.is_empty());
    }

    #[tokio::test]
    async fn a_name_in_both_is_refused_and_a_draft_counts() {
        let mut draft = server("b");
        draft.draft = true;
        let store = MemoryRegistry::new([server("a"), draft]).unwrap();
        for taken in ["a", "b"] {
            let refused = Overlay::parse(&text(&["c", taken]), env, store.clone()).await;
            let error = refused.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "servers {taken:?}: the store has a server of this name; remove one of the two"
                )
            );
        }
        let error = Overlay::parse(&text(&["a"]), env, Down::default()).await;
        let error = error.unwrap_err();
        assert!(matches!(error, FileError::Store { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_store_that_is_down_keeps_nobody_from_the_servers_of_the_file() {
        let overlay = Overlay::over(
            FileRegistry::parse(&text(&["a"]), env).unwrap(),
            Arc::new(Down::default()),
            Arc::new(MemoryModels::default()),
        );
        let project = Project::default();
        assert_eq!(overlay.find(&project, &[name("a")]).await.unwrap().len(), 1);
        assert!(
            overlay
                .find(&project, &[name("a"), name("b")])
                .await
                .is_err()
        );
        assert!(overlay.get("default", &name("a")).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_seen_of_a_declared_server_is_kept_in_the_store() {
        let overlay = overlay(&["a"], &[]).await;
        let id = overlay.get("default", &name("a")).await.unwrap().id.clone();
        let seen = Observation {
            failures: 1,
            ..Observation::default()
        };
        assert!(overlay.observe("default", &id, &seen).await.unwrap());
        let stored = overlay.store.observation("default", &id).await.unwrap();
        assert_eq!(stored.unwrap().failures, 1);
        let claimed = overlay
            .claim_probes("default", &[id], Duration::from_secs(1))
            .await;
        assert_eq!(claimed.unwrap(), [true]);
    }

    // Time moves on by itself while nothing but sleeps is left, and stands while a file is read.
    #[tokio::test(start_paused = true)]
    async fn a_changed_file_with_a_name_of_the_store_waits_until_it_is_free() {
        let path = temp_dir().join(format!("mcp-layer-overlay-{}.toml", process::id()));
        fs::write(&path, text(&["a"])).unwrap();
        let store = MemoryRegistry::new([server("b")]).unwrap();
        let overlay = Overlay::open(&path, store).await.unwrap();

        fs::write(&path, text(&["b", "c"])).unwrap();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(
            overlay.get("default", &name("b")).await.unwrap().source,
            Source::Store
        );
        assert!(overlay.get("default", &name("a")).await.is_ok());
        assert!(overlay.get("default", &name("c")).await.is_err());

        overlay.remove("default", &name("b")).await.unwrap();
        sleep(Duration::from_secs(15)).await;
        assert_eq!(
            overlay.get("default", &name("b")).await.unwrap().source,
            Source::File
        );
        fs::remove_file(&path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_with_a_name_that_the_dialect_refuses_is_not_used() {
        let path = temp_dir().join(format!("mcp-layer-dialect-{}.toml", process::id()));
        let open = || Overlay::open_for(&path, MemoryRegistry::default(), SchemaDialect::Gemini);
        fs::write(&path, text(&["1a"])).unwrap();
        let refused = open().await.unwrap_err().to_string();
        assert_eq!(
            refused,
            "servers \"1a\": the name begins with a digit, which Gemini refuses"
        );

        fs::write(&path, text(&["a"])).unwrap();
        let overlay = open().await.unwrap();
        fs::write(&path, text(&["1a", "b"])).unwrap();
        sleep(Duration::from_secs(30)).await;
        assert!(overlay.get("default", &name("a")).await.is_ok());
        assert!(overlay.get("default", &name("b")).await.is_err());
        fs::remove_file(&path).unwrap();
    }

    const ALIAS: &str = "[[models]]\nname = \"of-file\"\nmodel = \"m\"\nservers = [\"s\"]\n";

    /// The rules with one alias of this name.
    fn rules(name: &str, model: &str) -> ModelRules {
        let alias = ModelAlias::new(name, model, [self::name("s")]);
        ModelRules::new([alias], []).unwrap()
    }

    async fn with_models(text: &str, stored: ModelRules) -> Result<Overlay, FileError> {
        let (store, models) = (MemoryRegistry::default(), MemoryModels::new(stored));
        Overlay::parse_with(text, env, store, models).await
    }

    fn aliases(overlay: &Overlay, organization: &str) -> Vec<String> {
        let rules = overlay.rules(organization);
        rules
            .aliases()
            .iter()
            .map(|alias| alias.name.clone())
            .collect()
    }

    #[tokio::test]
    async fn the_aliases_of_a_file_lie_over_those_of_the_store() {
        let overlay = with_models(ALIAS, rules("stored", "m")).await.unwrap();
        assert_eq!(aliases(&overlay, "default"), ["of-file", "stored"]);
        assert!(Arc::ptr_eq(
            &overlay.rules("default"),
            &overlay.rules("default")
        ));
        assert!(aliases(&overlay, "other").is_empty());
        assert_eq!(overlay.declared("default").aliases()[0].name, "of-file");
        let (loaded, version) = overlay.load_rules("default").await.unwrap();
        assert_eq!((&*loaded, version), (&rules("stored", "m"), 1));

        let next = rules("next", "m");
        let replaced = overlay.replace_rules("default", next, version).await;
        assert_eq!(replaced.unwrap(), Some(2));
        assert_eq!(aliases(&overlay, "default"), ["of-file", "next"]);
        for refused in [rules("of-file", "n"), rules("circle", "of-file")] {
            let refused = overlay
                .replace_rules("default", refused, 2)
                .await
                .unwrap_err();
            assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
        }
        // Another organization has no file.
        let other = overlay
            .replace_rules("other", rules("of-file", "n"), 0)
            .await;
        assert_eq!(other.unwrap(), Some(1));
    }

    #[tokio::test]
    async fn an_alias_in_both_is_refused_at_the_start_and_the_file_counts_later() {
        let refused = with_models(ALIAS, rules("of-file", "n")).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "models: of-file is an alias of the configuration file and of the store; remove one of the two"
        );
        let circle = with_models(ALIAS, rules("n", "of-file")).await.unwrap_err();
        assert!(matches!(circle, FileError::Models { .. }), "{circle}");

        // Another replica may have another file.
        let models = MemoryModels::default();
        let store = MemoryRegistry::default();
        let overlay = Overlay::parse_with(ALIAS, env, store, models.clone())
            .await
            .unwrap();
        models
            .replace_rules("default", rules("of-file", "n"), 0)
            .await
            .unwrap();
        assert_eq!(
            overlay
                .rules("default")
                .alias("p", "of-file")
                .unwrap()
                .model,
            "m"
        );
        assert_eq!(aliases(&overlay, "default"), ["of-file"]);
    }

    // Time moves on by itself while nothing but sleeps is left, and stands while a file is read.
    #[tokio::test(start_paused = true)]
    async fn a_changed_file_with_an_alias_of_the_store_waits_until_it_is_free() {
        let path = temp_dir().join(format!("mcp-layer-models-{}.toml", process::id()));
        fs::write(&path, "").unwrap();
        let models = MemoryModels::new(rules("of-file", "n"));
        let (store, dialect) = (MemoryRegistry::default(), SchemaDialect::default());
        let overlay = Overlay::open_with(&path, store, models, dialect)
            .await
            .unwrap();
        fs::write(&path, ALIAS).unwrap();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(overlay.rules("default").aliases()[0].model, "n");

        let emptied = overlay
            .replace_rules("default", ModelRules::default(), 1)
            .await;
        assert_eq!(emptied.unwrap(), Some(2));
        sleep(Duration::from_secs(15)).await;
        assert_eq!(overlay.rules("default").aliases()[0].model, "m");
        fs::remove_file(&path).unwrap();
    }
}
