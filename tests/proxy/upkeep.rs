//! The upkeep of a proxy that runs: reading its configuration again, whether it can serve, backups.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    database::Storage,
    directory::Directory,
    support::{Proxy, Upstream, file, refused, run, run_with, until},
};

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// How many lines of the log have this.
fn logged(proxy: &Proxy, text: &str) -> usize {
    proxy
        .logged()
        .lines()
        // The leak scan has lines of JSON.
        .map(|line| line.replace("\",\"", "\" ").replace("\":\"", "=\""))
        .filter(|line| line.contains(text))
        .count()
}

const READ_AGAIN: &str = "the configuration was read again";

#[tokio::test]
async fn a_new_key_of_the_upstream_is_used_after_sighup_and_no_request_is_lost() {
    let upstream = Upstream::start().await;
    let directory = Directory::new();
    let key = directory.0.join("upstream-key");
    private(&key, "the-first-key");
    let config = file(&format!(
        "upstream = \"{}\"\nupstream_key_file = {key:?}\n",
        upstream.url
    ));
    let proxy = Proxy::over(&config, &["--admin-listen", "off"], &[]);
    // The upstream repeats it, and the proxy covers it: the length is what is left of it.
    let length = async || {
        let (status, seen) = proxy.chat(&json!({"model": "m", "messages": []})).await;
        assert_eq!(status, 200);
        seen["authorization"].as_str().unwrap().len()
    };
    assert_eq!(length().await, "Bearer the-first-key".len());
    // One that runs meanwhile ends with the key that it began with.
    let running = async { proxy.chat(&json!({"model": "wait", "messages": []})).await };
    let reload = async {
        upstream.asked().await;
        private(&key, "the-second-key-which-is-longer\n");
        proxy.signal("HUP");
        until("it is read", async || logged(&proxy, READ_AGAIN) == 1).await;
        assert_eq!(
            length().await,
            "Bearer the-second-key-which-is-longer".len()
        );
        upstream.go_on();
    };
    let ((status, seen), ()) = tokio::join!(running, reload);
    assert_eq!(status, 200);
    let seen = seen["authorization"].as_str().unwrap();
    assert_eq!(seen.len(), "Bearer the-first-key".len());
    assert_eq!(
        logged(&proxy, "applied=\"upstream_key\""),
        1,
        "{}",
        proxy.logged()
    );
}

#[tokio::test]
async fn sighup_names_what_needs_a_restart_and_a_fault_changes_nothing() {
    let config = file("");
    let proxy = Proxy::over(&config, &["--admin-listen", "off"], &[]);
    let entry = |name: &str| {
        format!("[[servers]]\nname = \"{name}\"\nurl = \"https://mcp.example.com/mcp\"\n")
    };
    fs::write(&config, format!("streaming = \"reject\"\n{}", entry("a"))).unwrap();
    proxy.signal("HUP");
    until("it is read", async || logged(&proxy, READ_AGAIN) == 1).await;
    let line = r#"applied="servers" waiting_for_a_restart="streaming""#;
    assert_eq!(logged(&proxy, line), 1, "{}", proxy.logged());
    let names = async || {
        let (_, listed) = proxy.get("/v1/mcp/servers").await;
        let names = listed["servers"].as_array().unwrap().iter();
        names
            .map(|server| server["name"].clone())
            .collect::<Vec<Value>>()
    };
    assert_eq!(names().await, ["a"]);

    // A fault anywhere: also where what is wrong could not have been applied.
    for wrong in ["unknown = 1\n", "upstream = \"not a url\"\n"] {
        let before = logged(&proxy, "the last good state stays");
        fs::write(&config, format!("{wrong}{}", entry("b"))).unwrap();
        proxy.signal("HUP");
        let said = async || {
            logged(
                &proxy,
                "the configuration cannot be read again; the last good",
            ) > before
        };
        until("it is refused", said).await;
    }
    assert_eq!(proxy.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn it_is_ready_while_its_database_answers() {
    let storage = Storage::new();
    let proxy = Proxy::with(&storage.config(""), &[]);
    assert_eq!(
        proxy.get("/readyz").await,
        (StatusCode::OK, json!({"status": "ready"}))
    );
    fs::remove_file(storage.path()).unwrap();
    until("it is not ready", async || {
        proxy.get("/readyz").await.0 != StatusCode::OK
    })
    .await;
    let unready = json!({"status": "unready", "failed": ["database"]});
    assert_eq!(
        proxy.get("/readyz").await,
        (StatusCode::SERVICE_UNAVAILABLE, unready)
    );
    assert_eq!(proxy.get("/healthz").await.0, StatusCode::OK, "it is alive");
    // However many ask: one look, one line.
    let asked = Instant::now();
    for _ in 0..50 {
        proxy.get("/readyz").await;
    }
    assert!(asked.elapsed().as_secs() < 20);
    assert_eq!(logged(&proxy, "not ready"), 1, "{}", proxy.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_all_that_was_acknowledged_before_it() {
    let storage = Storage::new();
    let proxy = Proxy::operated(&storage.config(""), &[]);
    let acknowledged = AtomicUsize::new(0);
    let copy = storage.path().with_file_name("copy.db");
    let name = |number: usize| format!("server-{number}");
    let writing = async {
        for number in 0..400 {
            let body = json!({"name": name(number), "url": "https://mcp.example.com/mcp"});
            let (status, answer) = proxy.operate("POST", "/api/v1/servers", body).await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
            acknowledged.store(number + 1, Ordering::SeqCst);
            if copy.exists() && number > 100 {
                break;
            }
        }
    };
    let (config, to) = (storage.config(""), copy.clone());
    let acknowledged = &acknowledged;
    let backing_up = async {
        until("there is something", async || {
            acknowledged.load(Ordering::SeqCst) > 20
        })
        .await;
        let before = acknowledged.load(Ordering::SeqCst);
        let backed = tokio::task::spawn_blocking(move || {
            run_with(&config, &["--backup", to.to_str().unwrap()], &[])
        });
        let (code, out, err) = backed.await.unwrap();
        assert_eq!((code, out.lines().count()), (0, 1), "{out}{err}");
        before
    };
    let ((), before) = tokio::join!(writing, backing_up);
    println!("{before} writes were acknowledged before the backup began, and some after it");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    // It is one file, and opens with the keys.
    let text = storage.config("").replace(
        &storage.path().display().to_string(),
        &copy.display().to_string(),
    );
    let restored = Proxy::operated(&text, &[]);
    for number in 0..before {
        let path = format!("/api/v1/servers/{}", name(number));
        assert_eq!(
            restored.operate("GET", &path, Value::Null).await.0,
            200,
            "{path}"
        );
    }
}

#[test]
fn a_backup_overwrites_nothing_and_leaves_postgresql_to_its_own() {
    let storage = Storage::new();
    let database = format!("sqlite://{}", storage.path().display());
    let there = file("precious");
    let there = there.to_str().unwrap();
    let postgres = "postgres://proxy:s3cret@127.0.0.1/proxy";
    for (database, reason) in [
        (&*database, "No such file"),
        (postgres, "pg_dump"),
        ("mysql://x", "only a database sqlite://PATH"),
    ] {
        let to = Directory::new();
        let to = to.0.join("copy.db");
        let flags = ["--database", database, "--backup", to.to_str().unwrap()];
        let (code, _, err) = run(&flags);
        assert_eq!((code, err.lines().count()), (2, 1), "{err}");
        assert!(err.contains(reason) && !err.contains("s3cret"), "{err}");
        assert!(!to.exists());
    }
    assert_eq!(
        run_with(
            &storage.config(""),
            &["--check", "--admin-listen", "off"],
            &[]
        )
        .0,
        0
    );
    let (code, _, err) = run(&["--database", &database, "--backup", there]);
    assert_eq!(code, 2);
    assert!(err.contains("exists already"), "{err}");
    assert_eq!(fs::read_to_string(there).unwrap(), "precious");
    let (code, _, err) = run(&["--backup", "x.db"]);
    assert_eq!(code, 2);
    assert!(err.contains("--backup needs a database"), "{err}");
}

#[tokio::test]
async fn a_clean_stop_leaves_the_database_in_one_file() {
    let storage = Storage::new();
    let mut proxy = Proxy::operated(&storage.config(""), &[]);
    let body = json!({"name": "a", "url": "https://mcp.example.com/mcp"});
    assert_eq!(
        proxy.operate("POST", "/api/v1/servers", body).await.0,
        StatusCode::CREATED
    );
    let wal = storage.path().with_extension("db-wal");
    assert!(wal.exists());
    proxy.terminate();
    assert_eq!(proxy.wait(), 0);
    assert!(!wal.exists(), "folded into the file");
    // Copied alone, as a backup of a stopped proxy.
    let copy = storage.path().with_file_name("copy.db");
    fs::copy(storage.path(), &copy).unwrap();
    let text = storage.config("").replace("proxy.db", "copy.db");
    let restored = Proxy::operated(&text, &[]);
    assert_eq!(
        restored
            .operate("GET", "/api/v1/servers/a", Value::Null)
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn the_program_itself_tells_whether_it_is_alive() {
    let proxy = Proxy::start(&[]);
    let address = proxy.address().to_string();
    assert_eq!(run(&["--listen", &address, "--healthcheck"]).0, 0);
    let (code, _, err) = run(&["--listen", &refused().to_string(), "--healthcheck"]);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
}
