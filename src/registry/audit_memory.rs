//! What operators did, in memory.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    audit_entry::AuditEntry,
    audit_store::{AuditFilter, AuditListing, AuditPage, AuditStore},
    error::Error,
    future::BoxFuture,
};

/// The most entries: a year of thirty changes a day. The oldest go first.
const ENTRIES: usize = 10_000;

/// What operators did, in memory: the latest 10,000 entries of all organizations together, lost
/// with the process. Clones are the same store.
///
/// [`AuditStore`] has an example.
#[derive(Clone, Debug, Default)]
pub struct MemoryAudit(Arc<RwLock<VecDeque<AuditEntry>>>);

impl AuditStore for MemoryAudit {
    fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if entries.len() == ENTRIES {
                entries.pop_front();
            }
            // Nearly always the last place: ids are made a moment before.
            let place = entries.partition_point(|other| other.id < entry.id);
            entries.insert(place, entry.clone());
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
            let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let mut found: Vec<_> = entries
                .iter()
                .rev()
                .filter(|entry| entry.organization == organization && filter.matches(entry))
                .filter(|entry| page.before.is_none_or(|before| entry.id < before))
                .take(page.size() + 1)
                .cloned()
                .collect();
            let is_last = found.len() <= page.size();
            found.truncate(page.size());
            let next = found.last().map(|entry| entry.id).filter(|_| !is_last);
            Ok(AuditListing::new(found, next))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::registry::conformance;

    #[tokio::test]
    async fn every_clause_holds() {
        conformance::audit::all(async || MemoryAudit::default()).await;
        let make = async || Arc::new(MemoryAudit::default()) as Arc<dyn AuditStore>;
        conformance::audit::all(make).await;
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many() {
        let audit = MemoryAudit::default();
        for number in 0..ENTRIES + 5 {
            let entry = AuditEntry::new("o", SystemTime::now(), "a", number.to_string());
            audit.append_audit(&entry).await.unwrap();
        }
        let entries = audit.0.read().unwrap();
        assert_eq!((entries.len(), &*entries[0].target), (ENTRIES, "5"));
    }
}
