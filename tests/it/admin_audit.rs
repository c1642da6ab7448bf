//! What operators did: one entry for each change, whichever way it came, and no secret in any.

use mcp_layer::admin;
use mcp_layer::registry::{
    AuditEntry, AuditFilter, AuditListing, AuditPage, AuditStore, BoxFuture, Error, MemoryAudit,
    MemoryModels, MemoryRegistry,
};
use serde_json::{Value, json};

use super::support::admin::{Operator, request};
use super::support::operators::{EDITOR, VIEWER, with};
use super::support::pages::Pages;

const AUDIT: &str = "/api/v1/audit";
const KEY: &str = "s3cret-of-the-audited-server";

async fn entries(operator: &Operator, query: &str) -> Vec<Value> {
    let list = operator.get(&format!("{AUDIT}{query}")).await;
    list["entries"].as_array().unwrap().clone()
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect()
}

fn server() -> Value {
    json!({
        "name": "a",
        "url": "https://mcp.example.com/mcp",
        "auth": {"type": "static_headers", "headers": [{"name": "x-key", "value": KEY}]},
    })
}

#[tokio::test]
async fn every_change_is_there_with_who_what_before_and_after_and_without_secrets() {
    let operator = with(MemoryRegistry::default(), |admin| {
        admin.with_models(MemoryModels::default())
    });
    let body = server().to_string();
    let mut create = request("POST", "/api/v1/servers", Some(&body));
    let bearer = format!("Bearer {EDITOR}").parse().unwrap();
    create.headers_mut().insert("authorization", bearer);
    let from = admin::ClientAddress([192, 0, 2, 7].into());
    create.extensions_mut().insert(from);
    let mut read = operator.send(create).await.expect(201);
    read["enabled"] = false.into();
    operator.put("/api/v1/servers/a", &read).await.expect(200);
    let models = json!({"models": [], "defaults": [], "version": 0});
    operator.put("/api/v1/models", &models).await.expect(200);
    operator.ask("DELETE", "/api/v1/servers/a", None).await;

    let all = entries(&operator, "").await;
    assert_eq!(
        actions(&all),
        [
            "server.remove",
            "models.replace",
            "server.update",
            "server.create"
        ]
    );
    let created = &all[3];
    assert_eq!(created["operator"], "eddie");
    assert_eq!(created["role"], "editor");
    assert_eq!(created["via"], "token");
    assert_eq!(created["from"], "192.0.2.7");
    assert_eq!(created["target"], "a");
    assert_eq!(created["before"], Value::Null);
    let header = &created["after"]["auth"]["headers"][0];
    assert_eq!(header["name"], "x-key");
    assert_eq!(header["value"]["set"], true);
    let updated = &all[2];
    assert_eq!(updated["operator"], "admin");
    assert_eq!(updated["from"], Value::Null);
    assert_eq!(updated["before"]["enabled"], true);
    assert_eq!(updated["after"]["enabled"], false);
    assert_eq!(all[0]["after"], Value::Null);
    assert!(!json!(all).to_string().contains(KEY));
}

#[tokio::test]
async fn a_page_leaves_the_same_entry_as_rest() {
    let operator = with(MemoryRegistry::default(), |admin| admin);
    operator.create(&server()).await;
    let pages = Pages::signed_in_as(operator.clone(), EDITOR).await;
    let deleted = pages.post("/servers/a/delete", &[("confirm", "a")]).await;
    assert_eq!(deleted.status, 303);
    let all = entries(&operator, "").await;
    assert_eq!(
        actions(&all),
        ["server.remove", "operator.sign_in", "server.create"]
    );
    assert_eq!(all[0]["operator"], "eddie");
    assert_eq!(all[0]["via"], "session");
    assert_eq!(all[1]["operator"], "eddie");
}

#[tokio::test]
async fn signing_in_and_out_again_and_again_pushes_nothing_out() {
    let operator = with(MemoryRegistry::default(), |admin| admin);
    operator.create(&server()).await;
    for _ in 0..20 {
        let pages = Pages::signed_in_as(operator.clone(), VIEWER).await;
        pages.post("/sign-out", &[]).await;
    }
    let expected = ["operator.sign_out", "operator.sign_in", "server.create"];
    let all = entries(&operator, "").await;
    assert_eq!(actions(&all), expected);
    assert_eq!(
        (&all[0]["target"], &all[0]["operator"]),
        (&json!("vera"), &json!("vera"))
    );
    // Somebody else is somebody else.
    Pages::signed_in_as(operator.clone(), EDITOR).await;
    let all = entries(&operator, "").await;
    assert_eq!((&all[0]["operator"], all.len()), (&json!("eddie"), 4));
}

#[tokio::test]
async fn what_is_refused_anyway_leaves_nothing() {
    let operator = with(MemoryRegistry::default(), |admin| admin);
    operator.create(&server()).await;
    let stale = {
        let mut read = operator.get("/api/v1/servers/a").await;
        read["version"] = 77.into();
        read
    };
    operator.post("/api/v1/servers", &server()).await.error(409);
    operator.put("/api/v1/servers/a", &stale).await.error(409);
    operator
        .ask("DELETE", "/api/v1/servers/b", None)
        .await
        .error(404);
    let refused = operator.ask_as(VIEWER, "DELETE", "/api/v1/servers/a", None);
    refused.await.error(403);
    assert_eq!(actions(&entries(&operator, "").await), ["server.create"]);
}

#[tokio::test]
async fn filters_and_pages_find_what_they_say() {
    let operator = with(MemoryRegistry::default(), |admin| admin);
    for name in ["a", "b", "c"] {
        let body = json!({"name": name, "url": "https://mcp.example.com/mcp"}).to_string();
        let created = operator.ask_as(EDITOR, "POST", "/api/v1/servers", Some(&body));
        created.await.expect(201);
    }
    operator.ask("DELETE", "/api/v1/servers/b", None).await;
    for (query, expected) in [
        ("?operator=eddie", 3),
        ("?operator=admin", 1),
        ("?operator=nobody", 0),
        ("?action=server.remove", 1),
        ("?action=server.", 4),
        ("?action=server", 0),
        ("?target=b", 2),
        ("?target=b&operator=eddie", 1),
        ("?from=2000-01-01T00:00:00Z", 4),
        ("?to=2000-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(entries(&operator, query).await.len(), expected, "{query}");
    }
    let first = operator.get(&format!("{AUDIT}?limit=3")).await;
    let next = first["next"].as_str().unwrap();
    let second = operator
        .get(&format!("{AUDIT}?limit=3&cursor={next}"))
        .await;
    assert_eq!(second["entries"].as_array().unwrap().len(), 1);
    assert_eq!(second["next"], Value::Null);
    for query in ["?from=soon", "?cursor=x", "?who=a", "?limit=0"] {
        operator
            .ask("GET", &format!("{AUDIT}{query}"), None)
            .await
            .error(400);
    }
}

#[tokio::test]
async fn the_page_shows_what_changed_and_nothing_of_it_is_markup() {
    let operator = with(MemoryRegistry::default(), |admin| admin);
    let mut hostile = server();
    hostile["description"] = "<script>alert(1)</script>\u{202e}".into();
    let mut read = operator.create(&hostile).await;
    read["enabled"] = false.into();
    operator.put("/api/v1/servers/a", &read).await.expect(200);
    let pages = Pages::signed_in_as(operator, VIEWER).await;
    let page = pages.get("/audit?target=a").await;
    let html = page.html(200);
    assert!(html.contains("<code><bdi>server.update</bdi></code>"));
    for line in [
        "<div class=\"del\"><span>−</span><span><bdi>  &quot;enabled&quot;: true",
        "<div class=\"ins\"><span>+</span><span><bdi>  &quot;enabled&quot;: false",
    ] {
        assert!(html.contains(line), "{html}");
    }
    assert!(!html.contains("<script>alert"));
    assert!(!html.contains(KEY));
    let none = pages.get("/audit?operator=nobody").await;
    assert!(none.html(200).contains("No entry matches"));
    pages.get("/audit?from=soon").await.html(400);
}

#[tokio::test]
async fn wrong_tokens_are_there_and_do_not_push_out_the_rest() {
    let operator = with(MemoryRegistry::default(), |admin| admin);
    let pages = Pages::of(operator.clone());
    for _ in 0..5 {
        pages
            .post("/sign-in", &[("token", "not-a-token-of-anybody")])
            .await;
        let guess = operator.ask_as("not-a-token-of-anybody", "GET", AUDIT, None);
        assert_eq!(guess.await.status, 401);
    }
    let all = entries(&operator, "").await;
    assert_eq!(actions(&all), ["sign_in.refused"]);
    assert_eq!(all[0]["operator"], Value::Null);
}

/// A store that is away.
struct Away;

impl AuditStore for Away {
    fn append_audit<'a>(&'a self, _: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Err(Error::unavailable("away")) })
    }

    fn list_audit<'a>(
        &'a self,
        _: &'a str,
        _: &'a AuditFilter,
        _: &'a AuditPage,
    ) -> BoxFuture<'a, Result<AuditListing, Error>> {
        Box::pin(async { Err(Error::unavailable("away")) })
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_changed() {
    let store = MemoryRegistry::default();
    let operator = with(store.clone(), |admin| admin.with_audit(Away));
    let refused = operator.post("/api/v1/servers", &server()).await;
    assert_eq!(refused.error(500).0, "mcp_registry_error");
    assert_eq!(operator.get("/api/v1/servers").await["servers"], json!([]));
    let pages = Pages::of(operator.clone());
    let entering = [("token", super::support::admin::TOKEN)];
    let answer = pages.post("/sign-in", &entering).await;
    assert!(answer.html(500).contains("Nothing was changed"));
    assert!(answer.headers.get("set-cookie").is_none());
    operator.ask("GET", AUDIT, None).await.error(500);
}

#[tokio::test]
async fn two_organizations_have_an_audit_of_their_own() {
    let audit = MemoryAudit::default();
    let of = |organization: &'static str| {
        Operator::with(MemoryRegistry::default(), |admin| {
            admin
                .with_organization(organization)
                .with_audit(audit.clone())
        })
    };
    let (one, other) = (of("one"), of("other"));
    one.create(&server()).await;
    assert_eq!(entries(&one, "").await.len(), 1);
    assert_eq!(entries(&other, "").await.len(), 0);
}
