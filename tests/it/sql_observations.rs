//! What is known of servers, in a database that others share, lose, and damage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mcp_layer::registry::{
    Fingerprint, Gate, Observation, ObservationStore, Pins, Server, ServerId, ServerStore,
    SqlRegistry, ToolState,
};
use mcp_layer::secret::KeyRing;

use crate::support::directory::Directory;
use crate::support::sql::{find, intruder, name, open, run, server};

const LONG: Duration = Duration::from_secs(600);

fn fingerprint(digit: char) -> Fingerprint {
    digit.to_string().repeat(64).parse().unwrap()
}

/// A listing of one tool that was accepted.
fn seen(version: u64, digit: char) -> Observation {
    let pins: Pins = [("search", fingerprint(digit))].into_iter().collect();
    let mut seen = Observation::default();
    seen.version = version;
    seen.listed = BTreeMap::from([("search".to_owned(), fingerprint(digit))]);
    seen.definitions = BTreeMap::from([(fingerprint(digit), "{}".into())]);
    seen.pins = Some(Arc::new(pins));
    seen
}

async fn observe(registry: &SqlRegistry, server: &ServerId, seen: &Observation) -> bool {
    registry.observe("default", server, seen).await.unwrap()
}

async fn observation(registry: &SqlRegistry, server: &ServerId) -> Option<Observation> {
    registry.observation("default", server).await.unwrap()
}

fn accepted(server: &Server) -> Option<Fingerprint> {
    server.pins.as_ref()?.of("search")
}

#[tokio::test]
async fn what_one_process_has_accepted_is_in_force_in_another_within_a_second() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let id = one.insert(server("a")).await.unwrap().id.clone();
    assert_eq!(accepted(&find(&other, "a").await.unwrap()), None);
    for (version, digit) in [(0, 'a'), (1, 'b')] {
        assert!(observe(&one, &id, &seen(version, digit)).await);
        let here = find(&one, "a").await.unwrap();
        assert_eq!(accepted(&here), Some(fingerprint(digit)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let there = find(&other, "a").await.unwrap();
        assert_eq!(accepted(&there), Some(fingerprint(digit)));
    }
    assert_eq!(observation(&other, &id).await, observation(&one, &id).await);
    assert!(!observe(&other, &id, &seen(1, 'c')).await);
}

#[tokio::test]
async fn only_pins_that_differ_have_others_forget_a_server() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let id = registry.insert(server("a")).await.unwrap().id.clone();
    let mut connection = intruder(&url).await;
    let mut revision = async || {
        let row = sqlx::query("SELECT value FROM mcp_counters WHERE name = 'revision'")
            .fetch_one(&mut connection)
            .await;
        sqlx::Row::get::<i64, _>(&row.unwrap(), 0)
    };
    let before = revision().await;
    assert!(observe(&registry, &id, &seen(0, 'a')).await);
    assert_eq!(revision().await, before + 1);
    for version in 1..5 {
        let mut again = seen(version, 'a');
        again.failures = 3;
        again.listed.clear();
        assert!(observe(&registry, &id, &again).await);
    }
    // A server of a file is in nobody's memory.
    assert!(observe(&registry, &ServerId::random(), &seen(0, 'b')).await);
    assert_eq!(revision().await, before + 1);
}

#[tokio::test]
async fn what_was_accepted_is_accepted_after_the_end_of_the_process() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let id = {
        let registry = open(&url, &ring).await;
        let server = registry.insert(server("a")).await.unwrap();
        assert_eq!(
            (server.on_change, server.new_tools),
            (Some(Gate::Block), Some(Gate::Block))
        );
        assert!(observe(&registry, &server.id, &seen(0, 'a')).await);
        server.id.clone()
    };
    let registry = open(&url, &ring).await;
    let found = find(&registry, "a").await.unwrap();
    let withheld = found.withheld("search", fingerprint('b'), None);
    assert_eq!(withheld, Some(ToolState::Changed));
    let mut expected = seen(0, 'a');
    expected.version = 1;
    assert_eq!(observation(&registry, &id).await, Some(expected));
}

#[tokio::test]
async fn a_column_that_cannot_be_read_fails_no_server_and_is_written_anew() {
    for column in ["health", "pins", "listed", "definitions"] {
        for text in ["", "7", "[]", "{\"a\":", "{\"search\": \"abc\"}"] {
            let (directory, ring) = (Directory::new(), KeyRing::generate());
            let url = directory.url("a.db");
            let id = {
                let registry = open(&url, &ring).await;
                let id = registry.insert(server("a")).await.unwrap().id.clone();
                assert!(observe(&registry, &id, &seen(0, 'a')).await);
                id
            };
            let table = match column {
                "definitions" => "mcp_definitions",
                _ => "mcp_observations",
            };
            let damage = format!("UPDATE {table} SET {column} = '{text}'");
            assert_eq!(run(&mut intruder(&url).await, &damage).await, 1);

            let registry = open(&url, &ring).await;
            let what = format!("{column} = {text:?}");
            let found = find(&registry, "a").await.unwrap();
            let read = observation(&registry, &id).await.unwrap();
            let page = registry.observations("default", std::slice::from_ref(&id));
            assert_eq!(
                page.await.unwrap()[0].as_ref().unwrap().version,
                1,
                "{what}"
            );
            let whole = seen(1, 'a');
            match column {
                // What cannot be read was not accepted: nothing slips through.
                "pins" => {
                    assert_eq!(accepted(&found), None, "{what}");
                    let withheld = found.withheld("search", fingerprint('a'), None);
                    assert_eq!(withheld, Some(ToolState::New), "{what}");
                }
                "listed" => assert!(read.listed.is_empty(), "{what}"),
                "definitions" => assert!(read.definitions.is_empty(), "{what}"),
                _ => assert_eq!(read, whole, "{what}"),
            }
            if column != "pins" {
                assert_eq!(read.pins, whole.pins, "{what}");
            }
            for (version, digit) in [(1, 'a'), (2, 'b')] {
                let mut seen = seen(version, digit);
                assert!(observe(&registry, &id, &seen).await, "{what}");
                seen.version += 1;
                assert_eq!(observation(&registry, &id).await, Some(seen), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn of_two_processes_one_gets_each_probe() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let processes = [open(&url, &ring).await, open(&url, &ring).await];
    let servers: Vec<_> = (0..1000).map(|_| ServerId::random()).collect();
    for _ in 0..3 {
        run(
            &mut intruder(&url).await,
            "UPDATE mcp_probes SET ends_at = 1",
        )
        .await;
        let claims = processes
            .iter()
            .map(|process| process.claim_probes("default", &servers, LONG));
        let claimed = join_all(claims).await;
        let [one, other] = [0, 1].map(|process| claimed[process].as_ref().unwrap());
        assert!(one.iter().zip(other).all(|(one, other)| one != other));
    }
}

#[tokio::test]
async fn a_claim_of_a_clock_that_was_wrong_does_not_count() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let servers = [ServerId::random()];
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let claim = || registry.claim_probes("default", &servers, year);
    assert_eq!(claim().await.unwrap(), [true]);
    assert_eq!(claim().await.unwrap(), [false]);
    let ahead = "UPDATE mcp_probes SET ends_at = ends_at + 31536000000";
    run(&mut intruder(&url).await, ahead).await;
    assert_eq!(claim().await.unwrap(), [true]);
}

#[tokio::test]
async fn what_was_observed_of_nobodys_servers_is_forgotten_after_a_month() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let own = registry.insert(server("a")).await.unwrap().id.clone();
    let (old, young) = (ServerId::random(), ServerId::random());
    for server in [&own, &old, &young] {
        assert!(observe(&registry, server, &seen(0, 'a')).await);
    }
    let mut connection = intruder(&url).await;
    let month = 31_i64 * 24 * 60 * 60 * 1000;
    let age = format!(
        "UPDATE mcp_observations SET changed_at = changed_at - {month} WHERE server <> '{}'",
        young.as_str()
    );
    run(&mut connection, &age).await;
    let is_known = async |server| observation(&registry, server).await.is_some();
    let servers = [young.clone()];
    let claim = || registry.claim_probes("default", &servers, Duration::ZERO);

    // After a month in which the gateway was off nobody can have looked.
    claim().await.unwrap();
    assert!(is_known(&old).await);
    // Nor twice a day.
    claim().await.unwrap();
    assert!(is_known(&old).await);
    let day = "UPDATE mcp_counters SET value = value - 90000000 WHERE name = 'swept'";
    run(&mut connection, day).await;
    claim().await.unwrap();
    assert!(!is_known(&old).await);
    // However long it was switched off.
    assert!(is_known(&own).await && is_known(&young).await);
    assert!(accepted(&registry.get("default", &name("a")).await.unwrap()).is_some());
}

#[tokio::test]
async fn an_organization_that_no_column_takes_knows_nothing_and_learns_nothing() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let registry = open(&directory.url("a.db"), &ring).await;
    let servers = [ServerId::random()];
    for organization in ["a\0", &"x".repeat(513)] {
        let known = registry.observation(organization, &servers[0]).await;
        assert_eq!(known.unwrap(), None);
        let known = registry.observations(organization, &servers).await;
        assert_eq!(known.unwrap(), [None]);
        let seen = seen(0, 'a');
        let observed = registry.observe(organization, &servers[0], &seen).await;
        observed.unwrap_err();
        let claimed = registry.claim_probes(organization, &servers, LONG).await;
        claimed.unwrap_err();
    }
}
