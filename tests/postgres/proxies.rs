//! Two proxies, as processes, on one PostgreSQL.

use std::time::{Duration, Instant};

use http::StatusCode;
use mcp_layer::secret::KeyFile;
use serde_json::{Value, json};

use crate::proxy::{Proxy, question, until};
use crate::support::directory::Directory;
use crate::support::evidence;
use crate::support::mcp_server::{McpServer, Mode};
use crate::support::postgres::Postgres;

const SERVERS: &str = "/api/v1/servers";
/// What a server is sent as a static header.
const STORED: &str = "canary/stored+header=36";

/// A PostgreSQL, and what proxies on it are configured with.
struct Storage {
    postgres: Postgres,
    config: String,
    _directory: Directory,
}

impl Storage {
    fn new() -> Self {
        evidence::secret("stored header", STORED);
        let (postgres, directory) = (Postgres::start(), Directory::new());
        let key_file = directory.0.join("keys");
        KeyFile::new(&key_file).generate().unwrap();
        let config = format!(
            "database = {:?}\nkey_file = {key_file:?}\nallow_egress = [\"127.0.0.0/8\"]\n",
            postgres.database("proxies"),
        );
        Self {
            postgres,
            config,
            _directory: directory,
        }
    }

    fn proxy(&self) -> Proxy {
        Proxy::operated(&self.config, &[])
    }
}

async fn create(proxy: &Proxy, name: &str, url: &str) {
    let headers = json!([{"name": "x-key", "value": STORED}]);
    let server = json!({
        "name": name,
        "url": url,
        "auth": {"type": "static_headers", "headers": headers},
    });
    let (status, answer) = proxy.operate("POST", SERVERS, server).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

/// Whether `name` answers in a chat completion.
async fn answers(proxy: &Proxy, name: &str) -> bool {
    let (status, answer) = proxy.chat(&question(name, "Echo \"it is there\"")).await;
    let content = answer["choices"][0]["message"]["content"].as_str();
    status == StatusCode::OK && content.is_some_and(|content| content.contains("it is there"))
}

#[tokio::test]
async fn what_is_done_through_one_is_in_force_in_the_other_within_a_second() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let (one, other) = (storage.proxy(), storage.proxy());
    let mut longest = Duration::ZERO;
    for number in 0..10 {
        let name = format!("s-{number}");
        // So that the other one has in memory that there is none.
        assert!(!answers(&other, &name).await);
        create(&one, &name, &mcp.url()).await;
        let made = Instant::now();
        while !answers(&other, &name).await {
            assert!(made.elapsed() < Duration::from_secs(1), "not in force");
        }
        longest = longest.max(made.elapsed());

        let path = format!("{SERVERS}/{name}");
        let (status, _) = other.operate("DELETE", &path, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let removed = Instant::now();
        while answers(&one, &name).await {
            assert!(removed.elapsed() < Duration::from_secs(1), "still there");
        }
        longest = longest.max(removed.elapsed());
    }
    println!("two proxies, 20 changes through one in force in the other within {longest:?}");
}

/// The status of a request with this key.
async fn status(proxy: &Proxy, key: &str) -> StatusCode {
    let request = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
    request.bearer_auth(key).send().await.unwrap().status()
}

#[tokio::test]
async fn a_key_revoked_on_one_is_refused_on_the_other_within_a_second() {
    const KEYS: &str = "/api/v1/api-keys";
    let storage = Storage::new();
    let (one, other) = (storage.proxy(), storage.proxy());
    let (mut made_in, mut revoked_in) = (Duration::ZERO, Duration::ZERO);
    for number in 0..10 {
        let body = json!({"name": format!("k{number}"), "project": "web"});
        let (_, made) = one.operate("POST", KEYS, body).await;
        let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
        let since = Instant::now();
        while status(&other, key).await != StatusCode::OK {
            assert!(since.elapsed() < Duration::from_secs(1), "not in force");
        }
        made_in = made_in.max(since.elapsed());

        let path = format!("{KEYS}/{id}");
        let (revoked, _) = one.operate("DELETE", &path, Value::Null).await;
        assert_eq!(revoked, StatusCode::NO_CONTENT);
        let since = Instant::now();
        assert_eq!(status(&one, key).await, StatusCode::UNAUTHORIZED);
        while status(&other, key).await != StatusCode::UNAUTHORIZED {
            assert!(since.elapsed() < Duration::from_secs(1), "still good");
        }
        revoked_in = revoked_in.max(since.elapsed());
    }
    println!(
        "two proxies, 10 keys: one made on one works on the other within {made_in:?}, one revoked is refused within {revoked_in:?}"
    );
}

#[tokio::test]
async fn keys_outlast_an_outage_of_the_database_and_cannot_be_changed_in_it() {
    let mut storage = Storage::new();
    let proxy = storage.proxy();
    let body = json!({"name": "a", "project": "web"});
    let (_, made) = proxy
        .operate("POST", "/api/v1/api-keys", body.clone())
        .await;
    let key = made["key"].as_str().unwrap();
    let chat = || {
        proxy
            .post(&json!({"model": "demo", "messages": []}))
            .bearer_auth(key)
            .send()
    };
    assert_eq!(chat().await.unwrap().status(), StatusCode::OK);
    storage.postgres.kill();
    assert_eq!(chat().await.unwrap().status(), StatusCode::OK);
    assert_eq!(status(&proxy, "unknown").await, StatusCode::UNAUTHORIZED);
    let (refused, _) = proxy.operate("POST", "/api/v1/api-keys", body).await;
    assert_eq!(refused, StatusCode::INTERNAL_SERVER_ERROR);
    storage.postgres.restart();
    // Over another connection: the proxy has closed those that were idle for so long.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    until("all is well again", async || {
        let list = client.get(format!("{}/v1/mcp/servers", proxy.url));
        list.bearer_auth(key).send().await.unwrap().status() == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn one_that_is_killed_loses_nothing_that_it_acknowledged() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let (one, other) = (storage.proxy(), storage.proxy());
    create(&one, "made", &mcp.url()).await;
    one.kill();
    until("the other one has it", async || {
        answers(&other, "made").await
    })
    .await;
    let again = storage.proxy();
    assert!(answers(&again, "made").await);
}

#[tokio::test]
async fn an_outage_stops_no_one_whose_servers_are_in_memory_and_heals_by_itself() {
    let mcp = McpServer::start(Mode::Newest).await;
    let mut storage = Storage::new();
    let proxy = storage.proxy();
    create(&proxy, "known", &mcp.url()).await;
    create(&proxy, "other", &mcp.url()).await;
    assert!(answers(&proxy, "known").await);
    // That pinned its tools, and word of this change takes the server from memory once more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(answers(&proxy, "known").await);

    storage.postgres.kill();
    assert!(answers(&proxy, "known").await);
    let (status, refused) = proxy.chat(&question("never-asked-for", "Echo \"x\"")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refused["error"]["code"], "mcp_registry_error");
    let (status, refused) = proxy.get("/v1/mcp/servers").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refused["error"]["code"], "mcp_registry_error");

    storage.postgres.restart();
    until("it answers again", async || {
        proxy.get("/v1/mcp/servers").await.0 == StatusCode::OK
    })
    .await;
    assert!(answers(&proxy, "other").await);
}
