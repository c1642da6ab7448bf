//! Grants, budgets and prices of the file.

use std::fs;

use http::StatusCode;
use serde_json::{Value, json};

use crate::LOCAL;
use crate::mcp_server::{McpServer, Mode};
use crate::support::{Proxy, file, until};

/// A chat of which the demo's model makes a call of `echo`.
async fn chat(proxy: &Proxy) -> (StatusCode, Value) {
    let message = json!({"role": "user", "content": "Echo \"it is there\""});
    let mcp = json!({"enabled": true, "servers": ["s"], "auto_execute_tools": true});
    let body = json!({"model": "demo", "messages": [message], "mcp": mcp});
    proxy.chat(&body).await
}

#[tokio::test]
async fn a_file_says_what_projects_may_use_and_what_tools_cost() {
    let server = McpServer::start(Mode::Stateless).await;
    let base = format!(
        "{LOCAL}[[servers]]\nname = \"s\"\nurl = {:?}\n\
         [[servers.grants]]\nproject = \"default\"\ntools = [\"echo\"]\ncalls_per_day = 1\n\
         [[prices]]\nmodel = \"demo*\"\ninput = 1.0\noutput = 1.0\n\
         [[prices]]\ntool = \"s__*\"\nper_call = 0.25\n",
        server.url()
    );
    let path = file(&base);
    let proxy = Proxy::over(&path, &["--admin-listen", "off"], &[]);
    let (_, listed) = proxy.get("/v1/mcp/servers").await;
    assert_eq!(listed["servers"][0]["tools"], json!(["s__echo"]));

    let (status, answer) = chat(&proxy).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["mcp"]["calls"][0]["cost"], 0.25);
    assert!(answer["usage"]["cost"].as_f64().unwrap() > 0.25, "{answer}");
    let (_, answer) = chat(&proxy).await;
    assert_eq!(answer["mcp"]["calls"][0]["limit"]["of"], "calls_per_day");
    assert_eq!(server.calls(), 1);

    let budget = "[[projects]]\nname = \"default\"\ntokens_per_day = 1\n";
    fs::write(&path, format!("{base}{budget}")).unwrap();
    until("the budget is used up", async || {
        chat(&proxy).await.0 == StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    let (_, refused) = chat(&proxy).await;
    assert_eq!(refused["error"]["code"], "mcp_budget_exceeded");
}

#[test]
fn prices_that_are_none_and_limits_of_0_end_the_start() {
    for (lines, reason) in [
        (
            "[[prices]]\nmodel = \"m\"\ninput = 1.0\n",
            "number 1 has a model, and needs output",
        ),
        (
            "[[prices]]\ntool = \"a__*\"\ninput = 1.0\n",
            "nor a tool with per_call",
        ),
        ("[[prices]]\ntool = \"a__*\"\nper_call = -1.0\n", "negative"),
        (
            "[[servers]]\nname = \"s\"\nurl = \"https://a.example/mcp\"\n[[servers.grants]]\nproject = \"web\"\ncalls_per_day = 0\n",
            "must be a whole number from 1",
        ),
        (
            "[[projects]]\nname = \"web\"\ncost_per_day = 0\n",
            "must be a number above 0",
        ),
    ] {
        let (code, _, told) = Proxy::run(&format!("{LOCAL}{lines}"), &[]);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains(reason), "{told}");
    }
}

// The check is waited for, and meanwhile the server has to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_check_names_what_is_granted_in_vain() {
    let server = McpServer::start(Mode::Stateless).await;
    let key = "a".repeat(64);
    let config = format!(
        "{LOCAL}upstream_key_env = \"\"\n\
         [[api_keys]]\nproject = \"web\"\nkey_sha256 = \"{key}\"\n\
         [[projects]]\nname = \"wbe\"\ntokens_per_day = 9\n\
         [[prices]]\ntool = \"s__*\"\nper_call = 0.5\n\
         [[prices]]\ntool = \"s__ehco\"\nper_call = 0.5\n\
         [[servers]]\nname = \"s\"\nurl = {:?}\n\
         [[servers.grants]]\nproject = \"web\"\ntools = [\"echo\", \"ecoh\"]\n\
         [[servers.grants]]\nproject = \"wbe\"\ntools = []\n",
        server.url()
    );
    let (code, out, err) = Proxy::run(&config, &["--check"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    let told: Vec<_> = out
        .lines()
        .filter(|line| line.starts_with("s "))
        .skip(8)
        .collect();
    assert_eq!(told.len(), 2, "{out}");
    assert!(told[0].contains(" ecoh ") && told[0].contains("granted to web, but not selected"));
    assert!(told[1].contains("has a grant for wbe, a project without an API key"));
    for line in [
        "there is a budget for wbe, a project without an API key",
        "prices: no tool above has a name like s__ehco",
    ] {
        let times = out.lines().filter(|told| *told == line).count();
        assert_eq!(times, 1, "{line}: {out}");
    }
    assert!(!out.contains("has a name like s__*"), "{out}");

    let default = |project: &str| {
        format!(
            "{config}[[defaults]]\nproject = \"{project}\"\nmodels = [\"*\"]\nservers = [\"s\"]\n"
        )
    };
    let (code, out, _) = Proxy::run(&default("web"), &["--check"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("by default 1 tool\n"), "{out}");
    let (code, out, _) = Proxy::run(&default("wbe"), &["--check"]);
    assert_eq!(code, 2, "{out}");
    assert!(
        out.contains("left out: wbe is granted no tool of s"),
        "{out}"
    );
}
