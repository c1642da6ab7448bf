//! Sealing keys are rotated while a database is in use.

use std::collections::BTreeMap;

use mcp_layer::registry::{CredentialKey, CredentialStore, ServerStore, SqlFault, StateHash};
use mcp_layer::secret::{KeyFault, KeyFile, KeyRing, KeySource};
use secrecy::ExposeSecret;

use crate::support::directory::Directory;
use crate::support::resealing::{fill, under_load};
use crate::support::sql::{find, intruder, name, open, run, server};

#[tokio::test]
async fn a_key_is_replaced_by_another_from_the_file_to_the_last_record() {
    let directory = Directory::new();
    let file = KeyFile::new(directory.0.join("keys"));
    let old = file.generate().unwrap();
    let url = directory.url("a.db");
    let registry = open(&url, &file.load().await.unwrap()).await;
    fill(&registry, 150).await;
    // With the one that the keys are checked by.
    assert_eq!(
        registry.sealed_by_key().await.unwrap(),
        BTreeMap::from([(old, 302)])
    );

    let new = file.add().unwrap();
    registry
        .replace_ring(file.load().await.unwrap())
        .await
        .unwrap();
    let counts = registry.sealed_by_key().await.unwrap();
    assert_eq!(counts, BTreeMap::from([(old, 302), (new, 0)]));
    let error = file.remove(old, counts[&old]).unwrap_err();
    assert!(matches!(
        error.fault(),
        KeyFault::StillSeals { records: 302, .. }
    ));

    let mut steps = Vec::new();
    let done = registry.reseal(|step| steps.push(step)).await.unwrap();
    assert_eq!((done.resealed, done.left, done.unreadable), (301, 0, 0));
    assert!(
        steps
            .windows(2)
            .all(|s| s[0].left >= s[1].left && s[0].resealed <= s[1].resealed)
    );
    assert!(steps.len() > 4, "in small steps");
    let counts = registry.sealed_by_key().await.unwrap();
    assert_eq!(counts, BTreeMap::from([(old, 0), (new, 302)]));
    file.remove(old, counts[&old]).unwrap();

    // The old key is gone for good.
    let registry = open(&url, &file.load().await.unwrap()).await;
    for number in [0, 77, 149] {
        let server = find(&registry, &format!("s{number}")).await.unwrap();
        assert_eq!(server.version, 1);
        let stored = registry.load(&CredentialKey::of(&server)).await.unwrap();
        let stored = stored.unwrap();
        assert_eq!(stored.secret.expose_secret(), format!("s3cret-{number}"));
        let auth = format!("{:?}", server.auth);
        assert!(auth.starts_with("StaticHeaders"), "{auth}");
    }
    assert!(
        registry
            .take_state(&StateHash([1; 32]))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_ring_that_lacks_a_key_is_not_taken() {
    let directory = Directory::new();
    let ring = KeyRing::generate();
    let registry = open(&directory.url("a.db"), &ring).await;
    registry.insert(server("a")).await.unwrap();
    let error = registry
        .replace_ring(KeyRing::generate())
        .await
        .unwrap_err();
    assert!(
        matches!(error.fault(), SqlFault::KeyMissing { records: 2, .. }),
        "{error}"
    );
    registry.insert(server("b")).await.unwrap();
    let counts = registry.sealed_by_key().await.unwrap();
    assert_eq!(counts, BTreeMap::from([(ring.newest(), 3)]));
}

#[tokio::test]
async fn a_record_that_does_not_open_stays_and_keeps_its_key() {
    let directory = Directory::new();
    let url = directory.url("a.db");
    let mut ring = KeyRing::generate();
    let old = ring.newest();
    let registry = open(&url, &ring).await;
    fill(&registry, 3).await;
    let mut connection = intruder(&url).await;
    run(
        &mut connection,
        "UPDATE mcp_servers SET version = 7 WHERE name = 's1'",
    )
    .await;
    ring.add().unwrap();
    registry.replace_ring(ring).await.unwrap();
    let done = registry.reseal(|_| {}).await.unwrap();
    assert_eq!((done.resealed, done.left, done.unreadable), (6, 1, 1));
    assert_eq!(registry.sealed_by_key().await.unwrap()[&old], 1);
    registry.remove("default", &name("s1")).await.unwrap();
    assert_eq!(registry.sealed_by_key().await.unwrap()[&old], 0);
}

/// 10,000 in `tests/postgres`, where there is time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_everything_is_sealed_anew() {
    let directory = Directory::new();
    let url = directory.url("a.db");
    let mut ring = KeyRing::generate();
    let registry = open(&url, &ring).await;
    fill(&registry, 500).await;
    ring.add().unwrap();
    registry.replace_ring(ring.clone()).await.unwrap();
    let (done, reads) = under_load(&registry, 500).await;
    println!(
        "{} records sealed anew under load: {reads} reads, 0 failed",
        done.resealed
    );
    assert_eq!(done.left, 0);
}
