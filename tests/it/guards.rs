//! Guards: what they see, what comes of their decisions, and what happens where they fail.

use std::{sync::Arc, sync::Mutex, time::Duration};

use mcp_layer::{
    Limits, McpLayer, Streaming,
    guard::{Fail, GuardRule, Guards, Hosts},
    mcp::ServerLimits,
    registry::{MemoryRegistry, SelectedTool, Server, ToolPolicy},
    trace::GuardStage,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::budgets::Log;
use crate::support::{
    events::assembled,
    framework::{Framework, echo, lookup, results, strict, turn},
    gallery::{Form, PNG, gallery, image, of, show, shown, text},
    gateway::{Gateway, auto, chat, connections, with_mcp},
    guards::{Does, Sentry},
    mcp_server::{McpServer, Mode},
    model::{Answer, called, calls, json_answer, says},
    traces::{Traces, attributes, outcomes},
};

/// A gateway with these guards, in their order.
async fn guarded(
    answers: impl IntoIterator<Item = Answer>,
    guards: impl IntoIterator<Item = GuardRule>,
) -> Gateway {
    let guards = Guards::new(guards);
    let gateway = Gateway::new(answers).await;
    gateway.layered(|layer| layer.with_guards(guards))
}

fn rule(name: &str, guard: &Sentry) -> GuardRule {
    GuardRule::new(name, guard.clone())
}

/// One call of `echo`, and then a text.
fn script() -> [Answer; 2] {
    [calls(&[echo("hello")]), says("done")]
}

/// What the model was told by its tools in the second turn.
fn told(gateway: &Gateway) -> Vec<String> {
    results(&strict(&gateway.model.asked())[1])
}

/// What each guard decided, as the trace has it.
fn decided(traces: &Traces) -> Vec<Value> {
    let spans = traces.one().spans();
    let guards = spans.iter().filter(|span| span.name.starts_with("guard "));
    let members = [
        "mcp_layer.guard",
        "mcp_layer.guard.stage",
        "mcp_layer.guard.outcome",
        "mcp_layer.guard.reason",
    ];
    let decided = guards.map(|span| {
        let attributes = attributes(span, &members);
        members
            .iter()
            .map(|name| attributes[*name].clone())
            .collect()
    });
    decided.collect()
}

#[tokio::test]
async fn a_guard_sees_the_call_as_it_goes_out_and_the_result_as_the_model_gets_it() {
    let guard = Sentry::new(|_| Does::Allow);
    // Of nearly the right type: read as it was meant.
    let script = [
        calls(&[("s__add", json!({"a": "5", "b": 2}))]),
        says("done"),
    ];
    let gateway = guarded(script, [rule("all", &guard)]).await;
    let mut request = chat(auto(json!({})).to_string());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = request.headers_mut();
    headers.insert("traceparent", parent.parse().unwrap());
    let reply = gateway.request(request).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "done");
    let [before, after] = &guard.asked()[..] else {
        panic!("{:?}", guard.asked())
    };
    let trace = before["trace"]["traceparent"].as_str().unwrap();
    assert!(trace[..36] == parent[..36] && trace != parent, "{trace}");
    let mut expected = json!({
        "stage": "before", "project": "default", "server": "s", "tool": "add",
        "offered_name": "s__add", "arguments": {"a": 5, "b": 2}, "annotations": null,
        "trace": before["trace"],
    });
    assert_eq!(*before, expected);
    expected["stage"] = "after".into();
    expected["trace"] = after["trace"].clone();
    expected["result"] = "7".into();
    expected["is_error"] = false.into();
    assert_eq!(*after, expected);
}

#[tokio::test]
async fn what_a_guard_rewrites_runs_and_is_all_that_the_model_the_trace_and_the_caller_see() {
    let guard = Sentry::new(|asked| match asked["stage"] == "before" {
        true => Does::Rewrite(json!({"text": "rewritten"})),
        false => Does::Rewrite(format!("{} and hidden\u{200b}", asked["result"]).into()),
    });
    let script = [turn(true, "", &[echo("hello")]), turn(true, "done", &[])];
    let gateway = guarded(script, [rule("r", &guard)]).await;
    let (gateway, traces) = Traces::with(gateway, |layer| {
        let layer = layer.with_event_payloads(true);
        layer.with_streaming(Streaming::Execute)
    });
    let request = auto(json!({"stream": true, "mcp": {"events": true}}));
    let reply = gateway.send(&request).await;
    let expected = "\"rewritten\" and hidden";
    assert_eq!(told(&gateway), [expected]);
    let told = assembled(&reply.body).events;
    assert_eq!(told[0]["arguments"], r#"{"text":"rewritten"}"#);
    assert_eq!(told[1]["result"], expected);
    let trace = traces.one();
    let spans = trace.spans();
    let call = spans
        .iter()
        .find(|span| span.name == "execute_tool s__echo");
    let call = attributes(
        call.unwrap(),
        &["gen_ai.tool.call.arguments", "gen_ai.tool.call.result"],
    );
    assert_eq!(
        call["gen_ai.tool.call.arguments"],
        r#"{"text":"rewritten"}"#
    );
    assert_eq!(call["gen_ai.tool.call.result"], expected);
    assert_eq!(
        decided(&traces),
        [
            json!(["r", "before", "rewrite", null]),
            json!(["r", "after", "rewrite", null])
        ]
    );
}

#[tokio::test]
async fn guards_are_asked_in_their_order_and_the_first_that_denies_ends_it() {
    let adds = |letter: &'static str| {
        Sentry::new(move |asked| match asked["stage"] == "before" {
            true => {
                let text = asked["arguments"]["text"].as_str().unwrap();
                Does::Rewrite(json!({"text": format!("{text}{letter}")}))
            }
            false => Does::Rewrite(format!("{}{letter}", asked["result"].as_str().unwrap()).into()),
        })
    };
    let (a, b) = (adds("a"), adds("b"));
    let gateway = guarded(script(), [rule("a", &a), rule("b", &b)]).await;
    gateway.send(&auto(json!({}))).await;
    assert_eq!(told(&gateway), ["helloabab"]);

    let (asks, denies, last) = (
        Sentry::before(Does::Ask),
        Sentry::before(Does::Deny("not today")),
        Sentry::new(|_| Does::Allow),
    );
    let guards = [
        rule("asks", &asks),
        rule("denies", &denies),
        rule("last", &last),
    ];
    let (gateway, traces) = Traces::of(guarded(script(), guards).await);
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(told(&gateway), ["Error: not run: not today"]);
    let call = &reply.receipt()["calls"][0];
    assert_eq!(
        (&call["is_error"], &call["denied"]),
        (&json!(true), &json!(true))
    );
    assert_eq!((gateway.server.calls(), last.asked().len()), (0, 0));
    assert_eq!(
        decided(&traces),
        [
            json!(["asks", "before", "ask", null]),
            json!(["denies", "before", "deny", "not today"])
        ]
    );
    assert_eq!(
        outcomes(&traces.one()),
        json!([["s__echo", "error", 1, "denied"]])
    );
}

#[tokio::test]
async fn a_reason_is_one_clean_line_of_at_most_five_hundred_bytes() {
    for (reason, expected) in [
        ("no\n\twriting\u{200b} here", "no writing here".to_owned()),
        (" ", "a guard of the gateway does not allow it".to_owned()),
        (
            Box::leak("é".repeat(2000).into_boxed_str()),
            "é".repeat(250) + "…",
        ),
    ] {
        let guard = Sentry::before(Does::Deny(reason));
        let gateway = guarded(script(), [rule("g", &guard)]).await;
        gateway.send(&auto(json!({}))).await;
        assert_eq!(told(&gateway), [format!("Error: not run: {expected}")]);
    }
}

#[tokio::test]
async fn a_rewrite_is_checked_by_the_schema_like_what_a_model_writes() {
    for (rewrite, is_run) in [
        (json!({"a": "3", "b": 4}), true),
        (json!({"a": "three", "b": 4}), false),
        (json!([1]), false),
        (json!("text"), false),
    ] {
        let guard = Sentry::before(Does::Rewrite(rewrite.clone()));
        let rule = rule("g", &guard).with_fail(Fail::Open);
        let script = [calls(&[("s__add", json!({"a": 1, "b": 1}))]), says("done")];
        let (gateway, traces) = Traces::of(guarded(script, [rule]).await);
        gateway.send(&auto(json!({}))).await;
        assert_eq!(gateway.server.calls(), usize::from(is_run), "{rewrite}");
        let expected = match is_run {
            true => "7",
            false => "Error: not run: it could not be checked",
        };
        assert_eq!(told(&gateway), [expected]);
        let outcome = if is_run { "rewrite" } else { "unfit" };
        let decided = decided(&traces);
        assert_eq!(decided[0][2], outcome, "{rewrite}");
        assert_eq!(decided[0][3].is_string(), !is_run, "{decided:?}");
    }
}

#[tokio::test]
async fn the_log_says_why_a_rewrite_is_denied_without_a_word_of_it() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_env_filter("mcp_layer=warn");
    let subscriber = subscriber.with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // With two subscribers nothing is decided for both by one of them.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());

    let guard = Sentry::before(Does::Rewrite(json!({"text": ["canary"]})));
    let gateway = guarded(script(), [rule("g", &guard)]).await;
    gateway.send(&auto(json!({}))).await;
    let text = log.text();
    assert!(
        text.contains("unfit") && text.contains("input schema does not allow"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn no_name_is_given_twice_at_any_depth_lest_a_guard_reads_another_value_than_the_server() {
    for (arguments, is_run) in [
        (
            r#"{"text":"a","o":{"url":"https://evil.example","url":"https://ok.example"}}"#,
            false,
        ),
        (r#"{"text":"a","o":[{"u":1,"\u0075":2}]}"#, false),
        (r#"{"text":"a","o":{"text":[{"text":1}]}}"#, true),
    ] {
        let hosts = Hosts::new(["ok.example"]).unwrap();
        let mut answer = called(&[echo("a")]);
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] =
            arguments.into();
        let script = [json_answer(200, &answer), says("done")];
        let gateway = guarded(script, [GuardRule::new("hosts", hosts)]).await;
        gateway.send(&auto(json!({}))).await;
        assert_eq!(gateway.server.calls(), usize::from(is_run), "{arguments}");
        let twice = told(&gateway)[0].contains("is given twice");
        assert_eq!(twice, !is_run, "{arguments}");
    }
}

#[tokio::test]
async fn a_guard_that_fails_panics_or_hangs_denies_unless_it_fails_open() {
    for does in [Does::Fail, Does::Panic, Does::Hang] {
        for (stage, fail) in [
            ("before", Fail::Closed),
            ("before", Fail::Open),
            ("after", Fail::Closed),
            ("after", Fail::Open),
        ] {
            let guard = match stage {
                "before" => Sentry::before(does.clone()),
                _ => Sentry::after(does.clone()),
            };
            let rule = rule("g", &guard)
                .with_timeout(Duration::from_millis(50))
                .with_fail(fail);
            let (gateway, traces) = Traces::of(guarded(script(), [rule]).await);
            gateway.send(&auto(json!({}))).await;
            let (expected, kind) = match (fail, stage) {
                (Fail::Open, _) => ("hello", Value::Null),
                (_, "before") => (
                    "Error: not run: it could not be checked",
                    json!("guard_failed"),
                ),
                _ => (
                    "Error: the tool has run, but its result is withheld: it could not be checked",
                    json!("guard_failed"),
                ),
            };
            assert_eq!(told(&gateway), [expected], "{does:?} {stage} {fail:?}");
            let is_run = stage == "after" || fail == Fail::Open;
            assert_eq!(gateway.server.calls(), usize::from(is_run));
            assert_eq!(outcomes(&traces.one())[0][3], kind);
            let decided = decided(&traces);
            let decided = decided.iter().find(|decided| decided[1] == stage).unwrap();
            let reason = match does {
                Does::Fail => "it failed: the guard's own fault",
                Does::Panic => "it panicked",
                _ => "it has not answered within 50 ms",
            };
            let outcome = match fail {
                Fail::Open => "failed_open",
                _ => "failed_closed",
            };
            assert_eq!(*decided, json!(["g", stage, outcome, reason]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_hangs_costs_its_timeout_once_however_many_calls_a_turn_has() {
    let hangs = Sentry::before(Does::Hang);
    let turn: Vec<_> = (0..32).map(|_| echo("x")).collect();
    let again: Arc<Mutex<Option<Instant>>> = Arc::default();
    let noted = again.clone();
    let notes = Answer::Do(Box::new(move || {
        *noted.lock().unwrap() = Some(Instant::now());
    }));
    let gateway = guarded([calls(&turn), notes, says("done")], [rule("g", &hangs)]).await;
    gateway.send(&auto(json!({}))).await;
    assert_eq!((hangs.asked().len(), gateway.server.calls()), (32, 0));
    let again = again.lock().unwrap().unwrap();
    assert_eq!((again - hangs.began()).as_secs(), 2);
}

#[tokio::test]
async fn other_calls_run_where_a_guard_hangs() {
    let hangs = Sentry::before(Does::Hang);
    let rule = rule("g", &hangs)
        .with_tools(["s__a*"])
        .with_timeout(Duration::from_millis(50));
    let add = ("s__add", json!({"a": 1, "b": 1}));
    let script = [calls(&[add, echo("b")]), says("done")];
    let gateway = guarded(script, [rule]).await;
    gateway.send(&auto(json!({}))).await;
    let denied = "Error: not run: it could not be checked";
    assert_eq!(told(&gateway), [denied, "b"]);
    assert_eq!(hangs.tools("before"), ["add"]);
}

#[tokio::test]
async fn a_turn_that_a_guard_asks_for_goes_back_whole_and_runs_when_it_is_resumed() {
    for stream in [false, true] {
        let asks = Sentry::new(|asked| {
            let asks = asked["stage"] == "before" && asked["tool"] == "echo";
            if asks { Does::Ask } else { Does::Allow }
        });
        let add = ("s__add", json!({"a": 1, "b": 1}));
        let script = [
            turn(stream, "", &[add, echo("b")]),
            turn(stream, "done", &[]),
        ];
        let gateway = guarded(script, [rule("g", &asks)]).await;
        let members = json!({"stream": stream, "mcp": {"on_stream": "execute"}});
        let mut request = auto(members);
        let reply = gateway.send(&request).await;
        assert_eq!(gateway.server.calls(), 0, "nothing of the turn has run");
        let (receipt, calls) = match stream {
            false => {
                let message = &reply.json()["choices"][0]["message"];
                (reply.receipt(), message["tool_calls"].clone())
            }
            true => {
                let told = assembled(&reply.body);
                (told.receipts[0].clone(), told.calls.into())
            }
        };
        assert_eq!(receipt["stopped_by"], "ask_first");
        let messages = request["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
        request["mcp"]["resume_tool_calls"] = true.into();
        gateway.send(&request).await;
        assert_eq!(told(&gateway), ["2", "b"]);
        // Asked again, of that moment; to ask counts as answered.
        assert_eq!(asks.tools("before"), ["add", "echo", "add", "echo"]);
    }
}

#[tokio::test]
async fn a_denial_of_the_moment_holds_for_a_turn_that_was_approved() {
    let denies = Arc::new(Mutex::new(false));
    let now = denies.clone();
    let guard = Sentry::new(move |asked| match (&asked["stage"], *now.lock().unwrap()) {
        (Value::String(stage), _) if stage == "after" => Does::Allow,
        (_, true) => Does::Deny("closed by now"),
        (_, false) => Does::Ask,
    });
    let gateway = guarded(script(), [rule("g", &guard)]).await;
    let mut request = auto(json!({}));
    let reply = gateway.send(&request).await;
    *denies.lock().unwrap() = true;
    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(reply.json()["choices"][0]["message"].clone());
    request["mcp"]["resume_tool_calls"] = true.into();
    gateway.send(&request).await;
    assert_eq!(gateway.server.calls(), 0);
    assert_eq!(told(&gateway), ["Error: not run: closed by now"]);
}

#[tokio::test]
async fn a_guard_asks_also_in_a_turn_that_goes_back_for_another_reason() {
    // A program resumes these without a look at them.
    let asks = Sentry::before(Does::Ask);
    let script = [calls(&[echo("a"), lookup("x")])];
    let gateway = guarded(script, [rule("g", &asks)]).await;
    let mut framework = Framework::new(false);
    let (reply, _) = framework.ask(&gateway).await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
    let calls = framework.add(&{
        let mut message = reply.json()["choices"][0]["message"].clone();
        message["finish"] = json!(["tool_calls"]);
        message
    });
    let ids: Vec<_> = calls
        .iter()
        .map(|call| call["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 2, "it goes back whole");
    assert!(ids.iter().all(|id| id.starts_with("mcp_")), "{ids:?}");

    // Resumed, it runs.
    framework.answer(&calls[1..]);
    framework.request["mcp"]["resume_tool_calls"] = true.into();
    gateway.model.add([says("done")]);
    assert_eq!(framework.run(&gateway).await, "done");
    assert_eq!(gateway.server.calls(), 1);

    let only_asks_later = Sentry::new(|asked| match asked["arguments"]["text"] == "b" {
        true if asked["stage"] == "before" => Does::Ask,
        _ => Does::Allow,
    });
    let script = [
        crate::support::model::calls(&[echo("a")]),
        crate::support::model::calls(&[echo("b")]),
    ];
    let gateway = guarded(script, [rule("g", &only_asks_later)]).await;
    let request = auto(json!({"mcp": {"max_tool_rounds": 1, "on_max_rounds": "return"}}));
    let reply = gateway.send(&request).await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
}

#[tokio::test]
async fn a_call_that_waits_for_others_and_needs_an_approval_by_now_does_not_run() {
    let asks = Arc::new(Mutex::new(false));
    let now = asks.clone();
    let guard = Sentry::new(move |_| match *now.lock().unwrap() {
        true => Does::Ask,
        false => Does::Allow,
    });
    let script = [calls(&[echo("a"), lookup("x")]), says("done")];
    let gateway = guarded(script, [rule("g", &guard)]).await;
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    *asks.lock().unwrap() = true;
    framework.answer(&calls);
    framework.run(&gateway).await;
    assert_eq!(gateway.server.calls(), 0);
    assert_eq!(
        told(&gateway)[0],
        "Error: not run: this call needs an approval, which nobody has given"
    );
}

#[tokio::test]
async fn a_result_that_is_denied_reaches_nobody() {
    let denies = Sentry::after(Does::Deny("it names a person"));
    let script = [turn(true, "", &[show("s__see")]), turn(true, "done", &[])];
    let secret = "Ada Lovelace";
    let tools = [("see", of([text(secret), image(PNG)]))];
    let (gateway, _evil) = gallery(Form::Json, tools, script).await;
    let guards = [rule("g", &denies)];
    let (gateway, traces) = Traces::with(gateway, |layer| {
        let layer = layer.with_guards(guards).with_event_payloads(true);
        layer.with_streaming(Streaming::Execute)
    });
    let request = auto(json!({"model": "gpt-4o", "stream": true, "mcp": {"events": true}}));
    let reply = gateway.send(&request).await;
    let asked = gateway.model.asked()[1].json();
    let expected = "Error: the tool has run, but its result is withheld: it names a person";
    assert_eq!(told(&gateway), [expected]);
    assert!(shown(&asked).is_empty(), "{asked}");
    let spans = serde_json::to_string(&traces.one().spans()).unwrap();
    let caller = String::from_utf8(reply.body.to_vec()).unwrap();
    for seen in [asked.to_string(), spans, caller] {
        assert!(!seen.contains(secret) && !seen.contains(PNG), "{seen}");
    }
}

#[tokio::test]
async fn a_servers_own_words_are_guarded_in_its_errors_too() {
    let masks = Sentry::new(|asked| match asked["stage"] == "after" {
        true => Does::Rewrite(json!("masked")),
        false => Does::Allow,
    });
    let script = [calls(&[show("s__fail"), show("s__refuse")]), says("done")];
    let gateway = guarded(script, [rule("g", &masks)]).await;
    gateway.send(&auto(json!({}))).await;
    assert_eq!(told(&gateway), ["Error: masked", "Error: masked"]);
    let mut said: Vec<_> = masks.asked();
    said.retain(|asked| asked["stage"] == "after");
    assert!(said.iter().all(|asked| asked["is_error"] == true));
}

#[tokio::test]
async fn no_guard_is_asked_twice_or_about_a_call_that_does_not_run() {
    let guard = Sentry::new(|_| Does::Allow);
    let turn = [
        echo("a"),
        ("s__nothing", json!({})),
        ("s__add", json!({"a": "x", "b": 1})),
        echo("b"),
        echo("beyond"),
    ];
    let gateway = guarded([calls(&turn), says("done")], [rule("g", &guard)]).await;
    let mut limits = Limits::default();
    limits.calls = 4;
    let gateway = gateway.layered(|layer| layer.with_limits(limits));
    gateway.send(&auto(json!({}))).await;
    assert_eq!(guard.tools("before"), ["echo", "echo"]);
    assert_eq!(guard.tools("after"), ["echo", "echo"]);

    // What asks first anyway goes back, and comes again.
    let guard = Sentry::new(|_| Does::Allow);
    let gateway = Gateway::with_server([calls(&[echo("a")])], |server| {
        let ask = SelectedTool::new("echo", ToolPolicy::AskFirst);
        server.with_tools([ask]).unwrap()
    });
    let guards = [rule("g", &guard)];
    let gateway = gateway.await.layered(|layer| layer.with_guards(guards));
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
    assert_eq!(guard.asked(), Vec::<Value>::new());

    // Where the caller runs the loop, its turns are its own until it resumes them.
    let gateway = guarded([calls(&[echo("a")])], [rule("g", &guard)]).await;
    let mcp = json!({"enabled": true, "servers": ["s"]});
    gateway.send(&with_mcp(mcp, json!({}))).await;
    assert_eq!(guard.asked(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_rule_is_for_its_tools_and_its_stages() {
    let guard = Sentry::new(|_| Does::Allow);
    let rule = rule("g", &guard)
        .with_tools(["s__a*"])
        .with_stages([GuardStage::After]);
    let add = ("s__add", json!({"a": 1, "b": 1}));
    let gateway = guarded([calls(&[add, echo("b")]), says("done")], [rule]).await;
    gateway.send(&auto(json!({}))).await;
    assert_eq!(guard.tools("before"), Vec::<String>::new());
    assert_eq!(guard.tools("after"), ["add"]);
}

#[tokio::test]
async fn guards_are_replaced_while_the_layer_runs() {
    let guards = Guards::default();
    let gateway = Gateway::new([calls(&[echo("a")]), calls(&[echo("b")]), says("done")]).await;
    let gateway = gateway.layered(|layer| layer.with_guards(guards.clone()));
    let denies = Sentry::before(Does::Deny("not any more"));
    let mut script = vec![Answer::Do(Box::new({
        let (guards, denies) = (guards.clone(), denies.clone());
        move || guards.replace([rule("g", &denies)])
    }))];
    gateway.model.clear();
    script.splice(0..0, [calls(&[echo("a")])]);
    script.extend([calls(&[echo("b")]), says("done")]);
    gateway.model.add(script);
    gateway.send(&auto(json!({}))).await;
    let told = results(&strict(&gateway.model.asked())[2]);
    assert_eq!(told, ["a", "Error: not run: not any more"]);
}

#[tokio::test]
async fn calls_that_change_something_run_one_after_the_other_where_the_operator_says_so() {
    for (serial, most) in [(false, 4), (true, 1)] {
        let slow = ("s__slow", json!({"ms": 30}));
        let turn = [slow.clone(), slow.clone(), slow.clone(), slow];
        let gateway = Gateway::new([calls(&turn), says("done")]).await;
        let gateway = gateway.layered(|layer| layer.with_serial_writes(serial));
        gateway.send(&auto(json!({}))).await;
        assert_eq!(gateway.server.most_at_once(), most);
        assert_eq!(told(&gateway), ["done"; 4]);
    }
}

#[tokio::test]
async fn tools_that_only_read_run_beside_those_that_change_something() {
    // The first look ends once both writes have run, and the second write once the first has.
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = order.clone();
    let guard = Sentry::new(move |asked| {
        let token = asked["arguments"]["token"].as_str().unwrap();
        let mut order = noted.lock().unwrap();
        order.push(format!("{} {token}", asked["stage"].as_str().unwrap()));
        Does::Allow
    });
    let server = crate::support::counting::Counting::start(|| {}).await;
    let registry = MemoryRegistry::new([Server::new("s", &server.url()).unwrap()]).unwrap();
    let layer = McpLayer::new(registry.clone())
        .with_connections(connections(ServerLimits::default()))
        .with_serial_writes(true)
        .with_guards([rule("g", &guard).with_stages([GuardStage::After])]);
    let call = |tool: &'static str, token: &str, ms: u64| (tool, json!({"token": token, "ms": ms}));
    let turn = [
        call("s__look", "r1", 400),
        call("s__write", "w1", 40),
        call("s__write", "w2", 0),
        call("s__look", "r2", 0),
    ];
    let gateway = Gateway {
        layer,
        registry,
        model: crate::support::model::Model::new([calls(&turn), says("done")]),
        server: McpServer::start(Mode::Stateless).await,
    };
    gateway.send(&auto(json!({}))).await;
    let order = order.lock().unwrap().join(", ");
    assert_eq!(order, "after r2, after w1, after w2, after r1");
    let told = told(&gateway);
    for (told, token) in told.iter().zip(["r1", "w1", "w2", "r2"]) {
        assert!(told.contains(&format!("did {token}.")), "{told}");
    }
}
