//! `GET …/models`: the aliases of the caller's project before the upstream's own models.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mcp_layer::Project;
use mcp_layer::registry::ModelAlias;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Reply};
use crate::support::model::{Answer, json_answer, raw_answer};

/// A gateway with an alias for everybody and one for the project `web`.
async fn gateway(answers: impl IntoIterator<Item = Answer>) -> Gateway {
    let servers = || ["s".parse().unwrap()];
    let all = ModelAlias::new("all-tools", "m", servers());
    let web = ModelAlias::new("a/web tools", "m", servers());
    let web = web.with_projects(["web"]).unwrap();
    let gateway = Gateway::new(answers).await;
    gateway.layered(|layer| layer.with_model_aliases([all, web]).unwrap())
}

fn get(path: &str, project: &str) -> Request<Full<Bytes>> {
    let request = Request::get(path).header("if-none-match", "\"old\"");
    let request = request.extension(Project::new(project.to_owned()));
    request.body(Full::default()).unwrap()
}

async fn listed(gateway: &Gateway, project: &str) -> Reply {
    gateway.request(get("/v1/models?x=1", project)).await
}

fn ids(reply: &Reply) -> Vec<Value> {
    let models = reply.json()["data"].as_array().unwrap().clone();
    models.iter().map(|model| model["id"].clone()).collect()
}

const OWN: &str =
    r#"{"object":"list", "data":[{"id":"m","x":1.50}, {"id":"all-tools"}],"y":[1.0]}"#;

#[tokio::test]
async fn the_aliases_of_the_callers_project_come_first() {
    let own = || {
        raw_answer(
            200,
            &[("content-type", "application/json"), ("etag", "\"e\"")],
            [OWN.to_owned()],
        )
    };
    let gateway = gateway([own(), own()]).await;
    let reply = listed(&gateway, "web").await;
    assert_eq!(reply.status, 200);
    // A model of the upstream is hidden by an alias of its name.
    assert_eq!(ids(&reply), ["all-tools", "a/web tools", "m"]);
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(
        text.ends_with(r#"{"id":"m","x":1.50}],"y":[1.0]}"#),
        "{text}"
    );
    assert_eq!(reply.headers["content-length"], text.len().to_string());
    assert!(!reply.headers.contains_key("etag"));
    let first = &reply.json()["data"][0];
    let expected =
        json!({"id": "all-tools", "object": "model", "created": 0, "owned_by": "mcp-layer"});
    assert_eq!(*first, expected);

    assert_eq!(ids(&listed(&gateway, "batch").await), ["all-tools", "m"]);
    let asked = gateway.model.asked();
    assert!(asked.iter().all(|asked| asked.body.is_empty()));
    assert!(
        asked
            .iter()
            .all(|asked| !asked.headers.contains_key("if-none-match"))
    );
    assert_eq!(asked[0].headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn an_error_or_anything_else_of_the_upstream_goes_on_as_it_is() {
    let answers = [
        json_answer(503, &json!({"error": {"message": "down"}})),
        raw_answer(200, &[("content-type", "text/html")], ["<html>".to_owned()]),
        raw_answer(200, &[("content-encoding", "gzip")], [OWN.to_owned()]),
        json_answer(200, &json!({"models": ["m"]})),
    ];
    let gateway = gateway(answers).await;
    let reply = listed(&gateway, "web").await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (503, json!({"error": {"message": "down"}}))
    );
    assert_eq!(listed(&gateway, "web").await.body, "<html>");
    let encoded = listed(&gateway, "web").await;
    assert_eq!(
        (&encoded.headers["content-encoding"], &encoded.body[..]),
        (&"gzip".parse().unwrap(), OWN.as_bytes())
    );
    assert_eq!(
        listed(&gateway, "web").await.json(),
        json!({"models": ["m"]})
    );
}

#[tokio::test]
async fn a_service_without_a_list_has_the_aliases_all_the_same() {
    let statuses = [404, 405, 501];
    let none = |status: &u16| json_answer(*status, &json!({"error": {"message": "no"}}));
    let answers = statuses.iter().map(none);
    let array = json_answer(200, &json!([{"id": "m"}]));
    let null = json_answer(200, &json!({"object": "list", "data": null}));
    let gateway = gateway(answers.chain([null, array])).await;
    for _ in 0..4 {
        let reply = listed(&gateway, "web").await;
        assert_eq!(reply.status, 200);
        assert_eq!(ids(&reply), ["all-tools", "a/web tools"]);
        assert_eq!(reply.json()["object"], "list");
    }
    let reply = listed(&gateway, "web").await.json();
    let ids: Vec<_> = reply
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, ["all-tools", "a/web tools", "m"]);
}

#[tokio::test]
async fn an_alias_by_its_name_is_answered_here_and_any_other_name_upstream() {
    let theirs = || json_answer(404, &json!({"error": {"message": "no such model"}}));
    let gateway = gateway([theirs(), theirs()]).await;
    for path in ["/v1/models/a%2Fweb%20tools", "/v1/models/a/web%20tools/"] {
        let reply = gateway.request(get(path, "web")).await;
        assert_eq!(reply.json()["id"], "a/web tools", "{path}");
        assert_eq!(reply.headers["content-type"], "application/json");
    }
    assert!(gateway.model.asked().is_empty());
    // Another project's alias is nobody's.
    let another = gateway
        .request(get("/v1/models/a%2Fweb%20tools", "batch"))
        .await;
    let unknown = gateway.request(get("/v1/models/m", "batch")).await;
    assert_eq!(
        (another.status, another.body),
        (unknown.status, unknown.body)
    );
    assert_eq!(gateway.model.asked().len(), 2);
}

#[tokio::test]
async fn without_an_alias_the_list_passes_untouched() {
    let headers = [("content-type", "application/json"), ("etag", "\"e\"")];
    let gateway = Gateway::new([raw_answer(200, &headers, [OWN.to_owned()])]).await;
    let reply = listed(&gateway, "web").await;
    assert_eq!(reply.body, OWN);
    assert_eq!(reply.headers["etag"], "\"e\"");
    assert_eq!(gateway.model.asked()[0].headers["if-none-match"], "\"old\"");
}
