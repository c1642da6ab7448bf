//! Aliases and defaults on pages: listed, added, changed, removed, and what requests get by them.

use mcp_layer::{
    McpLayer,
    mcp::ServerLimits,
    registry::{MemoryModels, MemoryRegistry, ModelRegistry, Overlay},
};
use serde_json::{Value, json};

use super::support::{
    admin::{Answer, Operator},
    gateway::connections_builder,
    pages::Pages,
    shelf::{Shelf, tool},
};

const MODELS: &str = "/api/v1/models";

/// Pages over a store of servers, aliases and defaults, with a layer that explains.
struct Desk {
    pages: Pages,
    models: MemoryModels,
}

impl Desk {
    async fn new() -> Self {
        let (store, models) = (MemoryRegistry::default(), MemoryModels::default());
        let connections = connections_builder(ServerLimits::default())
            .observations(store.clone())
            .build();
        let layer = McpLayer::new(store.clone())
            .with_connections(connections.clone())
            .with_models(models.clone());
        let operator = Operator::over(connections, store, |admin| {
            admin
                .with_models(models.clone())
                .with_explainer(layer.explainer())
                .with_projects(["default", "web"])
        });
        Self {
            pages: Pages::signed_in(operator).await,
            models,
        }
    }

    /// With a server `docs` that has these tools.
    async fn with_docs(tools: &[Value]) -> (Self, Shelf) {
        let desk = Self::new().await;
        let shelf = Shelf::start(tools).await;
        let server = json!({"name": "docs", "url": shelf.url()});
        desk.pages.operator.create(&server).await;
        (desk, shelf)
    }

    async fn put(&self, models: Value, defaults: Value) {
        let version = self.pages.operator.get(MODELS).await["version"].clone();
        let body = json!({"models": models, "defaults": defaults, "version": version});
        self.pages.operator.put(MODELS, &body).await.expect(200);
    }

    async fn stored(&self) -> Value {
        self.pages.operator.get(MODELS).await
    }

    async fn html(&self, path: &str) -> String {
        self.pages.get(path).await.html(200).to_owned()
    }

    /// The path of the page that the list has of this entry.
    async fn path(&self, title: &str) -> String {
        let html = self.html("/models").await;
        let row = html.split("class=\"name\"><a href=\"").skip(1);
        let mut row = row.filter(|row| row.contains(&format!("<bdi>{title}</bdi></a>")));
        let row = row.next().unwrap_or_else(|| panic!("no {title} in {html}"));
        row.split('"').next().unwrap().to_owned()
    }
}

/// The field `was` of a form.
fn stood(page: &Answer) -> String {
    let field = page.text.split("name=\"was\" value=\"").nth(1).unwrap();
    let escaped = field.split('"').next().unwrap();
    escaped
        .replace("&#34;", "\"")
        .replace("&quot;", "\"")
        .replace("&#38;", "&")
}

fn alias<'a>(name: &'a str, model: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("name", name),
        ("model", model),
        ("server", "docs"),
        ("scope", "all"),
        ("go", "save"),
    ]
}

fn entry(name: &str) -> Value {
    json!({"name": name, "model": "gpt-5", "servers": ["docs"]})
}

#[tokio::test]
async fn an_alias_is_added_changed_and_removed_and_in_force_each_time() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    let empty = desk.html("/models").await;
    assert!(empty.contains("no aliases yet") && empty.contains("aria-current=\"page\">Models"));
    assert!(desk.html("/models/alias").await.contains("value=\"docs\""));

    let added = desk
        .pages
        .post("/models/alias", &alias("gpt-5-docs", "gpt-5"))
        .await;
    let path = added.place().to_owned();
    let html = desk.html(&path).await;
    assert!(
        html.contains("Saved.") && html.contains("docs__find"),
        "{html}"
    );
    let rules = desk.models.rules("default");
    assert_eq!(rules.alias("web", "gpt-5-docs").unwrap().model, "gpt-5");

    let path = desk.path("gpt-5-docs").await;
    let mut fields = alias("gpt-5-docs", "gpt-6");
    fields[3].1 = "only";
    fields.extend([("project", "web"), ("new_projects", "batch, web")]);
    let saved = desk.pages.post(&path, &fields).await;
    assert!(saved.place().ends_with("?done=saved") && !saved.place().starts_with(&path));
    let stored = &desk.stored().await["models"][0];
    assert_eq!(
        (&stored["model"], &stored["projects"]),
        (&json!("gpt-6"), &json!(["batch", "web"]))
    );

    let path = desk.path("gpt-5-docs").await;
    let asked = desk.html(&format!("{path}/remove")).await;
    assert!(asked.contains("Remove the alias <bdi>gpt-5-docs</bdi>?"));
    let removed = desk.pages.post(&format!("{path}/remove"), &[]).await;
    assert!(desk.html(removed.place()).await.contains("Removed."));
    assert!(desk.models.rules("default").is_empty());
}

#[tokio::test]
async fn a_default_is_added_and_defaults_are_put_in_order() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    let fields = |models| {
        [
            ("project", "web"),
            ("models", models),
            ("server", "docs"),
            ("go", "save"),
        ]
    };
    let saved = desk.pages.post("/models/default", &fields("")).await;
    assert!(desk.html(saved.place()).await.contains("docs__find"));
    let saved = desk
        .pages
        .post("/models/default", &fields("gpt-5*\r\n o3 \r\n\r\n"))
        .await;
    let html = desk.html(saved.place()).await;
    let words = "An earlier default of the project counts for models gpt-5*.";
    assert!(html.contains(words), "{html}");
    let stored = desk.stored().await;
    assert_eq!(stored["defaults"][0]["models"], json!(["*"]));
    assert_eq!(stored["defaults"][1]["models"], json!(["gpt-5*", "o3"]));

    let html = desk.html("/models").await;
    assert!(html.contains(words));
    let up = html
        .split("action=\"")
        .find(|part| part.contains("/up\""))
        .unwrap();
    let moved = desk.pages.post(up.split('"').next().unwrap(), &[]).await;
    let html = desk.html(moved.place()).await;
    assert!(html.contains("Moved.") && !html.contains(words), "{html}");
    assert_eq!(
        desk.stored().await["defaults"][0]["models"],
        json!(["gpt-5*", "o3"])
    );
}

#[tokio::test]
async fn only_a_default_that_comes_too_late_for_all_models_of_a_pattern_is_warned_of() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    // What is wide stands behind what is narrow on purpose, also where the narrow is a name.
    let of = |models: Value| json!({"project": "web", "models": models, "servers": ["docs"]});
    let narrow = [of(json!(["gpt-5", "gpt-5-mini*"])), of(json!(["gpt-5*"]))];
    desk.put(json!([]), json!(narrow)).await;
    assert!(!desk.html("/models").await.contains("An earlier default"));
    desk.put(json!([]), json!([narrow[1], narrow[0]])).await;
    let html = desk.html("/models").await;
    assert!(
        html.contains("An earlier default of the project counts for models gpt-5."),
        "{html}"
    );
}

#[tokio::test]
async fn what_is_wrong_stands_beside_its_field_and_nothing_is_lost() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    desk.put(json!([entry("taken")]), json!([])).await;
    for (changed, field, words) in [
        (("name", ""), "f-name", "Alias is empty."),
        (
            ("name", "taken"),
            "f-name",
            "Alias is that of another alias which the same project has.",
        ),
        (("name", "a*"), "f-name", "Alias is a name, which has no *."),
        (
            ("model", "taken"),
            "f-model",
            "Model is the name of an alias; give the model that the upstream knows.",
        ),
        (
            ("other_servers", "No Name"),
            "f-servers",
            "Servers use 1 to 40 lowercase letters",
        ),
        (
            ("scope", "only"),
            "f-projects",
            "Project scope: name at least one project",
        ),
    ] {
        let mut fields = alias("typed-name", "typed-model");
        fields.retain(|(name, _)| *name != changed.0);
        fields.push(changed);
        let page = desk.pages.post("/models/alias", &fields).await;
        let html = page.html(400);
        assert!(html.contains("Nothing was saved"), "{html}");
        assert!(
            html.contains(&format!("href=\"#{field}\">{words}")),
            "{words}: {html}"
        );
        assert!(html.contains(&format!("id=\"{field}\"")));
        let kept = ["typed-name", "typed-model"]
            .iter()
            .filter(|text| html.contains(**text));
        assert!(kept.count() >= 1);
    }
    for (path, wrong) in [
        ("/models/alias", &["f-name", "f-model", "f-servers"][..]),
        ("/models/default", &["f-project", "f-servers"]),
    ] {
        let page = desk
            .pages
            .post(path, &[("go", "save"), ("scope", "all")])
            .await;
        let html = page.html(400);
        for at in wrong {
            assert!(html.contains(&format!("id=\"{at}-wrong\"")), "{at}: {html}");
        }
    }
    let mut fields = alias("typed-name", "typed-model");
    fields.retain(|(name, _)| *name != "server");
    let page = desk.pages.post("/models/alias", &fields).await;
    assert!(page.html(400).contains("Choose at least one server."));
    // Another entry that does not agree with this one.
    let page = desk
        .pages
        .post("/models/alias", &alias("gpt-5", "typed-model"))
        .await;
    let words = "It does not agree with the alias taken: model is the name of an alias";
    assert!(page.html(400).contains(words), "{}", page.text);
    assert_eq!(desk.stored().await["version"], 1);
}

#[tokio::test]
async fn two_who_change_different_entries_do_not_disturb_each_other() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    desk.put(json!([entry("a"), entry("b")]), json!([])).await;
    let (a, b) = (desk.path("a").await, desk.path("b").await);
    desk.pages.post(&a, &alias("a", "theirs")).await.place();
    desk.pages.post(&b, &alias("b", "mine")).await.place();
    let stored = desk.stored().await;
    let model = |at: usize| stored["models"][at]["model"].clone();
    assert_eq!((model(0), model(1)), (json!("theirs"), json!("mine")));
}

#[tokio::test]
async fn the_second_of_two_who_change_an_entry_keeps_what_was_typed() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    desk.put(json!([entry("a")]), json!([])).await;
    let path = desk.path("a").await;
    let was = stood(&desk.pages.get(&path).await);
    let mine = |was| {
        let mut fields = alias("a", "mine");
        fields.push(("was", was));
        fields
    };
    desk.pages.post(&path, &alias("a", "theirs")).await.place();
    let page = desk.pages.post(&path, &mine(&was)).await;
    let html = page.html(409);
    assert!(html.contains("Somebody else changed this") && html.contains("Overwrite theirs"));
    assert!(
        html.contains("<bdi>theirs</bdi>") && html.contains("value=\"mine\""),
        "{html}"
    );
    assert_eq!(desk.stored().await["models"][0]["model"], "theirs");
    let action = html
        .split("<form method=\"post\" action=\"")
        .find(|part| part.starts_with("/models"));
    let path = action.unwrap().split('"').next().unwrap().to_owned();
    let again = stood(&page);
    desk.pages.post(&path, &mine(&again)).await.place();
    assert_eq!(desk.stored().await["models"][0]["model"], "mine");

    // Removed meanwhile: it can be added again.
    let path = desk.path("a").await;
    let page = desk.pages.get(&path).await;
    let was = stood(&page);
    desk.pages
        .post(&format!("{path}/remove"), &[])
        .await
        .place();
    let page = desk.pages.post(&path, &mine(&was)).await;
    let html = page.html(409);
    assert!(html.contains("removed or renamed") && html.contains("action=\"/models/alias\""));
    assert!(desk.pages.get(&path).await.html(409).contains("faster"));
    let page = desk.pages.post(&format!("{path}/remove"), &[]).await;
    assert!(
        page.html(409).contains("the list has what is there now") || page.text.contains("faster")
    );
}

#[tokio::test]
async fn a_preview_tells_what_each_project_gets_and_saves_nothing() {
    let long =
        json!({"name": "long", "inputSchema": {"type": "object", "title": "x".repeat(70_000)}});
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds."), long]).await;
    let shelf = Shelf::start(&[tool("look", "Looks.")]).await;
    let files = json!({"name": "files", "url": shelf.url(), "projects": ["web"]});
    desk.pages.operator.create(&files).await;
    let preview = async |project| {
        let mut fields = alias("new", "gpt-5");
        fields.extend([("server", "files"), ("for", project)]);
        fields.retain(|(name, _)| *name != "go");
        fields.push(("go", "preview"));
        desk.pages
            .post("/models/alias", &fields)
            .await
            .html(200)
            .to_owned()
    };
    let html = preview("web").await;
    for part in [
        "docs__find",
        "files__look",
        "Left out",
        "long",
        "gets 2 tools",
        "<option selected>web",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let html = preview("default").await;
    assert!(
        html.contains("would be refused:") && !html.contains("docs__find"),
        "{html}"
    );
    assert!(html.contains("files is not for every project: there, requests are refused."));
    assert!(desk.models.rules("default").is_empty());
}

#[tokio::test]
async fn a_default_that_would_be_left_out_says_why() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    let off = json!({"name": "off", "url": "https://mcp.example.com/mcp", "enabled": false});
    desk.pages.operator.create(&off).await;
    let default = |servers: &[&str]| json!({"project": "web", "servers": servers});
    desk.put(json!([]), json!([default(&["docs", "off", "gone"])]))
        .await;
    let html = desk.html("/models").await;
    for words in [
        "off is switched off: the default is left out.",
        "There is no server gone: the default is left out.",
    ] {
        assert!(html.contains(words), "{words}: {html}");
    }
    let path = desk.path("web").await;
    let html = desk.html(&path).await;
    assert!(
        html.contains("go on without it:") && html.contains("off is switched off"),
        "{html}"
    );
}

#[tokio::test]
async fn every_server_that_gets_in_the_way_is_warned_of() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    let url = "https://mcp.example.com/mcp";
    for server in [
        json!({"name": "hidden", "url": url, "projects": ["a", "b"]}),
        json!({"name": "oauth", "url": url, "auth": {"type": "oauth2"}}),
        json!({"name": "token", "url": url, "auth": {"type": "token_passthrough"}}),
        json!({"name": "draft", "url": url, "draft": true}),
    ] {
        desk.pages.operator.create(&server).await;
    }
    for (servers, projects, expected) in [
        (json!(["docs"]), json!("all"), None),
        (
            json!(["gone"]),
            json!("all"),
            Some("There is no server gone: requests are refused."),
        ),
        (json!(["hidden"]), json!(["a"]), None),
        (
            json!(["hidden"]),
            json!(["a", "c"]),
            Some("hidden is not for the project c: there, requests are refused."),
        ),
        (
            json!(["hidden"]),
            json!(["c", "d"]),
            Some("hidden is not for the projects c, d: there, requests are refused."),
        ),
        (
            json!(["hidden"]),
            json!(["c", "d", "e", "f", "g"]),
            Some("the projects c, d, e and 2 more"),
        ),
        (
            json!(["oauth"]),
            json!("all"),
            Some("oauth has to be connected by an operator: requests are refused."),
        ),
        (
            json!(["token"]),
            json!("all"),
            Some("token wants a token of each caller&#39;s own: without it, requests are refused."),
        ),
        (
            json!(["draft"]),
            json!("all"),
            Some("draft is not finished: requests are refused."),
        ),
    ] {
        let entry = json!({"name": "a", "model": "m", "servers": servers, "projects": projects});
        desk.put(json!([entry]), json!([])).await;
        let html = desk.html("/models").await;
        match expected {
            Some(words) => assert!(html.contains(words), "{words}: {html}"),
            None => assert!(!html.contains("requests are refused"), "{html}"),
        }
    }
}

#[tokio::test]
async fn entries_of_the_file_are_shown_and_not_changed() {
    let text = "[[models]]\nname = \"filed\"\nmodel = \"gpt-5\"\nservers = [\"docs\"]";
    let store = MemoryRegistry::default();
    let overlay = Overlay::parse_with(text, |_| None, store, MemoryModels::default());
    let overlay = overlay.await.unwrap();
    let operator = Operator::with(overlay.clone(), |admin| admin.with_models(overlay));
    let desk = Desk {
        pages: Pages::signed_in(operator).await,
        models: MemoryModels::default(),
    };
    let html = desk.html("/models").await;
    assert!(html.contains("declared in file") && !html.contains("/remove\""));
    let path = desk.path("filed").await;
    let html = desk.html(&path).await;
    assert!(html.contains("declared in the configuration file") && html.contains("gpt-5"));
    assert!(!html.contains("name=\"model\"") && !html.contains("Save"));
    desk.pages.get(&format!("{path}/remove")).await.html(409);
    desk.pages
        .post(&format!("{path}/remove"), &[])
        .await
        .html(409);
    desk.pages
        .post(&path, &alias("filed", "mine"))
        .await
        .html(409);
    let clash = desk
        .pages
        .post("/models/alias", &alias("filed", "mine"))
        .await;
    let words = "Alias is that of an alias in the configuration file.";
    assert!(clash.html(400).contains(words), "{}", clash.text);
}

#[tokio::test]
async fn nothing_that_was_entered_is_more_than_text() {
    let (desk, _shelf) = Desk::with_docs(&[tool("find", "Finds.")]).await;
    let hostile = "<img src=x onerror=alert(1)>\"'";
    let one = json!({"name": hostile, "model": format!("{hostile}2"), "servers": ["docs"], "projects": [hostile]});
    let other = json!({"project": hostile, "models": [hostile], "servers": ["docs"]});
    desk.put(json!([one]), json!([other])).await;
    let html = desk.html("/models").await;
    let paths = html.split("class=\"name\"><a href=\"").skip(1);
    let paths: Vec<_> = paths
        .map(|row| row.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(paths.len(), 2);
    let removing = paths.iter().map(|path| format!("{path}/remove"));
    for path in ["/models".to_owned()]
        .into_iter()
        .chain(paths.clone())
        .chain(removing)
    {
        let html = desk.html(&path).await;
        assert!(
            !html.contains("<img src=x") && html.contains("img src=x"),
            "{path}: {html}"
        );
    }
}

#[tokio::test]
async fn paths_that_name_no_entry_are_not_there() {
    let desk = Desk::new().await;
    for path in ["/models/server", "/models/alias/x/y", "/models/other/0"] {
        desk.pages.get(path).await.html(404);
    }
    desk.pages
        .get("/models/alias/0123456789abcdef")
        .await
        .html(409);
    let pages = Pages::in_memory().await;
    assert!(
        pages
            .get("/models")
            .await
            .html(200)
            .contains("no place for them")
    );
    pages.get("/models/alias").await.html(404);
}
