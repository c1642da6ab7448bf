//! `kill -9` of the proxy in conversations of a client with tools of its own: between two turns, and
//! while a tool runs.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    kills::crashes,
    proxy::{Proxy, json, run, until},
    scripted::{Scripted, TURNS},
    support::{counting::Counting, directory::Directory, postgres::Postgres},
};

/// A proxy that is killed and started again, and what it stands between.
struct Subject {
    config: String,
    tools: Counting,
    scripted: Scripted,
    _directory: Directory,
}

impl Subject {
    /// With SQLite, or with the database of this URL.
    async fn new(database: Option<String>) -> Self {
        let directory = Directory::new();
        let database = database.unwrap_or_else(|| directory.url("a.db"));
        let keys = directory.0.join("keys").display().to_string();
        assert_eq!(run(&["--generate-key", &keys]).0, 0);
        let (tools, scripted) = (Counting::start(|| {}).await, Scripted::default());
        let (upstream, server) = (scripted.start().await, tools.url());
        let config = format!(
            "database = {database:?}\nkey_file = {keys:?}\nupstream = {upstream:?}\nallow_egress = [\"127.0.0.0/8\"]\n\n[[servers]]\nname = \"s\"\nurl = {server:?}\n"
        );
        Self {
            config,
            tools,
            scripted,
            _directory: directory,
        }
    }

    fn start(&self) -> Proxy {
        Proxy::with(&self.config, &[])
    }

    /// The question is asked, and killed the proxy while its tool runs.
    async fn kill_while_running(&self, body: &Value, token: &str) {
        let proxy = self.start();
        let asking = tokio::spawn(proxy.post(body).send());
        until("the tool runs", async || self.tools.runs(token).begun == 1).await;
        proxy.kill();
        assert!(asking.await.unwrap().is_err(), "nobody answers");
    }

    /// The same request again, as an SDK sends it.
    async fn repeat(&self, body: &Value) -> (StatusCode, Value) {
        let proxy = self.start();
        let request = proxy.post(body).header("x-stainless-retry-count", "1");
        let answer = request
            .timeout(Duration::from_secs(60))
            .send()
            .await
            .unwrap();
        (answer.status(), json(answer).await)
    }
}

fn request(messages: &[Value]) -> Value {
    json!({
        "model": "m",
        "messages": messages,
        "tools": [{"type": "function", "function": {"name": "lookup"}}],
        "mcp": {"enabled": true, "servers": ["s"], "auto_execute_tools": true},
    })
}

fn asks(question: &str) -> Value {
    json!({"role": "user", "content": question})
}

/// The answers of a client to its calls in this turn.
fn answers(turn: &Value) -> Vec<Value> {
    let calls = turn["tool_calls"].as_array().into_iter().flatten();
    let answer =
        |call: &Value| json!({"role": "tool", "tool_call_id": call["id"], "content": "found"});
    calls.map(answer).collect()
}

/// Kills the proxy after each turn of conversations.
async fn kill_between_turns(subject: Subject, engine: &str) {
    let (mut kills, mut calls) = (0, 0);
    while kills < crashes() {
        let question = format!("conversation{kills}");
        let mut messages = vec![asks(&question)];
        loop {
            let proxy = subject.start();
            let (status, answer) = proxy.chat(&request(&messages)).await;
            proxy.kill();
            kills += 1;
            assert_eq!(status, 200, "{answer}");
            assert!(answer["mcp"].get("history").is_none(), "{answer}");
            let turn = &answer["choices"][0]["message"];
            messages.push(turn.clone());
            let own = answers(turn);
            if own.is_empty() {
                break;
            }
            assert_eq!(own.len(), 1, "only the client's own call: {turn}");
            messages.extend(own);
        }
        for number in 0..TURNS {
            let token = format!("{question}.{number}");
            let runs = subject.tools.runs(&token);
            assert_eq!((runs.begun, runs.finished), (1, 1), "{token}");
            calls += 1;
        }
    }
    println!(
        "{engine}: {kills} times kill -9 between two turns, {} questions, {calls} calls of tools, 0 lost, 0 twice",
        subject.scripted.asked()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sqlite_a_conversation_goes_on_where_the_proxy_was_killed() {
    kill_between_turns(Subject::new(None).await, "SQLite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_postgresql_a_conversation_goes_on_where_the_proxy_was_killed() {
    let postgres = Postgres::start();
    kill_between_turns(
        Subject::new(Some(postgres.database("a"))).await,
        "PostgreSQL",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_call_is_told_as_unknown_where_nobody_can_know() {
    let subject = Subject::new(None).await;
    let body = request(&[asks("slow a+60000")]);
    subject.kill_while_running(&body, "a").await;
    let (status, answer) = subject.repeat(&body).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(answer["error"]["code"], "outcome_unknown", "{answer}");
    assert!(
        answer["mcp"]["calls"].is_array(),
        "it has the receipt: {answer}"
    );
    assert_eq!(subject.tools.runs("a").begun, 1, "nothing ran again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_only_looks_runs_again_after_a_crash() {
    let subject = Subject::new(None).await;
    let body = request(&[asks("slow ?a+3000")]);
    subject.kill_while_running(&body, "?a").await;
    let (status, answer) = subject.repeat(&body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "done");
    assert_eq!(subject.tools.runs("?a").begun, 2);
    subject.scripted.asked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_that_waited_for_the_clients_answer_only_those_that_look_run_again() {
    for (question, token, runs) in [("late b+60000", "b", 1), ("late ?b+3000", "?b", 2)] {
        let subject = Subject::new(None).await;
        let mut messages = vec![asks(question)];
        let proxy = subject.start();
        let (status, answer) = proxy.chat(&request(&messages)).await;
        proxy.kill();
        assert_eq!(status, 200, "{answer}");
        let turn = &answer["choices"][0]["message"];
        messages.push(turn.clone());
        messages.extend(answers(turn));
        let body = request(&messages);
        subject.kill_while_running(&body, token).await;
        // The model is told of the one that is lost, and the conversation goes on.
        let (status, answer) = subject.repeat(&body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(subject.tools.runs(token).begun, runs, "{token}");
    }
}
