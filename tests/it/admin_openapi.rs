//! The description of the operator's side: it has every call that there is, and no other. That
//! answers are as described is looked at wherever these tests ask for something.

use std::collections::BTreeSet;

use mcp_layer::admin;
use mcp_layer::registry::MemoryRegistry;
use serde_json::{Value, json};

use super::support::admin::{Operator, described, request};

const DOCUMENT: &str = "/api/v1/openapi.json";

#[tokio::test]
async fn every_call_is_described_and_nothing_else() {
    let document = Operator::memory().get(DOCUMENT).await;
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            described.insert((method.to_ascii_uppercase(), path.clone()));
        }
    }
    let routes = admin::routes().filter(|(_, path)| path.starts_with("/api/"));
    let routes: BTreeSet<_> = routes
        .map(|(method, path)| (method.to_string(), path.to_owned()))
        .collect();
    assert_eq!(described, routes);
    assert!(routes.len() >= 16);
}

#[tokio::test]
async fn everything_that_is_named_in_it_is_there_and_used() {
    let document = Operator::memory().get(DOCUMENT).await;
    let mut named = BTreeSet::new();
    references(&document, &mut named);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let there: BTreeSet<_> = schemas.keys().cloned().collect();
    assert_eq!(named, there);

    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (_, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id}");
            assert!(operation["summary"].as_str().unwrap().len() > 10);
            let parameters = operation["parameters"].as_array().unwrap().iter();
            let in_path = parameters.filter(|parameter| parameter["in"] == "path");
            assert_eq!(in_path.count(), path.matches('{').count(), "{path}");
        }
    }
}

fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(to)) = members.get("$ref") {
                let name = to.strip_prefix("#/components/schemas/").unwrap();
                into.insert(name.to_owned());
            }
            members.values().for_each(|member| references(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

/// Tools that make requests of a description hold what is `readOnly` to be forbidden in them.
#[tokio::test]
async fn what_may_be_sent_back_is_not_called_read_only() {
    let document = Operator::memory().get(DOCUMENT).await;
    let mut sent = BTreeSet::new();
    for operations in document["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            references(&operation["requestBody"], &mut sent);
        }
    }
    assert!(sent.contains("PatchedServer"));
    for name in sent {
        let schema = &document["components"]["schemas"][&name];
        assert!(!schema.to_string().contains("readOnly"), "{name}");
    }
}

#[tokio::test]
async fn its_paths_begin_where_the_operator_finds_them() {
    let document = Operator::memory().get(DOCUMENT).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"], json!([{"url": "/"}]));
    let public = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_public_url("https://gateway.example/ops/".parse().unwrap())
    });
    let mut asked = request("GET", DOCUMENT, None);
    let host = "gateway.example".parse().unwrap();
    asked.headers_mut().insert("host", host);
    let document = public.send(asked).await.expect(200);
    assert_eq!(document["servers"], json!([{"url": "/ops"}]));
}

/// What looks at all the answers is not blind.
#[tokio::test]
async fn an_answer_that_is_not_as_described_is_noticed() {
    let described = described().await;
    let server = json!({"servers": [{"name": "a"}], "next": null}).to_string();
    for (path, status, body) in [
        ("/api/v1/servers", 200, &*server),
        ("/api/v1/servers", 200, r#"{"servers": []}"#),
        ("/api/v1/servers", 400, r#"{"error": "no"}"#),
        ("/api/v1/unknown", 404, r#"{"message": "no"}"#),
        ("/api/v1/unknown", 200, "{}"),
    ] {
        let checked = described.check_answer(&http::Method::GET, path, status, body);
        assert!(checked.is_err(), "{path} {status} {body}");
    }
}
