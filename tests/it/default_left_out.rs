//! A default that would make a passing request fail, or change what it asks for, is left out.

use std::time::Duration;

use http::{HeaderMap, Request};
use http_body_util::Full;
use mcp_layer::Project;
use mcp_layer::registry::{Auth, DefaultServers, MemoryRegistry, Server, ServerStore};
use serde_json::{Value, json};

use crate::support::events::{assembled, chunk, finish, streams};
use crate::support::evil::{Evil, Step};
use crate::support::gateway::{Gateway, Reply, chat};
use crate::support::model::{Answer, calls, json_answer, raw_answer, said, says};
use crate::support::traces::Traces;

/// A gateway where everything of `web` has the servers of these names by default.
async fn gateway(servers: &[&str], answers: impl IntoIterator<Item = Answer>) -> Gateway {
    let servers = servers.iter().map(|name| name.parse().unwrap());
    let default = DefaultServers::new("web", servers);
    let gateway = Gateway::new(answers).await;
    gateway.layered(|layer| layer.with_defaults([default]).unwrap())
}

fn ask(members: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let members = members.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(members);
    body
}

/// Sends a request that must go on as it came, and be answered with the reason, which has `expected`.
async fn left_out(gateway: &Gateway, body: &str, expected: &str) -> Reply {
    let asked = gateway.model.asked().len();
    let mut request = chat(body.to_owned());
    request.extensions_mut().insert(Project::new("web"));
    let reply = gateway.request(request).await;
    assert_eq!(reply.status, 200, "{body} {:?}", reply.body);
    assert_eq!(gateway.model.asked().len(), asked + 1, "{body}");
    assert_eq!(gateway.model.asked().last().unwrap().body, body);
    let header = reply.headers["x-mcp-default"].to_str().unwrap();
    assert!(header.contains(expected), "{body}: {header}");
    let reason = reply.receipt()["default"]["left_out"].clone();
    assert!(
        reason.as_str().unwrap().contains(expected),
        "{body}: {reason}"
    );
    reply
}

#[tokio::test]
async fn what_the_request_says_of_tools_and_of_its_answer_stands() {
    let own = |count: usize| -> Vec<Value> {
        let own = |at| json!({"type": "function", "function": {"name": format!("own{at}")}});
        (0..count).map(own).collect()
    };
    let echo = json!({"type": "function", "function": {"name": "s__echo"}});
    let title = json!([{"role": "user", "content": "### Task:\nGenerate a concise, 3-5 word title.\n### Chat History:\n<chat_history>…"}]);
    let mut deep = json!(1);
    for _ in 0..70 {
        deep = json!([deep]);
    }
    for (members, expected) in [
        (json!({"tool_choice": "none"}), "tool_choice"),
        (
            json!({"tool_choice": "required", "tools": own(1)}),
            "tool_choice",
        ),
        (json!({"n": 2}), "n asks for several"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"tools": own(128)}), "too many"),
        (json!({"tools": own(126)}), "too many"),
        (json!({"tools": own(200)}), "too many"),
        (json!({"tools": [echo]}), "has the name"),
        (json!({"tools": {"a": 1}}), "must be an array"),
        (
            json!({"response_format": {"type": "json_object"}}),
            "response_format",
        ),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"max_tokens": 20}), "max_tokens"),
        (json!({"messages": title}), "Open WebUI"),
        (
            json!({"metadata": {"task": "tags_generation"}}),
            "metadata.task",
        ),
        (json!({"x": deep}), "nested deeper"),
        (json!({"messages": "hi"}), "messages"),
    ] {
        let gateway = gateway(&["s"], [says("hi")]).await;
        left_out(&gateway, &ask(members).to_string(), expected).await;
        assert_eq!(gateway.server.calls(), 0);
    }
    let gateway = gateway(&["s"], [says("hi")]).await;
    // Spaces, numbers and the order of members included.
    let body = r#"{ "n":2.0e0,"messages" : [ {"role":"user","content":"é\u00e9"}],"seed":1.50}"#;
    left_out(&gateway, body, "n asks for several").await;
}

#[tokio::test]
async fn an_answer_says_so_and_is_otherwise_the_upstreams_own() {
    let answer = r#"{ "id":"z", "choices":[ {"message":{"content":"a","x":1.0}}, {"message":{"content":"b"}} ],"y" : [1.10]}"#;
    let headers = [("content-type", "application/json"), ("x-own", "1")];
    let gateway = gateway(&["s"], [raw_answer(200, &headers, [answer.to_owned()])]).await;
    let reply = left_out(&gateway, &ask(json!({"n": 2})).to_string(), "n asks").await;
    assert_eq!(reply.headers["x-own"], "1");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let begins = &answer[..answer.len() - 1];
    assert!(
        text.starts_with(&format!(r#"{begins},"mcp":{{"default""#)),
        "{text}"
    );
    assert_eq!(reply.headers["content-length"], text.len().to_string());
}

#[tokio::test]
async fn a_request_that_cannot_be_read_for_certain_passes_with_the_reason_in_a_header() {
    for member in [r#""n":1,"n":1"#, r#""user":"a","user":"b""#] {
        let gateway = gateway(&["s"], [says("hi")]).await;
        let body = format!(r#"{{"model":"m","messages":[],{member}}}"#);
        let mut request = chat(body.clone());
        request.extensions_mut().insert(Project::new("web"));
        let reply = gateway.request(request).await;
        assert_eq!(gateway.model.asked()[0].body, body);
        let header = reply.headers["x-mcp-default"].to_str().unwrap();
        assert!(header.contains("a member twice"), "{header}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_asked_for_again_without() {
    let failed = || {
        json_answer(
            200,
            &json!({"error": {"message": "no tools here", "code": 404}}),
        )
    };
    let empty = || json_answer(200, &json!({"choices": []}));
    for none in [failed(), empty()] {
        let gateway = gateway(&["s"], [none, says("hi")]).await;
        let mut request = chat(ask(json!({})).to_string());
        request.extensions_mut().insert(Project::new("web"));
        let reply = gateway.request(request).await;
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");
        let header = reply.headers["x-mcp-default"].to_str().unwrap();
        assert!(header.contains("gave no answer"), "{header}");
        let asked = gateway.model.asked();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[1].body, ask(json!({})).to_string());
    }
    // Without it the request is no better off: what came goes on.
    let gateway = gateway(&["s"], [failed(), failed()]).await;
    let mut request = chat(ask(json!({})).to_string());
    request.extensions_mut().insert(Project::new("web"));
    let reply = gateway.request(request).await;
    assert_eq!(reply.json()["error"]["message"], "no tools here");
}

#[tokio::test]
async fn a_stream_without_an_end_gets_no_chunk_for_it() {
    let events = r#"data: {"error":{"message":"x"}}"#.to_owned() + "\n\n";
    let headers = [("content-type", "text/event-stream")];
    let gateway = gateway(&["gone"], [raw_answer(200, &headers, [events.clone()])]).await;
    let mut request = chat(ask(json!({"stream": true})).to_string());
    request.extensions_mut().insert(Project::new("web"));
    let reply = gateway.request(request).await;
    assert_eq!(reply.body, events);
    assert!(reply.headers.contains_key("x-mcp-default"));
}

#[tokio::test]
async fn a_stream_says_so_in_the_chunk_that_ends_it() {
    let chunks = [chunk(json!({"content": "hi"})), finish("stop")];
    let gateway = gateway(&["s"], [streams(&chunks)]).await;
    let body = ask(json!({"stream": true, "tool_choice": "none"})).to_string();
    let mut request = chat(body.clone());
    request.extensions_mut().insert(Project::new("web"));
    let reply = gateway.request(request).await;
    assert_eq!(gateway.model.asked()[0].body, body);
    let told = assembled(&reply.body);
    assert_eq!((&*told.content, told.is_done), ("hi", true));
    assert!(told.receipts[0]["default"]["left_out"].is_string());
    assert!(
        reply.headers["x-mcp-default"]
            .to_str()
            .unwrap()
            .starts_with("left out: ")
    );
}

#[tokio::test]
async fn without_a_receipt_only_the_header_says_so() {
    let gateway = gateway(&["s"], [says("hi")]).await;
    let gateway = gateway.layered(|layer| layer.with_receipt(false));
    let reply = gateway.send_as("web", &ask(json!({"n": 2}))).await;
    assert_eq!(reply.json(), said("hi"));
    assert!(reply.headers.contains_key("x-mcp-default"));
}

#[tokio::test]
async fn servers_that_are_gone_inactive_or_another_projects_are_no_reason_to_fail() {
    let gateway = gateway(&["s", "gone"], [says("hi")]).await;
    left_out(&gateway, &ask(json!({})).to_string(), "gone").await;

    for (change, expected) in [
        (
            (|server| server.with_enabled(false)) as fn(Server) -> Server,
            "disabled",
        ),
        (
            |server| server.with_projects(["batch"]).unwrap(),
            "no MCP server",
        ),
        (
            |server| server.with_auth(Auth::token_passthrough(Some("authorization")).unwrap()),
            "x-mcp-auth-s",
        ),
        (
            |_| Server::new("s", "http://127.0.0.1:1/mcp").unwrap(),
            "inactive",
        ),
    ] {
        let default = DefaultServers::new("web", ["s".parse().unwrap()]);
        let gateway = Gateway::with_server([says("hi")], change).await;
        let gateway = gateway.layered(|layer| layer.with_defaults([default]).unwrap());
        left_out(&gateway, &ask(json!({})).to_string(), expected).await;
    }
}

#[tokio::test]
async fn a_server_that_is_slow_holds_nobody_up() {
    let slow = Evil::serve(|_| vec![Step::Hang]).await;
    let registry = MemoryRegistry::new([Server::new("slow", &slow.url()).unwrap()]).unwrap();
    let gateway = gateway(&["slow"], [says("hi")]).await;
    let gateway = gateway.layered(|_| {
        let default = DefaultServers::new("web", ["slow".parse().unwrap()]);
        mcp_layer::McpLayer::new(registry)
            .with_connections(crate::support::gateway::connections(Default::default()))
            .with_defaults([default])
            .unwrap()
    });
    let began = std::time::Instant::now();
    left_out(&gateway, &ask(json!({})).to_string(), "within 5 s").await;
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_model_that_takes_no_tools_is_asked_again_without() {
    let refused = |status| {
        json_answer(
            status,
            &json!({"error": {"message": "m does not support tools"}}),
        )
    };
    for status in [400, 404, 413, 422, 500, 501] {
        let gateway = gateway(&["s"], [refused(status), says("hi")]).await;
        let body = ask(json!({}));
        let reply = gateway.send_as("web", &body).await;
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");
        let asked = gateway.model.asked();
        assert!(asked[0].json()["tools"].is_array());
        assert_eq!(asked[1].body, body.to_string());
        let header = reply.headers["x-mcp-default"].to_str().unwrap();
        assert!(header.contains(&status.to_string()), "{header}");
        assert!(reply.receipt()["default"]["left_out"].is_string());
    }
    // What is wrong without them as well is told as it is, and so is what has nothing to do with them.
    let wrong = gateway(&["s"], [refused(400), refused(400)]).await;
    let reply = wrong.send_as("web", &ask(json!({}))).await;
    assert_eq!(
        (
            reply.status.as_u16(),
            reply.headers.contains_key("x-mcp-default")
        ),
        (400, false)
    );
    for status in [401, 403, 429, 503] {
        let gateway = gateway(&["s"], [refused(status)]).await;
        assert_eq!(gateway.send_as("web", &ask(json!({}))).await.status, status);
        assert_eq!(gateway.model.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_stream_of_a_model_that_takes_no_tools_is_asked_for_again_without() {
    let refused = json_answer(400, &json!({"error": {"message": "no tools"}}));
    let chunks = [chunk(json!({"content": "hi"})), finish("stop")];
    let gateway = gateway(&["s"], [refused, streams(&chunks)]).await;
    let reply = gateway.send_as("web", &ask(json!({"stream": true}))).await;
    let told = assembled(&reply.body);
    assert_eq!((&*told.content, told.is_done), ("hi", true));
    assert!(told.receipts[0]["default"]["left_out"].is_string());
}

#[tokio::test]
async fn once_a_tool_has_run_nothing_is_asked_again_from_the_beginning() {
    let failed = || json_answer(400, &json!({"error": {"message": "too long"}}));
    let round = calls(&[("s__echo", json!({"text": "42"}))]);
    let gateway = gateway(&["s"], [round, failed()]).await;
    let reply = gateway.send_as("web", &ask(json!({}))).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.headers["x-mcp-rounds"], "1");
    assert!(!reply.headers.contains_key("x-mcp-default"));
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn headers_that_would_be_refused_are_the_upstreams_matter() {
    let gateway = gateway(&["s"], [says("hi"), says("hi")]).await;
    for (name, value) in [("x-mcp-resume", "perhaps"), ("idempotency-key", "")] {
        let mut request: Request<Full<bytes::Bytes>> = chat(ask(json!({})).to_string());
        request.extensions_mut().insert(Project::new("web"));
        let headers: &mut HeaderMap = request.headers_mut();
        headers.insert(name, value.parse().unwrap());
        let reply = gateway.request(request).await;
        assert_eq!(reply.status, 200, "{name} {:?}", reply.body);
        assert!(reply.headers.contains_key("x-mcp-default"), "{name}");
    }
    assert_eq!(gateway.model.asked()[1].headers["idempotency-key"], "");
}

#[tokio::test]
async fn a_project_that_is_required_and_missing_is_no_reason_to_fail_either() {
    let default = DefaultServers::new("default", ["s".parse().unwrap()]);
    let gateway = Gateway::new([says("hi")]).await;
    let gateway = gateway.layered(|layer| {
        layer
            .with_required_project()
            .with_defaults([default])
            .unwrap()
    });
    let reply = gateway.send(&ask(json!({}))).await;
    assert_eq!(reply.status, 200);
    assert!(reply.headers.contains_key("x-mcp-default"));
}

#[tokio::test]
async fn an_answer_that_is_no_completion_stays_as_it_is() {
    let answers = [
        raw_answer(200, &[("content-type", "text/plain")], ["hi".to_owned()]),
        raw_answer(
            200,
            &[("content-encoding", "gzip")],
            ["{\"choices\":[]}".to_owned()],
        ),
    ];
    let gateway = gateway(&["s"], answers).await;
    for expected in ["hi", "{\"choices\":[]}"] {
        let reply = gateway.send_as("web", &ask(json!({"n": 2}))).await;
        assert_eq!(reply.body, expected);
        assert!(reply.headers.contains_key("x-mcp-default"));
    }
}

#[tokio::test]
async fn its_servers_can_be_stored_ones_that_come_and_go() {
    let gateway = gateway(&["s"], [says("a"), says("b")]).await;
    gateway
        .registry
        .remove("default", &"s".parse().unwrap())
        .await
        .unwrap();
    left_out(&gateway, &ask(json!({})).to_string(), "no MCP server").await;
    let server = Server::new("s", &gateway.server.url()).unwrap();
    gateway.registry.insert(server).await.unwrap();
    let reply = gateway.send_as("web", &ask(json!({}))).await;
    assert!(!reply.headers.contains_key("x-mcp-default"));
}

#[tokio::test]
async fn what_passes_without_its_default_leaves_no_trace_of_a_refusal() {
    let own = json!({"type": "function", "function": {"name": "s__echo"}});
    for (servers, members) in [
        (["s", "gone"], json!({})),
        (["s", "s"], json!({"tools": [own]})),
        (["s", "s"], json!({"n": 2})),
    ] {
        for stream in [false, true] {
            let answer = match stream {
                true => streams(&[chunk(json!({"content": "hi"})), finish("stop")]),
                false => says("hi"),
            };
            let (gateway, traces) = Traces::of(gateway(&servers, [answer]).await);
            let mut body = ask(members.clone());
            body["stream"] = stream.into();
            let reply = gateway.send_as("web", &body).await;
            assert!(reply.headers.contains_key("x-mcp-default"), "{body}");
            assert!(traces.all().is_empty(), "{:#?}", traces.all());
        }
    }
    // Whoever asks for the same is refused, and seen to be.
    let (gateway, traces) = Traces::of(gateway(&["gone"], []).await);
    let asks = json!({"enabled": true, "servers": ["gone"]});
    let reply = gateway.send_as("web", &ask(json!({"mcp": asks}))).await;
    assert_eq!(reply.status, 404);
    assert_eq!(traces.one().outcome.as_str(), "refused");
}

#[tokio::test]
async fn a_model_that_refuses_tools_again_and_again_is_not_asked_with_them_for_a_while() {
    let refused = || json_answer(500, &json!({"error": {"message": "tools: use --jinja"}}));
    let gateway = gateway(&["s"], []).await;
    let send = async |model: &str, answers: Vec<Answer>| {
        let (before, count) = (gateway.model.asked().len(), answers.len());
        gateway.model.add(answers);
        let mut body = ask(json!({}));
        body["model"] = model.into();
        let reply = gateway.send_as("web", &body).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let asked = gateway.model.asked().split_off(before);
        assert_eq!(asked.len(), count);
        (reply, asked)
    };
    // One that takes them now and then is asked with them.
    for _ in 0..2 {
        send("m", vec![refused(), says("hi")]).await;
    }
    let (reply, _) = send("m", vec![says("hi")]).await;
    assert!(!reply.headers.contains_key("x-mcp-default"));
    for _ in 0..3 {
        send("m", vec![refused(), says("hi")]).await;
    }
    let (reply, asked) = send("m", vec![says("hi")]).await;
    assert!(asked[0].json().get("tools").is_none());
    let header = reply.headers["x-mcp-default"].to_str().unwrap();
    assert!(header.contains("lately"), "{header}");
    assert!(reply.receipt()["default"]["left_out"].is_string());
    // Other models are others, and whoever asks for tools gets them.
    let (_, asked) = send("n", vec![says("hi")]).await;
    assert!(asked[0].json()["tools"].is_array());
    let asks = json!({"enabled": true, "servers": ["s"]});
    gateway.model.add([says("hi")]);
    gateway.send_as("web", &ask(json!({"mcp": asks}))).await;
    let asked = gateway.model.asked();
    assert!(asked.last().unwrap().json()["tools"].is_array());
}
