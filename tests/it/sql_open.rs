//! Databases that cannot be opened: one clear line each, and nothing written.

use std::os::unix::fs::PermissionsExt;

use mcp_layer::registry::{ServerStore, SqlFault, SqlRegistry};
use mcp_layer::secret::KeyRing;

use crate::support::directory::Directory;
use crate::support::sql::{find, intruder, name, open, run, server, shown};

/// The line, which is one and shows no password.
async fn refused(url: &str, ring: &KeyRing) -> String {
    let error = SqlRegistry::open(url, ring.clone()).await.unwrap_err();
    let line = error.to_string();
    println!("{line}");
    assert!(!line.contains('\n'), "{line}");
    assert!(!shown(&error).contains("s3cret"), "{}", shown(&error));
    line
}

#[tokio::test]
async fn a_url_that_leads_nowhere_is_said_in_one_line() {
    let ring = KeyRing::generate();
    for url in [
        "",
        "gateway.db",
        "mysql://user:s3cret@db.example/gateway",
        "sqlite:gateway.db",
    ] {
        let line = refused(url, &ring).await;
        assert!(line.starts_with("database URL: "), "{line}");
    }
    for url in ["sqlite://", "sqlite://:memory:", "sqlite://a.db?mode=rwc"] {
        let line = refused(url, &ring).await;
        assert!(line.ends_with("sqlite:// takes the path of a file and no parameters"));
    }
    // Nobody listens on port 1.
    let line = refused("postgres://user:s3cret@127.0.0.1:1/gateway", &ring).await;
    assert!(line.starts_with("database 127.0.0.1:1/gateway: cannot be used: "));
    for url in [
        "postgres://user:s3cret@127.0.0.1:x/db",
        "postgres://u:s3cret@",
    ] {
        refused(url, &ring).await;
    }
}

#[tokio::test]
async fn what_is_no_database_is_said_in_one_line() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let line = refused(&format!("sqlite://{}", directory.0.display()), &ring).await;
    assert!(line.ends_with(": is a directory"), "{line}");

    std::fs::write(
        directory.0.join("text"),
        "not a database at all".repeat(100),
    )
    .unwrap();
    allow(&directory.0.join("text"), 0o600);
    let line = refused(&directory.url("text"), &ring).await;
    assert!(line.ends_with(": is not a SQLite database"), "{line}");

    let line = refused(&directory.url("absent/gateway.db"), &ring).await;
    assert!(line.contains("cannot be used: No such file"), "{line}");

    let line = refused("sqlite:///dev/null", &ring).await;
    assert!(line.ends_with(": is not a regular file"), "{line}");
}

fn allow(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused_with_the_way_out() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    // Kept open, so that its log is there.
    let registry = open(&url, &ring).await;
    registry.insert(server("a")).await.unwrap();
    for mode in [0o666, 0o644, 0o640, 0o604, 0o620] {
        for file in ["a.db", "a.db-wal", "a.db-shm"] {
            let path = directory.0.join(file);
            allow(&path, mode);
            let line = refused(&url, &ring).await;
            assert!(line.contains(&format!("mode {mode:04o}")), "{line}");
            assert!(line.ends_with("run chmod 600 on it"), "{line}");
            allow(&path, 0o600);
        }
    }
    assert!(find(&open(&url, &ring).await, "a").await.is_some());
}

#[tokio::test]
async fn a_file_that_is_removed_or_replaced_takes_no_writes_that_would_be_lost() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let (url, path) = (directory.url("a.db"), directory.0.join("a.db"));
    let aside = directory.0.join("aside");
    let registry = open(&url, &ring).await;
    registry.insert(server("a")).await.unwrap();
    find(&registry, "a").await.unwrap();
    std::fs::rename(&path, &aside).unwrap();
    for other in [None, Some("another file")] {
        if let Some(text) = other {
            std::fs::write(&path, text).unwrap();
        }
        let error = registry.insert(server("b")).await.unwrap_err();
        let said = shown(&error);
        assert!(said.contains("was removed or replaced"), "{said}");
        // Nor is anything read that may be of another one; what is in memory goes on.
        assert!(registry.get("default", &name("a")).await.is_err());
        assert!(find(&registry, "a").await.is_some());
    }
    std::fs::rename(&aside, &path).unwrap();
    registry.insert(server("b")).await.unwrap();
    drop(registry);
    assert!(find(&open(&url, &ring).await, "b").await.is_some());
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let registry = open(&directory.url("with space, é, % and #.db"), &ring).await;
    registry.insert(server("a")).await.unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log, and the log's index");
}

#[tokio::test]
async fn other_keys_are_refused_and_nothing_is_written() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    registry.insert(server("a")).await.unwrap();
    drop(registry);

    let mut later = ring.clone();
    later.add().unwrap();
    {
        let registry = open(&url, &later).await;
        registry.insert(server("b")).await.unwrap();
    }
    let mut connection = intruder(&url).await;
    run(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let before = std::fs::read(directory.0.join("a.db")).unwrap();

    let line = refused(&url, &KeyRing::generate()).await;
    assert!(line.contains("is not in the key ring"), "{line}");
    // The old key opens what it is checked by, and not what the new one has sealed.
    let line = refused(&url, &ring).await;
    let newest = later.newest();
    let expected =
        format!("the key {newest}, which seals 1 of its records, is not in the key ring");
    assert!(line.ends_with(&expected), "{line}");
    assert_eq!(std::fs::read(directory.0.join("a.db")).unwrap(), before);
    assert_eq!(
        std::fs::metadata(directory.0.join("a.db-wal"))
            .unwrap()
            .len(),
        0
    );
    assert!(find(&open(&url, &later).await, "b").await.is_some());
}

#[tokio::test]
async fn a_check_record_that_was_changed_is_refused() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    drop(open(&url, &ring).await);
    let mut connection = intruder(&url).await;
    run(
        &mut connection,
        "UPDATE mcp_schema SET sealed = CAST(substr(sealed, 1, 40)
         || CASE substr(sealed, 41, 1) WHEN x'00' THEN x'01' ELSE x'00' END
         || substr(sealed, 42) AS BLOB)",
    )
    .await;
    let line = refused(&url, &ring).await;
    assert!(line.contains("these are not its keys"), "{line}");
}

#[tokio::test]
async fn tables_of_a_newer_version_are_left_alone() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    drop(open(&url, &ring).await);
    let mut connection = intruder(&url).await;
    run(&mut connection, "UPDATE mcp_schema SET version = 99").await;
    let error = SqlRegistry::open(&url, ring.clone()).await.unwrap_err();
    assert!(matches!(error.fault(), SqlFault::Newer { found: 99, .. }));
    let line = refused(&url, &ring).await;
    let expected =
        "was changed by a newer version: its tables have version 99, and this program knows 7";
    assert!(line.ends_with(expected), "{line}");
}

#[tokio::test]
async fn a_column_that_a_newer_version_has_added_is_no_trouble() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let mut connection = intruder(&url).await;
    run(
        &mut connection,
        "ALTER TABLE mcp_servers ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",
    )
    .await;
    registry.insert(server("a")).await.unwrap();
    assert!(find(&registry, "a").await.is_some());
}

#[tokio::test]
async fn a_database_that_somebody_keeps_locked_is_said_in_one_line() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    drop(open(&url, &ring).await);
    let mut connection = intruder(&url).await;
    run(
        &mut connection,
        "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE mcp_counters SET value = 9",
    )
    .await;
    let line = refused(&url, &ring).await;
    assert!(line.ends_with(": is locked by another process"), "{line}");
}

#[tokio::test]
async fn two_that_start_at_once_make_the_tables_once() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let all = (0..8).map(|_| open(&url, &ring));
    let all = futures_util::future::join_all(all).await;
    all[0].insert(server("a")).await.unwrap();
    for registry in &all {
        assert!(find(registry, "a").await.is_some());
    }
}
