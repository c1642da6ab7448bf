//! A server's own words on how to use its tools go to models where its operator lets them: in one
//! system message, the same in every turn.

use http_body_util::BodyExt;
use mcp_layer::{
    McpLayer,
    mcp::ServerLimits,
    registry::{Auth, MemoryRegistry, Server},
    trace::Payloads,
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::list_changed::record;
use crate::support::{
    CANARY,
    admin::Operator,
    evidence,
    gateway::{auto, chat, connections, connections_builder, with_mcp},
    growing::{Growing, Speaks},
    model::{Answer, Model, calls, says},
    pages::Pages,
    traces::Traces,
};

const WORDS: &str = "Call grow before anything else.";

fn layer(servers: impl IntoIterator<Item = Server>) -> McpLayer {
    let registry = MemoryRegistry::new(servers).unwrap();
    McpLayer::new(registry).with_connections(connections(ServerLimits::default()))
}

async fn server(words: &str) -> Growing {
    let server = Growing::start(Speaks::Stateless, &["a"]).await;
    server.instruct(words);
    server
}

/// The messages that the model got in each turn, and the answer.
async fn exchange(
    layer: &McpLayer,
    body: &Value,
    answers: impl IntoIterator<Item = Answer>,
) -> (Vec<Vec<Value>>, Value) {
    let model = Model::new(answers);
    let answer = layer.layer(model.clone()).oneshot(chat(body.to_string()));
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer = answer.into_body().collect().await.unwrap().to_bytes();
    evidence::left("caller", &answer);
    let asked = model.asked();
    let messages = asked.iter().map(|asked| {
        let messages = asked.json()["messages"].take();
        messages.as_array().unwrap().clone()
    });
    (
        messages.collect(),
        serde_json::from_slice(&answer).unwrap_or_default(),
    )
}

/// The messages of ours.
fn given(messages: &[Value]) -> Vec<&str> {
    let ours = messages
        .iter()
        .filter(|message| message["role"] == "system");
    let texts = ours.filter_map(|message| message["content"].as_str());
    texts.filter(|text| text.contains("MCP servers")).collect()
}

fn grow(name: &str) -> Answer {
    calls(&[("s__grow", json!({"name": name}))])
}

#[tokio::test]
async fn they_stand_behind_the_callers_own_instructions_in_every_turn() {
    let server = server(WORDS).await;
    let layer = layer([record(&server.url()).with_instructions(true)]);
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "And kind."},
        {"role": "user", "content": "hi"},
    ]);
    let body = auto(json!({"messages": messages}));
    let answers = [grow("b"), grow("c"), says("done")];
    let (asked, _) = exchange(&layer, &body, answers).await;
    assert_eq!(asked.len(), 3);
    for turn in &asked {
        assert_eq!(turn[..2], messages.as_array().unwrap()[..2]);
        assert_eq!(turn[3], messages[2]);
        assert_eq!(turn[2], asked[0][2]);
        let [text] = given(turn)[..] else {
            panic!("{turn:?}")
        };
        assert!(text.contains("# Server s (tools s__...)\n\n") && text.ends_with(WORDS));
    }
    // The tools have changed since, and the words have not.
    let (again, _) = exchange(&layer, &body, [says("done")]).await;
    assert_eq!(again[0][2], asked[0][2]);
}

#[tokio::test]
async fn nobody_gets_them_unasked() {
    let server = server(WORDS).await;
    let layer = layer([record(&server.url())]);
    let (asked, _) = exchange(&layer, &auto(json!({})), [says("done")]).await;
    assert_eq!(asked[0].len(), 1);
}

#[tokio::test]
async fn only_servers_that_offer_a_tool_are_heard_and_each_is_named() {
    let (one, two, three) = (
        server("One.").await,
        server("Two.").await,
        server("3.").await,
    );
    let named = |name, server: &Growing| {
        let server = Server::new(name, &server.url()).unwrap();
        server.with_instructions(true)
    };
    let layer = layer([
        named("one", &one),
        named("two", &two),
        named("three", &three),
    ]);
    let of = |mcp: Value| with_mcp(mcp, json!({}));
    let both = of(json!({"enabled": true, "servers": ["two", "one"]}));
    let (asked, _) = exchange(&layer, &both, [says("done")]).await;
    let [text] = given(&asked[0])[..] else {
        panic!("{asked:?}")
    };
    let (before, behind) = text.split_once("# Server two (").unwrap();
    assert!(before.contains("# Server one (tools one__...)\n\nOne.\n\n"));
    assert!(behind.ends_with("\n\nTwo.") && !text.contains("three"));

    let mcp = json!({"enabled": true, "servers": ["one", "two"], "tools": ["two__a"]});
    let (asked, _) = exchange(&layer, &of(mcp), [says("done")]).await;
    let [text] = given(&asked[0])[..] else {
        panic!("{asked:?}")
    };
    assert!(text.contains("Two.") && !text.contains("One."));
}

#[tokio::test]
async fn a_history_that_is_restored_has_them_where_they_stood() {
    let server = server(WORDS).await;
    let layer = layer([record(&server.url()).with_instructions(true)]);
    let own = json!([{"type": "function", "function": {"name": "lookup"}}]);
    let mut messages = json!([{"role": "user", "content": "hi"}]);
    let body = |messages: &Value| auto(json!({"messages": messages, "tools": own}));
    let mixed = calls(&[("s__a", json!({})), ("lookup", json!({}))]);
    let answers = [grow("b"), mixed];
    let (first, answer) = exchange(&layer, &body(&messages), answers).await;
    let message = answer["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    let list = messages.as_array_mut().unwrap();
    list.push(message);
    list.push(json!({"role": "tool", "tool_call_id": id, "content": "found"}));
    let (second, _) = exchange(&layer, &body(&messages), [says("done")]).await;
    assert_eq!(second[0][..first[1].len()], first[1][..]);
    assert_eq!(given(&second[0]).len(), 1);
}

#[tokio::test]
async fn what_a_model_gets_is_cut_clean_and_free_of_credentials() {
    let secret = CANARY.trim_start_matches("Bearer ");
    let hidden = format!(
        "See\u{202e}n \u{e0041}first. {secret} {}",
        "é".repeat(4 << 10)
    );
    let server = server(&hidden).await;
    let auth = Auth::static_headers([("authorization", CANARY)]).unwrap();
    let record = record(&server.url()).with_auth(auth);
    let layer = layer([record.with_instructions(true)]);
    let (asked, _) = exchange(&layer, &auto(json!({})), [says("done")]).await;
    let [text] = given(&asked[0])[..] else {
        panic!("{asked:?}")
    };
    let (_, words) = text.split_once("...)\n\n").unwrap();
    assert!(
        words.starts_with("Seen first. [redacted:credential] é"),
        "{words}"
    );
    assert!(words.len() <= 4 << 10 && words.ends_with("é [cut]"));
}

#[tokio::test]
async fn traces_say_that_they_were_given_and_their_text_only_where_payloads_are_recorded() {
    for (payloads, text) in [
        (Payloads::Off, Value::Null),
        (Payloads::Redacted, json!("Use it. password=[redacted]")),
        (Payloads::Full, json!("Use it. password=hunter2hunter2")),
    ] {
        let server = server("Use it. password=hunter2hunter2").await;
        let traces = Traces::default();
        let layer = layer([record(&server.url()).with_instructions(true)]);
        let layer = layer.with_trace_payloads(payloads);
        let layer = layer.add_trace_sink(traces.clone());
        exchange(&layer, &auto(json!({})), [says("done")]).await;
        let spans = traces.soon().await.spans();
        let given = spans.iter().find(|span| span.name == "instruct s").unwrap();
        let attribute = |name: &str| given.attributes.get(name).cloned().unwrap_or_default();
        assert_eq!(attribute("mcp_layer.server"), "s");
        assert_eq!(attribute("mcp_layer.instructions_bytes"), 31);
        assert_eq!(attribute("gen_ai.system_instructions"), text);
    }
}

const TOOLS: &str = "/api/v1/servers/s/tools";
const PAGE: &str = "/servers/s/tools";

/// A server `s` in a store, with an operator and a layer that has connections of its own.
struct Operated {
    server: Growing,
    operator: Operator,
    store: MemoryRegistry,
}

impl Operated {
    async fn new(members: Value) -> Self {
        // Each handshake asks anew.
        let server = Growing::start(Speaks::Sessions, &["a"]).await;
        server.instruct("Old words.");
        let store = MemoryRegistry::default();
        let operator = Self::operator(&store);
        let mut record = json!({"name": "s", "url": server.url()});
        let members = members.as_object().unwrap().clone();
        record.as_object_mut().unwrap().extend(members);
        operator.create(&record).await;
        Self {
            server,
            operator,
            store,
        }
    }

    fn operator(store: &MemoryRegistry) -> Operator {
        let connections = connections_builder(ServerLimits::default());
        let connections = connections.observations(store.clone()).build();
        Operator::over(connections, store.clone(), |admin| admin)
    }

    /// Looks at the server as a process that has just started does.
    async fn look(&self) -> Value {
        let operator = Self::operator(&self.store);
        let refreshed = operator
            .ask("POST", "/api/v1/servers/s/refresh", None)
            .await;
        refreshed.expect(200)["instructions"].take()
    }

    async fn set(&self, instructions: bool) {
        let record = self.operator.get("/api/v1/servers/s").await;
        let change = json!({"url": record["url"], "version": record["version"],
            "projects": "all", "tools": "all", "on_change": record["on_change"],
            "instructions": instructions});
        let put = self.operator.put("/api/v1/servers/s", &change).await;
        assert_eq!(put.expect(200)["instructions"], instructions);
    }

    /// What a model is given by a process that has just started.
    async fn given(&self) -> String {
        let connections = connections_builder(ServerLimits::default());
        let connections = connections.observations(self.store.clone()).build();
        let layer = McpLayer::new(self.store.clone()).with_connections(connections);
        let (asked, _) = exchange(&layer, &auto(json!({})), [says("done")]).await;
        given(&asked[0]).concat()
    }
}

#[tokio::test]
async fn a_changed_text_waits_until_an_operator_accepts_it() {
    let operated = Operated::new(json!({"on_change": "block"})).await;
    let said = operated.look().await;
    assert_eq!(
        (&said["text"], &said["given"]),
        (&json!("Old words."), &json!(false))
    );
    // While nobody gets it, it is accepted as it is.
    operated.server.instruct("Other words.");
    assert_eq!(operated.look().await["state"], "approved");
    operated.set(true).await;
    assert!(operated.given().await.ends_with("Other words."));

    operated.server.instruct("New words.");
    let said = operated.look().await;
    assert_eq!(
        (&said["state"], &said["given"]),
        (&json!("changed"), &json!(false))
    );
    assert_eq!(operated.given().await, "");
    let accept = async |fingerprint: &str| {
        let body = json!({"instructions": fingerprint});
        let accept = "/api/v1/servers/s/tools/accept";
        operated.operator.post(accept, &body).await
    };
    let refused = accept(&"0".repeat(64)).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    let accepted = accept(said["fingerprint"].as_str().unwrap()).await;
    let accepted = accepted.expect(200)["instructions"].take();
    assert_eq!(
        (&accepted["state"], &accepted["given"]),
        (&json!("approved"), &json!(true))
    );
    assert!(operated.given().await.ends_with("New words."));
}

#[tokio::test]
async fn a_changed_text_is_given_at_once_where_changes_are_allowed() {
    let operated = Operated::new(json!({"on_change": "allow", "instructions": true})).await;
    assert!(operated.given().await.ends_with("Old words."));
    operated.server.instruct("New words.");
    assert!(operated.given().await.ends_with("New words."));
}

#[tokio::test]
async fn an_operator_reads_them_before_letting_them_through() {
    let operated = Operated::new(json!({"on_change": "block"})).await;
    operated.server.instruct("Words with a\u{200b}gap & <b>.");
    let pages = Pages::signed_in(operated.operator.clone()).await;
    let page = pages.get(PAGE).await;
    assert!(
        page.text
            .contains("Words with a<span class=\"unseen\">U+200B</span>gap &amp; &lt;b&gt;.")
    );
    let version = operated.operator.get("/api/v1/servers/s").await["version"].to_string();
    let form = |ticked: bool| {
        let mut form = vec![
            ("tools", "all"),
            ("has_instructions", "yes"),
            ("go", "save"),
        ];
        form.push(("version", &version));
        form.extend(ticked.then_some(("instructions", "yes")));
        form
    };
    assert_eq!(pages.post(PAGE, &form(true)).await.status, 303);
    assert_eq!(
        operated.operator.get("/api/v1/servers/s").await["instructions"],
        true
    );
    assert!(operated.given().await.contains("Words with a"));

    operated.server.instruct("Quite other words.");
    operated.look().await;
    let page = pages.get(PAGE).await;
    assert!(
        page.text
            .contains("Accept<span class=\"unheard\">: instructions")
    );
    let now = operated.operator.get(TOOLS).await["instructions"]["fingerprint"].take();
    let now = now.as_str().unwrap();
    let accept = [("tool", ""), ("fingerprint", now)];
    let accepted = pages.post("/servers/s/tools/accept", &accept).await;
    assert_eq!(accepted.status, 303, "{}", accepted.text);
    assert!(operated.given().await.ends_with("Quite other words."));
}
