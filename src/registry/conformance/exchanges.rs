//! The contract of [`ExchangeStore`], a function per clause; each needs an empty store.

use std::time::Duration;

use futures_util::future::join_all;

use super::clauses;
use crate::registry::{
    error::Error,
    exchange::{EXCHANGE_LEN, ExchangeId, ExchangeOwner, ExchangeRecord, StoredExchange},
    exchange_store::ExchangeStore,
};

clauses! {
    /// Runs every clause, each with a new and empty store from `make`.
    all(ExchangeStore) {
        the_key_stays_the_same
        a_text_is_read_as_it_was_put
        a_put_without_text_leaves_it
        many_are_read_at_once
        a_record_is_there_for_its_owner_only
        a_put_that_expects_another_version_changes_nothing
        of_puts_that_expect_the_same_one_gets_through
        versions_never_repeat
        a_record_is_removed_at_its_version_only
        a_lease_shows_until_it_is_let_go_or_ends
        a_lease_locks_nothing
        a_topic_finds_the_latest_first
        a_topic_is_its_owners
        a_life_ends_unless_it_is_renewed
        what_is_too_large_is_refused
        room_counts_as_used
        room_that_was_granted_stays
        the_oldest_of_the_same_project_give_way
    }
}

/// A time long enough not to run out by accident, and short enough to wait for.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

/// The room of a record in clauses about it, and the most records that they put: a store that gives
/// more to a project passes.
const ROOM: usize = 2 << 20;
const MOST: usize = 2000;

fn owner() -> ExchangeOwner {
    ExchangeOwner::new("default", "web", [7; 32])
}

/// Everybody who differs from [`owner`] in one thing.
fn others() -> [ExchangeOwner; 3] {
    [
        ExchangeOwner::new("default", "web", [8; 32]),
        ExchangeOwner::new("default", "batch", [7; 32]),
        ExchangeOwner::new("other", "web", [7; 32]),
    ]
}

async fn put(
    store: &impl ExchangeStore,
    id: ExchangeId,
    record: ExchangeRecord,
    expected: Option<u64>,
) -> Option<u64> {
    store.put(&owner(), id, record, expected).await.unwrap()
}

/// Puts a new record.
async fn insert(store: &impl ExchangeStore, record: ExchangeRecord) -> (ExchangeId, u64) {
    let id = ExchangeId::random();
    let version = put(store, id, record, None).await;
    (id, version.unwrap())
}

async fn get(store: &impl ExchangeStore, id: ExchangeId) -> Option<StoredExchange> {
    let mut found = store.get(&owner(), &[id]).await.unwrap();
    assert!(found.len() < 2);
    found.pop()
}

async fn text(store: &impl ExchangeStore, id: ExchangeId) -> Option<String> {
    Some(get(store, id).await?.data.to_string())
}

/// The key is there, random, and the same each time.
pub async fn the_key_stays_the_same(store: impl ExchangeStore) {
    let keys = join_all((0..8).map(|_| store.key())).await;
    let key = store.key().await.unwrap();
    assert_ne!(key, [0; 32]);
    assert!(keys.into_iter().all(|other| other.unwrap() == key));
}

/// A text is read byte for byte, up to the longest, whatever is in it.
pub async fn a_text_is_read_as_it_was_put(store: impl ExchangeStore) {
    let longest = "\u{1f511}".repeat(EXCHANGE_LEN / 4);
    for text in [
        "",
        "{\"a\":  1}",
        "\0 ' \" \\ \r\n %_ $1",
        "ключ \u{202e}\u{feff}",
        &longest,
    ] {
        let (id, version) = insert(&store, ExchangeRecord::new(text)).await;
        let stored = get(&store, id).await.unwrap();
        assert!(*stored.data == *text, "{} bytes", text.len());
        let what = (stored.id, stored.version, stored.is_leased);
        assert_eq!(what, (id, version, false));
    }
}

/// A put without a text leaves the one that is there; a new record has an empty one.
pub async fn a_put_without_text_leaves_it(store: impl ExchangeStore) {
    let (id, version) = insert(&store, ExchangeRecord::new("text")).await;
    let unchanged = ExchangeRecord::unchanged().with_lease(LONG);
    let next = put(&store, id, unchanged, Some(version)).await.unwrap();
    assert_ne!(next, version);
    let stored = get(&store, id).await.unwrap();
    let what = (&*stored.data, stored.version, stored.is_leased);
    assert_eq!(what, ("text", next, true));
    let (id, _) = insert(&store, ExchangeRecord::unchanged()).await;
    assert_eq!(text(&store, id).await.unwrap(), "");
}

/// Many records are read at once: each once, and without those that are not there.
pub async fn many_are_read_at_once(store: impl ExchangeStore) {
    let mut ids = Vec::new();
    for number in 0..100 {
        let record = ExchangeRecord::new(number.to_string());
        let (id, _) = insert(&store, record).await;
        ids.extend([id, ExchangeId::random(), id]);
    }
    let found = store.get(&owner(), &ids).await.unwrap();
    let mut numbers: Vec<usize> = found.iter().map(|x| x.data.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert!(store.get(&owner(), &[]).await.unwrap().is_empty());
}

/// A record is there for its owner: not for another caller, project or organization.
pub async fn a_record_is_there_for_its_owner_only(store: impl ExchangeStore) {
    let topic = [1; 32];
    let record = ExchangeRecord::new("mine").with_topic(topic);
    let (id, version) = insert(&store, record).await;
    let odd = ExchangeOwner::new("'; --", "\u{1f511} \"$1", [9; 32]);
    for other in others().iter().chain([&odd]) {
        assert!(store.get(other, &[id]).await.unwrap().is_empty());
        assert!(store.find(other, &topic).await.unwrap().is_empty());
        assert!(!store.remove(other, id, version).await.unwrap());
        for expected in [None, Some(version)] {
            let theirs = ExchangeRecord::new("theirs");
            let put = store.put(other, id, theirs, expected).await.unwrap();
            assert_eq!(put, None);
        }
        let their_id = ExchangeId::random();
        let put = store.put(other, their_id, ExchangeRecord::new("theirs"), None);
        assert!(put.await.unwrap().is_some());
        assert_eq!(store.get(other, &[id, their_id]).await.unwrap().len(), 1);
    }
    let stored = get(&store, id).await.unwrap();
    assert_eq!((&*stored.data, stored.version), ("mine", version));
}

/// A put whose expectation is not met returns `None` and changes nothing.
pub async fn a_put_that_expects_another_version_changes_nothing(store: impl ExchangeStore) {
    let absent = ExchangeId::random();
    for expected in [0, 1, u64::MAX] {
        let record = ExchangeRecord::new("a");
        assert_eq!(put(&store, absent, record, Some(expected)).await, None);
    }
    assert_eq!(get(&store, absent).await, None);
    let (id, version) = insert(&store, ExchangeRecord::new("a")).await;
    let stored = get(&store, id).await;
    for expected in [None, Some(version - 1), Some(version + 1), Some(u64::MAX)] {
        let record = ExchangeRecord::new("b").with_lease(LONG);
        assert_eq!(put(&store, id, record, expected).await, None);
        assert_eq!(get(&store, id).await, stored);
    }
}

/// Of several concurrent puts that expect the same version, or none, exactly one gets through.
pub async fn of_puts_that_expect_the_same_one_gets_through(store: impl ExchangeStore) {
    let id = ExchangeId::random();
    let mut expected = None;
    for _ in 0..4 {
        let puts = (0..8).map(|number| {
            let record = ExchangeRecord::new(number.to_string()).with_lease(LONG);
            put(&store, id, record, expected)
        });
        let versions = join_all(puts).await;
        assert_eq!(versions.iter().flatten().count(), 1, "{versions:?}");
        let winner = versions.iter().position(Option::is_some).unwrap();
        let stored = get(&store, id).await.unwrap();
        assert_eq!(*stored.data, winner.to_string());
        assert_eq!(Some(stored.version), versions[winner]);
        expected = versions[winner];
    }
}

/// A version of an id is never used twice, not even after a removal.
pub async fn versions_never_repeat(store: impl ExchangeStore) {
    let id = ExchangeId::random();
    let mut versions = Vec::new();
    for _ in 0..5 {
        let mut version = put(&store, id, ExchangeRecord::new("same"), None).await;
        versions.extend(version);
        for _ in 0..2 {
            version = put(&store, id, ExchangeRecord::unchanged(), version).await;
            versions.extend(version);
        }
        assert!(store.remove(&owner(), id, version.unwrap()).await.unwrap());
    }
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 15);
}

/// A record is removed at its version, once, and at no other.
pub async fn a_record_is_removed_at_its_version_only(store: impl ExchangeStore) {
    let topic = [1; 32];
    let record = ExchangeRecord::new("a").with_topic(topic);
    let (id, version) = insert(&store, record).await;
    for other in [version - 1, version + 1, u64::MAX] {
        assert!(!store.remove(&owner(), id, other).await.unwrap());
    }
    assert!(get(&store, id).await.is_some());
    let owner = owner();
    let removals = (0..4).map(|_| store.remove(&owner, id, version));
    let removed = join_all(removals).await;
    let removed = removed
        .into_iter()
        .filter(|removed| *removed.as_ref().unwrap());
    assert_eq!(removed.count(), 1);
    assert_eq!(get(&store, id).await, None);
    assert!(store.find(&owner, &topic).await.unwrap().is_empty());
    let record = ExchangeRecord::new("b");
    assert_eq!(put(&store, id, record, Some(version)).await, None);
}

/// A lease shows, wherever the record is read, until a put lets it go or its time is over.
pub async fn a_lease_shows_until_it_is_let_go_or_ends(store: impl ExchangeStore) {
    let topic = [1; 32];
    let record = || ExchangeRecord::new("a").with_topic(topic);
    let (id, version) = insert(&store, record().with_lease(LONG)).await;
    let is_leased = async || {
        let found = store.find(&owner(), &topic).await.unwrap();
        let stored = get(&store, id).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&stored));
        stored.is_leased
    };
    assert!(is_leased().await);
    let next = put(&store, id, record(), Some(version)).await;
    assert!(!is_leased().await);
    let next = put(&store, id, record().with_lease(LONG), next).await;
    assert!(is_leased().await);
    put(&store, id, record().with_lease(SHORT / 5), next).await;
    tokio::time::sleep(SHORT / 2).await;
    assert!(!is_leased().await);
}

/// A lease keeps nobody from reading, putting or removing the record at its version.
pub async fn a_lease_locks_nothing(store: impl ExchangeStore) {
    let leased = || ExchangeRecord::new("a").with_lease(LONG);
    let (id, version) = insert(&store, leased()).await;
    let next = put(&store, id, leased(), Some(version)).await.unwrap();
    assert_eq!(text(&store, id).await.unwrap(), "a");
    assert!(store.remove(&owner(), id, next).await.unwrap());
    let (_, version) = insert(&store, leased().with_lease(Duration::MAX)).await;
    assert!(version > 0);
}

/// A topic finds its records, the one that was put last first, and at most eight.
pub async fn a_topic_finds_the_latest_first(store: impl ExchangeStore) {
    let [one, other] = [[1; 32], [2; 32]];
    let mut ids = Vec::new();
    for number in 0..10 {
        let record = ExchangeRecord::new(number.to_string()).with_topic(one);
        ids.push(insert(&store, record).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = async |topic| {
        let found = store.find(&owner(), &topic).await.unwrap();
        let texts = found.iter().map(|stored| stored.data.to_string());
        texts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found(one).await, "9 8 7 6 5 4 3 2");
    for (index, topic) in [(7, Some(one)), (9, Some(other)), (8, None)] {
        let (id, version) = ids[index];
        let record = ExchangeRecord {
            topic,
            ..ExchangeRecord::unchanged()
        };
        assert!(put(&store, id, record, Some(version)).await.is_some());
    }
    assert_eq!(found(one).await, "7 6 5 4 3 2 1 0");
    assert_eq!(found(other).await, "9");
    assert_eq!(text(&store, ids[8].0).await.unwrap(), "8");
}

/// Callers with the same topic find their own records only.
pub async fn a_topic_is_its_owners(store: impl ExchangeStore) {
    let topic = [1; 32];
    let all = others().into_iter().chain([owner()]);
    let all: Vec<_> = all.collect();
    for (number, owner) in all.iter().enumerate() {
        let record = ExchangeRecord::new(number.to_string()).with_topic(topic);
        let put = store.put(owner, ExchangeId::random(), record, None);
        assert!(put.await.unwrap().is_some());
    }
    for (number, owner) in all.iter().enumerate() {
        let found = store.find(owner, &topic).await.unwrap();
        let texts: Vec<_> = found.iter().map(|stored| &*stored.data).collect();
        assert_eq!(texts, [number.to_string()]);
    }
}

/// A record is gone when its life has ended; reading and putting it begin its life anew.
pub async fn a_life_ends_unless_it_is_renewed(store: impl ExchangeStore) {
    let topic = [1; 32];
    let mortal = |text: &str| ExchangeRecord::new(text).with_life(SHORT * 2);
    let (read, _) = insert(&store, mortal("read")).await;
    let (written, mut version) = insert(&store, mortal("put")).await;
    let (alone, _) = insert(&store, mortal("alone").with_topic(topic)).await;
    let (lasting, _) = insert(&store, ExchangeRecord::new("lasting")).await;
    for _ in 0..3 {
        tokio::time::sleep(SHORT).await;
        assert!(get(&store, read).await.is_some());
        let next = put(&store, written, mortal("put"), Some(version)).await;
        version = next.unwrap();
    }
    assert_eq!(get(&store, alone).await, None);
    assert!(store.find(&owner(), &topic).await.unwrap().is_empty());
    tokio::time::sleep(SHORT * 3).await;
    for id in [read, written] {
        assert_eq!(get(&store, id).await, None);
    }
    assert!(!store.remove(&owner(), written, version).await.unwrap());
    assert_eq!(put(&store, written, mortal("a"), Some(version)).await, None);
    assert!(put(&store, written, mortal("b"), None).await.is_some());
    assert_eq!(text(&store, written).await.unwrap(), "b");
    assert!(get(&store, lasting).await.is_some());
    let forever = ExchangeRecord::new("a").with_life(Duration::MAX);
    let (id, _) = insert(&store, forever).await;
    assert!(get(&store, id).await.is_some());
}

/// A text that is too long, and too much room, are refused, and nothing changes.
pub async fn what_is_too_large_is_refused(store: impl ExchangeStore) {
    let (id, version) = insert(&store, ExchangeRecord::new("a")).await;
    let too_large = [
        ExchangeRecord::new("s3cret".repeat(EXCHANGE_LEN / 6 + 1)),
        ExchangeRecord::new("b").with_room(EXCHANGE_LEN + 1),
        ExchangeRecord::new("b").with_room(usize::MAX),
    ];
    for record in too_large {
        let put = store.put(&owner(), id, record, Some(version)).await;
        assert!(matches!(put, Err(Error::Full)));
    }
    assert_eq!(text(&store, id).await.unwrap(), "a");
}

/// Puts leased records of a project until there is no room; `None` if there is no end to it.
async fn fill(store: &impl ExchangeStore) -> Option<Vec<(ExchangeId, u64)>> {
    let mut put = Vec::new();
    while put.len() < MOST {
        let id = ExchangeId::random();
        let record = ExchangeRecord::new("a")
            .with_room(ROOM)
            .with_lease(LONG * 10);
        match store.put(&owner(), id, record, None).await {
            Ok(version) => put.push((id, version.unwrap())),
            Err(Error::Full) => return Some(put),
            Err(error) => panic!("{error}"),
        }
    }
    None
}

/// Room counts as used, for the project that has it, until the record needs it no more.
pub async fn room_counts_as_used(store: impl ExchangeStore) {
    let Some(full) = fill(&store).await else {
        return;
    };
    assert!(full.len() > 1, "a share has room for a few");
    for (id, _) in &full {
        assert!(get(&store, *id).await.is_some(), "nobody gave way");
    }
    let record = || ExchangeRecord::new("a").with_room(ROOM).with_lease(LONG);
    let another = &others()[1];
    let id = ExchangeId::random();
    let other = store.put(another, id, record(), None);
    assert!(other.await.unwrap().is_some());
    let (id, version) = full[0];
    assert!(store.remove(&owner(), id, version).await.unwrap());
    insert(&store, record()).await;
    let (id, version) = full[1];
    let small = ExchangeRecord::unchanged().with_lease(LONG);
    assert!(put(&store, id, small, Some(version)).await.is_some());
    insert(&store, record().with_room(ROOM / 2)).await;
}

/// A record keeps the room that it has, also where all is used up.
pub async fn room_that_was_granted_stays(store: impl ExchangeStore) {
    let Some(full) = fill(&store).await else {
        return;
    };
    let (id, version) = full[0];
    let whole = ExchangeRecord::new("x".repeat(ROOM)).with_room(ROOM);
    let version = put(&store, id, whole.with_lease(LONG), Some(version)).await;
    let more = ExchangeRecord::unchanged().with_room(2 * ROOM);
    let more = store
        .put(&owner(), id, more.with_lease(LONG), version)
        .await;
    assert!(matches!(more, Err(Error::Full)));
    let stored = get(&store, id).await.unwrap();
    assert_eq!((stored.data.len(), stored.is_leased), (ROOM, true));
    assert_eq!(Some(stored.version), version);
}

/// What does not fit takes the place of the oldest of its project, and of no more than needed: not
/// of what is leased, and not of another project's.
pub async fn the_oldest_of_the_same_project_give_way(store: impl ExchangeStore) {
    let [oldest, second] = [[1; 32], [2; 32]];
    let record = || ExchangeRecord::new("a").with_room(ROOM);
    let (leased, _) = insert(&store, record().with_lease(LONG * 10)).await;
    let another = &others()[1];
    let theirs = ExchangeId::random();
    let put = store.put(another, theirs, record(), None);
    assert!(put.await.unwrap().is_some());
    for topic in [oldest, second] {
        insert(&store, record().with_topic(topic)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A read would renew it.
    let is_there = async |topic| !store.find(&owner(), &topic).await.unwrap().is_empty();
    for _ in 0..MOST {
        insert(&store, record()).await;
        if !is_there(oldest).await {
            assert!(is_there(second).await, "no more than needed");
            assert!(get(&store, leased).await.is_some(), "what is leased");
            assert_eq!(store.get(another, &[theirs]).await.unwrap().len(), 1);
            return;
        }
    }
}
