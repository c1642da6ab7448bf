//! What each role may do: every route, with every role, over REST and with the dashboard.

use std::sync::Arc;

use mcp_layer::admin::{self, Role};
use mcp_layer::registry::{MemoryModels, MemoryRegistry, MemoryTraces, conformance};
use mcp_layer::trace::TraceSink;
use serde_json::json;

use super::support::admin::{Answer, Operator, TOKEN};
use super::support::operators::{EDITOR, ROLES, VIEWER, operators, with};
use super::support::pages::Pages;

/// What is for admins: whatever else changes something is for editors, and the rest for viewers.
const ADMINS: [(&str, &str); 31] = [
    ("PUT", "/api/v1/projects/{project}"),
    ("DELETE", "/api/v1/projects/{project}"),
    ("POST", "/projects/{project}"),
    ("PUT", "/api/v1/models"),
    ("GET", "/api/v1/keys"),
    ("GET", "/api/v1/api-keys"),
    ("POST", "/api/v1/api-keys"),
    ("DELETE", "/api/v1/api-keys/{id}"),
    ("GET", "/api-keys"),
    ("POST", "/api-keys"),
    ("GET", "/api-keys/new"),
    ("GET", "/api-keys/{id}/revoke"),
    ("POST", "/api-keys/{id}/revoke"),
    ("GET", "/api/v1/operators"),
    ("GET", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions/{id}"),
    ("GET", "/models/{kind}"),
    ("POST", "/models/{kind}"),
    ("GET", "/models/{kind}/{id}"),
    ("POST", "/models/{kind}/{id}"),
    ("POST", "/models/{kind}/{id}/up"),
    ("GET", "/models/{kind}/{id}/remove"),
    ("POST", "/models/{kind}/{id}/remove"),
    ("GET", "/operators"),
    ("POST", "/operators/sessions/{id}/end"),
    ("POST", "/api/v1/servers/{name}/tools/{tool}/call"),
    ("GET", "/servers/{name}/try"),
    ("POST", "/servers/{name}/try"),
    ("GET", "/chat"),
    ("POST", "/chat"),
    ("POST", "/chat/stream"),
];

/// Pages that only lead to a change.
const FORMS: [&str; 9] = [
    "/projects/{project}/servers/{name}",
    "/create",
    "/import",
    "/servers/{name}/setup/server",
    "/servers/{name}/setup/auth",
    "/servers/{name}/setup/tools",
    "/servers/{name}/setup/review",
    "/servers/{name}/discard",
    "/servers/{name}/delete",
];

fn least(method: &str, path: &str) -> Role {
    if ADMINS.contains(&(method, path)) {
        return Role::Admin;
    }
    match method {
        "GET" if FORMS.contains(&path) => Role::Editor,
        "GET" => Role::Viewer,
        _ => Role::Editor,
    }
}

fn filled(path: &str) -> String {
    path.replace("{name}", "a")
        .replace("{project}", "web")
        .replace("{kind}", "alias")
        .replace("{id}", &"0".repeat(32))
        .replace("{tool}", "echo")
}

/// Everything that an operator's side can have.
fn whole(store: MemoryRegistry) -> Operator {
    with(store, |admin| {
        admin
            .with_models(MemoryModels::default())
            .with_metrics(admin::Metrics::default())
    })
}

#[tokio::test]
async fn every_call_is_refused_to_every_role_below_its_own_and_to_no_other() {
    let operator = whole(MemoryRegistry::default());
    let routes =
        admin::routes().filter(|(_, path)| path.starts_with("/api/") || *path == "/metrics");
    let mut tried = 0;
    for (method, path) in routes {
        for (role, token) in ROLES {
            let body = (method != "GET").then_some("{}");
            let path_asked = filled(path);
            let asked = operator.ask_as(token, method.as_str(), &path_asked, body);
            let answer = asked.await;
            let is_refused = answer.status == 403;
            let least = least(method.as_str(), path);
            assert_eq!(
                is_refused,
                role < least,
                "{method} {path} as {role}: {answer:?}"
            );
            if is_refused {
                assert_eq!(answer.error(403).0, "forbidden");
                assert!(answer.text.contains(&format!("needs the role {least}")));
            }
            tried += 1;
        }
    }
    assert!(tried >= 60, "{tried}");
}

#[tokio::test]
async fn every_page_is_refused_to_every_role_below_its_own_and_says_which_it_needs() {
    let operator = whole(MemoryRegistry::default());
    let open = ["/api/", "/metrics", "/sign-", "/assets/", "/oauth/"];
    for (role, token) in ROLES {
        let pages = Pages::signed_in_as(operator.clone(), token).await;
        for (method, path) in admin::routes() {
            if open.iter().any(|open| path.starts_with(open)) {
                continue;
            }
            let answer = match method.as_str() {
                "GET" => pages.get(&filled(path)).await,
                _ => pages.post(&filled(path), &[]).await,
            };
            let is_refused = answer.status == 403;
            let least = least(method.as_str(), path);
            assert_eq!(is_refused, role < least, "{method} {path} as {role}");
            if is_refused {
                let html = answer.fault(path, 403);
                assert!(html.contains(&format!("needs the role {least}")), "{html}");
                assert!(html.contains(&format!("who has the role {role}")), "{html}");
                let is_said = html.contains("Your role does not allow this");
                assert!(is_said || path == "/chat/stream", "{html}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_role_may_not_do_is_not_offered() {
    let store = MemoryRegistry::default();
    let operator = whole(store);
    operator
        .create(&json!({"name": "a", "url": "https://mcp.example.com/mcp"}))
        .await;
    let offers = [
        ("/servers", "Create Server", Role::Editor),
        ("/servers", "/servers/a/delete", Role::Editor),
        ("/servers/a", ">Save<", Role::Editor),
        ("/servers/a", "value=\"all\"", Role::Admin),
        ("/models", "Add alias", Role::Admin),
        ("/servers", "href=\"/operators\"", Role::Admin),
        ("/servers", "href=\"/audit\"", Role::Viewer),
    ];
    for (role, token) in ROLES {
        let pages = Pages::signed_in_as(operator.clone(), token).await;
        for (path, offer, least) in offers {
            let page = pages.get(path).await;
            let html = page.html(200);
            let is_offered = match offer {
                "value=\"all\"" => html.contains("name=\"share_session\" value=\"all\""),
                offer => html.contains(offer),
            };
            assert_eq!(is_offered, role >= least, "{offer} on {path} as {role}");
        }
        let settings = pages.get("/servers/a").await;
        let is_closed = settings
            .html(200)
            .contains("<fieldset class=\"stack\" disabled>");
        assert_eq!(is_closed, role == Role::Viewer);
    }
    // What needs attention is looked at by those who cannot act.
    operator
        .create(&json!({
            "name": "b", "url": "https://mcp.example.com/mcp", "auth": {"type": "oauth2"},
        }))
        .await;
    for (role, token) in ROLES {
        let pages = Pages::signed_in_as(operator.clone(), token).await;
        let page = pages.get("/").await;
        let action = match role {
            Role::Viewer => ">Open<",
            _ => ">Connect<",
        };
        assert!(page.html(200).contains(action), "{role}: {}", page.text);
    }
    let pages = Pages::signed_in_as(operator, VIEWER).await;
    let page = pages.get("/servers").await;
    assert!(page.html(200).contains("<bdi>vera</bdi></strong> · viewer"));
}

#[tokio::test]
async fn a_viewer_sees_an_exchange_without_its_payloads() {
    let traces = MemoryTraces::default();
    let trace = conformance::traces::trace(1);
    let path = format!("/traces/{}", trace.id);
    traces.record(&Arc::new(trace));
    let operator = with(MemoryRegistry::default(), |admin| {
        admin.with_traces(traces.clone())
    });
    for (role, token) in ROLES {
        let rest = format!("/api/v1{path}");
        let answer = operator.ask_as(token, "GET", &rest, None);
        let answer = answer.await.expect(200);
        let span = &answer["spans"][0];
        assert_eq!(span["name"], "execute_tool docs__search");
        assert_eq!(span["duration_ms"], 345);
        let result = &span["attributes"]["gen_ai.tool.call.result"];
        assert_eq!(result.is_string(), role >= Role::Editor, "{role}: {answer}");
        let pages = Pages::signed_in_as(operator.clone(), token).await;
        let page = pages.get(&path).await;
        let is_shown = page.html(200).contains(">Result</h3>");
        assert_eq!(is_shown, role >= Role::Editor, "{role}");
    }
}

#[tokio::test]
async fn only_an_admin_has_all_projects_share_a_session() {
    let operator = with(MemoryRegistry::default(), |admin| admin);
    let server = |share: &str| {
        let server = json!({
            "name": "a", "url": "https://mcp.example.com/mcp", "share_session": share,
        });
        server.to_string()
    };
    let create = async |token, share: &str| {
        let body = server(share);
        operator
            .ask_as(token, "POST", "/api/v1/servers", Some(&body))
            .await
    };
    let refused = create(EDITOR, "all").await.error(403);
    assert_eq!(
        refused,
        ("forbidden".to_owned(), Some("share_session".to_owned()))
    );
    assert_eq!(create(EDITOR, "caller").await.status, 201);
    let change = async |token, share: &str| -> Answer {
        let mut read = operator.get("/api/v1/servers/a").await;
        read["share_session"] = share.into();
        let body = read.to_string();
        operator
            .ask_as(token, "PUT", "/api/v1/servers/a", Some(&body))
            .await
    };
    assert_eq!(change(EDITOR, "all").await.error(403).0, "forbidden");
    assert_eq!(change(TOKEN, "all").await.status, 200);
    // What an admin has decided does not keep an editor from changing the rest.
    assert_eq!(change(EDITOR, "all").await.status, 200);
    assert_eq!(change(EDITOR, "project").await.status, 200);
    assert_eq!(change(EDITOR, "all").await.error(403).0, "forbidden");
}

#[tokio::test]
async fn whoever_is_taken_off_the_list_is_refused_by_the_next_request() {
    let list = operators();
    let handle = list.clone();
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_operators(list)
    });
    let ask = async || {
        operator
            .ask_as(EDITOR, "GET", "/api/v1/servers", None)
            .await
            .status
    };
    assert_eq!(ask().await, 200);
    handle.replace([]).unwrap();
    assert_eq!(ask().await, 401);
    assert_eq!(
        operator.ask("GET", "/api/v1/servers", None).await.status,
        200
    );
}
