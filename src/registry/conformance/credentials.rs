//! The contract of [`CredentialStore`], a function per clause; each needs an empty store.
//!
//! Clauses about leases wait for them to run out, less than a second each.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use crate::{
    registry::{
        credential::{CREDENTIAL_LEN, CredentialKey, Expected, STATES_PER_SERVER, StateHash},
        credential_store::CredentialStore,
        error::Error,
        server::Server,
    },
    secret::{ExposeSecret, SecretString},
};

super::clauses! {
    /// Runs every clause, each with a new and empty store from `make`.
    all(CredentialStore) {
        a_credential_is_loaded_as_it_was_stored
        a_credential_is_found_for_its_own_key_only
        a_swap_that_expects_another_version_changes_nothing
        of_swaps_that_expect_the_same_one_wins
        a_swap_that_expects_anything_always_gets_through
        a_removed_credential_is_gone
        versions_never_repeat
        a_secret_that_is_too_long_is_refused
        a_lease_keeps_others_out_until_it_is_released
        a_lease_runs_out
        a_lease_that_ran_out_does_not_release_its_successor
        a_lease_is_for_one_key_and_locks_no_credential
        of_many_one_gets_the_lease
        a_state_is_taken_once
        an_expired_state_is_not_there
        the_oldest_state_of_a_server_gives_way
    }
}

/// A lease long enough not to run out by accident, and short enough to wait for.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);

fn key() -> CredentialKey {
    CredentialKey::of(&Server::new("a", "https://mcp.example.com/mcp").unwrap())
}

fn in_a_minute() -> SystemTime {
    SystemTime::now() + LONG
}

fn hash(number: u8) -> StateHash {
    StateHash::of(&format!("state {number}").into())
}

async fn swap(
    store: &impl CredentialStore,
    key: &CredentialKey,
    expected: Option<u64>,
    new: Option<&str>,
) -> bool {
    let new = new.map(SecretString::from);
    let expected = expected.map_or(Expected::Nothing, Expected::Version);
    store.swap(key, expected, new).await.unwrap()
}

/// The version and text of what is stored.
async fn load(store: &impl CredentialStore, key: &CredentialKey) -> Option<(u64, String)> {
    let stored = store.load(key).await.unwrap()?;
    Some((stored.version, stored.secret.expose_secret().to_owned()))
}

async fn put(store: &impl CredentialStore, key: &CredentialKey, number: u8) {
    let pending = format!("pending {number}").into();
    let put = store.put_state(key, hash(number), in_a_minute(), pending);
    put.await.unwrap();
}

async fn take(store: &impl CredentialStore, number: u8) -> Option<(CredentialKey, String)> {
    let (key, pending) = store.take_state(&hash(number)).await.unwrap()?;
    Some((key, pending.expose_secret().to_owned()))
}

/// A secret is loaded byte for byte, up to the longest.
pub async fn a_credential_is_loaded_as_it_was_stored(store: impl CredentialStore) {
    let key = key();
    assert_eq!(load(&store, &key).await, None);
    let longest = "x".repeat(CREDENTIAL_LEN);
    let mut expected = None;
    for text in ["", "s3cret", "ключ \u{1f511} \"\\\n", longest.as_str()] {
        assert!(swap(&store, &key, expected, Some(text)).await);
        let (version, stored) = load(&store, &key).await.unwrap();
        assert_eq!(stored, text);
        assert_ne!(expected, Some(version));
        expected = Some(version);
    }
}

/// A credential is found for its own organization, server and origin, and for no other.
pub async fn a_credential_is_found_for_its_own_key_only(store: impl CredentialStore) {
    let mine = key();
    assert!(swap(&store, &mine, None, Some("mine")).await);
    let organization = "other".into();
    let origin = "https://mcp.example.com:8443".to_owned();
    for other in [
        key(),
        CredentialKey {
            organization,
            ..mine.clone()
        },
        CredentialKey {
            origin,
            ..mine.clone()
        },
    ] {
        assert_eq!(load(&store, &other).await, None, "{other:?}");
        assert!(swap(&store, &other, None, Some("other")).await);
        assert_eq!(load(&store, &mine).await.unwrap().1, "mine");
    }
}

/// A swap whose expectation is not met returns `false` and changes nothing.
pub async fn a_swap_that_expects_another_version_changes_nothing(store: impl CredentialStore) {
    let key = key();
    assert!(!swap(&store, &key, Some(1), Some("a")).await);
    assert!(!swap(&store, &key, Some(0), None).await);
    assert_eq!(load(&store, &key).await, None);
    assert!(swap(&store, &key, None, Some("a")).await);
    let stored = load(&store, &key).await;
    let version = stored.as_ref().unwrap().0;
    for expected in [None, Some(version - 1), Some(version + 1)] {
        assert!(!swap(&store, &key, expected, Some("b")).await);
        assert!(!swap(&store, &key, expected, None).await);
        assert_eq!(load(&store, &key).await, stored);
    }
}

/// Exactly one of several concurrent swaps gets through.
pub async fn of_swaps_that_expect_the_same_one_wins(store: impl CredentialStore) {
    let key = key();
    let texts = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut expected = None;
    for _ in 0..4 {
        let swaps = texts.map(|text| swap(&store, &key, expected, Some(text)));
        let won = join_all(swaps).await;
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        let (version, text) = load(&store, &key).await.unwrap();
        let winner = won.iter().position(|won| *won).unwrap();
        assert_eq!(text, texts[winner]);
        expected = Some(version);
    }
}

/// A swap that expects `Expected::Anything` replaces or removes any state, including none.
pub async fn a_swap_that_expects_anything_always_gets_through(store: impl CredentialStore) {
    let key = key();
    let swap = async |new: Option<&str>| {
        let new = new.map(SecretString::from);
        store.swap(&key, Expected::Anything, new).await.unwrap()
    };
    assert!(swap(None).await);
    assert!(swap(Some("a")).await);
    let (version, _) = load(&store, &key).await.unwrap();
    assert!(swap(Some("b")).await);
    let (newer, text) = load(&store, &key).await.unwrap();
    assert_eq!(text, "b");
    assert!(newer > version, "versions only grow");
    assert!(swap(None).await);
    assert_eq!(load(&store, &key).await, None);
}

/// A removed credential is gone, even for a caller that knows its version.
pub async fn a_removed_credential_is_gone(store: impl CredentialStore) {
    let key = key();
    assert!(
        swap(&store, &key, None, None).await,
        "nothing stays nothing"
    );
    assert!(swap(&store, &key, None, Some("a")).await);
    let (version, _) = load(&store, &key).await.unwrap();
    assert!(swap(&store, &key, Some(version), None).await);
    assert_eq!(load(&store, &key).await, None);
    assert!(!swap(&store, &key, Some(version), Some("b")).await);
}

/// A version of a key is never used twice, not even after a removal.
pub async fn versions_never_repeat(store: impl CredentialStore) {
    let key = key();
    let mut versions = Vec::new();
    for _ in 0..5 {
        assert!(swap(&store, &key, None, Some("same")).await);
        let (version, _) = load(&store, &key).await.unwrap();
        versions.push(version);
        assert!(swap(&store, &key, Some(version), Some("same")).await);
        let (version, _) = load(&store, &key).await.unwrap();
        versions.push(version);
        assert!(swap(&store, &key, Some(version), None).await);
    }
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 10);
}

/// A secret that is longer than the trait allows is refused, and not shown.
pub async fn a_secret_that_is_too_long_is_refused(store: impl CredentialStore) {
    let key = key();
    let long = || SecretString::from("s3cret".repeat(CREDENTIAL_LEN / 6 + 1));
    let swapped = store.swap(&key, Expected::Nothing, Some(long())).await;
    assert!(matches!(swapped, Err(Error::Invalid { .. })));
    let put = store.put_state(&key, hash(1), in_a_minute(), long()).await;
    assert!(matches!(put, Err(Error::Invalid { .. })));
    assert!(!format!("{swapped:?} {put:?}").contains("s3cret"));
    assert_eq!(load(&store, &key).await, None);
    assert_eq!(take(&store, 1).await, None);
}

/// A lease keeps others out until it is released.
pub async fn a_lease_keeps_others_out_until_it_is_released(store: impl CredentialStore) {
    let key = key();
    let lease = store.lease(&key, LONG).await.unwrap().unwrap();
    assert_eq!(lease.key(), &key);
    assert!(store.lease(&key, LONG).await.unwrap().is_none());
    store.release(lease).await.unwrap();
    let lease = store.lease(&key, LONG).await.unwrap();
    assert!(lease.is_some());
}

/// A lease that nobody releases ends by itself.
pub async fn a_lease_runs_out(store: impl CredentialStore) {
    let key = key();
    let lease = store.lease(&key, SHORT).await.unwrap();
    assert!(lease.is_some());
    tokio::time::sleep(SHORT * 2).await;
    let next = store.lease(&key, Duration::MAX).await.unwrap();
    assert!(next.is_some());
}

/// A late release does not end the lease of a successor.
pub async fn a_lease_that_ran_out_does_not_release_its_successor(store: impl CredentialStore) {
    let key = key();
    let lease = store.lease(&key, SHORT).await.unwrap().unwrap();
    tokio::time::sleep(SHORT * 2).await;
    let successor = store.lease(&key, LONG).await.unwrap().unwrap();
    store.release(lease).await.unwrap();
    assert!(store.lease(&key, LONG).await.unwrap().is_none());
    store.release(successor).await.unwrap();
}

/// A lease of one key leaves other leases, and swaps of its own key, alone.
pub async fn a_lease_is_for_one_key_and_locks_no_credential(store: impl CredentialStore) {
    let mine = key();
    let lease = store.lease(&mine, LONG).await.unwrap();
    assert!(lease.is_some());
    let other = store.lease(&key(), LONG).await.unwrap();
    assert!(other.is_some());
    assert!(swap(&store, &mine, None, Some("a")).await);
    assert_eq!(load(&store, &mine).await.unwrap().1, "a");
}

/// Exactly one of several concurrent callers gets the lease.
pub async fn of_many_one_gets_the_lease(store: impl CredentialStore) {
    let key = key();
    let leases = join_all((0..8).map(|_| store.lease(&key, LONG))).await;
    let got = leases
        .into_iter()
        .filter(|lease| lease.as_ref().unwrap().is_some());
    assert_eq!(got.count(), 1);
}

/// Exactly one of several concurrent takes finds the state.
pub async fn a_state_is_taken_once(store: impl CredentialStore) {
    let key = key();
    assert_eq!(take(&store, 1).await, None);
    put(&store, &key, 1).await;
    put(&store, &key, 2).await;
    let takes = join_all((0..8).map(|_| take(&store, 1))).await;
    let found: Vec<_> = takes.into_iter().flatten().collect();
    assert_eq!(found, [(key.clone(), "pending 1".to_owned())]);
    assert_eq!(take(&store, 1).await, None);
    assert_eq!(take(&store, 2).await, Some((key, "pending 2".to_owned())));
}

/// A state that has expired is not found.
pub async fn an_expired_state_is_not_there(store: impl CredentialStore) {
    let key = key();
    for past in [SystemTime::UNIX_EPOCH, SystemTime::now()] {
        let put = store.put_state(&key, hash(1), past, "pending".into());
        put.await.unwrap();
        assert_eq!(take(&store, 1).await, None);
    }
}

/// The states of a server are limited, across its origins: the oldest is dropped.
pub async fn the_oldest_state_of_a_server_gives_way(store: impl CredentialStore) {
    let (mine, other) = (key(), key());
    put(&store, &other, 255).await;
    let limit = u8::try_from(STATES_PER_SERVER).unwrap();
    let moved = CredentialKey {
        origin: "https://moved.example".to_owned(),
        ..mine.clone()
    };
    for number in 0..limit + 2 {
        let key = if number % 2 == 0 { &mine } else { &moved };
        put(&store, key, number).await;
    }
    for number in 0..2 {
        assert_eq!(take(&store, number).await, None, "{number}");
    }
    for number in 2..limit + 2 {
        assert!(take(&store, number).await.is_some(), "{number}");
    }
    assert!(take(&store, 255).await.is_some(), "another server's");
}
