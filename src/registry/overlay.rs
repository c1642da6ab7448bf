//! The servers of a file, on top of those of a store.

use std::{fmt, ops::Bound, path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{
    error::Error,
    file::{FileError, FileRegistry, Guard, Servers},
    future::BoxFuture,
    listing::{Filter, Listing, Page},
    observation::Observation,
    observation_store::ObservationStore,
    server::Server,
    server_id::ServerId,
    server_registry::ServerRegistry,
    server_store::{ServerStore, Store},
};
use crate::{name::ServerName, project::Project, schema_dialect::SchemaDialect};

/// The organization of a file's servers.
const ORGANIZATION: &str = "default";
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
        let store: Arc<dyn Store> = Arc::new(store);
        let guard = guard(store.clone(), dialect);
        let file = FileRegistry::open_guarded(path.as_ref(), guard).await?;
        Ok(Self { file, store })
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
        let file = FileRegistry::parse(text, env)?;
        let names: Vec<ServerName> = file.state().keys().cloned().collect();
        let store: Arc<dyn Store> = Arc::new(store);
        check(&*store, &names).await?;
        Ok(Self { file, store })
    }
}

impl Overlay {
    /// The file's servers of an organization.
    fn declared(&self, organization: &str) -> Option<Arc<Servers>> {
        (organization == ORGANIZATION).then(|| self.file.state())
    }

    /// Refuses changes of declared servers.
    fn refuse_declared(&self, organization: &str, name: &ServerName) -> Result<(), Error> {
        match self.declared(organization) {
            Some(declared) if declared.contains_key(name) => {
                Err(Error::Declared { name: name.clone() })
            }
            _ => Ok(()),
        }
    }
}

fn guard(store: Arc<dyn Store>, dialect: SchemaDialect) -> Guard {
    Box::new(move |names| {
        let store = store.clone();
        Box::pin(async move {
            for name in &names {
                if let Some(reason) = dialect.name_fault(name) {
                    let name = name.clone();
                    return Err(FileError::Name { name, reason });
                }
            }
            check(&*store, &names).await
        })
    })
}

/// Refuses names that the store has.
async fn check(store: &dyn Store, names: &[ServerName]) -> Result<(), FileError> {
    for names in names.chunks(AT_ONCE) {
        let got = join_all(names.iter().map(|name| store.get(ORGANIZATION, name))).await;
        for (name, got) in names.iter().zip(got) {
            match got {
                Ok(_) => return Err(FileError::Taken { name: name.clone() }),
                Err(Error::NotFound { .. }) => {}
                Err(source) => return Err(FileError::Store { source }),
            }
        }
    }
    Ok(())
}

impl ServerRegistry for Overlay {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        let declared = match self.declared(project.organization()) {
            Some(declared) if names.iter().any(|name| declared.contains_key(name)) => declared,
            // The store's own answer, without another box around it.
            _ => return self.store.find(project, names),
        };
        Box::pin(async move {
            let mut found = Vec::with_capacity(names.len());
            let mut others = Vec::new();
            for name in names {
                match declared.get(name) {
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
        let Some(declared) = self.declared(project.organization()) else {
            return self.store.visible(project);
        };
        Box::pin(async move {
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
            let Some(declared) = self.declared(organization) else {
                return Ok(below);
            };
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
            let declared = self.declared(organization);
            match declared.as_ref().and_then(|declared| declared.get(name)) {
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
        let overlay = Overlay {
            file: FileRegistry::parse(&text(&["a"]), env).unwrap(),
            store: Arc::new(Down::default()),
        };
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
}
