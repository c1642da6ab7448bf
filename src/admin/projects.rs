//! The projects that are known, from keys, servers, grants and budgets.
//!
//! Finding them takes a look at every server, which no page waits for but the first: the menu of
//! projects is what was found last, and is looked for again behind the page that asks.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::extract::State;
use http::StatusCode;
use serde_json::json;

use super::{
    answer::{Answer, json},
    fault::Fault,
    models::Models,
    organization::OrganizationStore,
};
use crate::{
    name::short,
    registry::{self, ApiKeyStore, Budget, ProjectGrant, Server},
};

/// The age at which the menu is made anew; a project that is not in it can be typed.
const FRESH: Duration = Duration::from_secs(10);
/// Projects that a message names.
const NAMED: usize = 10;

/// The project of calls and chats that an operator tries, where none is named.
pub(super) const DEFAULT: &str = "default";

/// The project that `server` is tried for at first: one that can use it.
pub(super) fn usual(server: &Server) -> &str {
    match &server.projects {
        registry::Projects::Only(projects) => projects.first().map_or(DEFAULT, String::as_str),
        _ => DEFAULT,
    }
}

/// The reason why `project` cannot use `server`, in words for an operator; callers are not told that
/// the server is there.
pub(super) fn unavailable(server: &Server, project: &str) -> Option<String> {
    let registry::Projects::Only(projects) = &server.projects else {
        return None;
    };
    if projects.contains(project) {
        return None;
    }
    let named: Vec<_> = projects.iter().take(NAMED).map(String::as_str).collect();
    let more = match projects.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(format!(
        "the server {} is not available to the project {}; choose one of: {}{more}",
        server.name,
        short(project),
        named.join(", ")
    ))
}

/// `GET /projects`
pub(super) async fn list(State(projects): State<Projects>) -> Answer {
    let projects = projects.all().await?;
    json(StatusCode::OK, &json!({"projects": projects}))
}

/// The projects that a server names: those that can use it, and those that it grants something.
fn named(server: &Server) -> impl Iterator<Item = String> {
    let only = match &server.projects {
        registry::Projects::Only(named) => Some(named),
        _ => None,
    };
    let granted = server.grants.iter().map(ProjectGrant::project);
    let only = only.into_iter().flatten().map(String::as_str);
    only.chain(granted).map(str::to_owned)
}

/// The projects of one organization; clones share what was found.
#[derive(Clone)]
pub(super) struct Projects {
    store: OrganizationStore,
    /// The projects that are known without any server that names them.
    named: Arc<BTreeSet<String>>,
    /// Keys of callers have projects, too.
    keys: Option<Arc<dyn ApiKeyStore>>,
    /// Budgets are of projects, too.
    models: Models,
    menu: Arc<Mutex<Option<Menu>>>,
}

/// The projects that were found last.
struct Menu {
    projects: Arc<BTreeSet<String>>,
    at: Instant,
}

impl Projects {
    pub(super) fn new(
        store: OrganizationStore,
        named: BTreeSet<String>,
        keys: Option<Arc<dyn ApiKeyStore>>,
        models: Models,
    ) -> Self {
        Self {
            store,
            keys,
            models,
            named: Arc::new(named),
            menu: Arc::default(),
        }
    }

    /// All projects that are known now.
    pub(super) async fn all(&self) -> Result<BTreeSet<String>, Fault> {
        let mut projects = BTreeSet::clone(&self.named);
        projects.extend(self.of_keys()?);
        for server in self.store.all().await? {
            projects.extend(named(&server));
        }
        let rules = self.models.in_force();
        let budgets = rules.budgets().map(Budget::project);
        projects.extend(budgets.map(str::to_owned));
        Ok(projects)
    }

    /// The projects that requests can be of, where that is known: where keys decide it.
    pub(super) fn callers(&self) -> Result<Option<BTreeSet<String>>, Fault> {
        let of_keys = self.of_keys()?;
        let keyed = self.named.iter().cloned().chain(of_keys.iter().cloned());
        Ok((!of_keys.is_empty()).then(|| keyed.collect()))
    }

    /// The projects of callers' keys.
    fn of_keys(&self) -> Result<Vec<String>, Fault> {
        let Some(store) = &self.keys else {
            return Ok(Vec::new());
        };
        let organization = &**self.store.organization();
        let declared = store.declared_api_keys(organization);
        let stored = store.api_keys()?;
        let stored = stored
            .iter()
            .filter(|key| key.project.organization() == organization);
        let projects = declared.iter().chain(stored).map(|key| key.project.name());
        Ok(projects.map(str::to_owned).collect())
    }

    /// All projects that were known a while ago, and those of what was saved here since.
    pub(super) async fn choices(&self) -> Result<Arc<BTreeSet<String>>, Fault> {
        let Some((choices, is_our_turn)) = self.take_turn() else {
            return Ok(self.put(self.all().await?));
        };
        if is_our_turn {
            let projects = self.clone();
            tokio::spawn(async move {
                // What cannot be found now is found the next time.
                if let Ok(found) = projects.all().await {
                    projects.put(found);
                }
            });
        }
        Ok(choices)
    }

    /// Adds the projects of a server that was just saved to the menu.
    pub(super) fn note(&self, server: &Server) {
        if let Some(menu) = &mut *self.menu() {
            Arc::make_mut(&mut menu.projects).extend(named(server));
        }
    }

    /// Adds the project of a key or a budget that was just made to the menu.
    pub(super) fn note_named(&self, project: &str) {
        if let Some(menu) = &mut *self.menu() {
            Arc::make_mut(&mut menu.projects).insert(project.to_owned());
        }
    }

    fn put(&self, projects: BTreeSet<String>) -> Arc<BTreeSet<String>> {
        let projects = Arc::new(projects);
        *self.menu() = Some(Menu {
            projects: projects.clone(),
            at: Instant::now(),
        });
        projects
    }

    /// The menu, and whether it is upon the caller to look again.
    fn take_turn(&self) -> Option<(Arc<BTreeSet<String>>, bool)> {
        let mut menu = self.menu();
        let menu = menu.as_mut()?;
        let is_old = menu.at.elapsed() > FRESH;
        if is_old {
            menu.at = Instant::now();
        }
        Some((menu.projects.clone(), is_old))
    }

    /// Locks the menu, for a few assignments and never across an await.
    fn menu(&self) -> MutexGuard<'_, Option<Menu>> {
        self.menu.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
