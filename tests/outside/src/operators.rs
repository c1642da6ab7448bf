//! What operators did, and the browsers in which they are signed in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mcp_layer::registry::{
    AuditEntry, AuditFilter, AuditListing, AuditPage, AuditStore, BoxFuture, Error,
    OperatorSession, OperatorSessionStore,
};

/// An [`AuditStore`].
#[derive(Default)]
pub struct Audit(Mutex<Vec<AuditEntry>>);

/// The entry, made anew of all that is in it: a store that keeps columns can give back as much.
fn rebuilt(kept: &AuditEntry) -> AuditEntry {
    let mut again = AuditEntry::new(&*kept.organization, kept.at, &*kept.action, &*kept.target);
    again.operator = kept.operator.clone();
    again.role = kept.role.clone();
    again.via = kept.via.clone();
    again.from = kept.from.clone();
    again.before = kept.before.clone();
    again.after = kept.after.clone();
    again.with_id(kept.id)
}

impl AuditStore for Audit {
    fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            entries.push(rebuilt(entry));
            entries.sort_by_key(|entry| entry.id);
            Ok(())
        })
    }

    fn list_audit<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a AuditFilter,
        page: &'a AuditPage,
    ) -> BoxFuture<'a, Result<AuditListing, Error>> {
        Box::pin(async move {
            let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let own = entries.iter().rev().filter(|entry| {
                entry.organization == organization
                    && filter.matches(entry)
                    && page.before.is_none_or(|before| entry.id < before)
            });
            let mut found: Vec<_> = own.take(page.size() + 1).map(rebuilt).collect();
            let is_last = found.len() <= page.size();
            found.truncate(page.size());
            let next = found.last().map(|entry| entry.id).filter(|_| !is_last);
            Ok(AuditListing::new(found, next))
        })
    }
}

/// The most sessions of an operator, as the contract has it.
const EACH: usize = 100;

/// An [`OperatorSessionStore`].
#[derive(Default)]
pub struct OperatorSessions(Mutex<Vec<OperatorSession>>);

impl OperatorSessions {
    fn kept(&self) -> MutexGuard<'_, Vec<OperatorSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is(session: &OperatorSession, organization: &str, id: &str) -> bool {
    session.organization == organization && session.id == id
}

impl OperatorSessionStore for OperatorSessions {
    fn begin_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut kept = self.kept();
            if kept
                .iter()
                .any(|other| is(other, &session.organization, &session.id))
            {
                return Err(Error::invalid("id", "is that of another session"));
            }
            let is_theirs = |other: &OperatorSession| {
                other.organization == session.organization && other.operator == session.operator
            };
            let theirs = || (0..).zip(&*kept).filter(|(_, other)| is_theirs(other));
            if theirs().count() >= EACH {
                let unused = theirs().min_by_key(|(_, other)| other.used_at);
                if let Some(place) = unused.map(|(place, _)| place) {
                    kept.remove(place);
                }
            }
            kept.push(session.clone());
            Ok(())
        })
    }

    fn session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<OperatorSession>, Error>> {
        Box::pin(async move {
            let kept = self.kept();
            let found = kept.iter().find(|session| is(session, organization, id));
            Ok(found.cloned())
        })
    }

    fn sessions<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<OperatorSession>, Error>> {
        Box::pin(async move {
            let mut own = self.kept().clone();
            own.retain(|session| session.organization == organization);
            own.sort_by_key(|session| std::cmp::Reverse(session.used_at));
            Ok(own)
        })
    }

    fn replace_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut kept = self.kept();
            let stored = kept
                .iter_mut()
                .find(|other| is(other, &session.organization, &session.id));
            let Some(stored) = stored.filter(|stored| stored.version == session.version) else {
                return Ok(false);
            };
            *stored = session.clone();
            stored.version += 1;
            Ok(true)
        })
    }

    fn end_session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut kept = self.kept();
            let before = kept.len();
            kept.retain(|session| !is(session, organization, id));
            Ok(kept.len() < before)
        })
    }
}
