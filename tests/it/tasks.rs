//! Calls that run as tasks: those of 2025-11-25, which a call has to ask for, and those of
//! 2026-07-28, which a server chooses.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use mcp_layer::mcp::{Client, ErrorKind, OnProgress, Progress, ServerLimits};
use mcp_layer::registry::{MemoryRegistry, Server};
use mcp_layer::{CallToolRequest, CallerTokens, McpLayer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::progress::{notification, token};
use crate::support::{
    call, client,
    evil::{Evil, Received, Step, event, json_reply, reply, status, stream_head},
    gateway::{Gateway, auto, connections},
    model::{Answer, calls, says},
    until,
};

/// The form in which a server has tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// 2025-11-25, with or without `tasks/cancel`.
    OnRequest { can_cancel: bool },
    /// 2026-07-28.
    ByChoice,
}

const ASKED: Form = Form::OnRequest { can_cancel: true };
const FORMS: [Form; 2] = [ASKED, Form::ByChoice];

const ID: &str = "task-1 é";

/// A task in a state, with these members besides.
fn task(form: Form, id: &str, status: &str, members: Value) -> Value {
    let mut task = json!({"taskId": id, "status": status, "createdAt": "2026-11-30T00:00:00Z",
        "lastUpdatedAt": "2026-11-30T00:00:00Z"});
    match form {
        Form::OnRequest { .. } => {
            (task["ttl"], task["pollInterval"]) = (60_000.into(), 2_000.into())
        }
        Form::ByChoice => {
            (task["ttlMs"], task["pollIntervalMs"]) = (Value::Null, 2_000.into());
            task["resultType"] = "complete".into();
        }
    }
    for (name, value) in members.as_object().unwrap() {
        task[name] = value.clone();
    }
    task
}

/// The answer to the call that begins a task.
fn begun(form: Form, id: &str, status: &str) -> Value {
    match form {
        Form::OnRequest { .. } => json!({"task": task(form, id, status, json!({}))}),
        Form::ByChoice => task(form, id, status, json!({"resultType": "task"})),
    }
}

/// The result of a tool, as it stands at the end of a task.
fn report() -> Value {
    json!({"content": [{"type": "text", "text": "the report"}], "isError": false})
}

fn says_result(request: &Received, result: &Value) -> Vec<Step> {
    vec![Step::Send(json_reply(&request.result(result)))]
}

fn refuses(request: &Received, code: i32, message: &str) -> Vec<Step> {
    let error = json!({"code": code, "message": message});
    let body = json!({"jsonrpc": "2.0", "id": request.json()["id"], "error": error});
    vec![Step::Send(json_reply(&body.to_string()))]
}

/// A server whose tool `work` runs as a task. `script` has the answers about the task; what it leaves
/// open is answered as it should be: two polls later the task is done.
async fn server(
    form: Form,
    script: impl Fn(&Received, usize) -> Option<Vec<Step>> + Send + Sync + 'static,
) -> Evil {
    let polls = AtomicUsize::new(0);
    Evil::serve_all(move |request| {
        let method = request.method();
        let poll = match &*method {
            "tasks/get" => polls.fetch_add(1, SeqCst) + 1,
            "tools/call" => {
                polls.store(0, SeqCst);
                0
            }
            _ => polls.load(SeqCst),
        };
        let is_about = matches!(&*method, "tools/call") || method.starts_with("tasks/");
        match is_about.then(|| script(request, poll)).flatten() {
            Some(steps) => steps,
            None => properly(form, request, poll),
        }
    })
    .await
}

fn properly(form: Form, request: &Received, poll: usize) -> Vec<Step> {
    match (form, &*request.method()) {
        (Form::ByChoice, "server/discover") => {
            let result = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}});
            says_result(request, &result)
        }
        (_, "server/discover") => vec![Step::Send(status(400))],
        (Form::OnRequest { can_cancel }, "initialize") => {
            let mut tasks = json!({"requests": {"tools": {"call": {}}}});
            if can_cancel {
                tasks["cancel"] = json!({});
            }
            let result = json!({"protocolVersion": "2025-11-25", "serverInfo": {"name": "t", "version": "0"},
                "capabilities": {"tools": {}, "tasks": tasks}});
            let headers = "content-type: application/json\r\nmcp-session-id: s\r\n";
            vec![Step::Send(reply(200, headers, &request.result(&result)))]
        }
        (_, "tools/list") => {
            let tool = json!({"name": "work", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}});
            let plain = json!({"name": "plain", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}});
            says_result(
                request,
                &json!({"resultType": "complete", "tools": [tool, plain]}),
            )
        }
        (_, "tools/call") => says_result(request, &begun(form, ID, "working")),
        (Form::OnRequest { .. }, "tasks/get") => {
            let status = if poll < 3 { "working" } else { "completed" };
            says_result(request, &task(form, ID, status, json!({})))
        }
        (Form::ByChoice, "tasks/get") if poll < 3 => {
            says_result(request, &task(form, ID, "working", json!({})))
        }
        (Form::ByChoice, "tasks/get") => {
            let members = json!({"result": report()});
            says_result(request, &task(form, ID, "completed", members))
        }
        (_, "tasks/result") => says_result(request, &report()),
        (_, "tasks/cancel" | "tasks/update") => {
            says_result(request, &json!({"resultType": "complete"}))
        }
        _ => vec![Step::Send(status(202))],
    }
}

/// A client that knows the server's tools; time is paused.
async fn knowing(evil: &Evil) -> Client {
    let client = client(&evil.url(), ServerLimits::default());
    assert_eq!(client.list_tools().await.unwrap().tools.len(), 2);
    tokio::time::pause();
    client
}

fn methods(evil: &Evil) -> Vec<String> {
    let received = evil.received();
    let methods = received.iter().map(Received::method);
    methods
        .filter(|method| method.starts_with("tasks/"))
        .collect()
}

/// What the model is told of a call.
async fn told(client: &Client) -> String {
    match call(client, "work", "{}").await {
        Ok(result) => result.text,
        Err(error) => format!("{}: {error}", format!("{:?}", error.kind()).to_lowercase()),
    }
}

async fn is_cancelled(evil: &Evil) {
    tokio::time::resume();
    until("the task is cancelled", || evil.count("tasks/cancel") == 1).await;
    let received = evil.received();
    let cancel = received
        .iter()
        .find(|r| r.method() == "tasks/cancel")
        .unwrap();
    assert_eq!(cancel.json()["params"]["taskId"], ID);
}

async fn is_not_cancelled(evil: &Evil) {
    tokio::time::resume();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(evil.count("tasks/cancel"), 0);
}

#[tokio::test]
async fn a_tool_that_is_a_task_is_polled_by_the_servers_interval_and_gives_its_result() {
    for form in FORMS {
        let evil = server(form, |_, _| None).await;
        let client = knowing(&evil).await;
        let began = Instant::now();
        assert_eq!(told(&client).await, "the report");
        assert_eq!(began.elapsed().as_secs(), 6, "three times two seconds");
        let asked = methods(&evil);
        let result = (form == ASKED).then_some("tasks/result");
        let expected: Vec<_> = ["tasks/get"; 3].into_iter().chain(result).collect();
        assert_eq!(asked, expected);
        is_not_cancelled(&evil).await;
        for request in evil.received() {
            let params = &request.json()["params"];
            match &*request.method() {
                "tools/call" if form == ASKED => {
                    assert_eq!(params["task"], json!({"ttl": 600_000}));
                }
                "tools/call" => {
                    assert!(params["task"].is_null());
                    let capabilities =
                        &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
                    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
                    assert_eq!(*capabilities, tasks);
                }
                method if method.starts_with("tasks/") => {
                    assert_eq!(params["taskId"], ID);
                    let name = (form == Form::ByChoice).then_some("=?base64?dGFzay0xIMOp?=");
                    assert_eq!(request.header("mcp-name"), name);
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_tool_that_may_be_a_task_is_called_as_any_other_and_a_result_is_taken_as_one() {
    for form in FORMS {
        let evil = server(form, |request, _| {
            assert!(request.json()["params"]["task"].is_null() || request.body.contains("work"));
            // Also a server that was asked for a task may simply answer.
            Some(says_result(
                request,
                &json!({"resultType": "complete",
                "content": [{"type": "text", "text": "no \"task\" at all"}]}),
            ))
        })
        .await;
        let client = knowing(&evil).await;
        for tool in ["plain", "work"] {
            let result = call(&client, tool, "{}").await.unwrap();
            assert_eq!(result.text, "no \"task\" at all");
        }
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_task_that_nobody_asked_for_is_waited_for_and_one_of_another_revision_is_refused() {
    let evil = server(ASKED, |request, _| {
        (request.method() == "tools/call").then(|| {
            let result = match request.json()["params"]["arguments"]["flat"].is_null() {
                true => begun(ASKED, ID, "working"),
                false => begun(Form::ByChoice, ID, "working"),
            };
            says_result(request, &result)
        })
    })
    .await;
    let client = knowing(&evil).await;
    let result = call(&client, "plain", "{}").await.unwrap();
    assert_eq!(result.text, "the report");
    let asked = methods(&evil).len();
    let refused = call(&client, "plain", r#"{"flat":true}"#)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Protocol);
    assert_eq!(methods(&evil).len(), asked);
    tokio::time::resume();
}

#[tokio::test]
async fn the_pause_between_polls_is_a_second_at_least_and_half_a_minute_at_most() {
    for (interval, seconds) in [
        (json!(0), 3),
        (json!(-5), 3),
        (json!(null), 3),
        (json!(10), 3),
        (json!(1500), 4),
        (json!(25_000), 75),
        (json!(1e300), 90),
    ] {
        for form in FORMS {
            let said = interval.clone();
            let evil = server(form, move |request, poll| {
                let members = json!({"pollInterval": said, "pollIntervalMs": said});
                let working = task(form, ID, "working", members.clone());
                match &*request.method() {
                    "tools/call" if form == ASKED => {
                        Some(says_result(request, &json!({"task": working})))
                    }
                    "tools/call" => {
                        let mut first = working;
                        first["resultType"] = "task".into();
                        Some(says_result(request, &first))
                    }
                    "tasks/get" if poll < 3 => Some(says_result(request, &working)),
                    _ => None,
                }
            })
            .await;
            let client = knowing(&evil).await;
            let began = Instant::now();
            assert_eq!(told(&client).await, "the report");
            assert_eq!(began.elapsed().as_secs(), seconds, "{interval} {form:?}");
            tokio::time::resume();
        }
    }
}

#[tokio::test]
async fn a_task_may_take_longer_than_a_silence_and_never_longer_than_the_longest_call() {
    for form in FORMS {
        let evil = server(form, move |request, poll| {
            let is_done = poll > 100;
            (request.method() == "tasks/get" && !is_done)
                .then(|| says_result(request, &task(form, ID, "working", json!({}))))
        })
        .await;
        let client = knowing(&evil).await;
        assert_eq!(told(&client).await, "the report", "after 200 seconds");
        is_not_cancelled(&evil).await;

        let evil = server(form, move |request, _| {
            (request.method() == "tasks/get")
                .then(|| says_result(request, &task(form, ID, "working", json!({}))))
        })
        .await;
        let client = knowing(&evil).await;
        let began = Instant::now();
        let text = told(&client).await;
        assert!(
            text.starts_with("timeout") && text.contains("after 600s"),
            "{text}"
        );
        assert_eq!(began.elapsed().as_secs(), 600);
        is_cancelled(&evil).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_polls_is_silent() {
    for form in FORMS {
        let evil = server(form, |request, poll| {
            (request.method() == "tasks/get" && poll > 1).then(|| vec![Step::Hang])
        })
        .await;
        let client = knowing(&evil).await;
        let began = Instant::now();
        let text = told(&client).await;
        assert!(text.contains("no further progress for 60s"), "{text}");
        // Two pauses, and then silence.
        assert_eq!(began.elapsed().as_secs(), 64);
        is_cancelled(&evil).await;
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_cancels_its_task_if_the_server_can_do_that() {
    for form in [ASKED, Form::OnRequest { can_cancel: false }, Form::ByChoice] {
        let evil = server(form, move |request, _| {
            (request.method() == "tasks/get")
                .then(|| says_result(request, &task(form, ID, "working", json!({}))))
        })
        .await;
        let client = knowing(&evil).await;
        tokio::select! {
            _ = call(&client, "work", "{}") => panic!("a result"),
            () = until("it runs", || evil.count("tasks/get") > 0) => {}
        }
        match form {
            Form::OnRequest { can_cancel: false } => is_not_cancelled(&evil).await,
            _ => is_cancelled(&evil).await,
        }
    }
}

#[tokio::test]
async fn a_task_that_failed_or_was_cancelled_is_told_to_the_model() {
    for form in FORMS {
        let evil = server(form, move |request, _| match &*request.method() {
            "tasks/get" => {
                let error =
                    json!({"error": {"code": -32603, "message": "API rate limit exceeded"}});
                let members = if form == ASKED { json!({}) } else { error };
                Some(says_result(request, &task(form, ID, "failed", members)))
            }
            "tasks/result" => Some(refuses(request, -32603, "API rate limit exceeded")),
            _ => None,
        })
        .await;
        let client = knowing(&evil).await;
        let text = told(&client).await;
        assert!(
            text.starts_with("rpc") && text.contains("rate limit"),
            "{text}"
        );
        is_not_cancelled(&evil).await;

        let evil = server(form, move |request, _| {
            (request.method() == "tasks/get")
                .then(|| says_result(request, &task(form, ID, "cancelled", json!({}))))
        })
        .await;
        let client = knowing(&evil).await;
        assert_eq!(told(&client).await, "the server cancelled the tool's task");
        is_not_cancelled(&evil).await;
    }
    // There the result says why.
    let evil = server(ASKED, |request, _| match &*request.method() {
        "tasks/get" => Some(says_result(request, &task(ASKED, ID, "failed", json!({})))),
        "tasks/result" => {
            let failed =
                json!({"content": [{"type": "text", "text": "disk full"}], "isError": true});
            Some(says_result(request, &failed))
        }
        _ => None,
    })
    .await;
    let client = knowing(&evil).await;
    let result = call(&client, "work", "{}").await.unwrap();
    assert!(result.is_error && result.text == "disk full");
    tokio::time::resume();
}

#[tokio::test]
async fn what_a_task_asks_is_declined_once_and_one_that_goes_on_asking_fails() {
    let evil = server(Form::ByChoice, |request, poll| {
        let asks = json!({"inputRequests": {"name": {"method": "elicitation/create"}}});
        (request.method() == "tasks/get" && poll < 4)
            .then(|| says_result(request, &task(Form::ByChoice, ID, "input_required", asks)))
    })
    .await;
    let client = knowing(&evil).await;
    assert_eq!(told(&client).await, "the report");
    let received = evil.received();
    let updates: Vec<_> = received
        .iter()
        .filter(|r| r.method() == "tasks/update")
        .collect();
    assert_eq!(
        updates.len(),
        1,
        "the same question again is the same question"
    );
    assert_eq!(
        updates[0].json()["params"]["inputResponses"],
        json!({"name": {"action": "decline"}})
    );
    is_not_cancelled(&evil).await;

    let evil = server(Form::ByChoice, |request, poll| {
        let asks = json!({"inputRequests": {poll.to_string(): {"method": "elicitation/create"}}});
        (request.method() == "tasks/get")
            .then(|| says_result(request, &task(Form::ByChoice, ID, "input_required", asks)))
    })
    .await;
    let client = knowing(&evil).await;
    assert!(told(&client).await.contains("asks for input"));
    assert_eq!(evil.count("tasks/update"), 3);
    is_cancelled(&evil).await;
}

#[tokio::test]
async fn what_a_task_with_a_session_asks_comes_with_its_result_and_is_refused() {
    for goes_on in [true, false] {
        let evil = server(ASKED, move |request, poll| match &*request.method() {
            "tasks/get" if poll < 3 || !goes_on => Some(says_result(
                request,
                &task(ASKED, ID, "input_required", json!({})),
            )),
            "tasks/result" if poll < 3 || !goes_on => {
                let asks =
                    r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}"#;
                let bytes = [stream_head(), event(asks)].concat();
                Some(vec![Step::Send(bytes), Step::Hang])
            }
            _ => None,
        })
        .await;
        let client = knowing(&evil).await;
        let text = told(&client).await;
        let received = evil.received();
        let refused = received
            .iter()
            .filter(|r| r.json()["error"]["code"] == -32601);
        match goes_on {
            true => {
                assert_eq!(text, "the report");
                assert_eq!(refused.count(), 2);
                is_not_cancelled(&evil).await;
            }
            false => {
                assert!(text.contains("asks for input"), "{text}");
                assert_eq!(refused.count(), 3);
                is_cancelled(&evil).await;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_about_another_task_or_of_no_sense_ends_the_call_and_cancels_the_task() {
    for form in FORMS {
        let answers = [
            task(form, "task-2", "completed", json!({"result": report()})),
            task(form, ID, "half done", json!({})),
            json!({"status": "working"}),
            json!([]),
            json!({"taskId": 7, "status": "working"}),
        ];
        for answer in answers {
            let said = answer.clone();
            let evil = server(form, move |request, _| {
                (request.method() == "tasks/get").then(|| says_result(request, &said))
            })
            .await;
            let client = knowing(&evil).await;
            let text = told(&client).await;
            assert!(text.starts_with("protocol"), "{answer} {text}");
            is_cancelled(&evil).await;
        }
        for id in [String::new(), "x".repeat(2000)] {
            let evil = server(form, move |request, _| {
                (request.method() == "tools/call")
                    .then(|| says_result(request, &begun(form, &id, "working")))
            })
            .await;
            let client = knowing(&evil).await;
            assert!(told(&client).await.contains("no usable id"));
            assert!(methods(&evil).is_empty());
            tokio::time::resume();
        }
    }
}

#[tokio::test]
async fn a_task_that_the_server_has_forgotten_is_an_error_and_not_cancelled() {
    for form in FORMS {
        let evil = server(form, |request, poll| {
            (request.method() == "tasks/get" && poll > 1)
                .then(|| refuses(request, -32602, "Failed to retrieve task: Task has expired"))
        })
        .await;
        let client = knowing(&evil).await;
        let text = told(&client).await;
        assert!(
            text.starts_with("rpc") && text.contains("has expired"),
            "{text}"
        );
        assert_eq!(evil.count("tools/call"), 1, "nothing runs twice");
        is_not_cancelled(&evil).await;
    }
}

#[tokio::test]
async fn polls_that_get_lost_while_a_server_restarts_are_made_again() {
    for form in FORMS {
        let evil = server(form, |request, poll| {
            let lost = match poll {
                1 => vec![Step::Close],
                2 => vec![Step::Reset],
                3..=5 => vec![Step::Send(status(503))],
                6 => vec![Step::Send(status(500))],
                7 => vec![Step::Send(status(502))],
                8 => vec![Step::Send(status(507))],
                9 => vec![Step::Send(status(429))],
                10 => vec![Step::Send(status(401))],
                11 => vec![Step::Send(status(403))],
                _ => return None,
            };
            (request.method() == "tasks/get").then_some(lost)
        })
        .await;
        let client = knowing(&evil).await;
        assert_eq!(told(&client).await, "the report");
        assert_eq!(evil.count("tools/call"), 1);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_session_that_was_lost_with_a_restart_has_lost_its_task() {
    let evil = server(ASKED, |request, poll| match (&*request.method(), poll) {
        ("tasks/get", 2) => Some(vec![Step::Send(status(404))]),
        ("tasks/get", 3) => Some(refuses(request, -32602, "Task not found")),
        _ => None,
    })
    .await;
    let client = knowing(&evil).await;
    let text = told(&client).await;
    assert!(text.contains("Task not found"), "{text}");
    assert_eq!((evil.count("initialize"), evil.count("tools/call")), (2, 1));
    tokio::time::resume();
}

#[tokio::test]
async fn progress_of_a_task_is_told_from_whatever_stream_it_comes_on() {
    let first = Arc::new(Mutex::new(Value::Null));
    let known = Arc::clone(&first);
    let evil = server(ASKED, move |request, poll| match &*request.method() {
        "tools/call" => {
            *known.lock().unwrap() = token(request);
            None
        }
        "tasks/get" if poll < 3 => {
            let progress = notification(&known.lock().unwrap(), &json!({"progress": poll}));
            let state = request.result(&task(ASKED, ID, "working", json!({})));
            let events = [event(&progress), event(&state)].concat();
            Some(vec![
                Step::Send([stream_head(), events].concat()),
                Step::Close,
            ])
        }
        _ => None,
    })
    .await;
    let told = progress_of(&evil).await;
    let told: Vec<_> = told.iter().map(|told| told.progress).collect();
    assert_eq!(told, [1.0, 2.0]);
}

/// What is told of the progress of a call.
async fn progress_of(evil: &Evil) -> Vec<Progress> {
    let record = Server::new("s", &evil.url()).unwrap();
    let connections = connections(ServerLimits::default());
    let tokens = CallerTokens::default();
    connections.tools(&record, &tokens).await.unwrap();
    tokio::time::pause();
    let told = Arc::<Mutex<Vec<Progress>>>::default();
    let on_progress: OnProgress = {
        let told = Arc::clone(&told);
        Arc::new(move |progress| told.lock().unwrap().push(progress.clone()))
    };
    let arguments = RawValue::from_string("{}".into()).unwrap();
    let mut call = CallToolRequest::new("work", &arguments);
    call.on_progress = Some(&on_progress);
    connections.call(&record, &tokens, call).await.unwrap();
    told.lock().unwrap().clone()
}

#[tokio::test]
async fn what_a_task_says_of_its_state_is_told_as_progress_where_there_is_no_other() {
    let evil = server(Form::ByChoice, |request, poll| {
        let said = ["", "Gathering", "Gathering", "Analyzing", "Analyzing"][poll.min(4)];
        let members = json!({"statusMessage": said});
        (request.method() == "tasks/get" && poll < 5)
            .then(|| says_result(request, &task(Form::ByChoice, ID, "working", members)))
    })
    .await;
    let told = progress_of(&evil).await;
    let told: Vec<_> = told
        .iter()
        .map(|told| (told.progress, told.message.as_deref()))
        .collect();
    assert_eq!(told, [(1.0, Some("Gathering")), (2.0, Some("Analyzing"))]);
}

#[tokio::test]
async fn through_the_layer_a_task_is_offered_runs_and_is_cancelled_with_the_request() {
    for form in FORMS {
        let evil = server(form, |_, _| None).await;
        let record = Server::new("s", &evil.url()).unwrap();
        let registry = MemoryRegistry::new([record]).unwrap();
        let work = || calls(&[("s__work", json!({}))]);
        let paused = Answer::Do(Box::new(tokio::time::pause));
        let gateway = Gateway::new([paused, work(), says("over"), work()]).await;
        let gateway = gateway.layered(|_| {
            McpLayer::new(registry)
                .with_connections(connections(ServerLimits::default()))
                .without_exchanges()
        });
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.receipt()["calls"][0]["is_error"], false);
        let asked = gateway.model.asked();
        assert_eq!(asked[0].json()["tools"].as_array().unwrap().len(), 2);
        assert_eq!(asked[1].json()["messages"][2]["content"], "the report");
        let before = evil.count("tasks/get");
        let again = auto(json!({}));
        tokio::select! {
            _ = gateway.send(&again) => panic!("an answer"),
            () = until("it runs", || evil.count("tasks/get") > before) => {}
        }
        is_cancelled(&evil).await;
    }
}
