//! A key in a server's URL is a credential like any other: sealed, shown to nobody, sent to its
//! origin only.

use mcp_layer::registry::{
    Auth, Filter, MemoryRegistry, Overlay, Page, Server, ServerStore, SqlRegistry,
};
use mcp_layer::secret::KeyRing;
use mcp_layer::{CallerTokens, Connections, Inactive};
use serde_json::json;

use super::support::{
    admin::Operator,
    directory::Directory,
    evidence, outbound,
    pages::Pages,
    sql::{find, intruder, name, open, run},
};

const QUERY: &str = "tvly-canary-9Qx4ZpL7wB2c";
const PATH: &str = "NzA5canaryZjQwYzItMTc4Yi00";
const SERVERS: &str = "/api/v1/servers";
const SERVER: &str = "/api/v1/servers/a";
const SHOWN: &str = "https://mcp.example.com/s/…/mcp?api_key=…";

fn url() -> String {
    evidence::secret("key in a URL", QUERY);
    evidence::secret("key in a path", PATH);
    format!("https://mcp.example.com/s/{PATH}/mcp?api_key={QUERY}")
}

fn auth() -> Auth {
    Auth::static_headers([("x-key", "s3cret-of-a")]).unwrap()
}

fn holds_keys(text: &[u8]) -> bool {
    [QUERY, PATH].iter().any(|key| {
        let key = key.as_bytes();
        text.windows(key.len()).any(|window| window == key)
    })
}

#[tokio::test]
async fn a_key_in_a_url_is_sealed_in_the_database() {
    for auth in [Auth::None, auth(), Auth::token_passthrough(None).unwrap()] {
        let (directory, ring) = (Directory::new(), KeyRing::generate());
        let database = directory.url("a.db");
        let registry = open(&database, &ring).await;
        let server = Server::new("a", &url()).unwrap().with_auth(auth);
        registry.insert(server.clone()).await.unwrap();
        assert!(!holds_keys(&directory.bytes()), "{:?}", server.auth);

        let registry = open(&database, &ring).await;
        let found = find(&registry, "a").await.unwrap();
        assert_eq!(found.url, server.url);
        assert_eq!(found.auth.kind(), server.auth.kind());
        let mut filter = Filter::default();
        filter.text = Some("canary".into());
        let listing = registry.list("default", &filter, &Page::default()).await;
        assert!(listing.unwrap().servers.is_empty(), "a key is searched");

        // Sealed anew like everything else.
        let mut newer = ring.clone();
        let newest = newer.add().unwrap();
        registry.replace_ring(newer.clone()).await.unwrap();
        assert_eq!(registry.reseal(|_| ()).await.unwrap().left, 0);
        assert_eq!(registry.sealed_by_key().await.unwrap()[&newest], 2);
        let registry = open(&database, &newer).await;
        assert_eq!(find(&registry, "a").await.unwrap().url, server.url);
    }
}

#[tokio::test]
async fn a_key_in_a_url_is_sent_to_its_origin_only() {
    for statement in [
        "UPDATE mcp_servers SET record = replace(record, 'mcp.example.com', 'evil.example')",
        "UPDATE mcp_servers SET record = replace(record, '/mcp?', '/log?')",
        "UPDATE mcp_servers SET sealed = NULL, sealed_by = NULL",
    ] {
        let (directory, ring) = (Directory::new(), KeyRing::generate());
        let database = directory.url("a.db");
        let registry = open(&database, &ring).await;
        let server = Server::new("a", &url()).unwrap();
        registry.insert(server).await.unwrap();
        let mut connection = intruder(&database).await;
        run(&mut connection, statement).await;

        let registry: SqlRegistry = open(&database, &ring).await;
        let found = find(&registry, "a").await.unwrap();
        assert!(matches!(&found.auth, Auth::Unreadable(_)), "{statement}");
        let connections = Connections::new(outbound());
        let tools = connections.tools(&found, &CallerTokens::default()).await;
        assert_eq!(tools.unwrap_err(), Inactive::CredentialInvalid);

        // Entered anew it works; what does not open cannot be kept.
        let operator = Operator::new(registry.clone());
        let mut read = operator.get(SERVER).await;
        assert_eq!(read["status_reason"], "credential_invalid");
        let (code, param) = operator.put(SERVER, &read).await.error(400);
        assert_eq!((&*code, param.as_deref()), ("invalid_server", Some("url")));
        read["url"] = url().into();
        operator.put(SERVER, &read).await.expect(200);
        let got = registry.get("default", &name("a")).await.unwrap();
        assert_eq!(got.url.as_str(), url());
    }
}

#[tokio::test]
async fn rest_shows_a_url_without_its_keys_and_keeps_them() {
    let store = MemoryRegistry::default();
    let operator = Operator::new(store.clone());
    let stored = async || {
        store
            .get("default", &name("a"))
            .await
            .unwrap()
            .url
            .to_string()
    };
    let created = operator.create(&json!({"name": "a", "url": url()})).await;
    assert_eq!(created["url"], SHOWN);
    let mut read = operator.get(SERVER).await;
    let list = operator.get(SERVERS).await;
    assert_eq!(
        (&read["url"], &list["servers"][0]["url"]),
        (&json!(SHOWN), &json!(SHOWN))
    );
    let found = operator.get(&format!("{SERVERS}?q={QUERY}")).await;
    assert_eq!(found["servers"], json!([]));

    // Sent back it changes nothing, and beside another change it stays.
    read["description"] = json!("edited");
    read = operator.put(SERVER, &read).await.expect(200);
    assert_eq!(stored().await, url());
    read["url"] = json!("https://mcp.example.com/v2/s/…/mcp?region=eu&api_key=…");
    read = operator.put(SERVER, &read).await.expect(200);
    let moved = format!("https://mcp.example.com/v2/s/{PATH}/mcp?region=eu&api_key={QUERY}");
    assert_eq!(stored().await, moved);

    // It is for its origin, and for where it was.
    for wrong in [
        "https://other.example/v2/s/…/mcp?region=eu&api_key=…",
        "https://mcp.example.com/mcp?token=…",
        "https://mcp.example.com/mcp?region=…&region=…",
    ] {
        read["url"] = json!(wrong);
        let (code, param) = operator.put(SERVER, &read).await.error(400);
        assert_eq!((&*code, param.as_deref()), ("invalid_server", Some("url")));
    }
    let copied = json!({"name": "b", "url": SHOWN});
    let (code, param) = operator.post(SERVERS, &copied).await.error(400);
    assert_eq!((&*code, param.as_deref()), ("invalid_server", Some("url")));
    assert_eq!(stored().await, moved);
}

#[tokio::test]
async fn pages_show_a_url_without_its_keys_and_save_it_with_them() {
    let pages = Pages::in_memory().await;
    pages
        .operator
        .create(&json!({"name": "a", "url": url()}))
        .await;
    for path in [
        "/servers",
        "/servers/a",
        "/servers/a/tools",
        "/servers/a/delete",
    ] {
        let page = pages.get(path).await;
        assert!(!holds_keys(page.text.as_bytes()), "{path}");
    }
    let page = pages.get("/servers/a").await;
    assert!(
        page.html(200).contains("/s/…/mcp?api_key=…"),
        "{}",
        page.text
    );
    let fields = [
        ("version", "1"),
        ("url", SHOWN),
        ("display_name", "A"),
        ("transport", "streamable_http"),
        ("scope", "all"),
        ("auth", "none"),
        ("enabled", "on"),
        ("on_change", "block"),
        ("new_tools", "block"),
    ];
    let saved = pages.post("/servers/a", &fields).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    let read = pages.operator.get(SERVER).await;
    assert_eq!((&read["url"], &read["version"]), (&json!(SHOWN), &json!(2)));
}

#[tokio::test]
async fn a_server_of_a_file_is_shown_without_its_keys() {
    let text = format!("[[servers]]\nname = \"a\"\nurl = {:?}\n", url());
    let overlay = Overlay::parse(&text, |_| None, MemoryRegistry::default()).await;
    let operator = Operator::new(overlay.unwrap());
    let read = operator.get(SERVER).await;
    assert_eq!(
        (&read["url"], &read["source"]),
        (&json!(SHOWN), &json!("file"))
    );
}
