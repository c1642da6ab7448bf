//! Tenants: 4 organizations of 3 projects and 5 servers, random operations over them, and a model
//! of what each of them may see.

use std::collections::BTreeMap;

use mcp_layer::registry::{
    Auth, CredentialKey, CredentialStore, Error, Expected, Filter, Page, Server, ServerId,
    ServerStore,
};
use mcp_layer::{Project, ServerName};
use secrecy::ExposeSecret;

use super::dice::Dice;

const ORGANIZATIONS: [&str; 4] = ["default", "acme", "acme-2", "Ä"];
const PROJECTS: [&str; 3] = ["web", "batch", "we"];
const SERVERS: [&str; 5] = ["a", "a-b", "ab", "b", "c0"];
const ORIGINS: [&str; 2] = ["https://a.example", "https://b.example"];

/// What is stored, as far as operations can tell.
#[derive(Default)]
struct Model {
    servers: BTreeMap<(usize, usize), Modelled>,
    /// By organization, identity and origin.
    credentials: BTreeMap<(usize, ServerId, usize), String>,
}

#[derive(Clone)]
struct Modelled {
    id: ServerId,
    version: u64,
    enabled: bool,
    /// Which of [`PROJECTS`]; all of them for none.
    projects: Vec<usize>,
    key: String,
}

/// What was done, for the figure.
#[derive(Debug, Default)]
pub struct Tally {
    pub reads: usize,
    pub writes: usize,
    pub refused: usize,
}

/// Runs so many operations; panics at the first difference to the model.
pub async fn run<S: ServerStore + CredentialStore>(
    store: &S,
    operations: usize,
    seed: u64,
) -> Tally {
    let mut run = Run {
        store,
        dice: Dice(seed),
        model: Model::default(),
        tally: Tally::default(),
    };
    for _ in 0..operations {
        run.step().await;
    }
    run.tally
}

struct Run<'a, S> {
    store: &'a S,
    dice: Dice,
    model: Model,
    tally: Tally,
}

impl<S: ServerStore + CredentialStore> Run<'_, S> {
    async fn step(&mut self) {
        let at = (
            usize::try_from(self.dice.roll(4)).unwrap(),
            usize::try_from(self.dice.roll(5)).unwrap(),
        );
        match self.dice.roll(20) {
            0 => self.insert(at).await,
            1 => self.replace(at).await,
            2 => self.remove(at).await,
            3 => self.swap(at).await,
            4 => self.list(at.0).await,
            5..8 => self.get(at).await,
            8..12 => self.load(at).await,
            _ => self.find(at.0).await,
        }
    }

    /// A record with choices of chance; whose its secret is can be told from it.
    fn server(&mut self, at: (usize, usize)) -> (Server, Modelled) {
        let projects: Vec<usize> = (0..PROJECTS.len())
            .filter(|_| self.dice.roll(2) == 0)
            .collect();
        let key = format!("key-of-{}-{}-{}", at.0, at.1, self.dice.roll(1 << 40));
        let enabled = self.dice.roll(4) > 0;
        let mut server = Server::new(SERVERS[at.1], "https://a.example/mcp")
            .unwrap()
            .with_organization(ORGANIZATIONS[at.0])
            .with_enabled(enabled)
            .with_auth(Auth::static_headers([("x-key", key.as_str())]).unwrap());
        if !projects.is_empty() {
            let names = projects.iter().map(|project| PROJECTS[*project]);
            server = server.with_projects(names).unwrap();
        }
        let modelled = Modelled {
            id: server.id.clone(),
            version: 1,
            enabled,
            projects,
            key,
        };
        (server, modelled)
    }

    async fn insert(&mut self, at: (usize, usize)) {
        self.tally.writes += 1;
        let (server, modelled) = self.server(at);
        let inserted = self.store.insert(server).await;
        if self.model.servers.contains_key(&at) {
            self.tally.refused += 1;
            assert!(matches!(inserted, Err(Error::Conflict { .. })));
            return;
        }
        check(at, &inserted.unwrap(), &modelled);
        self.model.servers.insert(at, modelled);
    }

    async fn replace(&mut self, at: (usize, usize)) {
        self.tally.writes += 1;
        let (mut server, mut modelled) = self.server(at);
        let stored = self.model.servers.get(&at).cloned();
        // One in four is behind.
        let behind = u64::from(self.dice.roll(4) == 0);
        let version = stored.as_ref().map_or(1, |stored| stored.version);
        server.version = version - behind.min(version);
        let replaced = self.store.replace(server).await;
        let Some(stored) = stored else {
            self.tally.refused += 1;
            assert!(matches!(replaced, Err(Error::NotFound { .. })));
            return;
        };
        if behind > 0 {
            self.tally.refused += 1;
            assert!(
                matches!(replaced, Err(Error::Stale { version, .. }) if version == stored.version)
            );
            return;
        }
        modelled.id = stored.id;
        modelled.version = stored.version + 1;
        check(at, &replaced.unwrap(), &modelled);
        self.model.servers.insert(at, modelled);
    }

    async fn remove(&mut self, at: (usize, usize)) {
        self.tally.writes += 1;
        let removed = self.store.remove(ORGANIZATIONS[at.0], &name(at.1)).await;
        let Some(stored) = self.model.servers.remove(&at) else {
            self.tally.refused += 1;
            assert!(matches!(removed, Err(Error::NotFound { .. })));
            return;
        };
        removed.unwrap();
        self.model
            .credentials
            .retain(|(organization, id, _), _| (*organization, id) != (at.0, &stored.id));
    }

    /// The key of a server that is there, or of one that is not, in any organization.
    fn key(&mut self, at: (usize, usize)) -> (CredentialKey, (usize, ServerId, usize)) {
        let origin = usize::try_from(self.dice.roll(2)).unwrap();
        let stored: Vec<_> = self.model.servers.values().collect();
        let id = match stored.is_empty() {
            true => ServerId::random(),
            false => self.dice.of(&stored).id.clone(),
        };
        let own = self.model.servers.get(&at).map(|own| own.id.clone());
        let id = own.filter(|_| self.dice.roll(4) > 0).unwrap_or(id);
        let key = CredentialKey {
            organization: ORGANIZATIONS[at.0].into(),
            server: id.clone(),
            origin: ORIGINS[origin].to_owned(),
        };
        (key, (at.0, id, origin))
    }

    async fn swap(&mut self, at: (usize, usize)) {
        self.tally.writes += 1;
        let (key, modelled) = self.key(at);
        // Of an organization's own servers only: nothing removes what belongs to no server.
        let is_own = self
            .model
            .servers
            .iter()
            .any(|((organization, _), server)| *organization == at.0 && server.id == modelled.1);
        if !is_own {
            return;
        }
        let text = format!("token-{}-{}", at.0, self.dice.roll(1 << 40));
        let stored = self.store.load(&key).await.unwrap();
        let expected = stored.map_or(Expected::Nothing, |s| Expected::Version(s.version));
        let new = (self.dice.roll(4) > 0).then(|| text.as_str().into());
        match &new {
            Some(_) => self.model.credentials.insert(modelled, text),
            None => self.model.credentials.remove(&modelled),
        };
        assert!(self.store.swap(&key, expected, new).await.unwrap());
    }

    async fn load(&mut self, at: (usize, usize)) {
        self.tally.reads += 1;
        let (key, modelled) = self.key(at);
        let loaded = self.store.load(&key).await.unwrap();
        let loaded = loaded.map(|loaded| loaded.secret.expose_secret().to_owned());
        assert_eq!(loaded.as_ref(), self.model.credentials.get(&modelled));
    }

    async fn get(&mut self, at: (usize, usize)) {
        self.tally.reads += 1;
        let got = self.store.get(ORGANIZATIONS[at.0], &name(at.1)).await;
        match self.model.servers.get(&at) {
            Some(modelled) => check(at, &got.unwrap(), modelled),
            None => assert!(matches!(got, Err(Error::NotFound { .. }))),
        }
    }

    async fn find(&mut self, organization: usize) {
        self.tally.reads += 1;
        let project = usize::try_from(self.dice.roll(3)).unwrap();
        let asked: Vec<usize> = (0..SERVERS.len())
            .filter(|_| self.dice.roll(2) == 0)
            .collect();
        let names: Vec<ServerName> = asked.iter().map(|server| name(*server)).collect();
        let who = Project::new(PROJECTS[project]).with_organization(ORGANIZATIONS[organization]);
        let mut found = self.store.find(&who, &names).await.unwrap();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let may = self.usable(organization, Some(project));
        let may: Vec<_> = may
            .into_iter()
            .filter(|(at, _)| asked.contains(&at.1))
            .collect();
        assert_eq!(found.len(), may.len());
        for (found, (at, modelled)) in found.iter().zip(may) {
            check(at, found, &modelled);
        }
    }

    async fn list(&mut self, organization: usize) {
        self.tally.reads += 1;
        let project = self.dice.roll(4).checked_sub(1);
        let project = project.map(|project| usize::try_from(project).unwrap());
        let mut filter = Filter::default();
        filter.project = project.map(|project| PROJECTS[project].to_owned());
        let page = Page::default();
        let listing = self.store.list(ORGANIZATIONS[organization], &filter, &page);
        let servers = listing.await.unwrap().servers;
        let may = self.usable(organization, project);
        assert_eq!(servers.len(), may.len());
        for (server, (at, modelled)) in servers.iter().zip(may) {
            check(at, server, &modelled);
        }
    }

    /// Servers of an organization that a project, or anybody, can use, by name.
    fn usable(
        &self,
        organization: usize,
        project: Option<usize>,
    ) -> Vec<((usize, usize), Modelled)> {
        let servers = self.model.servers.iter();
        let usable = servers.filter(|(at, server)| {
            let projects = &server.projects;
            at.0 == organization
                && project.is_none_or(|project| projects.is_empty() || projects.contains(&project))
        });
        usable.map(|(at, server)| (*at, server.clone())).collect()
    }
}

fn name(server: usize) -> ServerName {
    SERVERS[server].parse().unwrap()
}

/// What is seen is what the model has, the secret included.
fn check(at: (usize, usize), seen: &Server, modelled: &Modelled) {
    assert_eq!(&*seen.organization, ORGANIZATIONS[at.0]);
    assert_eq!(seen.name, name(at.1));
    assert_eq!(seen.id, modelled.id);
    assert_eq!(seen.version, modelled.version);
    assert_eq!(seen.enabled, modelled.enabled);
    for (index, project) in PROJECTS.iter().enumerate() {
        let usable = modelled.projects.is_empty() || modelled.projects.contains(&index);
        assert_eq!(seen.projects.contains(project), usable);
    }
    let Auth::StaticHeaders(headers) = &seen.auth else {
        panic!("{seen:?}");
    };
    assert_eq!(headers[0].value().expose_secret(), modelled.key);
}
