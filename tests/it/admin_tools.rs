//! Tools over REST: what a server has, how it stands to what was accepted, and accepting.

use mcp_layer::{
    mcp::ServerLimits,
    registry::{MemoryRegistry, ObservationStore, ServerStore},
};
use serde_json::{Value, json};

use super::support::{
    admin::{Answer, Operator},
    gateway::connections_builder,
    pages::Pages,
    shelf::{Shelf, tool},
};

const TOOLS: &str = "/api/v1/servers/s/tools";
const REFRESH: &str = "/api/v1/servers/s/refresh";
const ACCEPT: &str = "/api/v1/servers/s/tools/accept";

/// An operator of a server `s` whose tools change.
struct Operated {
    operator: Operator,
    store: MemoryRegistry,
    shelf: Shelf,
}

impl Operated {
    async fn new(tools: &[Value], members: Value) -> Self {
        let shelf = Shelf::start(tools).await;
        let store = MemoryRegistry::default();
        let connections = connections_builder(ServerLimits::default())
            .observations(store.clone())
            .build();
        let operator = Operator::over(connections, store.clone(), |admin| admin);
        let mut server = json!({
            "name": "s", "url": shelf.url(), "on_change": "block", "new_tools": "block",
        });
        let members = members.as_object().unwrap().clone();
        server.as_object_mut().unwrap().extend(members);
        operator.create(&server).await;
        Self {
            operator,
            store,
            shelf,
        }
    }

    /// Has the server's tools be these, and looks at them.
    async fn change(&self, tools: &[Value]) -> Value {
        self.shelf.put(tools);
        self.operator.ask("POST", REFRESH, None).await.expect(200)["tools"].take()
    }

    async fn tools(&self) -> Value {
        self.operator.get(TOOLS).await["tools"].take()
    }

    async fn accept(&self, tools: Value) -> Answer {
        self.operator.post(ACCEPT, &json!({"tools": tools})).await
    }
}

/// Each tool's name and state.
fn states(tools: &Value) -> Vec<(&str, &str)> {
    let tools = tools.as_array().unwrap().iter();
    tools
        .map(|tool| {
            (
                tool["name"].as_str().unwrap(),
                tool["state"].as_str().unwrap(),
            )
        })
        .collect()
}

/// A number in a schema that no parser may round.
const EXACT: &str = "12345678901234567890123";

#[tokio::test]
async fn a_server_that_was_never_looked_at_is_looked_at_once() {
    let schema: Value = serde_json::from_str(&format!(
        r#"{{"name": "a.b", "description": "A", "inputSchema": {{"type": "object", "x": {EXACT}}}}}"#
    ))
    .unwrap();
    let selected = json!({"tools": ["c", {"name": "a.b", "policy": "ask_first"}]});
    let operated = Operated::new(&[schema, tool("b", "B"), tool("c", "C")], selected).await;
    let tools = operated.tools().await;
    assert_eq!(
        states(&tools),
        [("a.b", "approved"), ("b", "approved"), ("c", "approved")]
    );
    let mut first = tools[0].clone();
    assert_eq!(first["fingerprint"].as_str().unwrap().len(), 64);
    assert_eq!(first["fingerprint"], first["approved_fingerprint"]);
    first.as_object_mut().unwrap().remove("fingerprint");
    first
        .as_object_mut()
        .unwrap()
        .remove("approved_fingerprint");
    first.as_object_mut().unwrap().remove("input_schema");
    let offered = first["offered_name"].take();
    assert!(
        offered.as_str().unwrap().starts_with("s__a_b_"),
        "{offered}"
    );
    assert_eq!(
        first,
        json!({"name": "a.b", "offered_name": null, "description": "A",
               "annotations": null, "selected": true, "policy": "ask_first", "state": "approved"})
    );
    assert_eq!(
        (&tools[1]["selected"], &tools[1]["policy"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(tools[2]["policy"], "auto");
    let server = operated.operator.get("/api/v1/servers/s").await;
    assert_eq!(
        (&server["tool_count"], &server["status"]),
        (&json!(2), &json!("active"))
    );
    // From what is known by now, whatever has become of the server.
    operated.shelf.put(&[]);
    assert_eq!(operated.tools().await, tools);
}

#[tokio::test]
async fn a_schema_is_shown_to_the_digit() {
    let operated = Operated::new(&[tool("a", "A")], json!({})).await;
    operated.tools().await;
    let text = format!(r#"{{"inputSchema":{{"x":{EXACT}}},"name":"a"}}"#);
    let name = "s".parse().unwrap();
    let server = operated.store.get("default", &name).await.unwrap();
    let seen = operated.store.observation("default", &server.id).await;
    let mut seen = seen.unwrap().unwrap();
    for definition in seen.definitions.values_mut() {
        *definition = text.as_str().into();
    }
    let kept = operated.store.observe("default", &server.id, &seen).await;
    assert!(kept.unwrap());
    let answer = operated.operator.ask("GET", TOOLS, None).await;
    assert!(answer.text.contains(EXACT), "{}", answer.text);
}

#[tokio::test]
async fn a_tool_that_nobody_can_be_offered_is_shown_with_the_reason() {
    let hidden = "wipe\u{202e}all";
    let operated = Operated::new(&[tool("a", "A"), tool(hidden, "B")], json!({})).await;
    let answer = operated.operator.get(TOOLS).await;
    assert_eq!(states(&answer["tools"]), [("a", "approved")]);
    let left_out = &answer["left_out"][0];
    let name = left_out["name"].as_str().unwrap();
    assert!(
        name.starts_with("wipe") && !name.contains('\u{202e}'),
        "{name}"
    );
    assert!(
        left_out["reason"].as_str().unwrap().contains("character"),
        "{left_out}"
    );
    let pages = Pages::signed_in(operated.operator).await;
    let page = pages.get("/servers/s/tools").await;
    let html = page.html(200);
    assert!(
        html.contains("Left out <span") && !html.contains('\u{202e}'),
        "{html}"
    );
}

#[tokio::test]
async fn whoever_looks_at_a_server_that_is_switched_off_does_not_have_it_asked() {
    let operated = Operated::new(&[tool("a", "A")], json!({"enabled": false})).await;
    operated.tools().await;
    let lists = operated.shelf.lists();
    // Another process, in whose memory there is no list.
    let connections = connections_builder(ServerLimits::default())
        .observations(operated.store.clone())
        .build();
    let other = Operator::over(connections, operated.store.clone(), |admin| admin);
    let answer = other.get(TOOLS).await;
    assert_eq!(states(&answer["tools"]), [("a", "approved")]);
    assert_eq!(operated.shelf.lists(), lists);
}

#[tokio::test]
async fn a_tool_that_changed_is_shown_with_both_its_definitions_and_accepted_by_fingerprint() {
    let operated = Operated::new(&[tool("a", "A"), tool("b", "B")], json!({})).await;
    let before = operated.tools().await;
    let after = operated
        .change(&[tool("a", "Another"), tool("c", "C")])
        .await;
    assert_eq!(
        states(&after),
        [("a", "changed"), ("b", "removed"), ("c", "new")]
    );
    let changed = &after[0];
    assert_eq!(changed["definition"]["description"], "Another");
    assert_eq!(changed["approved_definition"]["description"], "A");
    assert_eq!(changed["approved_fingerprint"], before[0]["fingerprint"]);
    assert_ne!(changed["fingerprint"], before[0]["fingerprint"]);
    let removed = &after[1];
    assert_eq!(
        (&removed["fingerprint"], &removed["description"]),
        (&Value::Null, &json!("B"))
    );
    assert_eq!(after[2]["approved_fingerprint"], Value::Null);
    assert_eq!(
        operated.operator.get("/api/v1/servers/s").await["tool_count"],
        0
    );

    let accepted = operated
        .accept(json!([
            {"name": "a", "fingerprint": changed["fingerprint"]},
            {"name": "b", "fingerprint": null},
            {"name": "c", "fingerprint": after[2]["fingerprint"]},
        ]))
        .await
        .expect(200);
    assert_eq!(
        states(&accepted["tools"]),
        [("a", "approved"), ("c", "approved")]
    );
    assert_eq!(accepted["tools"], operated.tools().await);
    let server = operated.operator.get("/api/v1/servers/s").await;
    // Accepting is no edit of the record.
    assert_eq!(
        (&server["tool_count"], &server["version"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn what_has_changed_again_is_not_accepted_and_neither_is_what_is_beside_it() {
    let operated = Operated::new(&[tool("a", "A"), tool("b", "B")], json!({})).await;
    operated.tools().await;
    let looked_at = operated.change(&[tool("a", "A2"), tool("b", "B2")]).await;
    let now = operated.change(&[tool("a", "A3"), tool("b", "B2")]).await;
    let both = json!([
        {"name": "b", "fingerprint": looked_at[1]["fingerprint"]},
        {"name": "a", "fingerprint": looked_at[0]["fingerprint"]},
    ]);
    let refused = operated.accept(both).await;
    assert_eq!(refused.error(409).0, "tool_changed");
    assert!(
        refused
            .text
            .contains(now[0]["fingerprint"].as_str().unwrap())
    );
    for (name, fingerprint) in [
        ("a", &Value::Null),
        ("absent", &now[0]["fingerprint"]),
        ("absent", &Value::Null),
    ] {
        let one = json!([{"name": name, "fingerprint": fingerprint}]);
        assert_eq!(operated.accept(one).await.error(409).0, "tool_changed");
    }
    assert_eq!(
        states(&operated.tools().await),
        [("a", "changed"), ("b", "changed")]
    );
}

#[tokio::test]
async fn what_is_accepted_is_named_exactly() {
    let operated = Operated::new(&[tool("a", "A")], json!({})).await;
    for (body, param) in [
        (json!({}), "tools"),
        (json!({"tools": {}}), "tools"),
        (json!({"tools": []}), "tools"),
        (json!({"tools": ["a"]}), "tools[0]"),
        (json!({"tools": [{"name": "a"}]}), "tools[0].fingerprint"),
        (json!({"tools": [{"fingerprint": null}]}), "tools[0].name"),
        (
            json!({"tools": [{"name": "a", "fingerprint": "x"}]}),
            "tools[0].fingerprint",
        ),
        (
            json!({"tools": [{"name": "a", "fingerprint": 1}]}),
            "tools[0].fingerprint",
        ),
        (
            json!({"tools": [{"name": "a", "fingerprint": null, "all": true}]}),
            "tools[0].all",
        ),
        (json!({"tools": [], "all": true}), "all"),
    ] {
        let answer = operated.operator.post(ACCEPT, &body).await;
        let (code, at) = answer.error(400);
        assert_eq!(
            (&*code, at.as_deref()),
            ("invalid_request", Some(param)),
            "{body}"
        );
    }
    let answer = operated
        .operator
        .post("/api/v1/servers/t/tools/accept", &json!({}))
        .await;
    assert_eq!(answer.error(404).0, "mcp_server_not_found");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_says_why_and_keeps_what_it_listed() {
    let operated = Operated::new(&[tool("a", "A")], json!({})).await;
    let mut server = operated.operator.get("/api/v1/servers/s").await;
    let listed = operated.tools().await;
    // A port where nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/mcp", free.local_addr().unwrap());
    drop(free);
    server["url"] = json!(nobody);
    operated
        .operator
        .put("/api/v1/servers/s", &server)
        .await
        .expect(200);
    let answer = operated.operator.ask("POST", REFRESH, None).await;
    assert_eq!(answer.error(400).0, "mcp_server_inactive");
    assert!(answer.text.contains("unreachable"), "{}", answer.text);
    assert_eq!(operated.tools().await, listed);
    let server = operated.operator.get("/api/v1/servers/s").await;
    assert_eq!(server["last_failure"]["stage"], "connect");
    assert!(server["last_failure"]["at"].is_string());

    let unseen = json!({"name": "t", "url": nobody});
    operated.operator.create(&unseen).await;
    let answer = operated
        .operator
        .ask("GET", "/api/v1/servers/t/tools", None)
        .await;
    assert_eq!(answer.error(400).0, "mcp_server_inactive");
    let server = operated.operator.get("/api/v1/servers/t").await;
    assert_eq!(server["status_reason"], "unreachable");
}

#[tokio::test]
async fn a_server_that_waits_for_its_operator_needs_authorization() {
    let operated = Operated::new(&[tool("a", "A")], json!({"auth": {"type": "oauth2"}})).await;
    let server = operated.operator.get("/api/v1/servers/s").await;
    assert_eq!(server["status_reason"], "needs_authorization");
    let answer = operated.operator.ask("POST", REFRESH, None).await;
    assert_eq!(answer.error(400).0, "mcp_server_inactive");
    assert!(answer.text.contains("authorization"), "{}", answer.text);
}

#[tokio::test]
async fn tools_of_callers_tokens_are_not_looked_at_without_one() {
    let auth = json!({"auth": {"type": "token_passthrough"}});
    let operated = Operated::new(&[tool("a", "A")], auth).await;
    assert_eq!(operated.tools().await, json!([]));
    let answer = operated.operator.ask("POST", REFRESH, None).await;
    assert_eq!(answer.error(400).0, "mcp_server_inactive");
    let server = operated.operator.get("/api/v1/servers/s").await;
    assert_eq!(
        (&server["status"], &server["last_failure"]),
        (&json!("active"), &Value::Null)
    );
}

#[tokio::test]
async fn a_draft_can_be_looked_at_before_anybody_can_use_it() {
    let operated = Operated::new(&[tool("a", "A")], json!({"draft": true})).await;
    assert_eq!(states(&operated.tools().await), [("a", "approved")]);
    let server = operated.operator.get("/api/v1/servers/s").await;
    assert_eq!(
        (&server["draft"], &server["tool_count"]),
        (&json!(true), &json!(1))
    );
}
