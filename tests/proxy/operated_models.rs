//! Aliases and defaults that an operator makes while the proxy runs, and what callers are told of them.

use http::StatusCode;
use serde_json::{Value, json};

use crate::database::{Storage, entry};
use crate::mcp_server::{McpServer, Mode};
use crate::support::{API_KEY, Proxy, json as body_of};

const MODELS: &str = "/api/v1/models";

fn alias(name: &str, projects: Value) -> Value {
    json!({"name": name, "model": "demo", "servers": ["s"], "projects": projects})
}

#[tokio::test]
async fn what_an_operator_makes_is_in_force_at_once_and_outlives_a_kill() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let of_file = "[[models]]\nname = \"of-file\"\nmodel = \"demo\"\nservers = [\"s\"]\n";
    let config = storage.config(&format!("{}{of_file}", entry("s", &mcp.url())));
    let proxy = Proxy::operated(&config, &[]);
    let body = json!({"models": [alias("made", json!("all"))], "defaults": [], "version": 0});
    let (status, stored) = proxy.operate("PUT", MODELS, body).await;
    assert_eq!(status, StatusCode::OK, "{stored}");
    assert_eq!(stored["models"][0]["source"], "file");

    let question =
        |model| json!({"model": model, "messages": [{"role": "user", "content": "Echo \"here\""}]});
    for model in ["made", "of-file"] {
        let (status, answer) = proxy.chat(&question(model)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["mcp"]["rounds"], 1, "{answer}");
        let (status, explained) = proxy
            .operate("POST", "/api/v1/explain", json!({"model": model}))
            .await;
        assert_eq!(status, StatusCode::OK, "{explained}");
        assert!(!explained["tools"].as_array().unwrap().is_empty());
    }
    proxy.kill();
    let proxy = Proxy::operated(&config, &[]);
    let (_, read) = proxy.operate("GET", MODELS, Value::Null).await;
    assert_eq!(read, stored);
}

#[tokio::test]
async fn the_list_of_servers_has_the_aliases_and_defaults_of_the_callers_project() {
    let mcp = McpServer::start(Mode::Newest).await;
    let rules = "[[models]]\nname = \"for-all\"\nmodel = \"demo\"\nservers = [\"s\"]\n\
                 [[models]]\nname = \"for-batch\"\nmodel = \"demo\"\nservers = [\"s\"]\nprojects = [\"batch\"]\n\
                 [[defaults]]\nproject = \"web\"\nmodels = [\"demo*\"]\nservers = [\"s\"]\n\
                 [[defaults]]\nproject = \"batch\"\nservers = [\"s\"]\n";
    let keys = "[[api_keys]]\nkey_env = \"WEB\"\nproject = \"web\"\n";
    let config = format!("{}{keys}{}{rules}", crate::LOCAL, entry("s", &mcp.url()));
    let proxy = Proxy::with(&config, &[("WEB", API_KEY)]);
    let listed = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
    let listed = body_of(listed.bearer_auth(API_KEY).send().await.unwrap()).await;
    assert_eq!(listed["servers"][0]["server_label"], "s");
    assert_eq!(
        listed["models"],
        json!([{"name": "for-all", "model": "demo", "servers": ["s"]}])
    );
    assert_eq!(
        listed["defaults"],
        json!([{"models": ["demo*"], "servers": ["s"]}])
    );
}

#[tokio::test]
async fn the_proxys_own_addresses_are_explained_as_they_are_answered() {
    let mcp = McpServer::start(Mode::Newest).await;
    let hosts = "allow_hosts = [\"gateway.example\"]\n";
    let config = format!("{hosts}{}{}", crate::LOCAL, entry("s", &mcp.url()));
    let proxy = Proxy::operated(&config, &[]);
    let port = proxy.address().port();
    let ask = |host: &str| {
        let entry = json!({"type": "mcp", "server_label": "l", "server_url": format!("http://{host}/mcp/s"),
            "require_approval": "never"});
        let message = json!({"role": "user", "content": "Echo \"here\""});
        json!({"model": "demo", "messages": [message], "tools": [entry]})
    };
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("gateway.example:{port}"),
        "gateway.example".to_owned(),
    ] {
        let body = ask(&host);
        let answer = proxy
            .post(&body)
            .header("host", &host)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
        assert_eq!(body_of(answer).await["mcp"]["rounds"], 1, "{host}");
        let (status, explained) = proxy.operate("POST", "/api/v1/explain", body).await;
        assert_eq!(status, StatusCode::OK, "{host} {explained}");
        assert!(!explained["tools"].as_array().unwrap().is_empty());
    }
    // The operator's side is none of them, nor is anything else.
    let operators = proxy.operators.trim_start_matches("http://");
    for host in [operators, "other.example", "127.0.0.1:1"] {
        let body = ask(host);
        let (status, answer) = proxy.chat(&body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{host} {answer}");
        let (status, explained) = proxy.operate("POST", "/api/v1/explain", body).await;
        assert_eq!(
            (status, explained),
            (StatusCode::NOT_FOUND, answer),
            "{host}"
        );
    }
}
