//! The contract of [`ObservationStore`], a function per clause; each needs an empty store that is
//! also a [`ServerStore`].
//!
//! The clause about the life of a claim waits for it to end, less than a second.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;

use crate::{
    inactive::Inactive,
    name::ServerName,
    project::Project,
    registry::{
        definition::Fingerprint,
        listing::{Filter, Page},
        observation::{Failure, Observation, Stage},
        observation_store::ObservationStore,
        pins::Pins,
        server::Server,
        server_id::ServerId,
        server_store::ServerStore,
    },
};

super::clauses! {
    /// Runs every clause, each with a new and empty store from `make`.
    all(ServerStore ObservationStore) {
        nothing_is_known_of_a_server_that_nobody_looked_at
        what_was_observed_is_there_as_it_was
        every_reason_of_a_failure_is_kept
        the_text_of_definitions_is_in_one_observation_and_not_in_many
        an_observation_of_another_version_changes_nothing
        of_observations_of_the_same_version_one_is_taken
        observations_of_many_servers_at_once_are_all_taken
        pins_are_in_what_is_found
        a_record_keeps_its_pins_when_it_is_replaced
        a_removed_server_takes_what_is_known_along
        organizations_know_nothing_of_each_other
        of_many_who_claim_a_probe_one_gets_it
        a_claim_lasts_as_long_as_it_was_made_for
    }
}

/// A claim that does not end by itself.
const LONG: Duration = Duration::from_secs(600);

fn name() -> ServerName {
    "a".parse().unwrap()
}

fn server() -> Server {
    Server::new("a", "https://mcp.example.com/mcp").unwrap()
}

fn fingerprint(digit: char) -> Fingerprint {
    digit.to_string().repeat(64).parse().unwrap()
}

fn pins(tools: &[(&str, char)]) -> Option<Arc<Pins>> {
    let tools = tools.iter();
    let pins: Pins = tools
        .map(|(tool, digit)| (*tool, fingerprint(*digit)))
        .collect();
    Some(Arc::new(pins))
}

fn pinned(version: u64, digit: char) -> Observation {
    Observation {
        version,
        pins: pins(&[("search", digit)]),
        ..Observation::default()
    }
}

/// A time in whole milliseconds: a store need not keep more.
fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

/// An observation with everything in it.
fn full() -> Observation {
    let message = "the connection was refused: \"é\u{1f511}\"\0\n".to_owned();
    let reason = Inactive::Unreachable { message };
    let names = ["search", "delete/page \"x\"", "Ключ\0"];
    Observation {
        version: 0,
        record_version: 7,
        failures: 2,
        failing_since: Some(time()),
        last_failure: Some(Failure::new(Stage::List, reason, time())),
        listed_at: Some(time()),
        listed: names
            .map(|name| (name.to_owned(), fingerprint('a')))
            .into_iter()
            .collect(),
        instructions: Some(fingerprint('c')),
        pins: pins(&[("search", 'a'), ("gone\\'", 'b'), ("", 'c')]),
        definitions: BTreeMap::from([
            (fingerprint('a'), r#"{"name":"search"}"#.into()),
            (fingerprint('c'), "\"Search \u{200b}first.\"".into()),
            (fingerprint('b'), "{\"name\":\"gone\\\\'\u{1f511}\"}".into()),
        ]),
    }
}

async fn observe(store: &impl ObservationStore, server: &ServerId, seen: &Observation) -> bool {
    store.observe("default", server, seen).await.unwrap()
}

async fn observation(store: &impl ObservationStore, server: &ServerId) -> Option<Observation> {
    store.observation("default", server).await.unwrap()
}

async fn observations(
    store: &impl ObservationStore,
    servers: &[ServerId],
) -> Vec<Option<Observation>> {
    store.observations("default", servers).await.unwrap()
}

async fn claim(store: &impl ObservationStore, servers: &[ServerId], every: Duration) -> Vec<bool> {
    store.claim_probes("default", servers, every).await.unwrap()
}

/// A server that was never observed has no observation, registered or not.
pub async fn nothing_is_known_of_a_server_that_nobody_looked_at(
    store: impl ServerStore + ObservationStore,
) {
    let server = store.insert(server()).await.unwrap();
    assert_eq!(server.pins, None);
    let asked = [server.id.clone(), ServerId::random()];
    assert_eq!(observation(&store, &asked[0]).await, None);
    assert_eq!(observation(&store, &asked[1]).await, None);
    assert_eq!(observations(&store, &asked).await, [None, None]);
    assert!(observations(&store, &[]).await.is_empty());
    // Who claims a probe has not looked yet.
    assert_eq!(claim(&store, &asked, LONG).await, [true, true]);
    assert_eq!(observation(&store, &asked[0]).await, None);
    assert_eq!(observations(&store, &asked).await, [None, None]);
}

/// An observation comes back as it was, but with the next version; for a server of the store's own,
/// and for any other.
pub async fn what_was_observed_is_there_as_it_was(store: impl ServerStore + ObservationStore) {
    let own = store.insert(server()).await.unwrap().id.clone();
    for server in [own, ServerId::random()] {
        for (version, meant) in [full(), Observation::default(), full()]
            .into_iter()
            .enumerate()
        {
            let version = u64::try_from(version).unwrap();
            let meant = Observation { version, ..meant };
            assert!(observe(&store, &server, &meant).await);
            let stored = Observation {
                version: version + 1,
                ..meant
            };
            assert_eq!(observation(&store, &server).await, Some(stored));
        }
    }
}

/// Every reason and every stage of a failure comes back.
pub async fn every_reason_of_a_failure_is_kept(store: impl ServerStore + ObservationStore) {
    let message = "it does not answer".to_owned();
    let reasons = [
        (Stage::Connect, Inactive::Unreachable { message }),
        (Stage::Authorize, Inactive::NeedsAuthorization),
        (Stage::Authorize, Inactive::CredentialInvalid),
        (Stage::Authorize, Inactive::TokenMissing),
        (Stage::Authorize, Inactive::TokenRefused),
        (Stage::List, Inactive::NoTools),
        (Stage::Call, Inactive::Disabled),
    ];
    let server = ServerId::random();
    let mut seen = Observation::default();
    for (stage, reason) in reasons {
        let mut failure = Failure::new(stage, reason, time());
        failure.detail = (stage == Stage::List).then(|| "status 502: Bad Gateway".to_owned());
        seen.last_failure = Some(failure);
        assert!(observe(&store, &server, &seen).await);
        let stored = observation(&store, &server).await.unwrap();
        assert_eq!(stored.last_failure, seen.last_failure);
        seen = stored;
    }
}

/// The text of definitions is in a single observation, but not in a list of many, which come in the
/// order that was asked for.
pub async fn the_text_of_definitions_is_in_one_observation_and_not_in_many(
    store: impl ServerStore + ObservationStore,
) {
    let servers = [(); 3].map(|()| ServerId::random());
    for (server, failures) in [(&servers[0], 1), (&servers[2], 3)] {
        let seen = Observation { failures, ..full() };
        assert!(observe(&store, server, &seen).await);
    }
    let expected = |failures| {
        Some(Observation {
            version: 1,
            failures,
            definitions: BTreeMap::new(),
            ..full()
        })
    };
    assert_eq!(
        observations(&store, &servers).await,
        [expected(1), None, expected(3)]
    );
    let twice = [servers[2].clone(), servers[2].clone()];
    assert_eq!(
        observations(&store, &twice).await,
        [expected(3), expected(3)]
    );
    // What refers to other definitions has those.
    let mut seen = observation(&store, &servers[0]).await.unwrap();
    assert_eq!(seen.definitions, full().definitions);
    seen.definitions = BTreeMap::from([(fingerprint('c'), "{}".into())]);
    assert!(observe(&store, &servers[0], &seen).await);
    let stored = observation(&store, &servers[0]).await.unwrap();
    assert_eq!(stored.definitions, seen.definitions);
}

/// An observation with another version than the stored one changes nothing.
pub async fn an_observation_of_another_version_changes_nothing(
    store: impl ServerStore + ObservationStore,
) {
    let server = store.insert(server()).await.unwrap().id.clone();
    for version in [1, 2, u64::MAX] {
        assert!(!observe(&store, &server, &pinned(version, 'b')).await);
    }
    assert_eq!(observation(&store, &server).await, None);
    assert!(observe(&store, &server, &pinned(0, 'a')).await);
    for version in [0, 2, u64::MAX] {
        assert!(!observe(&store, &server, &pinned(version, 'b')).await);
    }
    let stored = observation(&store, &server).await.unwrap();
    assert_eq!(
        stored,
        Observation {
            version: 1,
            ..pinned(0, 'a')
        }
    );
    let got = store.get("default", &name()).await.unwrap();
    assert_eq!(got.pins, pins(&[("search", 'a')]));
}

/// Exactly one of several observations of the same version is taken, and is what is stored.
pub async fn of_observations_of_the_same_version_one_is_taken(
    store: impl ServerStore + ObservationStore,
) {
    let server = ServerId::random();
    for version in 0..4 {
        let seen: Vec<_> = (0..8)
            .map(|failures| Observation {
                version,
                failures,
                ..full()
            })
            .collect();
        let taken = join_all(seen.iter().map(|seen| observe(&store, &server, seen))).await;
        let won: Vec<_> = (0..8).filter(|index| taken[*index]).collect();
        assert_eq!(won.len(), 1, "of version {version}");
        let stored = observation(&store, &server).await.unwrap();
        let failures = u32::try_from(won[0]).unwrap();
        assert_eq!((stored.version, stored.failures), (version + 1, failures));
    }
}

/// Concurrent observations of many servers are all taken, each for its own server.
pub async fn observations_of_many_servers_at_once_are_all_taken(
    store: impl ServerStore + ObservationStore,
) {
    let servers: Vec<_> = (0..250).map(|_| ServerId::random()).collect();
    let seen = |failures| Observation { failures, ..full() };
    let all = (0..).zip(&servers);
    let all = all.map(async |(failures, server)| observe(&store, server, &seen(failures)).await);
    assert!(join_all(all).await.into_iter().all(|taken| taken));
    let stored = observations(&store, &servers).await;
    for (failures, stored) in (0..).zip(stored) {
        assert_eq!(stored.unwrap().failures, failures);
    }
}

/// Pins that were observed are in the record wherever it is read; those of another registry's server
/// are in no record.
pub async fn pins_are_in_what_is_found(store: impl ServerStore + ObservationStore) {
    let project = Project::default();
    let server = store.insert(server()).await.unwrap().id.clone();
    let found = async || {
        let mut found = store.find(&project, &[name()]).await.unwrap();
        let (filter, page) = (Filter::default(), Page::default());
        let listing = store.list("default", &filter, &page).await.unwrap();
        let got = store.get("default", &name()).await.unwrap();
        let found = found.pop().unwrap();
        assert_eq!(
            (&found.pins, &listing.servers[0].pins),
            (&got.pins, &got.pins)
        );
        assert_eq!((found.version, got.version), (1, 1));
        got.pins.clone()
    };
    assert_eq!(found().await, None);
    let more = pins(&[("search", 'b'), ("read", 'c')]);
    for (version, pins) in (0..).zip([pins(&[("search", 'a')]), more, pins(&[]), None]) {
        let seen = Observation {
            version,
            pins: pins.clone(),
            ..Observation::default()
        };
        assert!(observe(&store, &server, &seen).await);
        assert_eq!(found().await, pins);
        let stored = observation(&store, &server).await.unwrap();
        assert_eq!(stored.pins, pins);
    }
    assert!(observe(&store, &ServerId::random(), &pinned(0, 'd')).await);
    assert_eq!(found().await, None);
}

/// A record keeps its pins when it is replaced, whatever pins the replacement contains.
pub async fn a_record_keeps_its_pins_when_it_is_replaced(
    store: impl ServerStore + ObservationStore,
) {
    let mut server = server();
    server.pins = pins(&[("forged", 'f')]);
    let inserted = store.insert(server).await.unwrap();
    assert_eq!(inserted.pins, None);
    assert!(observe(&store, &inserted.id, &pinned(0, 'a')).await);
    let mut next = (*inserted).clone();
    for forged in [None, pins(&[("forged", 'f')])] {
        next.pins = forged;
        let replaced = store.replace(next).await.unwrap();
        assert_eq!(replaced.pins, pins(&[("search", 'a')]));
        let got = store.get("default", &name()).await.unwrap();
        assert_eq!(got.pins, replaced.pins);
        next = (*replaced).clone();
    }
    let stored = observation(&store, &inserted.id).await.unwrap();
    assert_eq!(
        stored,
        Observation {
            version: 1,
            ..pinned(0, 'a')
        }
    );
}

/// Removing a server removes its observation; a new server of the same name starts with none.
pub async fn a_removed_server_takes_what_is_known_along(
    store: impl ServerStore + ObservationStore,
) {
    let first = store.insert(server()).await.unwrap();
    assert!(
        observe(
            &store,
            &first.id,
            &Observation {
                version: 0,
                ..full()
            }
        )
        .await
    );
    store.remove("default", &name()).await.unwrap();
    assert_eq!(observation(&store, &first.id).await, None);
    let first = [first.id.clone()];
    assert_eq!(observations(&store, &first).await, [None]);
    let second = store.insert(server()).await.unwrap();
    assert_eq!(second.pins, None);
    let got = store.get("default", &name()).await.unwrap();
    assert_eq!(got.pins, None);
    assert_eq!(observation(&store, &second.id).await, None);
}

/// Organizations share no observation, not even of servers with the same id.
pub async fn organizations_know_nothing_of_each_other(store: impl ServerStore + ObservationStore) {
    let server = store.insert(server()).await.unwrap();
    let asked = [server.id.clone()];
    let theirs = pinned(0, 'b');
    assert!(store.observe("other", &server.id, &theirs).await.unwrap());
    assert_eq!(observation(&store, &server.id).await, None);
    let got = store.get("default", &name()).await.unwrap();
    assert_eq!(got.pins, None);
    let ours = pinned(0, 'a');
    assert!(observe(&store, &server.id, &ours).await);
    let theirs = store.observations("other", &asked).await.unwrap();
    assert_eq!(theirs[0].as_ref().unwrap().pins, pins(&[("search", 'b')]));

    assert_eq!(claim(&store, &asked, LONG).await, [true]);
    let theirs = store.claim_probes("other", &asked, LONG).await.unwrap();
    assert_eq!(theirs, [true]);
    store.remove("default", &name()).await.unwrap();
    let theirs = store.observation("other", &server.id).await.unwrap();
    assert!(theirs.is_some());
}

/// Exactly one of several claimants gets the probe of a server, whatever else they claim with it.
pub async fn of_many_who_claim_a_probe_one_gets_it(store: impl ServerStore + ObservationStore) {
    let servers: Vec<_> = (0..20).map(|_| ServerId::random()).collect();
    let claims = (0..8).map(|claimant| {
        let mut asked = servers.clone();
        asked.rotate_left(claimant);
        async {
            let claimed = claim(&store, &asked, LONG).await;
            let claimed = asked.into_iter().zip(claimed);
            claimed
                .filter(|(_, is_mine)| *is_mine)
                .map(|(id, _)| id)
                .collect()
        }
    });
    let claimed: Vec<Vec<ServerId>> = join_all(claims).await;
    let mut claimed: Vec<_> = claimed.into_iter().flatten().collect();
    claimed.sort();
    let mut all = servers.clone();
    all.sort();
    assert_eq!(claimed, all);
    let new = [servers[0].clone(), ServerId::random()];
    assert_eq!(claim(&store, &new, LONG).await, [false, true]);
    let twice = ServerId::random();
    let twice = [twice.clone(), twice];
    assert_eq!(claim(&store, &twice, LONG).await, [true, false]);
    assert!(claim(&store, &[], LONG).await.is_empty());
}

/// A claim ends after its time, whether or not its holder has probed; then the next one gets it.
pub async fn a_claim_lasts_as_long_as_it_was_made_for(store: impl ServerStore + ObservationStore) {
    let (short, long) = (ServerId::random(), ServerId::random());
    let short_one = [short.clone()];
    assert_eq!(
        claim(&store, std::slice::from_ref(&long), LONG).await,
        [true]
    );
    assert_eq!(
        claim(&store, &short_one, Duration::from_millis(200)).await,
        [true]
    );
    assert!(observe(&store, &short, &Observation::default()).await);
    assert_eq!(
        claim(&store, std::slice::from_ref(&long), Duration::ZERO).await,
        [false]
    );
    tokio::time::sleep(Duration::from_millis(250)).await;
    let both = [short, long];
    assert_eq!(claim(&store, &both, LONG).await, [true, false]);
    assert_eq!(claim(&store, &both, LONG).await, [false, false]);
}
