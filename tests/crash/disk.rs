//! A disk that is full, a file that may not grow, a file that may not be written.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_layer::registry::conformance::traces::trace;
use mcp_layer::registry::{
    Error, Filter, Page, Server, ServerStore, SqlRegistry, TraceFilter, TracePage, TraceStore,
};
use mcp_layer::secret::KeyRing;
use mcp_layer::trace::TraceSink;
use sqlx::Row;

use crate::child::{play, play_after, plays, told};
use crate::support::directory::Directory;
use crate::support::sql::{find, intruder, name, open, run, server, shown};

const SMALL_DISK: &str = "disk::on_a_small_disk";
const SMALL_FILE: &str = "disk::in_a_small_file";
const NOT_OURS: &str = "disk::on_a_file_of_somebody_else";

fn large(number: usize) -> Server {
    let mut server = server(&format!("s{number}"));
    server.description = Some(format!("{number} ").repeat(1000));
    server
}

/// Inserts until nothing fits; how many did, and what was said.
async fn fill(registry: &SqlRegistry, from: usize) -> (usize, String) {
    for number in from..100_000 {
        if let Err(error) = registry.insert(large(number)).await {
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            let shown = shown(&error);
            assert!(!shown.contains("s3cret"), "{shown}");
            let source = std::error::Error::source(&error).map(ToString::to_string);
            return (number, source.unwrap_or_default());
        }
    }
    panic!("there is no end to it");
}

/// Everything that was acknowledged, from the disk and from memory.
async fn reads(registry: &SqlRegistry, servers: usize) {
    for number in 0..servers {
        let slug = format!("s{number}");
        let got = ServerStore::get(registry, "default", &name(&slug))
            .await
            .unwrap();
        assert_eq!(got.description, large(number).description);
        assert_eq!(find(registry, &slug).await.unwrap().id, got.id);
    }
    // A list looks through them all, page by page, and needs no room either.
    let mut filter = Filter::default();
    filter.text = Some(" ".into());
    let (mut page, mut listed) = (Page::default(), 0);
    loop {
        let listing = ServerStore::list(registry, "default", &filter, &page)
            .await
            .unwrap();
        listed += listing.servers.len();
        match listing.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(listed, servers);
    let (filter, page) = (TraceFilter::default(), TracePage::default());
    TraceStore::list(registry, "default", &filter, &page)
        .await
        .unwrap();
}

async fn is_whole(url: &str) {
    let mut connection = intruder(url).await;
    let row = sqlx::raw_sql("PRAGMA integrity_check");
    let row = row.fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<&str, _>(0), "ok");
}

fn done(mut child: Command) -> String {
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.split_once("figure: "));
    line.unwrap_or_else(|| panic!("{said}")).1.to_owned()
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let directory = Directory::new();
    let path = directory.0.display().to_string();
    // A disk of this process alone.
    let mut mount = Command::new("unshare");
    mount.args(["--map-root-user", "--mount", "sh", "-c"]);
    mount.arg("mount -t tmpfs -o size=4m tmpfs \"$DIRECTORY\" && exec \"$0\" \"$@\"");
    let child = play(SMALL_DISK);
    mount.arg(child.get_program()).args(child.get_args());
    for (name, value) in child.get_envs() {
        mount.env(name, value.unwrap());
    }
    mount.env("DIRECTORY", path);
    println!("full disk: {}", done(mount));
}

#[tokio::test]
async fn on_a_small_disk() {
    if !plays(SMALL_DISK) {
        return;
    }
    let directory = told("DIRECTORY");
    let (url, ring) = (format!("sqlite://{directory}/a.db"), KeyRing::generate());
    let ballast = format!("{directory}/ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let registry = open(&url, &ring).await;
    let (servers, said) = fill(&registry, 0).await;
    assert!(said.contains("full"), "{said}");
    for _ in 0..20 {
        assert!(registry.insert(large(servers)).await.is_err());
    }
    reads(&registry, servers).await;
    // Somebody makes room: it goes on by itself.
    std::fs::remove_file(ballast).unwrap();
    let (more, _) = fill(&registry, servers).await;
    assert!(more > servers, "it does not go on");
    reads(&registry, more).await;
    drop(registry);
    is_whole(&url).await;
    reads(&open(&url, &ring).await, more).await;
    println!(
        "figure: {servers} servers, then {said:?}; with more room {more}, 0 lost, 0 failed reads"
    );
}

#[tokio::test]
async fn a_file_that_may_not_grow_is_said_and_loses_nothing() {
    let directory = Directory::new();
    // Who has opened one can look into others.
    drop(open(&directory.url("other.db"), &KeyRing::generate()).await);
    for kilobytes in [400, 700, 1000, 3000] {
        let url = directory.url(&format!("{kilobytes}.db"));
        // In blocks of 512 bytes; without the signal, a write fails with an error.
        let limit = format!("trap '' XFSZ; ulimit -f {}", 2 * kilobytes);
        let mut child = play_after(&limit, SMALL_FILE);
        child.env("DATABASE", &url);
        println!("files up to {kilobytes} KB: {}", done(child));
        is_whole(&url).await;
    }
}

#[tokio::test]
async fn in_a_small_file() {
    if !plays(SMALL_FILE) {
        return;
    }
    let registry = open(&told("DATABASE"), &KeyRing::generate()).await;
    let (servers, said) = fill(&registry, 0).await;
    for _ in 0..20 {
        assert!(registry.insert(large(servers)).await.is_err());
    }
    reads(&registry, servers).await;
    println!("figure: {servers} servers, then {said:?}; 0 failed reads");
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_said_in_one_line() {
    let directory = Directory::new();
    let url = directory.url("a.db");
    drop(open(&url, &KeyRing::generate()).await);
    let allow = |mode: &str, what: &std::path::Path| {
        let mut chmod = Command::new("chmod");
        assert!(chmod.arg(mode).arg(what).status().unwrap().success());
    };
    allow("755", &directory.0);
    allow("400", &directory.0.join("a.db"));
    let mut child = play(NOT_OURS);
    child.env("DATABASE", &url).current_dir("/");
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout == b"0\n" {
        // Nothing is forbidden to root.
        child.uid(65_534).gid(65_534);
    }
    println!("a file of somebody else: {}", done(child));
}

#[tokio::test]
async fn on_a_file_of_somebody_else() {
    if !plays(NOT_OURS) {
        return;
    }
    let url = told("DATABASE");
    let opened = SqlRegistry::open(&url, KeyRing::generate()).await;
    let line = opened.unwrap_err().to_string();
    assert!(line.ends_with(": cannot be written"), "{line}");
    println!("figure: {line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_a_backup_keeps_locked_is_waited_for_and_loses_nothing() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    registry.insert(server("a")).await.unwrap();
    let mut backup = intruder(&url).await;
    let locked = Instant::now();
    run(
        &mut backup,
        "BEGIN EXCLUSIVE; UPDATE mcp_counters SET value = value",
    )
    .await;

    // Exchanges wait; they were had, and nobody can have them once more.
    registry.record(&Arc::new(trace(1)));
    let writes = tokio::spawn({
        let registry = registry.clone();
        async move {
            let asked = Instant::now();
            let error = registry.insert(server("b")).await.unwrap_err();
            (asked.elapsed(), shown(&error))
        }
    });
    let (filter, page, mut reads) = (Filter::default(), Page::default(), 0);
    while locked.elapsed() < Duration::from_secs(15) {
        let asked = Instant::now();
        ServerStore::get(&registry, "default", &name("a"))
            .await
            .unwrap();
        let listing = ServerStore::list(&registry, "default", &filter, &page);
        assert_eq!(listing.await.unwrap().servers.len(), 1);
        assert!(asked.elapsed() < Duration::from_secs(1), "reads wait");
        reads += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (waited, said) = writes.await.unwrap();
    assert!(waited < Duration::from_secs(12), "{waited:?}");
    assert!(
        said.contains("locked") || said.contains("did not answer"),
        "{said}"
    );

    run(&mut backup, "COMMIT").await;
    registry.insert(server("b")).await.unwrap();
    registry.flush_traces().await;
    let (filter, page) = (TraceFilter::default(), TracePage::default());
    let listing = TraceStore::list(&registry, "default", &filter, &page).await;
    assert_eq!(listing.unwrap().traces.len(), 1, "an exchange is lost");
    println!("locked for 15 s: a write gives up after {waited:?}, {reads} reads went on, 0 lost");
}
