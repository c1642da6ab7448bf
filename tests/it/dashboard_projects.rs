//! The pages of projects: what each may use, its budget, and the form of a grant.

use mcp_layer::{
    Project,
    registry::{
        ApiKey, ApiKeyStore, Budget, CallLimit, CallLimits, MemoryApiKeys, MemoryModels,
        MemoryRegistry, ModelRegistry, ModelRules, ProjectGrant, Server, ServerStore,
        usage::MemoryUsage,
    },
};
use serde_json::json;

use super::{
    project_budgets,
    support::{
        admin::{Answer, Operator},
        gateway::{Gateway, auto},
        model::says,
        pages::{Pages, lists},
    },
};

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
    assert!(page.html(200).contains("0 of 1,000"));
    for (tokens, cost, wrong) in [
        ("0", "", "from 1: leave the field empty for no limit"),
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
        ("more_tools", "search\r\n read page \r\n\r\n"),
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
        (
            "tool_limits",
            "\r\na calls=1",
            "Calls of single tools, line 2: calls is not known here; known are calls_per_minute",
        ),
        (
            "tool_limits",
            "a calls_per_day=0",
            "Calls of single tools, line 1: calls_per_day must be a whole number from 1",
        ),
        (
            "tool_limits",
            "search",
            "Calls of single tools, line 1: &#34;search&#34; has no limit",
        ),
    ] {
        let answer = save(&[("scope", "all"), (field, value)]).await;
        assert!(answer.html(400).contains(wrong), "{}", answer.text);
    }
    assert_eq!(stored(&registry).await.grants, grants);

    // What a grant says of tools is no limit.
    let removed = save(&[("go", "remove")]).await;
    assert_eq!(removed.place(), "/projects/web?done=limits");
    let left = ProjectGrant::new("web").with_tools(["read page", "search"]);
    assert_eq!(
        stored(&registry).await.grants.of("web"),
        Some(&left.unwrap())
    );
    let form = pages.get(path).await;
    assert!(!form.html(200).contains("Remove all limits"));
    // All tools, without limits: there is nothing to keep.
    save(&[("scope", "all")]).await.place();
    assert!(stored(&registry).await.grants.is_empty());
    // Not this project's, or nobody's.
    for path in ["/projects/other/servers/s", "/projects/web/servers/gone"] {
        pages.get(path).await.html(404);
    }
}

/// Saves a form of the grant of `web`, in the version that is stored.
async fn save(pages: &Pages, registry: &MemoryRegistry, fields: &[(&str, &str)]) -> Answer {
    let version = stored(registry).await.version.to_string();
    let fields = [&[("version", &*version)], fields].concat();
    pages.post("/projects/web/servers/s", &fields).await
}

#[tokio::test]
async fn tools_that_are_named_although_all_are_chosen_grant_nothing() {
    let (pages, registry, _) = pages().await;
    lists(&registry, "s", &["search", "read"]).await;
    for named in [("tool", "search"), ("more_tools", "later")] {
        let limit = ("calls_per_day", "7");
        let refused = save(&pages, &registry, &[("scope", "all"), named, limit]).await;
        let html = refused.html(400);
        assert!(html.contains("but chose all that are selected"), "{html}");
        assert!(html.contains("value=\"only\" checked") && html.contains("value=\"7\""));
        match named {
            ("tool", _) => assert!(html.contains("value=\"search\" checked"), "{html}"),
            _ => assert!(html.contains(">later</textarea>"), "{html}"),
        }
        assert!(stored(&registry).await.grants.is_empty());
    }
    // Those that are granted already are given up for all.
    let some = [
        ("scope", "only"),
        ("tool", "search"),
        ("more_tools", "later"),
    ];
    save(&pages, &registry, &some).await.place();
    let grants = stored(&registry).await.grants;
    assert!(grants.has("web", "search") && grants.has("web", "later"));
    assert!(!grants.has("web", "read"));
    let all = [
        ("scope", "all"),
        ("tool", "search"),
        ("more_tools", "later"),
    ];
    save(&pages, &registry, &all).await.place();
    assert!(stored(&registry).await.grants.is_empty());
}

#[tokio::test]
async fn the_tools_that_a_server_lists_are_there_to_choose_from() {
    let (pages, registry, _) = pages().await;
    let path = "/projects/web/servers/s";
    let unknown = pages.get(path).await;
    assert!(unknown.html(200).contains("are not known yet"));
    lists(&registry, "s", &["search", "read"]).await;
    let some = [("scope", "only"), ("tool", "read"), ("more_tools", "raed")];
    save(&pages, &registry, &some).await.place();
    let form = pages.get(path).await;
    let html = form.html(200);
    assert!(html.contains("name=\"tool\" value=\"read\" checked"));
    assert!(html.contains("name=\"tool\" value=\"search\">"));
    assert!(html.contains(">raed</textarea>"));
    let page = pages.get("/projects/web").await;
    let html = page.html(200);
    let marked = "raed</bdi></span> <span class=\"badge warn\">not listed, or cannot be offered";
    assert!(html.contains(marked), "{html}");
    assert_eq!(html.matches("raed").count(), 1, "{html}");
    assert!(html.contains("<title>web"));
}

#[tokio::test]
async fn a_grant_that_somebody_else_was_faster_with_comes_back_as_it_was_typed() {
    let (pages, registry, _) = pages().await;
    lists(&registry, "s", &["search", "read"]).await;
    let version = stored(&registry).await.version.to_string();
    let theirs = [("scope", "all"), ("calls_per_day", "5")];
    save(&pages, &registry, &theirs).await.place();
    let mine = [
        ("version", &*version),
        ("scope", "only"),
        ("tool", "read"),
        ("more_tools", "later"),
        ("calls_per_minute", "3"),
        ("tool_limits", "read calls_at_once=2"),
    ];
    let answer = pages.post("/projects/web/servers/s", &mine).await;
    let html = answer.html(409);
    for typed in [
        "Somebody else saved this server",
        "value=\"read\" checked",
        ">later</textarea>",
        "value=\"3\"",
        ">read calls_at_once=2</textarea>",
        "<td><bdi>all that are selected</bdi></td><td><bdi>later, read</bdi></td>",
        "<th scope=\"row\">Calls a day</th><td><bdi>5</bdi></td><td><bdi>not limited</bdi></td>",
    ] {
        assert!(html.contains(typed), "{typed}: {html}");
    }
    let now = stored(&registry).await;
    assert_eq!(now.grants.of("web").unwrap().tools(), None);
    assert!(html.contains(&format!("name=\"version\" value=\"{}\"", now.version)));
    save(&pages, &registry, &mine[1..]).await.place();
    assert!(!stored(&registry).await.grants.has("web", "search"));
}

#[tokio::test]
async fn a_budget_that_is_used_up_is_marked_and_what_has_no_key_as_well() {
    let grant = ProjectGrant::new("wbe").with_tools(["search"]).unwrap();
    let gateway =
        Gateway::with_server([says("a")], |server| server.with_grants([grant]).unwrap()).await;
    let budget = |project: &str| Budget::new(project).with_tokens_per_day(10).unwrap();
    let rules = ModelRules::default().with_budgets([budget("web"), budget("batch")]);
    let models = MemoryModels::new(rules.unwrap());
    let usage = MemoryUsage::default();
    let gateway =
        gateway.layered(|layer| layer.with_usage(usage.clone()).with_models(models.clone()));
    let keys = MemoryApiKeys::default();
    let limits = CallLimits::default()
        .with(CallLimit::PerMinute, 60)
        .unwrap();
    let (key, _) = ApiKey::generate("ci", Project::new("web")).unwrap();
    keys.insert_api_key(key.with_limits(limits)).await.unwrap();
    let operator = Operator::with(gateway.registry.clone(), |admin| {
        let admin = admin.with_models(models).with_usage(usage);
        admin.with_api_keys(keys)
    });
    let pages = Pages::signed_in(operator).await;
    let row = async |project: &str| {
        let list = pages.get("/projects").await;
        let mut rows = list.html(200).split("<tr role=\"row\">");
        let found = rows.find(|row| row.contains(&format!("/projects/{project}\"")));
        found.map(str::to_owned).unwrap_or_default()
    };
    assert!(row("web").await.contains("0 of 10") && !row("web").await.contains("badge"));
    assert!(row("batch").await.contains("no API key"));
    assert!(row("wbe").await.contains("no API key") && row("wbe").await.contains("no budget"));
    let page = pages.get("/projects/web").await;
    assert!(!page.html(200).contains("used up</span>"));
    // Limits of keys are with the keys.
    assert!(page.html(200).contains("60 a minute"));
    assert!(
        pages
            .get("/api-keys")
            .await
            .html(200)
            .contains("60 a minute")
    );

    project_budgets::send(&gateway, &auto(json!({}))).await;
    let page = pages.get("/projects/web").await;
    assert!(
        page.html(200)
            .contains("12 of 10 <span class=\"badge bad\">used up</span>")
    );
    assert!(row("web").await.contains("used up"));
    let overview = pages.get("/").await;
    assert!(overview.html(200).contains("Its budget is used up"));
}

#[tokio::test]
async fn a_key_is_made_with_limits_of_its_own() {
    let keys = MemoryApiKeys::default();
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_api_keys(keys.clone())
    });
    let pages = Pages::signed_in(operator).await;
    let make = async |calls: &str| {
        let fields = [
            ("name", "ci"),
            ("project", "web"),
            ("expires", "never"),
            ("calls_per_day", calls),
        ];
        pages.post("/api-keys", &fields).await
    };
    let refused = make("0").await;
    let html = refused.html(400);
    assert!(
        html.contains("Calls a day must be a whole number from 1"),
        "{html}"
    );
    assert!(html.contains("to forbid calls, revoke the key"), "{html}");
    assert!(html.contains("name=\"calls_per_day\" value=\"0\""));
    make("9").await.html(200);
    let made = keys.list_api_keys("default").await.unwrap();
    assert_eq!(made[0].limits.get(CallLimit::PerDay), Some(9));
}
