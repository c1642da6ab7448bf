//! What a project is granted of a server's tools: what it is offered, and what it may call.

use futures_util::FutureExt;
use mcp_layer::registry::{
    MemoryRegistry, ProjectGrant, SelectedTool, Server, ServerStore, ToolPolicy,
};
use serde_json::{Value, json};

use super::support::{
    gateway::{Gateway, Reply, auto, with_mcp},
    model::{Answer, called, calls, says},
};

/// A gateway whose project `web` may use these tools of the server, and others all.
async fn granted(answers: impl IntoIterator<Item = Answer>, tools: &[&str]) -> Gateway {
    let grant = ProjectGrant::new("web").with_tools(tools.iter().copied());
    Gateway::with_server(answers, |server| {
        server.with_grants([grant.unwrap()]).unwrap()
    })
    .await
}

/// The names that the model was offered in its last turn.
fn offered(gateway: &Gateway) -> Vec<String> {
    let asked = gateway.model.asked().pop().unwrap().json();
    let tools = asked["tools"].as_array().unwrap().iter();
    let names = tools.map(|tool| tool["function"]["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// The tool messages of the last turn.
fn results(gateway: &Gateway) -> Vec<String> {
    let asked = gateway.model.asked().pop().unwrap().json();
    let messages = asked["messages"].as_array().unwrap().iter();
    let results = messages.filter(|message| message["role"] == "tool");
    results
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect()
}

/// The body of an answer, with another name in the place of one.
fn renamed(reply: &Reply, name: &str, other: &str) -> String {
    String::from_utf8(reply.body.to_vec())
        .unwrap()
        .replace(name, other)
}

#[tokio::test]
async fn a_project_is_offered_what_it_is_granted_and_others_all() {
    let gateway = granted((0..4).map(|_| says("hi")), &["echo", "add", "gone"]).await;
    for _ in 0..2 {
        gateway.send_as("web", &auto(json!({}))).await;
        assert_eq!(offered(&gateway), ["s__add", "s__echo"]);
        gateway.send_as("batch", &auto(json!({}))).await;
        assert_eq!(offered(&gateway).len(), 8);
    }
    assert_eq!(gateway.server.lists(), 1);
}

#[tokio::test]
async fn a_tool_that_is_not_granted_is_as_unknown_as_one_that_nobody_has() {
    let gateway = granted([says("hi")], &["echo"]).await;
    let named = |tool: &str| {
        with_mcp(
            json!({"enabled": true, "servers": ["s"], "tools": [tool]}),
            json!({}),
        )
    };
    let entry = |members: Value| {
        let mut entry = json!({"type": "mcp", "server_label": "s", "require_approval": "never"});
        entry
            .as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [entry]})
    };
    let allowed = |tool: &str| entry(json!({"allowed_tools": [tool]}));
    let approved =
        |tool: &str| entry(json!({"require_approval": {"never": {"tool_names": [tool]}}}));
    for body in [&named as &dyn Fn(&str) -> Value, &allowed, &approved] {
        let withheld = gateway.send_as("web", &body("s__add")).await;
        let nobodys = gateway.send_as("web", &body("s__zzz")).await;
        assert_eq!(withheld.error().0, 400);
        assert_eq!(
            renamed(&withheld, "s__add", "s__zzz").as_bytes(),
            nobodys.body
        );
        assert_eq!(withheld.headers, nobodys.headers);
    }
    assert_eq!(gateway.model.asked().len(), 0);
    gateway.send_as("batch", &named("s__add")).await;
    assert_eq!(offered(&gateway), ["s__add"]);
}

#[tokio::test]
async fn a_tool_that_is_not_selected_is_unknown_wherever_a_request_names_it() {
    let gateway = Gateway::with_server([], |server| server.with_tools(["echo"]).unwrap()).await;
    let entry = |members: Value| {
        let mut entry = json!({"type": "mcp", "server_label": "s"});
        let members = members.as_object().unwrap().clone();
        entry.as_object_mut().unwrap().extend(members);
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [entry]})
    };
    for list in ["always", "never"] {
        let approved =
            |tool: &str| entry(json!({"require_approval": {list: {"tool_names": [tool]}}}));
        let unselected = gateway.send_as("web", &approved("s__add")).await;
        let nobodys = gateway.send_as("web", &approved("s__zzz")).await;
        assert_eq!(unselected.error().0, 400);
        assert_eq!(
            renamed(&unselected, "s__add", "s__zzz").as_bytes(),
            nobodys.body
        );
    }
}

#[tokio::test]
async fn a_project_without_a_tool_is_told_so_and_others_are_served() {
    for tools in [&[][..], &["gone"]] {
        let gateway = granted([says("hi")], tools).await;
        let reply = gateway.send_as("web", &auto(json!({}))).await;
        let (status, code, param) = reply.error();
        assert_eq!((status, &*code), (400, "mcp_server_inactive"));
        assert_eq!(param, "mcp.servers[0]");
        let message = reply.json()["error"]["message"].to_string();
        assert!(
            message.contains("it offers this project no tools"),
            "{message}"
        );
        assert!(message.contains("select or grant others"), "{message}");
        assert_eq!(gateway.send_as("batch", &auto(json!({}))).await.status, 200);
    }
}

/// A model may know the name from somewhere, and a caller may write what it likes into a history.
#[tokio::test]
async fn a_tool_that_is_not_granted_runs_for_nobody_who_names_it() {
    let add = [("s__add", json!({"a": 1, "b": 2}))];
    let gateway = granted([calls(&add), says("a"), says("b")], &["echo"]).await;
    gateway.send_as("web", &auto(json!({}))).await;
    let unknown = "Error: there is no tool named \"s__add\"; use one of the tools offered";
    assert_eq!(results(&gateway), [unknown]);

    // As after a turn that was handed back.
    let turn = called(&add)["choices"][0]["message"].clone();
    let messages = json!([{"role": "user", "content": "hi"}, turn]);
    let resumed = json!({"mcp": {"resume_tool_calls": true}, "messages": messages});
    gateway.send_as("web", &auto(resumed)).await;
    assert_eq!(results(&gateway), [unknown]);
    assert_eq!(gateway.server.calls(), 0);
}

#[tokio::test]
async fn a_grant_that_is_edited_while_a_request_runs_counts_for_its_next_call() {
    let echo = [("s__echo", json!({"text": "a"}))];
    let gateway = granted([], &["echo"]).await;
    let registry: MemoryRegistry = gateway.registry.clone();
    let take_away = move || {
        let edited = async {
            let server = registry
                .get("default", &"s".parse().unwrap())
                .await
                .unwrap();
            let grant = ProjectGrant::new("web").with_tools(["add"]).unwrap();
            let server = Server::clone(&server).with_grants([grant]).unwrap();
            registry.replace(server).await.unwrap();
        };
        edited.now_or_never().unwrap();
    };
    gateway.model.add([
        calls(&echo),
        Answer::Do(Box::new(take_away)),
        calls(&echo),
        says("sorry"),
    ]);
    gateway.send_as("web", &auto(json!({}))).await;
    let unavailable = "Error: not run: this tool is no longer available";
    assert_eq!(results(&gateway), ["a", unavailable]);
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn what_asks_first_asks_first_of_a_part_as_well() {
    let add = [("s__add", json!({"a": 1, "b": 2}))];
    let grant = ProjectGrant::new("web").with_tools(["add"]).unwrap();
    let gateway = Gateway::with_server([calls(&add)], |server| {
        let tools = [
            SelectedTool::new("add", ToolPolicy::AskFirst),
            "echo".into(),
        ];
        server
            .with_tools(tools)
            .unwrap()
            .with_grants([grant])
            .unwrap()
    })
    .await;
    let reply = gateway.send_as("web", &auto(json!({}))).await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
    assert_eq!(gateway.server.calls(), 0);
}
