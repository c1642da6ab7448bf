//! Progress of calls: asked for by each of them, matched by its token, and told to whoever wants it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_layer::mcp::{CallToolResult, OnProgress, Progress, ServerLimits};
use mcp_layer::registry::Server;
use mcp_layer::{CallToolError, CallToolRequest, CallerTokens};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::evil::{Evil, Received, Step, event, json_reply, stream_head};
use crate::support::gateway::connections;

/// The revisions in which a call has a stream of its own.
#[derive(Clone, Copy, Debug)]
enum Revision {
    Sessions,
    Newest,
}

const REVISIONS: [Revision; 2] = [Revision::Sessions, Revision::Newest];

impl Revision {
    async fn server(self, script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Evil {
        match self {
            Self::Sessions => Evil::mcp(script).await,
            Self::Newest => Evil::stateless(script).await,
        }
    }
}

/// The token of a call.
pub fn token(request: &Received) -> Value {
    request.json()["params"]["_meta"]["progressToken"].clone()
}

/// A notification of progress with these members.
pub fn notification(token: &Value, members: &Value) -> String {
    let mut params = json!({"progressToken": token});
    for (name, value) in members.as_object().unwrap() {
        params[name] = value.clone();
    }
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string()
}

/// The answer to a call as a stream: these bytes at each second, and the result at the last.
pub fn each_second(request: &Received, seconds: u32, bytes: impl Fn(u32) -> Vec<u8>) -> Vec<Step> {
    let mut steps = vec![Step::Send(stream_head())];
    for second in 1..=seconds {
        steps.push(Step::Pause(Duration::from_secs(1)));
        steps.push(Step::Send(bytes(second)));
    }
    steps.push(Step::Send(event(&request.text("done"))));
    steps.push(Step::Close);
    steps
}

/// A call of the tool `a`: what came of it, what was told of its progress, and how long it took.
struct Called {
    result: Result<CallToolResult, CallToolError>,
    told: Vec<Progress>,
    took: Duration,
}

impl Called {
    fn text(&self) -> String {
        match &self.result {
            Ok(result) => result.text.clone(),
            Err(error) => error.to_string(),
        }
    }

    fn steps(&self) -> Vec<f64> {
        self.told.iter().map(|told| told.progress).collect()
    }
}

async fn called(evil: &Evil, limits: ServerLimits) -> Called {
    let server = Server::new("s", &evil.url()).unwrap();
    let connections = connections(limits);
    let told = Arc::<Mutex<Vec<Progress>>>::default();
    let on_progress: OnProgress = {
        let told = Arc::clone(&told);
        Arc::new(move |progress| told.lock().unwrap().push(progress.clone()))
    };
    let arguments = RawValue::from_string("{}".into()).unwrap();
    let mut call = CallToolRequest::new("a", &arguments);
    call.on_progress = Some(&on_progress);
    let began = Instant::now();
    let result = connections
        .call(&server, &CallerTokens::default(), call)
        .await;
    let took = began.elapsed();
    let told = told.lock().unwrap().clone();
    Called { result, told, took }
}

#[tokio::test]
async fn each_call_asks_for_progress_under_a_token_of_its_own() {
    for revision in REVISIONS {
        let server = revision
            .server(|request| vec![Step::Send(json_reply(&request.text("done")))])
            .await;
        let client = crate::support::client(&server.url(), ServerLimits::default());
        for _ in 0..3 {
            crate::support::call(&client, "a", "{}").await.unwrap();
        }
        let received = server.received();
        let (calls, others): (Vec<_>, Vec<_>) = received
            .iter()
            .partition(|request| request.method() == "tools/call");
        let mut tokens: Vec<_> = calls
            .iter()
            .map(|call| token(call).as_u64().unwrap())
            .collect();
        tokens.dedup();
        assert_eq!(tokens.len(), 3, "{revision:?}");
        assert!(tokens.iter().all(|token| *token < 1 << 53));
        assert!(others.iter().all(|request| token(request).is_null()));
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_as_it_comes_whatever_the_spelling_of_the_token() {
    for revision in REVISIONS {
        let server = revision
            .server(|request| {
                let number = token(request).as_u64().unwrap();
                let spellings = [
                    json!(number),
                    json!(number as f64),
                    json!(number.to_string()),
                ];
                each_second(request, 3, |second| {
                    let members =
                        json!({"progress": second, "total": 3.5, "message": "Searching\nGitHub"});
                    event(&notification(&spellings[second as usize - 1], &members))
                })
            })
            .await;
        let called = called(&server, ServerLimits::default()).await;
        assert_eq!(called.text(), "done", "{revision:?}");
        assert_eq!(called.steps(), [1.0, 2.0, 3.0]);
        for told in &called.told {
            assert_eq!(told.total, Some(3.5));
            assert_eq!(told.message.as_deref(), Some("Searching GitHub"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_may_have_progress_beside_the_result() {
    let server = Evil::mcp(|request| {
        let progress = notification(&token(request), &json!({"progress": 1}));
        let batch = format!("[{progress},{}]", request.text("done"));
        vec![Step::Send(json_reply(&batch))]
    })
    .await;
    let called = called(&server, ServerLimits::default()).await;
    assert_eq!(called.text(), "done");
    assert_eq!(called.steps(), [1.0], "also what comes with the result");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_progress_of_this_call_ends_no_silence_and_is_not_told() {
    type Bytes = fn(&Value, u32) -> Vec<u8>;
    let noise: [(&str, Bytes, &[f64]); 8] = [
        ("a comment", |_, _| b": still there\n\n".to_vec(), &[]),
        (
            "another call's",
            |token, second| {
                let other = json!(token.as_u64().unwrap() + 1);
                event(&notification(&other, &json!({"progress": second})))
            },
            &[],
        ),
        (
            "nobody's",
            |_, second| event(&notification(&json!("x"), &json!({"progress": second}))),
            &[],
        ),
        (
            "the same again",
            |token, _| event(&notification(token, &json!({"progress": 5}))),
            &[5.0],
        ),
        (
            "backwards",
            |token, second| {
                event(&notification(
                    token,
                    &json!({"progress": -f64::from(second)}),
                ))
            },
            &[-1.0],
        ),
        (
            "without a number",
            |token, second| {
                event(&notification(
                    token,
                    &json!({"progress": second.to_string()}),
                ))
            },
            &[],
        ),
        (
            "a log",
            |token, second| {
                event(
                    &notification(token, &json!({"progress": second}))
                        .replace("/progress", "/message"),
                )
            },
            &[],
        ),
        (
            "a request",
            |_, _| event(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
            &[],
        ),
    ];
    for revision in REVISIONS {
        for (what, bytes, told) in noise {
            let server = revision
                .server(move |request| {
                    let token = token(request);
                    each_second(request, 90, |second| bytes(&token, second))
                })
                .await;
            let called = called(&server, ServerLimits::default()).await;
            let what = format!("{what} {revision:?}: {}", called.text());
            assert!(called.result.is_err(), "{what}");
            assert_eq!(called.steps(), told, "{what}");
            let silence = Duration::from_secs(60 + told.len() as u64);
            let late = called.took.checked_sub(silence).expect(&what);
            // A server that asks too much is cut off before.
            assert!(late < Duration::from_secs(1), "{what} {late:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_told_in_few_words_and_bounded_in_bytes() {
    for (count, fits) in [(50_000, true), (200_000, false)] {
        let server = Evil::mcp(move |request| {
            let token = token(request);
            let flood: Vec<u8> = (0..count)
                .flat_map(|step| event(&notification(&token, &json!({"progress": step}))))
                .collect();
            vec![
                Step::Send(stream_head()),
                Step::Send(flood),
                Step::Send(event(&request.text("done"))),
                Step::Close,
            ]
        })
        .await;
        let called = called(&server, ServerLimits::default()).await;
        assert_eq!(called.result.is_ok(), fits, "{}", called.text());
        // No time has passed, as far as the clock tells.
        assert!(called.told.len() < 100, "{}", called.told.len());
        assert!(called.steps().is_sorted());
        if fits {
            assert_eq!(called.steps().last(), Some(&49_999.0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_now_and_then_is_resumed_for_as_long_as_there_is_progress() {
    for (progress, is_ok) in [(true, true), (false, false)] {
        let known = Arc::new(Mutex::new((Value::Null, String::new(), 0)));
        let server = Evil::mcp(move |request| {
            let mut known = known.lock().unwrap();
            if request.method() == "tools/call" {
                (known.0, known.1) = (token(request), request.text("done"));
            }
            known.2 += 1;
            let step = if progress { known.2 } else { 0 };
            let said = notification(&known.0, &json!({"progress": step}));
            let mut bytes = stream_head();
            bytes.extend(format!("id: {}\nretry: 1000\ndata: {said}\n\n", known.2).into_bytes());
            if known.2 == 50 {
                bytes.extend(event(&known.1));
            }
            vec![Step::Send(bytes), Step::Close]
        })
        .await;
        let called = called(&server, ServerLimits::default()).await;
        assert_eq!(called.result.is_ok(), is_ok, "{}", called.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_short_and_has_no_credential_in_it() {
    let server = Evil::mcp(|request| {
        let message = format!("{} {}", crate::support::CANARY, "é".repeat(10_000));
        let progress = notification(&token(request), &json!({"progress": 1, "message": message}));
        let events = [event(&progress), event(&request.text("done"))].concat();
        vec![Step::Send([stream_head(), events].concat()), Step::Close]
    })
    .await;
    let header = [("authorization", crate::support::CANARY)];
    let auth = mcp_layer::registry::Auth::static_headers(header).unwrap();
    let record = Server::new("s", &server.url()).unwrap().with_auth(auth);
    let told = Arc::<Mutex<Vec<Progress>>>::default();
    let on_progress: OnProgress = {
        let told = Arc::clone(&told);
        Arc::new(move |progress| told.lock().unwrap().push(progress.clone()))
    };
    let arguments = RawValue::from_string("{}".into()).unwrap();
    let mut call = CallToolRequest::new("a", &arguments);
    call.on_progress = Some(&on_progress);
    let connections = connections(ServerLimits::default());
    let tokens = CallerTokens::default();
    connections.call(&record, &tokens, call).await.unwrap();
    let told = told.lock().unwrap();
    let message = told[0].message.as_deref().unwrap();
    assert!(message.len() <= 1024 && message.starts_with("[redacted:credential]"));
}
