//! A project over REST: what it may use, what it has used, and its budget.

use mcp_layer::{
    Project,
    registry::{
        ApiKey, ApiKeyStore, Budget, CallLimit, CallLimits, MemoryApiKeys, MemoryModels,
        MemoryRegistry, ModelRegistry, ModelRules, Overlay, ProjectGrant, usage::MemoryUsage,
    },
};
use serde_json::{Value, json};
use tokio::task::yield_now;

use super::support::{
    admin::Operator,
    gateway::{Gateway, auto},
    model::{calls, says},
    operators::{VIEWER, operators},
    pages::lists,
};

const WEB: &str = "/api/v1/projects/web";

fn limits(of: CallLimit, calls: u32) -> CallLimits {
    CallLimits::default().with(of, calls).unwrap()
}

#[tokio::test]
async fn a_project_is_shown_with_its_servers_keys_limits_and_what_it_has_used() {
    let grant = ProjectGrant::new("web")
        .with_tools(["echo", "add"])
        .unwrap()
        .with_limits(limits(CallLimit::PerDay, 10))
        .add_tool_limits("echo", limits(CallLimit::PerMinute, 5))
        .unwrap();
    let usage = MemoryUsage::default();
    let budget = Budget::new("web").with_tokens_per_day(1000).unwrap();
    let budget = budget.with_cost_per_day(2.5).unwrap();
    let models = MemoryModels::new(ModelRules::default().with_budgets([budget]).unwrap());
    let echo = ("s__echo", json!({"text": "a"}));
    let script = [calls(&[echo.clone(), echo]), says("done")];
    let gateway = Gateway::with_server(script, |server| server.with_grants([grant]).unwrap()).await;
    let gateway =
        gateway.layered(|layer| layer.with_usage(usage.clone()).with_models(models.clone()));
    let keys = MemoryApiKeys::default();
    let (key, _) = ApiKey::generate("ci", Project::new("web")).unwrap();
    keys.insert_api_key(key.clone()).await.unwrap();
    let operator = Operator::with(gateway.registry.clone(), |admin| {
        let admin = admin.with_models(models.clone()).with_api_keys(keys);
        admin.with_usage(usage).with_operators(operators())
    });

    gateway.send_as("web", &auto(json!({}))).await;
    for _ in 0..16 {
        yield_now().await;
    }
    let mut shown = operator.get(WEB).await;
    let ends_in = shown["used_today"]["ends_in_s"].take();
    assert!((1..=24 * 60 * 60).contains(&ends_in.as_u64().unwrap()));
    assert_eq!(
        shown,
        json!({
            "name": "web",
            "budget": {"tokens_per_day": 1000, "cost_per_day": 2.5, "source": "store"},
            "used_today": {"tokens": 24, "cost": 0.0, "ends_in_s": null},
            "servers": [{
                "name": "s", "display_name": "s", "source": "store",
                "tools": ["add", "echo"],
                "limits": {"calls_per_day": {"limit": 10, "used": 2}},
                "tool_limits": [{
                    "tool": "echo",
                    "limits": {"calls_per_minute": {"limit": 5, "used": 2}},
                }],
                "unlisted": [],
            }],
            "api_keys": [{"id": key.id.to_string(), "name": "ci"}],
        })
    );
    // Keys are for admins.
    let seen = operator.ask_as(VIEWER, "GET", WEB, None).await.expect(200);
    assert_eq!(seen["api_keys"], Value::Null);
    let other = operator.get("/api/v1/projects/a%2Fb").await;
    assert_eq!(other["name"], "a/b");
    assert_eq!(other["servers"][0]["tools"], "all");
    assert_eq!(other["budget"], Value::Null);
}

#[tokio::test]
async fn a_budget_is_set_changed_and_removed_and_nothing_else_with_it() {
    let models = MemoryModels::default();
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_models(models.clone())
    });
    let document = json!({
        "models": [{"name": "a", "model": "m", "servers": ["s"]}], "defaults": [], "version": 0,
    });
    operator.put("/api/v1/models", &document).await.expect(200);
    let put = async |budget: Value| operator.put(WEB, &budget).await;
    let set = put(json!({"tokens_per_day": 5})).await.expect(200);
    assert_eq!(set["budget"]["tokens_per_day"], 5);
    put(json!({"cost_per_day": 0.5, "tokens_per_day": null}))
        .await
        .expect(200);
    let in_force = models.rules("default");
    let budget = in_force.budget("web").unwrap();
    assert_eq!(
        (budget.tokens_per_day(), budget.cost_per_day()),
        (None, Some(0.5))
    );
    assert_eq!(in_force.aliases().len(), 1);
    for (wrong, param) in [
        (json!({"tokens_per_day": 0}), Some("tokens_per_day")),
        (json!({"tokens_per_day": 1.5}), Some("tokens_per_day")),
        (json!({"cost_per_day": 0}), Some("cost_per_day")),
        (json!({"cost_per_day": -1}), Some("cost_per_day")),
        (json!({"cost_per_day": "1"}), Some("cost_per_day")),
        (json!({"tokens": 1}), Some("tokens")),
        (json!({}), None),
        (json!([]), None),
    ] {
        let (code, at) = put(wrong.clone()).await.error(400);
        assert_eq!(
            (&*code, at.as_deref()),
            ("invalid_request", param),
            "{wrong}"
        );
    }

    let budget = json!({"tokens_per_day": 1});
    let unnamed = operator.put("/api/v1/projects/%20", &budget).await;
    assert!(
        unnamed.text.contains("the name of the project "),
        "{}",
        unnamed.text
    );
    assert_eq!(unnamed.error(400).0, "invalid_request");

    // Aliases are replaced without a word about budgets.
    let read = operator.get("/api/v1/models").await;
    let document = json!({"models": [], "defaults": [], "version": read["version"]});
    operator.put("/api/v1/models", &document).await.expect(200);
    assert!(models.rules("default").budget("web").is_some());

    let remove = async || operator.ask("DELETE", WEB, None).await;
    assert_eq!(remove().await.status, 204);
    assert_eq!(remove().await.error(404).0, "not_found");
    assert!(models.rules("default").budget("web").is_none());
    let audit = operator.get("/api/v1/audit?action=budget.").await;
    let actions = audit["entries"].as_array().unwrap().iter();
    let actions: Vec<_> = actions
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        ["budget.remove", "budget.replace", "budget.replace"]
    );
    assert_eq!(audit["entries"][0]["target"], "web");
    assert_eq!(audit["entries"][0]["before"]["cost_per_day"], 0.5);
}

#[tokio::test]
async fn the_budget_of_a_file_counts_and_is_changed_there() {
    let file = "[[projects]]\nname = \"web\"\ntokens_per_day = 7\ncost_per_day = 0.25\n";
    let models = MemoryModels::default();
    let overlay = Overlay::parse_with(file, |_| None, MemoryRegistry::default(), models.clone());
    let overlay = overlay.await.unwrap();
    let operator = Operator::with(overlay.clone(), |admin| admin.with_models(overlay.clone()));
    let budget = operator.get(WEB).await["budget"].clone();
    assert_eq!(
        budget,
        json!({"tokens_per_day": 7, "cost_per_day": 0.25, "source": "file"})
    );
    let put = operator.put(WEB, &json!({"tokens_per_day": 9})).await;
    assert_eq!(put.error(409).0, "declared_in_file");
    let removed = operator.ask("DELETE", WEB, None).await;
    assert_eq!(removed.error(409).0, "declared_in_file");
    operator
        .put("/api/v1/projects/batch", &json!({"tokens_per_day": 9}))
        .await
        .expect(200);
    for (project, tokens) in [("web", 7), ("batch", 9)] {
        let rules = overlay.rules("default");
        assert_eq!(
            rules.budget(project).unwrap().tokens_per_day(),
            Some(tokens)
        );
    }
    for (wrong, reason) in [
        ("name = \"web\"", "limits neither"),
        (
            "name = \"web\"\ntokens_per_day = 0",
            "must be a whole number from 1",
        ),
        (
            "name = \"web\"\ncost_per_day = 0.0",
            "must be a number above 0",
        ),
        ("name = \"web\"\ntokens = 1", "unknown key"),
        ("tokens_per_day = 1", "name: is missing"),
        (
            "name = \"web\"\ntokens_per_day = 1\n[[projects]]\nname = \"web\"\ntokens_per_day = 2",
            "name is that of another entry",
        ),
    ] {
        let file = format!("[[projects]]\n{wrong}\n");
        let store = MemoryRegistry::default();
        let parsed = Overlay::parse_with(&file, |_| None, store, MemoryModels::default()).await;
        let error = parsed.err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("(line "), "{error}");
    }
}

#[tokio::test]
async fn a_grant_of_a_tool_that_its_server_does_not_list_is_told_where_the_list_is_known() {
    let registry = MemoryRegistry::default();
    let operator = Operator::new(registry.clone());
    let grants = json!([{"project": "web", "tools": ["serach", "read"]},
        {"project": "batch", "tool_limits": [{"tool": "raed", "calls_per_day": 1}]}]);
    let server = json!({"name": "s", "url": "https://mcp.example.com/mcp", "grants": grants});
    operator.create(&server).await;
    let unlisted = async |project: &str| {
        let shown = operator.get(&format!("/api/v1/projects/{project}")).await;
        shown["servers"][0]["unlisted"].clone()
    };
    assert_eq!(unlisted("web").await, json!([]));
    lists(&registry, "s", &["search", "read"]).await;
    assert_eq!(unlisted("web").await, json!(["serach"]));
    assert_eq!(unlisted("batch").await, json!(["raed"]));
    assert_eq!(unlisted("other").await, json!([]));
    // Who is granted something, or has a budget, is known as well.
    operator
        .put("/api/v1/projects/nightly", &json!({"tokens_per_day": 9}))
        .await
        .error(404);
    let known = operator.get("/api/v1/projects").await;
    assert_eq!(known["projects"], json!(["batch", "web"]));
}
