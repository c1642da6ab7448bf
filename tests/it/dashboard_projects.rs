//! The pages of projects: what each may use, its budget, and the form of a grant.

use mcp_layer::registry::{
    CallLimit, MemoryModels, MemoryRegistry, ModelRegistry, Server, ServerStore, usage::MemoryUsage,
};

use super::support::{admin::Operator, pages::Pages};

/// An operator of a server `s`, and what there is.
async fn pages() -> (Pages, MemoryRegistry, MemoryModels) {
    let (registry, models) = (MemoryRegistry::default(), MemoryModels::default());
    let server = Server::new("s", "https://mcp.example.com/mcp").unwrap();
    let server = server.with_projects(["web", "a/b <i>"]).unwrap();
    registry.insert(server).await.unwrap();
    let operator = Operator::with(registry.clone(), |admin| {
        admin
            .with_models(models.clone())
            .with_usage(MemoryUsage::default())
    });
    (Pages::signed_in(operator).await, registry, models)
}

async fn stored(registry: &MemoryRegistry) -> Server {
    let stored = registry.get("default", &"s".parse().unwrap()).await;
    Server::clone(&stored.unwrap())
}

#[tokio::test]
async fn every_project_has_a_page_whatever_its_name_is() {
    let (pages, ..) = pages().await;
    let list = pages.get("/projects").await;
    assert!(list.html(200).contains("/projects/web\">"));
    assert!(list.html(200).contains("/projects/a%2Fb%20%3Ci%3E\">"));
    let page = pages.get("/projects/a%2Fb%20%3Ci%3E").await;
    assert!(page.html(200).contains("a/b &lt;i&gt;"));
    assert!(page.html(200).contains("all that are selected"));
    assert!(page.html(200).contains("not limited"));
}

#[tokio::test]
async fn a_budget_is_saved_shown_and_removed() {
    let (pages, _, models) = pages().await;
    let save = async |tokens: &str, cost: &str| {
        let fields = [("tokens_per_day", tokens), ("cost_per_day", cost)];
        pages.post("/projects/web", &fields).await
    };
    assert_eq!(
        save("1000", "2.5").await.place(),
        "/projects/web?done=budget"
    );
    let budget = models.rules("default").budget("web").cloned().unwrap();
    assert_eq!(
        (budget.tokens_per_day(), budget.cost_per_day()),
        (Some(1000), Some(2.5))
    );
    let page = pages.get("/projects/web?done=budget").await;
    assert!(page.html(200).contains("0 of 1000"));
    for (tokens, cost, wrong) in [
        ("0", "", "Tokens a day must be"),
        ("many", "", "Tokens a day must be"),
        ("", "-1", "Cost a day must be"),
    ] {
        let answer = save(tokens, cost).await;
        let html = answer.html(400);
        assert!(html.contains(wrong), "{html}");
        assert!(html.contains(&format!("value=\"{tokens}\"")));
    }
    assert_eq!(save(" ", "").await.place(), "/projects/web?done=unlimited");
    assert!(models.rules("default").budget("web").is_none());
    assert_eq!(save("", "").await.place(), "/projects/web?done=unlimited");
}

#[tokio::test]
async fn a_grant_is_saved_changed_and_removed() {
    let (pages, registry, _) = pages().await;
    let path = "/projects/web/servers/s";
    assert!(
        pages
            .get(path)
            .await
            .html(200)
            .contains("All that are selected")
    );
    let save = async |fields: &[(&str, &str)]| {
        let version = stored(&registry).await.version.to_string();
        let fields = [&[("version", &*version)], fields].concat();
        pages.post(path, &fields).await
    };
    let saved = save(&[
        ("scope", "only"),
        ("tools", "search\r\n read page \r\n\r\n"),
        ("calls_per_minute", "10"),
        ("calls_per_day", ""),
        ("tool_limits", "read page calls_at_once=2"),
    ]);
    assert_eq!(saved.await.place(), "/projects/web?done=grant");
    let grants = stored(&registry).await.grants;
    let grant = grants.of("web").unwrap();
    assert!(grant.has("search") && grant.has("read page") && !grant.has("other"));
    assert_eq!(grant.limits().get(CallLimit::PerMinute), Some(10));
    assert_eq!(grant.limits().get(CallLimit::PerDay), None);
    let of_tool = grant.tool_limits()["read page"];
    assert_eq!(of_tool.get(CallLimit::AtOnce), Some(2));
    let page = pages.get("/projects/web").await;
    assert!(page.html(200).contains("0 of 10 a minute"));
    assert!(page.html(200).contains("0 of 2 at once"));
    let form = pages.get(path).await;
    assert!(form.html(200).contains("read page calls_at_once=2"));
    let settings = pages.get("/servers/s").await;
    assert!(settings.html(200).contains("/projects/web/servers/s"));

    // The server's own form leaves it as it is.
    let version = stored(&registry).await.version.to_string();
    let fields = [
        ("version", &*version),
        ("url", "https://mcp.example.com/mcp"),
        ("scope", "only"),
        ("project", "web"),
        ("auth", "none"),
        ("transport", "streamable_http"),
        ("on_change", "allow"),
        ("new_tools", "allow"),
        ("enabled", "1"),
    ];
    pages.post("/servers/s", &fields).await.place();
    assert_eq!(stored(&registry).await.grants, grants);

    for (field, value, wrong) in [
        (
            "calls_per_minute",
            "0",
            "Calls a minute must be a whole number from 1",
        ),
        (
            "calls_at_once",
            "x",
            "Calls at once must be a whole number from 1",
        ),
        ("tool_limits", "a calls=1", "is not known here"),
    ] {
        let answer = save(&[("scope", "all"), (field, value)]).await;
        assert!(answer.html(400).contains(wrong), "{}", answer.text);
    }
    let stale = [("version", "1"), ("scope", "all")];
    assert!(pages.post(path, &stale).await.html(409).contains("faster"));
    assert_eq!(stored(&registry).await.grants, grants);

    save(&[("go", "remove")]).await.place();
    assert!(stored(&registry).await.grants.is_empty());
    // Not this project's, or nobody's.
    for path in ["/projects/other/servers/s", "/projects/web/servers/gone"] {
        pages.get(path).await.html(404);
    }
}
