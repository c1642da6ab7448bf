//! Sessions of operators in memory.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    error::Error,
    future::BoxFuture,
    operator_session::{OperatorSession, OperatorSessionStore},
};

/// The most sessions of one operator: more browsers than anybody has. Whoever signs in all day long
/// ends their own.
pub(super) const EACH: usize = 100;
/// The most sessions of all together, a kilobyte each: of a hundred operators, each with as many as
/// they may have.
const SESSIONS: usize = 10_000;
/// The most sessions in a list.
pub(super) const LISTED: usize = 1000;

/// By organization and id.
type Sessions = HashMap<(String, String), OperatorSession>;

/// Sessions of operators in memory, at most 10,000 of all organizations together, lost with the
/// process. Clones are the same store.
///
/// ```
/// use mcp_layer::registry::{MemoryOperatorSessions, OperatorSession, OperatorSessionStore};
/// use std::time::{Duration, SystemTime};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let sessions = MemoryOperatorSessions::default();
/// let now = SystemTime::now();
/// let session = OperatorSession::new("default", "00ff", "ann", now, now + Duration::from_secs(60));
/// sessions.begin_session(&session).await?;
/// assert!(sessions.end_session("default", "00ff").await?);
/// assert!(sessions.session("default", "00ff").await?.is_none());
/// # Ok::<(), mcp_layer::registry::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryOperatorSessions(Arc<Mutex<Sessions>>);

impl MemoryOperatorSessions {
    fn open(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(organization: &str, id: &str) -> (String, String) {
    (organization.to_owned(), id.to_owned())
}

/// Makes room for one more of `these`, of which there may be so many: the one that was not used for
/// longest goes. Those that have ended by themselves are counted, and go first.
fn make_room(sessions: &mut Sessions, most: usize, these: impl Fn(&OperatorSession) -> bool) {
    let found = || sessions.iter().filter(|(_, session)| these(session));
    if found().count() < most {
        return;
    }
    let unused = found().min_by_key(|(_, session)| session.used_at);
    if let Some(unused) = unused.map(|(key, _)| key.clone()) {
        sessions.remove(&unused);
    }
}

impl OperatorSessionStore for MemoryOperatorSessions {
    fn begin_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut sessions = self.open();
            let key = key(&session.organization, &session.id);
            if sessions.contains_key(&key) {
                return Err(Error::invalid("id", "is that of another session"));
            }
            make_room(&mut sessions, EACH, |other| {
                other.organization == session.organization && other.operator == session.operator
            });
            make_room(&mut sessions, SESSIONS, |_| true);
            sessions.insert(key, session.clone());
            Ok(())
        })
    }

    fn session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<OperatorSession>, Error>> {
        Box::pin(async move { Ok(self.open().get(&key(organization, id)).cloned()) })
    }

    fn sessions<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<OperatorSession>, Error>> {
        Box::pin(async move {
            let sessions = self.open();
            let own = sessions
                .values()
                .filter(|session| session.organization == organization);
            let mut own: Vec<_> = own.cloned().collect();
            own.sort_by_key(|session| Reverse(session.used_at));
            own.truncate(LISTED);
            Ok(own)
        })
    }

    fn replace_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut sessions = self.open();
            let stored = sessions.get_mut(&key(&session.organization, &session.id));
            let Some(stored) = stored.filter(|stored| stored.version == session.version) else {
                return Ok(false);
            };
            *stored = OperatorSession {
                version: session.version + 1,
                ..session.clone()
            };
            Ok(true)
        })
    }

    fn end_session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(self.open().remove(&key(organization, id)).is_some()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;

    #[tokio::test]
    async fn every_clause_holds() {
        conformance::operator_sessions::all(async || MemoryOperatorSessions::default()).await;
        let make =
            async || Arc::new(MemoryOperatorSessions::default()) as Arc<dyn OperatorSessionStore>;
        conformance::operator_sessions::all(make).await;
    }
}
