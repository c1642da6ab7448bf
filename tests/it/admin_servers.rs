//! Servers over REST: JSON in, JSON out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_layer::registry::{
    Failure, MemoryRegistry, Observation, ObservationStore, Server, ServerStore, Stage,
};
use mcp_layer::{Inactive, Project};
use serde_json::{Value, json};

use super::support::admin::Operator;

const SERVERS: &str = "/api/v1/servers";

/// 2026-11-25T22:13:28.042Z
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_644_808_042)
}

fn operator(store: MemoryRegistry) -> Operator {
    Operator::with(store, |admin| admin.with_clock(now))
}

fn path(name: &str) -> String {
    format!("{SERVERS}/{name}")
}

fn names(list: &Value) -> Vec<&str> {
    let servers = list["servers"].as_array().unwrap();
    servers
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_server_is_created_read_replaced_and_removed() {
    let operator = operator(MemoryRegistry::default());
    let answer = operator
        .post(
            SERVERS,
            &json!({"name": "wiki", "url": "https://mcp.example.com/mcp"}),
        )
        .await;
    let mut created = answer.expect(201);
    assert_eq!(answer.headers["location"], "/api/v1/servers/wiki");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(operator.get(&path("wiki")).await, created);
    for member in ["created_at", "updated_at"] {
        let at = created[member].as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    }
    let id = created["id"].take();
    assert_eq!(id.as_str().unwrap().len(), 32);
    for member in ["id", "created_at", "updated_at"] {
        created.as_object_mut().unwrap().remove(member);
    }
    assert_eq!(
        created,
        json!({
            "name": "wiki", "display_name": null, "description": null,
            "url": "https://mcp.example.com/mcp", "transport": "streamable_http",
            "projects": "all", "auth": {"type": "none"}, "tools": "all",
            "grants": [], "instructions": false, "share_session": "project", "trace_context": null,
            "call": null, "call_max": null,
            "on_change": "allow", "new_tools": "allow", "enabled": true, "draft": false,
            "version": 1, "source": "store", "status": "active", "status_reason": null,
            "last_failure": null, "tool_count": null,
        })
    );

    let wanted = json!({
        "display_name": "Wiki", "description": "All about \"it\"\n",
        "url": "https://mcp.example.com/sse", "transport": "sse",
        "projects": ["batch", "web"],
        "tools": ["read", {"name": "write", "policy": "ask_first"}, {"name": "search", "always": true}],
        "grants": [{"project": "web", "tools": ["read"], "calls_per_minute": 5}],
        "instructions": true, "share_session": "caller", "trace_context": false,
        "call": 120, "call_max": 900,
        "on_change": "block", "new_tools": "allow", "enabled": false, "version": 1,
    });
    let replaced = operator.put(&path("wiki"), &wanted).await.expect(200);
    for (member, value) in wanted.as_object().unwrap() {
        if member != "version" {
            assert_eq!(&replaced[member], value, "{member}");
        }
    }
    assert_eq!((&replaced["id"], &replaced["version"]), (&id, &json!(2)));
    assert_eq!(replaced["status_reason"], "disabled");
    assert_eq!(operator.get(&path("wiki")).await, replaced);

    let removed = operator.ask("DELETE", &path("wiki"), None).await;
    assert_eq!((removed.status.as_u16(), &*removed.text), (204, ""));
    let again = operator.ask("DELETE", &path("wiki"), None).await;
    assert_eq!(again.error(404).0, "mcp_server_not_found");
}

#[tokio::test]
async fn an_answer_can_be_sent_back_and_changes_nothing_but_the_version() {
    let operator = operator(MemoryRegistry::default());
    for auth in [
        json!({"type": "none"}),
        json!({"type": "static_headers", "headers": [{"name": "X-Key", "value": "s3cret"}]}),
        json!({"type": "token_passthrough"}),
        json!({"type": "oauth2"}),
        json!({"type": "oauth2", "client_id": "id", "client_secret": "s3cret",
               "authorization_url": "https://as.example/a", "token_url": "https://as.example/t",
               "scopes": "b a", "resource": "https://mcp.example.com/", "token_auth": "client_secret_post"}),
    ] {
        let server = json!({"name": "a", "url": "https://mcp.example.com/mcp", "auth": auth});
        let mut created = operator.create(&server).await;
        assert_eq!(created["auth"]["type"], auth["type"]);
        let mut replaced = operator.put(&path("a"), &created).await.expect(200);
        assert_eq!(replaced["version"], 2);
        for server in [&mut created, &mut replaced] {
            server["version"] = Value::Null;
            server["updated_at"] = Value::Null;
        }
        assert_eq!(created, replaced);
        operator.ask("DELETE", &path("a"), None).await;
    }
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let operator = operator(MemoryRegistry::default());
    let server = json!({"name": "a", "url": "https://mcp.example.com/mcp"});
    operator.create(&server).await;
    let (code, param) = operator.post(SERVERS, &server).await.error(409);
    assert_eq!((&*code, param.as_deref()), ("conflict", Some("name")));
}

#[tokio::test]
async fn a_copy_is_what_was_read_under_another_name() {
    let operator = operator(MemoryRegistry::default());
    let mut server = operator
        .create(&json!({"name": "a", "url": "https://mcp.example.com/mcp", "tools": ["read"]}))
        .await;
    server["name"] = json!("b");
    server["version"] = json!(7);
    let copy = operator.create(&server).await;
    assert_eq!(copy["tools"], json!(["read"]));
    assert_eq!(copy["version"], 1);
    assert_ne!(copy["id"], server["id"]);
}

#[tokio::test]
async fn the_second_of_two_editors_hears_which_version_there_is() {
    let operator = operator(MemoryRegistry::default());
    let mut server = operator
        .create(&json!({"name": "a", "url": "https://mcp.example.com/mcp"}))
        .await;
    server["description"] = json!("first");
    operator.put(&path("a"), &server).await.expect(200);
    server["description"] = json!("second");
    let answer = operator.put(&path("a"), &server).await;
    let (code, param) = answer.error(409);
    assert_eq!(
        (&*code, param.as_deref()),
        ("stale_version", Some("version"))
    );
    assert!(answer.text.contains("at version 2"), "{}", answer.text);
    assert_eq!(operator.get(&path("a")).await["description"], "first");
}

#[tokio::test]
async fn a_server_keeps_its_name_and_needs_its_version() {
    let operator = operator(MemoryRegistry::default());
    let url = "https://mcp.example.com/mcp";
    operator.create(&json!({"name": "a", "url": url})).await;
    for (body, param) in [
        (json!({"name": "b", "url": url, "version": 1}), "name"),
        (json!({"name": "a", "url": url}), "version"),
        (json!({"url": url, "version": "1"}), "version"),
        (json!({"url": url, "version": -1}), "version"),
        (
            json!({"version": 1, "projects": "all", "tools": "all"}),
            "url",
        ),
        // Left out they would be all: a server for one project would be everybody's.
        (
            json!({"url": url, "version": 1, "tools": "all"}),
            "projects",
        ),
        (
            json!({"url": url, "version": 1, "projects": ["web"], "tools": null}),
            "tools",
        ),
    ] {
        let (code, at) = operator.put(&path("a"), &body).await.error(400);
        assert_eq!((&*code, at.as_deref()), ("invalid_server", Some(param)));
    }
    assert_eq!(operator.get(&path("a")).await["version"], 1);
    let body = json!({"url": url, "version": 1});
    let gone = operator.put(&path("b"), &body).await;
    assert_eq!(gone.error(404).0, "mcp_server_not_found");
}

#[tokio::test]
async fn servers_of_others_and_servers_of_nobody_look_alike() {
    let theirs = Server::new("theirs", "https://mcp.example.com/mcp").unwrap();
    let store = MemoryRegistry::new([theirs.with_organization("others")]).unwrap();
    let operator = operator(store.clone());
    let body = json!({"url": "https://mcp.example.com/mcp", "version": 1}).to_string();
    for (method, body) in [("GET", None), ("DELETE", None), ("PUT", Some(&*body))] {
        let ask = async |name| {
            let answer = operator.ask(method, &path(name), body).await;
            assert_eq!(answer.error(404).0, "mcp_server_not_found");
            let text = answer.text.replace(name, "NAME");
            (
                format!("{:?}", answer.headers).replace("content-length", ""),
                text,
            )
        };
        // Names of one length, so that even the lengths are the same.
        assert_eq!(ask("theirs").await, ask("absent").await, "{method}");
    }
    assert_eq!(names(&operator.get(SERVERS).await), [""; 0]);
    let name = "theirs".parse().unwrap();
    assert!(store.get("others", &name).await.is_ok());
    let mine = Operator::with(store, |admin| admin.with_organization("others"));
    assert_eq!(names(&mine.get(SERVERS).await), ["theirs"]);
}

#[tokio::test]
async fn a_list_is_filtered_and_comes_in_pages() {
    let operator = operator(MemoryRegistry::default());
    for (name, extra) in [
        ("a", json!({"projects": ["web"]})),
        ("b", json!({"auth": {"type": "token_passthrough"}})),
        ("c", json!({"enabled": false, "description": "The WIKI"})),
        ("d", json!({"draft": true})),
        ("e", json!({"projects": ["batch"], "display_name": "Wiki"})),
    ] {
        let mut server = json!({"name": name, "url": "https://mcp.example.com/mcp"});
        let extra = extra.as_object().unwrap().clone();
        server.as_object_mut().unwrap().extend(extra);
        operator.create(&server).await;
    }
    for (query, expected) in [
        ("", &["a", "b", "c", "e"][..]),
        ("?project=web", &["a", "b", "c"]),
        ("?project=none", &["b", "c"]),
        ("?auth=token_passthrough", &["b"]),
        ("?auth=none&project=batch", &["c", "e"]),
        ("?q=wiki", &["c", "e"]),
        ("?status=draft", &["d"]),
        ("?status=inactive", &["c"]),
        ("?status=active", &["a", "b", "e"]),
        ("?status=active&q=wiki", &["e"]),
        ("?cursor=b", &["c", "e"]),
        ("?cursor=zzz", &[]),
    ] {
        let list = operator.get(&format!("{SERVERS}{query}")).await;
        assert_eq!(names(&list), expected, "{query}");
        assert_eq!(list["next"], Value::Null);
    }
    for filter in ["", "&status=active", "&status=inactive"] {
        let whole = operator.get(&format!("{SERVERS}?limit=200{filter}")).await;
        for limit in 1..5 {
            let mut cursor = String::new();
            let mut found = Vec::new();
            loop {
                let query = format!("{SERVERS}?limit={limit}&cursor={cursor}{filter}");
                let list = operator.get(&query).await;
                assert!(names(&list).len() <= limit);
                found.extend(names(&list).into_iter().map(str::to_owned));
                match list["next"].as_str() {
                    Some(next) => cursor = next.to_owned(),
                    None => break,
                }
            }
            assert_eq!(found, names(&whole), "{limit}{filter}");
        }
    }
    for (query, param) in [
        ("limit=0", "limit"),
        ("status=x", "status"),
        ("sort=name", "sort"),
    ] {
        let answer = operator
            .ask("GET", &format!("{SERVERS}?{query}"), None)
            .await;
        let (code, at) = answer.error(400);
        assert_eq!((&*code, at.as_deref()), ("invalid_request", Some(param)));
    }
}

#[tokio::test]
async fn a_list_by_status_ends_in_time_and_goes_on_on_the_next_page() {
    let servers = (0..2500).map(|number| {
        let server = Server::new(&format!("s{number:04}"), "https://mcp.example.com/mcp");
        server.unwrap().with_enabled(number != 2400)
    });
    let operator = operator(MemoryRegistry::new(servers).unwrap());
    let list = operator.get(&format!("{SERVERS}?status=inactive")).await;
    assert_eq!(names(&list), [""; 0]);
    assert_eq!(list["next"], "s1999");
    let list = operator
        .get(&format!("{SERVERS}?status=inactive&cursor=s1999"))
        .await;
    assert_eq!(names(&list), ["s2400"]);
    assert_eq!(list["next"], Value::Null);
}

#[tokio::test]
async fn the_status_is_what_looking_at_the_server_has_shown() {
    let store = MemoryRegistry::default();
    let operator = operator(store.clone());
    operator
        .create(&json!({"name": "a", "url": "https://mcp.example.com/mcp"}))
        .await;
    let server = store.get("default", &"a".parse().unwrap()).await.unwrap();
    let mut seen = Observation::default();
    let failure = Inactive::NeedsAuthorization;
    seen.failed(&server, Failure::new(Stage::Authorize, failure, now()));
    assert!(store.observe("default", &server.id, &seen).await.unwrap());

    let shown = operator.get(&path("a")).await;
    assert_eq!(shown["status"], "inactive");
    assert_eq!(shown["status_reason"], "needs_authorization");
    assert_eq!(
        shown["last_failure"],
        json!({"stage": "authorize", "message": "it needs authorization", "at": "2026-11-25T22:13:28.042Z"})
    );
    assert_eq!(
        names(&operator.get(&format!("{SERVERS}?status=inactive")).await),
        ["a"]
    );

    seen.version = 1;
    seen.listed(&server, &[], now());
    assert!(store.observe("default", &server.id, &seen).await.unwrap());
    let shown = operator.get(&path("a")).await;
    assert_eq!(
        (&shown["status_reason"], &shown["tool_count"]),
        (&json!("no_tools"), &json!(0))
    );
    assert_eq!(shown["last_failure"]["stage"], "authorize");
}

#[tokio::test]
async fn a_draft_is_nobodys_but_the_operators() {
    use mcp_layer::registry::ServerRegistry;

    let store = MemoryRegistry::default();
    let operator = operator(store.clone());
    let mut draft = operator
        .create(&json!({"name": "a", "url": "https://mcp.example.com/mcp", "draft": true}))
        .await;
    let names = ["a".parse().unwrap()];
    assert!(
        store
            .find(&Project::default(), &names)
            .await
            .unwrap()
            .is_empty()
    );
    draft["draft"] = json!(false);
    operator.put(&path("a"), &draft).await.expect(200);
    assert_eq!(
        store.find(&Project::default(), &names).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn projects_are_those_of_keys_and_of_servers() {
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_projects(["web", "ops"])
    });
    assert_eq!(
        operator.get("/api/v1/projects").await,
        json!({"projects": ["ops", "web"]})
    );
    for (name, projects) in [("a", json!(["web", "batch"])), ("b", json!("all"))] {
        let url = "https://mcp.example.com/mcp";
        operator
            .create(&json!({"name": name, "url": url, "projects": projects}))
            .await;
    }
    let projects = operator.get("/api/v1/projects").await;
    assert_eq!(projects, json!({"projects": ["batch", "ops", "web"]}));
}

#[tokio::test]
async fn keys_are_told_by_their_ids() {
    use mcp_layer::admin::SealingKey;

    assert_eq!(
        Operator::memory().get("/api/v1/keys").await,
        json!({"keys": []})
    );
    let key = SealingKey {
        id: "001bff09".parse().unwrap(),
        records: 3,
        newest: true,
    };
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_keys(move || async move { Ok(vec![key]) })
    });
    assert_eq!(
        operator.get("/api/v1/keys").await,
        json!({"keys": [{"id": "001bff09", "records": 3, "newest": true}]})
    );
}
