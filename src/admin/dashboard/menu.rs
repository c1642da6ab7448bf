//! The projects to choose from. Finding them takes a look at every server, which no page waits
//! for but the first.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::super::{Admin, fault::Fault};
use crate::registry::{Projects, Server};

/// How old a menu may be; what is not in it can be typed.
const FRESH: Duration = Duration::from_secs(10);

/// What was found last; clones share it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Menu(Arc<Mutex<Option<Known>>>);

#[derive(Clone, Debug)]
struct Known {
    projects: Arc<BTreeSet<String>>,
    at: Instant,
}

impl Admin {
    /// All projects that were known a while ago, and those of what was saved here since.
    pub(super) async fn choices(&self) -> Result<Arc<BTreeSet<String>>, Fault> {
        let known = self.menu.take_turn();
        let Some((projects, is_our_turn)) = known else {
            return Ok(self.menu.put(self.projects().await?));
        };
        if is_our_turn {
            let admin = self.clone();
            tokio::spawn(async move {
                // What cannot be found now is found the next time.
                if let Ok(projects) = admin.projects().await {
                    admin.menu.put(projects);
                }
            });
        }
        Ok(projects)
    }

    /// Has the projects of what was just saved in the menu.
    pub(super) fn note_projects(&self, server: &Server) {
        if let (Projects::Only(named), Some(known)) = (&server.projects, &mut *self.menu.lock()) {
            Arc::make_mut(&mut known.projects).extend(named.iter().cloned());
        }
    }
}

impl Menu {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, projects: BTreeSet<String>) -> Arc<BTreeSet<String>> {
        let projects = Arc::new(projects);
        *self.lock() = Some(Known {
            projects: projects.clone(),
            at: Instant::now(),
        });
        projects
    }

    /// What is known, and whether it is upon the caller to look again.
    fn take_turn(&self) -> Option<(Arc<BTreeSet<String>>, bool)> {
        let mut known = self.lock();
        let known = known.as_mut()?;
        let is_old = known.at.elapsed() > FRESH;
        if is_old {
            known.at = Instant::now();
        }
        Some((known.projects.clone(), is_old))
    }
}
