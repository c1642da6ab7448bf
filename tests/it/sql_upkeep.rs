//! A database in use: whether it can serve, copies of it, and its end.

use std::fs;

use mcp_layer::registry::{ServerStore, SqlFault, SqlRegistry};
use mcp_layer::secret::KeyRing;

use crate::support::directory::Directory;
use crate::support::sql::{find, open, server};

#[tokio::test]
async fn a_database_that_others_resealed_with_an_unknown_key_cannot_serve() {
    let directory = Directory::new();
    let url = directory.url("a.db");
    let mut ring = KeyRing::generate();
    let registry = open(&url, &ring).await;
    registry.check().await.unwrap();

    ring.add().unwrap();
    let other = open(&url, &ring).await;
    other.reseal(|_| {}).await.unwrap();
    other.check().await.unwrap();
    let error = registry.check().await.unwrap_err();
    assert!(
        matches!(error.fault(), SqlFault::KeyMissing { .. }),
        "{error}"
    );

    fs::remove_file(directory.0.join("a.db")).unwrap();
    let error = other.check().await.unwrap_err();
    assert!(matches!(error.fault(), SqlFault::Storage { .. }), "{error}");
    assert!(error.to_string().contains("a.db"), "{error}");
}

#[tokio::test]
async fn a_copy_has_what_was_committed_and_opens_with_the_same_keys_alone() {
    let directory = Directory::new();
    let (url, ring) = (directory.url("a.db"), KeyRing::generate());
    let registry = open(&url, &ring).await;
    registry.insert(server("before")).await.unwrap();
    let copy = directory.0.join("copy.db");
    let bytes = SqlRegistry::back_up(&url, &copy).await.unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().len(), bytes);
    registry.insert(server("after")).await.unwrap();
    assert!(!directory.0.join("copy.db-wal").exists(), "it is one file");

    let restored = open(&directory.url("copy.db"), &ring).await;
    assert!(find(&restored, "before").await.is_some());
    assert!(find(&restored, "after").await.is_none());
    let other = SqlRegistry::open(&directory.url("copy.db"), KeyRing::generate()).await;
    assert!(matches!(
        other.unwrap_err().fault(),
        SqlFault::KeyMissing { .. }
    ));

    let again = SqlRegistry::back_up(&url, &copy).await.unwrap_err();
    assert!(matches!(again.fault(), SqlFault::Exists), "{again}");
    fs::write(directory.0.join("text.db"), "no database").unwrap();
    #[cfg(unix)]
    fs::set_permissions(
        directory.0.join("text.db"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let to = directory.0.join("of-text.db");
    let error = SqlRegistry::back_up(&directory.url("text.db"), &to)
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), SqlFault::NotADatabase), "{error}");
    assert!(!to.exists(), "no half of a copy is left");
}

#[tokio::test]
async fn the_log_is_folded_into_the_file_at_the_end() {
    let directory = Directory::new();
    let url = directory.url("a.db");
    let registry = open(&url, &KeyRing::generate()).await;
    registry.insert(server("a")).await.unwrap();
    assert!(directory.0.join("a.db-wal").exists());
    let clone = registry.clone();
    registry.close().await;
    assert!(!directory.0.join("a.db-wal").exists());
    assert!(clone.insert(server("b")).await.is_err());
}
