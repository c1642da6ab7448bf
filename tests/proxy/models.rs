//! Aliases and defaults of the file and of the database.

use std::fs;
use std::time::Duration;

use http::StatusCode;
use mcp_layer::registry::{ModelAlias, ModelRules, ModelStore};
use serde_json::{Value, json};

use crate::LOCAL;
use crate::database::{Storage, entry};
use crate::mcp_server::{McpServer, Mode};
use crate::support::{Proxy, Upstream, file, refused, until};

fn alias(name: &str, model: &str, servers: &str) -> String {
    format!("[[models]]\nname = {name:?}\nmodel = {model:?}\nservers = [{servers}]\n")
}

/// A question of which the demo's model makes a call of `echo`.
fn question(model: &str) -> Value {
    let message = json!({"role": "user", "content": "Echo \"it is there\""});
    json!({"model": model, "messages": [message]})
}

/// The tools that a chat completion with this model runs.
async fn runs(proxy: &Proxy, model: &str) -> usize {
    let (status, answer) = proxy.chat(&question(model)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["mcp"]["calls"].as_array().map_or(0, Vec::len)
}

async fn listed(proxy: &Proxy) -> Vec<String> {
    let (_, models) = proxy.get("/v1/models").await;
    let models = models["data"].as_array().unwrap();
    models
        .iter()
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_alias_and_a_default_of_the_file_give_tools_and_change_while_the_proxy_runs() {
    let mcp = McpServer::start(Mode::Newest).await;
    let base = format!("{LOCAL}{}", entry("s", &mcp.url()));
    let config = format!("{base}{}", alias("demo-tools", "demo", "\"s\""));
    let path = file(&config);
    let proxy = Proxy::over(&path, &["--admin-listen", "off"], &[]);
    assert_eq!(runs(&proxy, "demo-tools").await, 1);
    assert_eq!(runs(&proxy, "demo").await, 0);
    assert_eq!(listed(&proxy).await, ["demo-tools", "demo"]);
    let (_, one) = proxy.get("/v1/models/demo-tools").await;
    assert_eq!(one["owned_by"], "mcp-layer");

    let default = "[[defaults]]\nproject = \"default\"\nmodels = [\"demo*\"]\nservers = [\"s\"]\n";
    fs::write(&path, format!("{base}{default}")).unwrap();
    until("the file is in force", async || {
        listed(&proxy).await == ["demo"]
    })
    .await;
    assert_eq!(runs(&proxy, "demo").await, 1);
    assert_eq!(runs(&proxy, "another").await, 0);

    // A faulty file changes nothing.
    let circle = alias("demo", "demo", "\"s\"");
    fs::write(&path, format!("{base}{circle}")).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(runs(&proxy, "demo").await, 1);
    assert!(
        proxy.logged().contains("is the name of an alias"),
        "{}",
        proxy.logged()
    );
}

#[tokio::test]
async fn a_default_that_is_left_out_says_so_in_the_answer() {
    let config = format!(
        "{LOCAL}{}[[defaults]]\nproject = \"default\"\nservers = [\"gone\"]\n",
        entry("gone", &format!("http://{}/mcp", refused()))
    );
    let proxy = Proxy::with(&config, &[]);
    let answer = proxy.post(&question("demo")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = answer.headers()["x-mcp-default"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(header.contains("gone is inactive"), "{header}");
    let answer = crate::support::json(answer).await;
    assert!(answer["mcp"]["default"]["left_out"].is_string(), "{answer}");
}

#[tokio::test]
async fn an_alias_reaches_the_upstream_as_its_model_and_nothing_else_changes() {
    let upstream = Upstream::start().await;
    let config = format!(
        "{LOCAL}upstream = {:?}\n{}",
        format!("{}/v1", upstream.url),
        alias("fast", "gpt-5", "\"none\"")
    );
    let proxy = Proxy::with(&config, &[]);
    let mut body = question("fast");
    body["mcp"] = json!({"enabled": false});
    let (_, seen) = proxy.chat(&body).await;
    body["model"] = "gpt-5".into();
    body.as_object_mut().unwrap().remove("mcp");
    assert_eq!(seen["body"], body.to_string());
    let (status, error) = proxy.chat(&question("fast")).await;
    assert_eq!(
        (status.as_u16(), &error["error"]["code"]),
        (404, &json!("mcp_server_not_found"))
    );
}

#[test]
fn a_broken_alias_or_default_is_one_clear_line_and_exit_code_2() {
    for (config, expected) in [
        (
            alias("a", "a", "\"s\""),
            "models \"a\": model is the name of an alias",
        ),
        (alias("a", "m", ""), "models \"a\": servers is empty"),
        (
            format!("{}more = 1\n", alias("a", "m", "\"s\"")),
            "models \"a\": more: unknown key",
        ),
        (
            "[[defaults]]\nservers = [\"s\"]\n".into(),
            "defaults[0]: project: is missing (line",
        ),
    ] {
        for flags in [&["--check"][..], &["--listen", "127.0.0.1:0"]] {
            let (code, _, err) = Proxy::run(&format!("{LOCAL}{config}"), flags);
            assert_eq!((code, err.lines().count()), (2, 1), "{err}");
            assert!(err.contains(expected), "{err}");
        }
    }
}

// The check is waited for, and meanwhile the server has to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_check_says_what_each_alias_and_default_would_get_or_why_not() {
    let mcp = McpServer::start(Mode::Newest).await;
    let good = format!(
        "{LOCAL}{}{}[[defaults]]\nproject = \"web\"\nmodels = [\"gpt-5*\", \"o3\"]\nservers = [\"s\"]\n",
        entry("s", &mcp.url()),
        alias("a-tools", "m", "\"s\""),
    );
    let (code, out, err) = Proxy::run(&good, &["--check"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    assert!(
        out.contains("m with 8 tools") && out.contains("gpt-5*, o3"),
        "{out}"
    );
    assert!(out.contains("by default 8 tools"), "{out}");
    assert!(out.contains("1 alias, 1 default"), "{out}");

    let of_web = format!("{}projects = [\"web\"]\n", entry("of-web", &mcp.url()));
    let bad = format!(
        "{good}{of_web}{}{}[[defaults]]\nproject = \"batch\"\nservers = [\"of-web\"]\n",
        alias("b-tools", "m", "\"gone\""),
        alias("c-tools", "m", "\"s\", \"of-web\""),
    );
    let (code, out, _) = Proxy::run(&bad, &["--check"]);
    assert_eq!(code, 2, "{out}");
    for expected in [
        "an error: there is no server gone",
        "an error: of-web is not for all projects",
        "no default, which is left out: of-web is not for the project batch",
        "3 aliases, 2 defaults; 3 without their tools",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
}

// As above.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_check_says_when_models_search_and_what_aliases_get_then() {
    let mcp = McpServer::start(Mode::Newest).await;
    for (search, gets, told) in [
        (
            "",
            "8 tools are too many, at most 4 fit",
            "tool search: off, but for requests with mcp.tool_search",
        ),
        (
            "tool_search = \"auto\"",
            "m with 8 tools, found by search",
            "tool search: for requests with more than 4 tools",
        ),
        (
            "native_tool_search = \"anthropic\"",
            "m with 8 tools, found by search",
            "tool search: for requests with more than 4 tools; the upstream searches (anthropic)",
        ),
        (
            "native_tool_search = \"openai\"\ntool_search = 8",
            "m with 8 tools, found by search",
            "tool search: for requests with more than 8 tools of servers, or 4 of any; the upstream searches (openai)",
        ),
    ] {
        let config = format!(
            "{search}\n{LOCAL}[limits]\ntools = 4\n{}{}",
            entry("s", &mcp.url()),
            alias("a-tools", "m", "\"s\""),
        );
        let (code, out, err) = Proxy::run(&config, &["--check"]);
        assert_eq!(code == 0, gets.starts_with('m'), "{out}{err}");
        assert!(out.contains(gets), "{gets}: {out}");
        assert!(out.lines().any(|line| line == told), "{told}: {out}");
    }
}

#[tokio::test]
async fn an_alias_in_both_file_and_database_is_refused() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let store = storage.open().await;
    let rules = |names: &[&str]| {
        let alias = |name: &&str| ModelAlias::new(*name, "demo", ["s".parse().unwrap()]);
        ModelRules::new(names.iter().map(alias), []).unwrap()
    };
    let stored = store
        .replace_rules("default", rules(&["stored"]), 0)
        .await
        .unwrap();
    let declared = |name: &str| {
        storage.config(&format!(
            "{}{}",
            entry("s", &mcp.url()),
            alias(name, "demo", "\"s\"")
        ))
    };
    for flags in [&["--check"][..], &[]] {
        let (code, _, err) = Proxy::run(&declared("stored"), flags);
        assert_eq!((code, err.lines().count()), (2, 1), "{err}");
        assert!(
            err.contains("stored is an alias of the configuration file and of the store"),
            "{err}"
        );
    }
    // While it runs the last good state stays, until the name is free.
    let path = file(&declared("declared"));
    let proxy = Proxy::over(&path, &["--admin-listen", "off"], &[]);
    assert_eq!(listed(&proxy).await, ["declared", "stored", "demo"]);
    assert_eq!(runs(&proxy, "stored").await, 1);
    fs::write(&path, declared("stored")).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(listed(&proxy).await, ["declared", "stored", "demo"]);
    let freed = store
        .replace_rules("default", rules(&["other"]), stored.unwrap())
        .await;
    assert!(freed.unwrap().is_some());
    until("the file is in force", async || {
        listed(&proxy).await == ["stored", "other", "demo"]
    })
    .await;
}
