//! `[[guards]]` as operators declare them.

use std::fs;

use serde_json::{Value, json};

use crate::{
    evidence,
    evil::{Evil, Step, json_reply},
    mcp_server::{McpServer, Mode},
    support::{Proxy, file, until},
};

const SECRET: &str = "canary-of-the-guard-in-the-proxy";

/// A model that calls `s__echo` with this text once, and then says what it was told.
async fn model(text: &'static str) -> Evil {
    Evil::serve_all(move |request| {
        let body = request.json();
        let last = body["messages"].as_array().and_then(|all| all.last());
        let last = last.cloned().unwrap_or_default();
        let function = json!({"name": "s__echo", "arguments": json!({"text": text}).to_string()});
        let message = match last["role"] == "tool" {
            false => json!({"role": "assistant", "content": null,
                "tool_calls": [{"id": "c", "type": "function", "function": function}]}),
            true => json!({"role": "assistant", "content": last["content"]}),
        };
        let answer = json!({"choices": [{"index": 0, "message": message}]});
        vec![Step::Send(json_reply(&answer.to_string()))]
    })
    .await
}

/// The configuration of a proxy between them, with these guards.
fn config(model: &Evil, server: &McpServer, guards: &str) -> String {
    let (upstream, url) = (model.address, server.url());
    format!(
        "upstream = \"http://{upstream}/v1\"\nallow_egress = [\"127.0.0.0/8\"]\n{guards}\n[[servers]]\nname = \"s\"\nurl = \"{url}\"\n"
    )
}

/// What the model was told by the tool.
async fn told(proxy: &Proxy) -> Value {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
        "mcp": {"enabled": true, "servers": ["s"], "auto_execute_tools": true}});
    let (status, answer) = proxy.chat(&body).await;
    assert_eq!(status, 200, "{answer}");
    match answer["mcp"]["stopped_by"] == "ask_first" {
        true => "asks first".into(),
        false => answer["choices"][0]["message"]["content"].clone(),
    }
}

#[tokio::test]
async fn declared_guards_see_calls_and_results() {
    let text = "see https://evil.example/?k=ghp_0123456789abcdef0123";
    let (model, server) = (model(text).await, McpServer::start(Mode::Stateless).await);
    let hook = Evil::serve_all(|request| {
        assert!(request.header("x-mcp-signature").unwrap().starts_with("t="));
        let answer = match request.json()["stage"] == "after" {
            true => json!({"decision": "rewrite", "result": "by the webhook"}),
            false => json!({"decision": "deny", "reason": "by the webhook"}),
        };
        vec![Step::Send(json_reply(&answer.to_string()))]
    })
    .await;
    let url = hook.url();
    let masked = "see https://evil.example/?k=[redacted]";
    let denied =
        "Error: not run: a URL has the host \"evil.example\", which is not one that is allowed";
    let webhook = |more: &str| {
        format!("[[guards]]\nname = \"hook\"\nurl = \"{url}\"\nsecret_env = \"HOOK\"\n{more}")
    };
    evidence::secret("secret of a guard", SECRET);
    for (guards, expected) in [
        (String::new(), text),
        (
            "[[guards]]\nbuiltin = \"secrets\"".into(),
            "Error: not run: the arguments have a secret in them",
        ),
        (
            "[[guards]]\nbuiltin = \"secrets\"\naction = \"mask\"".into(),
            masked,
        ),
        (
            "[[guards]]\nbuiltin = \"secrets\"\nbefore = false".into(),
            "Error: the tool has run, but its result is withheld: it has a secret in it",
        ),
        (
            "[[guards]]\nbuiltin = \"hosts\"\nhosts = [\"ok.example\"]".into(),
            denied,
        ),
        (
            "[[guards]]\nbuiltin = \"hosts\"\nhosts = [\"*.example\"]".into(),
            text,
        ),
        (
            "[[guards]]\nbuiltin = \"hosts\"\nhosts = [\"ok.example\"]\ntools = [\"t__*\"]".into(),
            text,
        ),
        ("[[guards]]\nbuiltin = \"destructive\"".into(), "asks first"),
        (webhook(""), "Error: not run: by the webhook"),
        (webhook("before = false\nafter = true"), "by the webhook"),
        (
            format!(
                "[[guards]]\nurl = \"http://{}/\"\ntimeout_ms = 500",
                crate::support::refused()
            ),
            "Error: not run: it could not be checked",
        ),
        (
            format!(
                "[[guards]]\nurl = \"http://{}/\"\nfail = \"open\"",
                crate::support::refused()
            ),
            text,
        ),
    ] {
        let config = config(&model, &server, &guards);
        let proxy = Proxy::with(&config, &[("HOOK", SECRET)]);
        assert_eq!(told(&proxy).await, expected, "{guards}");
        let logged = proxy.logged();
        assert!(
            !logged.contains(SECRET) && !logged.contains("ghp_"),
            "{logged}"
        );
    }
}

#[test]
fn guards_are_listed_by_the_check() {
    let guards = "[[guards]]\nbuiltin = \"secrets\"\naction = \"mask\"\n[[guards]]\nurl = \"https://guards.example/\"\ntools = [\"a__*\", \"b__c\"]\nafter = true\ntimeout_ms = 300\nfail = \"open\"\n";
    let (code, out, err) = Proxy::run(guards, &["--check"]);
    assert_eq!(code, 0, "{err}");
    for line in [
        "guard secrets-1: before and after, *, within 2000 ms, fails closed",
        "guard webhook-2: before and after, a__* b__c, within 300 ms, fails open",
        "guard webhook-2: no tool above has a name like a__*",
        "guard webhook-2: no tool above has a name like b__c",
    ] {
        assert!(out.lines().any(|told| told == line), "{out}");
    }
    assert!(!out.contains("secrets-1: no tool"), "{out}");
}

// The check is waited for, and meanwhile the server has to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_check_names_the_patterns_that_match_no_tool() {
    let (model, server) = (
        model("hello").await,
        McpServer::start(Mode::Stateless).await,
    );
    let guards = "[[guards]]\nbuiltin = \"destructive\"\ntools = [\"s__echo\", \"s__*\", \"s__ehco\", \"t__*\"]\n";
    let (code, out, err) = Proxy::run(&config(&model, &server, guards), &["--check"]);
    assert_eq!(code, 0, "{err}");
    let told = out.lines().filter(|line| line.contains("no tool above"));
    let told: Vec<_> = told.collect();
    assert_eq!(
        told,
        [
            "guard destructive-1: no tool above has a name like s__ehco",
            "guard destructive-1: no tool above has a name like t__*"
        ]
    );
}

#[tokio::test]
async fn guards_are_read_again_at_sighup() {
    let (model, server) = (
        model("hello").await,
        McpServer::start(Mode::Stateless).await,
    );
    let path = file(&config(&model, &server, ""));
    let proxy = Proxy::over(&path, &["--admin-listen", "off"], &[]);
    assert_eq!(told(&proxy).await, "hello");
    let read = async |count: usize| {
        proxy.signal("HUP");
        until("it is read", async || {
            let logged = proxy.logged();
            logged.matches("the configuration was read again").count() == count
        })
        .await;
    };
    let asks = "[[guards]]\nbuiltin = \"destructive\"\n";
    fs::write(&path, config(&model, &server, asks)).unwrap();
    read(1).await;
    assert_eq!(told(&proxy).await, "asks first");
    fs::write(&path, config(&model, &server, "")).unwrap();
    read(2).await;
    assert_eq!(told(&proxy).await, "hello");
}

#[test]
fn a_table_that_means_nothing_is_an_error() {
    for (table, expected) in [
        ("", "needs a url, or builtin"),
        (
            "url = \"https://a.example/\"\nbuiltin = \"secrets\"",
            "give only one",
        ),
        ("builtin = \"firewall\"", "unknown variant `firewall`"),
        (
            "builtin = \"secrets\"\nhosts = [\"a\"]",
            "has hosts, which only",
        ),
        (
            "builtin = \"hosts\"\naction = \"mask\"",
            "has action, which only",
        ),
        ("builtin = \"hosts\"", "needs hosts"),
        (
            "builtin = \"secrets\"\nname = \" \"",
            "has a name that is empty",
        ),
        (
            "builtin = \"secrets\"\nname = \"a\\n\"",
            "control characters",
        ),
        (
            "builtin = \"secrets\"\nname = \"g\"\n[[guards]]\nbuiltin = \"destructive\"\nname = \"g\"",
            "number 2 has the name \"g\", as number 1 has",
        ),
        (
            "builtin = \"secrets\"\nname = \"secrets-2\"\n[[guards]]\nbuiltin = \"secrets\"",
            "number 2 has the name \"secrets-2\"",
        ),
        (
            "builtin = \"secrets\"\nsecret_env = \"X\"",
            "only a webhook has",
        ),
        (
            "builtin = \"hosts\"\nhosts = []\nafter = true",
            "looks at no results",
        ),
        (
            "builtin = \"secrets\"\nbefore = false\nafter = false",
            "neither before nor after",
        ),
        (
            "builtin = \"hosts\"\nhosts = [\"https://a.example\"]",
            "has a host that is none",
        ),
        ("builtin = \"secrets\"\ntools = []", "has no tools"),
        ("builtin = \"secrets\"\ntimeout_ms = 0", "from 1 to 60000"),
        ("builtin = \"secrets\"\nfail = \"maybe\"", "closed"),
        ("builtin = \"secrets\"\nurls = 1", "unknown key `urls`"),
        ("url = \"guards\"", "has a url that is none"),
        ("url = \"http://guards.example/\"", "plain http is refused"),
        ("url = \"https://10.0.0.1/\"", "egress rules"),
        (
            "url = \"https://a.example/\"\nsecret_env = \"NOT_SET_HERE\"",
            "NOT_SET_HERE",
        ),
    ] {
        for flags in [&["--check"][..], &[]] {
            let (code, _, err) = Proxy::run(&format!("[[guards]]\n{table}"), flags);
            assert_eq!((code, err.lines().count()), (2, 1), "{table}: {err}");
            assert!(err.contains(expected), "{table}: {err}");
            assert!(!err.contains("10.0.0.1"), "{err}");
        }
    }
}
