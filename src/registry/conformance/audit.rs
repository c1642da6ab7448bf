//! The contract of [`AuditStore`], a function per clause; each needs an empty store.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::json;

use super::clauses;
use crate::registry::{
    audit_entry::{AuditEntry, AuditId},
    audit_store::{AuditFilter, AuditPage, AuditStore},
};

clauses! {
    /// Runs every clause, each with an empty store from `make`.
    all(AuditStore) {
        what_was_added_is_listed_whole_and_the_latest_first
        pages_have_every_entry_once
        a_page_has_a_limit
        filters_find_what_they_say
        an_organization_sees_its_own_only
        writers_at_once_lose_nothing
        odd_texts_do_no_harm
    }
}

/// An entry with all that there is.
fn entry(action: &str, target: &str) -> AuditEntry {
    let mut entry = AuditEntry::new("default", SystemTime::now(), action, target);
    entry.operator = "ann".to_owned();
    entry.role = "editor".to_owned();
    entry.via = "session".to_owned();
    entry.from = "192.0.2.1".to_owned();
    entry.before = Some(json!({"enabled": true, "é": null}));
    entry.after = Some(json!({"enabled": false, "list": [1, "\"\n"]}));
    entry
}

async fn added(store: &impl AuditStore, entries: &[AuditEntry]) {
    for entry in entries {
        store.append_audit(entry).await.unwrap();
    }
}

async fn listed(store: &impl AuditStore, filter: &AuditFilter) -> Vec<AuditEntry> {
    let page = AuditPage::default();
    let listing = store.list_audit("default", filter, &page).await.unwrap();
    listing.entries
}

fn by(set: impl FnOnce(&mut AuditFilter)) -> AuditFilter {
    let mut filter = AuditFilter::default();
    set(&mut filter);
    filter
}

/// Nothing of an entry is lost, and the order is that of ids.
pub async fn what_was_added_is_listed_whole_and_the_latest_first(store: impl AuditStore) {
    let (first, second) = (entry("server.create", "a"), entry("server.remove", "a"));
    let mut bare = AuditEntry::new("default", SystemTime::now(), "sign_in.refused", "");
    bare.after = None;
    added(&store, &[first.clone(), second.clone(), bare.clone()]).await;
    let all = listed(&store, &AuditFilter::default()).await;
    assert_eq!(all, [bare, second, first]);
}

/// Whoever follows `next` sees all of them, and none twice.
pub async fn pages_have_every_entry_once(store: impl AuditStore) {
    let entries: Vec<_> = (0..7).map(|n| entry("a", &n.to_string())).collect();
    added(&store, &entries).await;
    let mut page = AuditPage {
        limit: 3,
        ..AuditPage::default()
    };
    let mut seen = Vec::new();
    loop {
        let all = AuditFilter::default();
        let listing = store.list_audit("default", &all, &page).await.unwrap();
        assert!(listing.entries.len() <= 3);
        seen.extend(listing.entries);
        match listing.next {
            Some(next) => page.before = Some(next),
            None => break,
        }
    }
    seen.reverse();
    assert_eq!(seen, entries);
}

/// A limit of nothing or of everything is one within bounds.
pub async fn a_page_has_a_limit(store: impl AuditStore) {
    added(&store, &[entry("a", "1"), entry("a", "2")]).await;
    for (limit, expected) in [(0, 1), (1, 1), (2, 2), (usize::MAX, 2)] {
        let page = AuditPage {
            limit,
            ..AuditPage::default()
        };
        let all = AuditFilter::default();
        let listing = store.list_audit("default", &all, &page).await.unwrap();
        assert_eq!(listing.entries.len(), expected, "{limit}");
        assert_eq!(listing.next.is_some(), expected < 2, "{limit}");
    }
}

/// Every member of a filter, and all of them together.
pub async fn filters_find_what_they_say(store: impl AuditStore) {
    let mut other = entry("tools.accept", "b");
    other.operator = "bob".to_owned();
    other.at += Duration::from_secs(60);
    let (at, later) = (entry("server.create", "a"), other.at);
    let mut part = entry("tool.call", "c/é");
    part.at = at.at;
    added(&store, &[at.clone(), part.clone(), other.clone()]).await;
    for (filter, expected) in [
        (by(|f| f.operator = Some("ann".into())), vec![&part, &at]),
        (by(|f| f.operator = Some("an".into())), vec![]),
        (by(|f| f.action = Some("tools.accept".into())), vec![&other]),
        (by(|f| f.action = Some("tools.".into())), vec![&other]),
        (by(|f| f.action = Some("tools".into())), vec![]),
        (by(|f| f.target = Some("a".into())), vec![&at]),
        (by(|f| f.target = Some("c".into())), vec![&part]),
        (by(|f| f.target = Some("c/é".into())), vec![&part]),
        (by(|f| f.target = Some("c/".into())), vec![]),
        (by(|f| f.from = Some(later)), vec![&other]),
        (by(|f| f.to = Some(later)), vec![&part, &at]),
        (
            by(|f| (f.operator, f.target) = (Some("bob".into()), Some("a".into()))),
            vec![],
        ),
    ] {
        let found = listed(&store, &filter).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

/// Another organization's entries are nobody else's.
pub async fn an_organization_sees_its_own_only(store: impl AuditStore) {
    let mut other = entry("a", "b");
    other.organization = "other".to_owned();
    added(&store, std::slice::from_ref(&other)).await;
    assert!(listed(&store, &AuditFilter::default()).await.is_empty());
    let (all, page) = (AuditFilter::default(), AuditPage::default());
    let theirs = store.list_audit("other", &all, &page).await.unwrap();
    assert_eq!(theirs.entries, [other]);
}

/// Each of them is there.
pub async fn writers_at_once_lose_nothing(store: impl AuditStore) {
    let entries: Vec<_> = (0..20).map(|n| entry("a", &n.to_string())).collect();
    let written = join_all(entries.iter().map(|entry| store.append_audit(entry))).await;
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(listed(&store, &AuditFilter::default()).await.len(), 20);
}

/// Texts that mean something to databases are texts.
pub async fn odd_texts_do_no_harm(store: impl AuditStore) {
    let odd = entry("a'; DROP TABLE x", "%_\\\"");
    added(&store, std::slice::from_ref(&odd)).await;
    let found = listed(&store, &by(|f| f.target = Some("%_\\\"".into()))).await;
    assert_eq!(found, [odd]);
    for text in ["%", "a'", "\0", "=", "_."] {
        let filter = by(|f| f.action = Some(text.to_owned()));
        assert!(listed(&store, &filter).await.is_empty(), "{text:?}");
    }
    let (all, mut page) = (AuditFilter::default(), AuditPage::default());
    page.before = "0".repeat(32).parse::<AuditId>().ok();
    let none = store.list_audit("default", &all, &page).await.unwrap();
    assert!(none.entries.is_empty() && none.next.is_none());
    let long = "x".repeat(5000);
    assert!(
        store
            .list_audit(&long, &all, &page)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
}
