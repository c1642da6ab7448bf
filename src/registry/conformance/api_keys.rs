//! The contract of [`ApiKeyStore`], a function per clause; each needs an empty store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;

use super::clauses;
use crate::{
    project::Project,
    registry::{
        api_key::{ApiKey, ApiKeyId},
        api_key_store::ApiKeyStore,
        call_limits::{CallLimit, CallLimits},
    },
};

clauses! {
    /// Runs every clause, each with an empty store from `make`.
    all(ApiKeyStore) {
        a_new_store_has_no_keys_and_never_had_any
        a_key_that_was_inserted_opens_at_once_and_is_listed_as_it_is
        a_key_that_was_revoked_opens_nothing_any_more
        keys_are_wanted_once_one_was_made
        a_key_is_inserted_once
        a_key_that_has_expired_is_listed_and_not_found
        the_newest_key_is_listed_first
        the_last_use_is_the_latest_that_was_noted
        an_organization_has_keys_of_its_own
        odd_names_do_no_harm
    }
}

/// A time to the millisecond, as any store keeps it.
fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + milliseconds)
}

fn key(name: &str, project: &str) -> ApiKey {
    let (mut key, _) = ApiKey::generate(name, Project::new(project)).unwrap();
    key.created_at = Some(at(0));
    key
}

/// Whether this key opens anything now.
fn opens(store: &impl ApiKeyStore, key: &ApiKey) -> bool {
    let keys = store.api_keys().unwrap();
    let found = keys.find(&key.digest, at(0));
    found.is_some_and(|found| found.id == key.id && found.project == key.project)
}

/// Nobody has made a key: that is no error, and none is wanted.
pub async fn a_new_store_has_no_keys_and_never_had_any(store: impl ApiKeyStore) {
    let keys = store.api_keys().unwrap();
    assert_eq!(keys.iter().len(), 0);
    assert!(!keys.were_made());
    assert!(store.list_api_keys("default").await.unwrap().is_empty());
    let id = ApiKeyId::random();
    assert!(!store.revoke_api_key("default", &id).await.unwrap());
    assert!(!store.api_keys().unwrap().were_made());
}

/// Once the insertion is answered, requests of this process go by it; nothing of it is lost.
pub async fn a_key_that_was_inserted_opens_at_once_and_is_listed_as_it_is(store: impl ApiKeyStore) {
    let mut bare = key("bare", "web");
    bare.created_at = None;
    let full = key("full", "batch").with_expiry(Some(at(60_000)));
    let limits = CallLimits::default().with(CallLimit::PerDay, u32::MAX);
    let limits = limits.and_then(|limits| limits.with(CallLimit::AtOnce, 1));
    let full = full.with_limits(limits.unwrap());
    for key in [&bare, &full] {
        assert!(!opens(&store, key));
        assert!(store.insert_api_key(key.clone()).await.unwrap());
        assert!(opens(&store, key));
    }
    let listed = store.list_api_keys("default").await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        listed.contains(&bare) && listed.contains(&full),
        "{listed:?}"
    );
}

/// Revoking is at once in this process, and the others stay.
pub async fn a_key_that_was_revoked_opens_nothing_any_more(store: impl ApiKeyStore) {
    let (old, new) = (key("same", "web"), key("same", "web"));
    for key in [&old, &new] {
        store.insert_api_key(key.clone()).await.unwrap();
    }
    assert!(store.revoke_api_key("default", &old.id).await.unwrap());
    assert!(!opens(&store, &old) && opens(&store, &new));
    assert!(!store.revoke_api_key("default", &old.id).await.unwrap());
    assert_eq!(store.list_api_keys("default").await.unwrap(), [new]);
}

/// Revoking the last key opens nothing to everybody.
pub async fn keys_are_wanted_once_one_was_made(store: impl ApiKeyStore) {
    let only = key("only", "web");
    store.insert_api_key(only.clone()).await.unwrap();
    assert!(store.api_keys().unwrap().were_made());
    store.revoke_api_key("default", &only.id).await.unwrap();
    let keys = store.api_keys().unwrap();
    assert!(keys.were_made() && keys.iter().len() == 0);
}

/// Of insertions of one id, or of one key, exactly one is kept.
pub async fn a_key_is_inserted_once(store: impl ApiKeyStore) {
    let first = key("first", "web");
    let inserted = join_all((0..4).map(|_| store.insert_api_key(first.clone()))).await;
    let inserted = inserted.into_iter().map(Result::unwrap);
    assert_eq!(inserted.filter(|is_new| *is_new).count(), 1);
    let mut same_id = key("second", "batch");
    same_id.id = first.id;
    let mut same_digest = key("third", "batch");
    same_digest.digest = first.digest;
    for other in [same_id, same_digest] {
        assert!(!store.insert_api_key(other).await.unwrap());
    }
    assert!(opens(&store, &first));
    assert_eq!(store.list_api_keys("default").await.unwrap(), [first]);
}

/// An operator sees that it has expired; a caller cannot use it.
pub async fn a_key_that_has_expired_is_listed_and_not_found(store: impl ApiKeyStore) {
    let key = key("old", "web").with_expiry(Some(at(1000)));
    store.insert_api_key(key.clone()).await.unwrap();
    let keys = store.api_keys().unwrap();
    assert!(keys.find(&key.digest, at(999)).is_some());
    assert!(keys.find(&key.digest, at(1000)).is_none());
    assert_eq!(store.list_api_keys("default").await.unwrap(), [key]);
}

/// The order in which people look for what they have just made.
pub async fn the_newest_key_is_listed_first(store: impl ApiKeyStore) {
    for minute in [1, 3, 2] {
        let mut key = key(&format!("at {minute}"), "web");
        key.created_at = Some(at(minute * 60_000));
        store.insert_api_key(key).await.unwrap();
    }
    let listed = store.list_api_keys("default").await.unwrap();
    let names: Vec<_> = listed.iter().map(|key| &*key.name).collect();
    assert_eq!(names, ["at 3", "at 2", "at 1"]);
}

/// Replicas note what each has seen, in any order.
pub async fn the_last_use_is_the_latest_that_was_noted(store: impl ApiKeyStore) {
    let (used, unused) = (key("used", "web"), key("unused", "web"));
    for key in [&used, &unused] {
        store.insert_api_key(key.clone()).await.unwrap();
    }
    let nobody = ApiKeyId::random();
    for seen in [5, 9, 7] {
        let uses = [(nobody, at(99)), (used.id, at(seen)), (used.id, at(1))];
        store.note_api_key_uses(&uses).await.unwrap();
    }
    store.note_api_key_uses(&[]).await.unwrap();
    let listed = store.list_api_keys("default").await.unwrap();
    let seen = |id| {
        let key = listed.iter().find(|key| key.id == id).unwrap();
        key.last_used_at
    };
    assert_eq!(seen(used.id), Some(at(9)));
    assert_eq!(seen(unused.id), None);
    assert_eq!(listed.len(), 2);
    assert!(opens(&store, &used));
}

/// Keys of one organization are neither seen nor revoked from another; the snapshot has all.
pub async fn an_organization_has_keys_of_its_own(store: impl ApiKeyStore) {
    let organizations = ["default", "other", "Other", "other "];
    let keys = organizations.map(|organization| {
        let mut key = key("same", "web");
        key.project = Project::new("web").with_organization(organization);
        key
    });
    for key in &keys {
        store.insert_api_key(key.clone()).await.unwrap();
    }
    for (organization, key) in organizations.iter().zip(&keys) {
        let listed = store.list_api_keys(organization).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(key));
        assert!(opens(&store, key));
    }
    let foreign = store.revoke_api_key("other", &keys[0].id).await;
    assert!(!foreign.unwrap() && opens(&store, &keys[0]));
}

/// Names are any texts, and so are organizations.
pub async fn odd_names_do_no_harm(store: impl ApiKeyStore) {
    for name in [
        "'; DROP TABLE",
        "\"\\{}[]",
        "é😀\u{301}",
        "a/b:c@d#e?f=g&h%00",
        "<b>",
    ] {
        let key = key(name, name);
        assert!(store.insert_api_key(key.clone()).await.unwrap());
        assert!(opens(&store, &key), "{name}");
        let listed = store.list_api_keys("default").await.unwrap();
        assert!(listed.contains(&key), "{name}");
    }
    for organization in ["", "\0", "'; DROP TABLE", &"x".repeat(5000)] {
        assert!(store.list_api_keys(organization).await.unwrap().is_empty());
        let id = ApiKeyId::random();
        assert!(!store.revoke_api_key(organization, &id).await.unwrap());
    }
}
