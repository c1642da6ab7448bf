//! Aliases and defaults over REST: one document, replaced in the version that was read.

use mcp_layer::registry::{MemoryModels, MemoryRegistry, ModelRegistry, Overlay};
use serde_json::{Value, json};

use super::support::admin::{Operator, TOKEN, request};

const MODELS: &str = "/api/v1/models";

const FILE: &str = r#"
    [[servers]]
    name = "docs"
    url = "https://docs.example/mcp"

    [[models]]
    name = "of-file"
    model = "gpt-5"
    servers = ["docs"]

    [[defaults]]
    project = "web"
    models = ["of-file*"]
    servers = ["docs"]
"#;

fn operator(models: &MemoryModels) -> Operator {
    Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_models(models.clone())
    })
}

/// An operator of a file over stores.
async fn over_a_file() -> (Operator, Overlay) {
    let store = MemoryRegistry::default();
    let overlay = Overlay::parse_with(FILE, |_| None, store, MemoryModels::default());
    let overlay = overlay.await.unwrap();
    let operator = Operator::with(overlay.clone(), |admin| admin.with_models(overlay.clone()));
    (operator, overlay)
}

fn alias() -> Value {
    json!({"name": "gpt-5-docs", "model": "gpt-5", "servers": ["docs"], "projects": ["web"]})
}

fn default() -> Value {
    json!({"project": "web", "models": ["gpt-5*"], "servers": ["docs", "files"]})
}

fn document(models: Value, defaults: Value, version: u64) -> Value {
    json!({"models": models, "defaults": defaults, "version": version})
}

fn with(mut entry: Value, member: &str, value: impl Into<Value>) -> Value {
    entry[member] = value.into();
    entry
}

#[tokio::test]
async fn what_is_put_is_in_force_and_is_read_again() {
    let models = MemoryModels::default();
    let operator = operator(&models);
    assert_eq!(
        operator.get(MODELS).await,
        document(json!([]), json!([]), 0)
    );

    let put = document(json!([alias()]), json!([default()]), 0);
    let stored = operator.put(MODELS, &put).await.expect(200);
    let expected = document(
        json!([with(alias(), "source", "store")]),
        json!([with(default(), "source", "store")]),
        1,
    );
    assert_eq!(stored, expected);
    assert_eq!(operator.get(MODELS).await, expected);
    let rules = models.rules("default");
    assert_eq!(rules.alias("web", "gpt-5-docs").unwrap().model, "gpt-5");
    assert!(rules.default_servers("web", "gpt-5-mini").is_some());
    // What was answered can be sent back.
    let again = operator.put(MODELS, &expected).await.expect(200);
    assert_eq!(again, with(expected, "version", 2));
}

#[tokio::test]
async fn members_that_are_absent_have_their_defaults() {
    let operator = operator(&MemoryModels::default());
    let put = document(
        json!([{"name": "a", "model": "m", "servers": ["docs"], "projects": null}]),
        json!([{"project": "web", "servers": ["docs", "docs"], "source": "store"}]),
        0,
    );
    let stored = operator.put(MODELS, &put).await.expect(200);
    assert_eq!(stored["models"][0]["projects"], "all");
    assert_eq!(stored["defaults"][0]["models"], json!(["*"]));
    assert_eq!(stored["defaults"][0]["servers"], json!(["docs"]));
}

#[tokio::test]
async fn a_stale_version_changes_nothing() {
    let operator = operator(&MemoryModels::default());
    let put = document(json!([alias()]), json!([]), 0);
    operator.put(MODELS, &put).await.expect(200);
    for version in [0, 2] {
        let stale = with(document(json!([]), json!([]), 0), "version", version);
        let (code, param) = operator.put(MODELS, &stale).await.error(409);
        assert_eq!(
            (&*code, param.as_deref()),
            ("stale_version", Some("version"))
        );
    }
    assert_eq!(
        operator.get(MODELS).await["models"][0]["name"],
        "gpt-5-docs"
    );
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_place() {
    let operator = operator(&MemoryModels::default());
    for (body, param) in [
        (json!({"models": [], "defaults": []}), "version"),
        (json!({"models": [], "version": 0}), "defaults"),
        (json!({"defaults": [], "version": 0}), "models"),
        (
            json!({"models": [], "defaults": [], "version": 0, "aliases": []}),
            "aliases",
        ),
        (document(json!({}), json!([]), 0), "models"),
        (document(json!([1]), json!([]), 0), "models[0]"),
        (
            document(
                json!([alias(), with(alias(), "servers", json!(["A"]))]),
                json!([]),
                0,
            ),
            "models[1].servers[0]",
        ),
        (
            document(json!([with(alias(), "servers", json!([]))]), json!([]), 0),
            "models[0]",
        ),
        (
            document(json!([with(alias(), "projects", json!([]))]), json!([]), 0),
            "models[0].projects",
        ),
        (
            document(json!([with(alias(), "modell", "x")]), json!([]), 0),
            "models[0].modell",
        ),
        (
            document(json!([with(alias(), "source", "here")]), json!([]), 0),
            "models[0].source",
        ),
        (
            document(json!([with(alias(), "source", 1)]), json!([]), 0),
            "models[0].source",
        ),
        (
            document(json!([alias(), alias()]), json!([]), 0),
            "models[1]",
        ),
        (
            document(json!([with(alias(), "model", "gpt-5-docs")]), json!([]), 0),
            "models[0]",
        ),
        (
            document(json!([]), json!([with(default(), "project", "")]), 0),
            "defaults[0].project",
        ),
    ] {
        let (code, found) = operator.put(MODELS, &body).await.error(400);
        assert_eq!(
            (&*code, found.as_deref()),
            ("invalid_request", Some(param)),
            "{body}"
        );
    }
    let (code, _) = operator.ask("PUT", MODELS, Some("{")).await.error(400);
    assert_eq!(code, "invalid_json");
    assert_eq!(operator.get(MODELS).await["version"], 0);
}

#[tokio::test]
async fn entries_of_the_file_are_shown_first_and_sent_back_or_left_out() {
    let (operator, overlay) = over_a_file().await;
    let read = operator.get(MODELS).await;
    assert_eq!(read["models"][0]["source"], "file");
    assert_eq!(read["defaults"][0]["source"], "file");
    assert_eq!(read["version"], 0);

    let mut put = read.clone();
    put["models"].as_array_mut().unwrap().push(alias());
    let stored = operator.put(MODELS, &put).await.expect(200);
    let named = |at: usize| {
        (
            stored["models"][at]["name"].clone(),
            stored["models"][at]["source"].clone(),
        )
    };
    assert_eq!(named(0), (json!("of-file"), json!("file")));
    assert_eq!(named(1), (json!("gpt-5-docs"), json!("store")));
    let rules = overlay.rules("default");
    assert_eq!((rules.aliases().len(), rules.defaults().len()), (2, 1));

    let without = document(json!([]), json!([]), 1);
    let stored = operator.put(MODELS, &without).await.expect(200);
    assert_eq!(stored, with(read, "version", 2));
}

#[tokio::test]
async fn entries_of_the_file_are_changed_in_the_file_alone() {
    let (operator, overlay) = over_a_file().await;
    let read = operator.get(MODELS).await;
    let changed = with(read["models"][0].clone(), "model", "gpt-6");
    let put = document(json!([alias(), changed]), json!([]), 0);
    let (code, param) = operator.put(MODELS, &put).await.error(409);
    assert_eq!(
        (&*code, param.as_deref()),
        ("declared_in_file", Some("models[1]"))
    );
    let changed = with(read["defaults"][0].clone(), "project", "batch");
    let put = document(json!([]), json!([changed]), 0);
    assert_eq!(
        operator.put(MODELS, &put).await.error(409).0,
        "declared_in_file"
    );

    // What does not agree with the file is told by where it was sent.
    let of_file = read["models"][0].clone();
    for (entry, param) in [
        (with(alias(), "name", "of-file"), "models[1].name"),
        (with(alias(), "model", "of-file"), "models[1].model"),
        (
            with(with(alias(), "name", "gpt-5"), "model", "gpt-6"),
            "models[1].name",
        ),
    ] {
        let put = document(json!([of_file, entry]), json!([]), 0);
        let (code, found) = operator.put(MODELS, &put).await.error(400);
        assert_eq!((&*code, found.as_deref()), ("invalid_request", Some(param)));
    }
    assert_eq!(overlay.rules("default").aliases().len(), 1);
}

#[tokio::test]
async fn an_operator_reaches_the_organizations_own_entries_only() {
    let models = MemoryModels::default();
    operator(&models)
        .put(MODELS, &document(json!([alias()]), json!([]), 0))
        .await
        .expect(200);
    let other = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_organization("other").with_models(models.clone())
    });
    assert_eq!(other.get(MODELS).await["models"], json!([]));
}

#[tokio::test]
async fn without_a_store_there_is_nothing_to_read_or_change() {
    let operator = Operator::memory();
    let (code, _) = operator.ask("GET", MODELS, None).await.error(404);
    assert_eq!(code, "not_found");
    let put = document(json!([]), json!([]), 0);
    assert_eq!(operator.put(MODELS, &put).await.error(404).0, "not_found");
    let mut unknown = request("GET", MODELS, None);
    unknown
        .headers_mut()
        .insert("authorization", format!("Bearer {TOKEN}x").parse().unwrap());
    assert_eq!(
        operator.send(unknown).await.error(401).0,
        "invalid_admin_token"
    );
}
