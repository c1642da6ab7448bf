//! A proxy with a database: its keys, what lies in it, and a configuration file over it.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use mcp_layer::registry::{Auth, Server, ServerStore, SqlRegistry};
use mcp_layer::secret::{KeyFile, KeySource};
use serde_json::json;

use crate::LOCAL;
use crate::directory::Directory;
use crate::evidence;
use crate::mcp_server::{McpServer, Mode};
use crate::support::{Proxy, file, question, run, until};

/// What a server is sent as a static header, and nobody else may see.
pub const STORED: &str = "canary/stored+header=34";

/// A database and its keys, of the test's own.
pub struct Storage {
    directory: Directory,
    url: String,
    key_file: String,
}

impl Storage {
    pub fn new() -> Self {
        let directory = Directory::new();
        let url = directory.url("proxy.db");
        let key_file = directory.0.join("keys").display().to_string();
        let (code, out, _) = run(&["--generate-key", &key_file]);
        assert_eq!((code, out.lines().count()), (0, 1), "{out}");
        assert!(out.contains("--key-file"), "{out}");
        Self {
            directory,
            url,
            key_file,
        }
    }

    /// The configuration of a proxy over it.
    pub fn config(&self, rest: &str) -> String {
        let Self { url, key_file, .. } = self;
        format!("database = {url:?}\nkey_file = {key_file:?}\n{LOCAL}{rest}")
    }

    /// The file of the database.
    pub fn path(&self) -> PathBuf {
        self.directory.0.join("proxy.db")
    }

    /// What another replica would do: the database, opened beside the proxy.
    pub async fn open(&self) -> SqlRegistry {
        let ring = KeyFile::new(&self.key_file).load().await.unwrap();
        SqlRegistry::open(&self.url, ring).await.unwrap()
    }
}

fn server(name: &str, url: &str) -> Server {
    evidence::secret("stored header", STORED);
    let auth = Auth::static_headers([("x-key", STORED)]).unwrap();
    Server::new(name, url).unwrap().with_auth(auth)
}

/// Whether `name` answers in a chat completion.
pub async fn answers(proxy: &Proxy, name: &str) -> bool {
    let (status, answer) = proxy.chat(&question(name, "Echo \"it is there\"")).await;
    let content = answer["choices"][0]["message"]["content"].as_str();
    status == StatusCode::OK && content.is_some_and(|content| content.contains("it is there"))
}

pub fn entry(name: &str, url: &str) -> String {
    format!("[[servers]]\nname = \"{name}\"\nurl = \"{url}\"\n")
}

#[test]
fn a_key_is_made_once_and_more_are_added() {
    let storage = Storage::new();
    let (code, out, _) = run(&["--add-key", &storage.key_file]);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}");
    let keys = fs::read_to_string(&storage.key_file).unwrap();
    let keys = keys.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(keys.count(), 2);

    let absent = storage.directory.0.join("absent");
    for (flag, path, expected) in [
        ("--generate-key", Path::new(&storage.key_file), "exists"),
        ("--generate-key", &absent.join("keys"), "cannot be written"),
        ("--add-key", &absent, "cannot be read"),
    ] {
        let (code, out, err) = run(&[flag, &path.display().to_string()]);
        assert_eq!((code, &*out, err.lines().count()), (2, "", 1), "{err}");
        assert!(
            err.starts_with("error: ") && err.contains(expected),
            "{err}"
        );
    }
    // They are done for themselves: who gives more expects something else.
    let (code, ..) = run(&["--generate-key", "keys", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 2);
    assert!(!Path::new("keys").exists());
}

#[test]
fn a_database_that_cannot_be_opened_is_one_clear_line_and_exit_code_2() {
    let storage = Storage::new();
    let (url, keys) = (&*storage.url, &*storage.key_file);
    let path = |name: &str| storage.directory.0.join(name).display().to_string();
    fs::create_dir(path("folder")).unwrap();
    fs::write(
        path("text"),
        "no database, and long enough to be taken for one",
    )
    .unwrap();
    // Else that it may be read by others is said first.
    #[cfg(unix)]
    fs::set_permissions(path("text"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(path("empty"), "").unwrap();
    let (folder, text) = (
        storage.directory.url("folder"),
        storage.directory.url("text"),
    );
    let (absent, open) = (path("absent"), path("empty"));
    for (flags, expected) in [
        (vec!["--database", url], "--generate-key"),
        (vec!["--key-file", keys], "without database"),
        (
            vec!["--database", url, "--key-file", &absent],
            "--generate-key",
        ),
        (vec!["--database", url, "--key-file", &open], "chmod 600"),
        (
            vec!["--database", &folder, "--key-file", keys],
            "is a directory",
        ),
        (
            vec!["--database", &text, "--key-file", keys],
            "not a SQLite database",
        ),
        (
            vec!["--database", "mysql://root:s3cret@h/d", "--key-file", keys],
            "sqlite://PATH or postgres://",
        ),
        (
            vec![
                "--database",
                "postgres://u:s3cret@127.0.0.1:1/d",
                "--key-file",
                keys,
            ],
            "refused",
        ),
    ] {
        for check in [None, Some("--check")] {
            let flags: Vec<_> = flags.iter().copied().chain(check).collect();
            let (code, _, err) = run(&flags);
            assert_eq!((code, err.lines().count()), (2, 1), "{flags:?}: {err}");
            assert!(
                err.starts_with("error: ") && err.contains(expected),
                "{err}"
            );
            assert!(!err.contains("s3cret"), "{err}");
        }
    }
}

#[tokio::test]
async fn keys_that_are_not_the_databases_are_refused_at_the_start() {
    let storage = Storage::new();
    drop(storage.open().await);
    let others = Storage::new();
    let flags = ["--database", &storage.url, "--key-file", &others.key_file];
    let (code, _, err) = run(&flags);
    assert_eq!((code, err.lines().count()), (2, 1), "{err}");
    assert!(err.contains("is not in the key ring"), "{err}");
}

#[tokio::test]
async fn a_server_that_another_process_adds_is_usable_within_a_second_and_outlives_a_kill() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let config = storage.config("");
    let proxy = Proxy::with(&config, &[]);
    assert!(!answers(&proxy, "added").await);

    let other = storage.open().await;
    other.insert(server("added", &mcp.url())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(answers(&proxy, "added").await);
    let (_, listed) = proxy.get("/v1/mcp/servers").await;
    assert_eq!(listed["servers"][0]["name"], "added");
    assert_eq!(listed["servers"][0]["status"], "active");

    proxy.kill();
    let proxy = Proxy::with(&config, &[]);
    assert!(answers(&proxy, "added").await);
}

// The check is waited for, and meanwhile the server has to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_list_of_servers_and_the_check_have_those_of_file_and_database() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let store = storage.open().await;
    for name in ["a", "c"] {
        store.insert(server(name, &mcp.url())).await.unwrap();
    }
    let of_web = server("of-web", &mcp.url()).with_projects(["web"]).unwrap();
    store.insert(of_web).await.unwrap();
    let config = storage.config(&entry("b", &mcp.url()));

    let proxy = Proxy::with(&config, &[]);
    let (_, listed) = proxy.get("/v1/mcp/servers").await;
    let listed = listed["servers"].as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|server| &server["name"]).collect();
    assert_eq!(json!(names), json!(["a", "b", "c"]));

    let (code, out, err) = Proxy::run(&config, &["--check"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    assert!(out.contains("4 servers, 32 tools"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_check_changes_nothing_for_the_proxy_that_runs() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let proxy = Proxy::with(&storage.config(&entry("a", &mcp.url())), &[]);
    assert!(answers(&proxy, "a").await);
    // Another configuration over the same database, in which the server is down.
    let wrong = storage.config(&entry("a", "http://127.0.0.1:9/mcp"));
    for _ in 0..3 {
        let (code, out, _) = Proxy::run(&wrong, &["--check"]);
        assert_eq!(code, 2);
        assert!(out.contains("inactive"), "{out}");
    }
    let (_, listed) = proxy.get("/v1/mcp/servers").await;
    assert_eq!(listed["servers"][0]["status"], "active", "{listed}");
}

#[tokio::test]
async fn a_name_in_both_file_and_database_is_refused() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let store = storage.open().await;
    store.insert(server("stored", &mcp.url())).await.unwrap();
    let declared = |name: &str| storage.config(&entry(name, &mcp.url()));
    for flags in [&["--check"][..], &[]] {
        let (code, _, err) = Proxy::run(&declared("stored"), flags);
        assert_eq!((code, err.lines().count()), (2, 1), "{err}");
        assert!(err.contains("servers \"stored\": the store has"), "{err}");
    }

    // While it runs the last good state stays, until the name is free.
    let path = file(&declared("declared"));
    let proxy = Proxy::over(&path, &["--admin-listen", "off"], &[]);
    assert!(answers(&proxy, "declared").await);
    fs::write(&path, declared("stored")).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(answers(&proxy, "declared").await);
    store
        .remove("default", &"stored".parse().unwrap())
        .await
        .unwrap();
    until("the file is in force", async || {
        !answers(&proxy, "declared").await
    })
    .await;
    assert!(answers(&proxy, "stored").await);
}

#[tokio::test]
async fn a_new_key_seals_everything_after_the_next_start() {
    let storage = Storage::new();
    let store = storage.open().await;
    for number in 0..20 {
        let server = server(&format!("s-{number}"), "http://127.0.0.1:1/mcp");
        store.insert(server).await.unwrap();
    }
    drop(store);
    assert_eq!(run(&["--add-key", &storage.key_file]).0, 0);
    let keys = KeyFile::new(&storage.key_file);
    let newest = keys.load().await.unwrap().newest();

    let _proxy = Proxy::with(&storage.config(""), &[]);
    let store = storage.open().await;
    until("the newest key seals everything", async || {
        let counts = store.sealed_by_key().await.unwrap();
        counts
            .iter()
            .all(|(id, records)| (*id == newest) == (*records > 0))
    })
    .await;
}
