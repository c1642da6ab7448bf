//! Search, grants, limits and guards together: each sees the tool that is called, and none the way to it.

use mcp_layer::{
    guard::{GuardRule, Guards},
    registry::{CallLimit, CallLimits, ProjectGrant},
};
use serde_json::{Value, json};

use super::{
    support::{
        framework::{results, strict},
        gateway::{Gateway, Reply},
        guards::{Does, Sentry},
        model::{Answer, calls, says},
    },
    tool_search::{search, searching, through},
};

/// A gateway whose project `web` has this grant, with this guard.
async fn gateway(
    answers: impl IntoIterator<Item = Answer>,
    grant: ProjectGrant,
    guard: &Sentry,
) -> Gateway {
    let gateway = Gateway::with_server(answers, |server| server.with_grants([grant]).unwrap());
    let guards = Guards::new([GuardRule::new("all", guard.clone())]);
    let gateway = gateway.await;
    gateway.layered(|layer| layer.with_guards(guards))
}

async fn ask(gateway: &Gateway) -> Reply {
    gateway.send_as("web", &searching(json!({}))).await
}

/// What the model was told by its tools in all of its turns.
fn told(gateway: &Gateway) -> Vec<String> {
    results(strict(&gateway.model.asked()).last().unwrap())
}

fn echo() -> (&'static str, Value) {
    through("s__echo", json!({"text": "hello"}))
}

#[tokio::test]
async fn what_a_project_is_not_granted_is_neither_found_nor_described_nor_called() {
    let grant = ProjectGrant::new("web").with_tools(["echo"]).unwrap();
    let guard = Sentry::new(|_| Does::Allow);
    let script = [
        calls(&[search("add two numbers"), search("echo")]),
        calls(&[
            ("mcp_describe_tools", json!({"names": ["s__add"]})),
            through("s__add", json!({"a": 1, "b": 2})),
        ]),
        says("done"),
    ];
    let gateway = gateway(script, grant, &guard).await;
    ask(&gateway).await;
    let told = told(&gateway);
    assert!(!told[0].contains("s__add"), "{}", told[0]);
    assert!(told[1].starts_with("s__echo"), "{}", told[1]);
    let unknown = "There is no tool named \"s__add\"; search for one with mcp_search_tools.";
    assert_eq!(told[2], unknown);
    assert!(told[3].contains("there is no tool named"), "{}", told[3]);
    assert_eq!(gateway.server.calls(), 0);
    assert_eq!(guard.asked(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_guard_sees_the_tool_that_is_meant_and_its_arguments() {
    let guard = Sentry::before(Does::Rewrite(json!({"text": "masked"})));
    let script = [calls(&[echo(), search("echo")]), says("done")];
    let gateway = gateway(script, ProjectGrant::new("web"), &guard).await;
    ask(&gateway).await;
    let asked = &guard.asked()[0];
    assert_eq!(asked["tool"], "echo");
    assert_eq!(asked["offered_name"], "s__echo");
    assert_eq!(asked["arguments"], json!({"text": "hello"}));
    assert_eq!(guard.tools("before"), ["echo"]);
    assert_eq!(told(&gateway)[0], "masked");
}

#[tokio::test]
async fn a_guard_that_asks_first_hands_back_the_tool_that_is_meant() {
    let guard = Sentry::before(Does::Ask);
    let gateway = gateway([calls(&[echo()])], ProjectGrant::new("web"), &guard).await;
    let reply = ask(&gateway).await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
    let call = &reply.json()["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "s__echo");
    assert_eq!(gateway.server.calls(), 0);
}

#[tokio::test]
async fn a_limit_counts_the_tool_that_is_meant_and_no_call_that_a_guard_denies() {
    let once = CallLimits::default().with(CallLimit::PerDay, 1).unwrap();
    let grant = ProjectGrant::new("web").with_limits(once);
    let guard = Sentry::new(|asked| match asked["arguments"]["text"] == "no" {
        true => Does::Deny("it is a no"),
        false => Does::Allow,
    });
    let script = [
        calls(&[through("s__echo", json!({"text": "no"})), search("echo")]),
        calls(&[echo()]),
        calls(&[echo()]),
        says("done"),
    ];
    let gateway = gateway(script, grant, &guard).await;
    let reply = ask(&gateway).await;
    let told = told(&gateway);
    assert!(told[0].ends_with("not run: it is a no"), "{}", told[0]);
    assert_eq!(told[2], "hello");
    assert!(told[3].contains("the limit of 1 call a day"), "{}", told[3]);
    assert_eq!(gateway.server.calls(), 1);
    let done = reply.receipt();
    assert_eq!(done["calls"][3]["limit"]["of"], "calls_per_day");
    assert_eq!(done["calls"][3]["tool"], "echo");
}
