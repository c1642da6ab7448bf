//! Limits of calls: for a project, a server and a tool, in a minute, in a day and at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::FutureExt;
use mcp_layer::{
    CallerId, CallerLimits, McpLayer,
    registry::{
        BoxFuture, CallLimit, CallLimits, Error, MemoryRegistry, MemoryTraces, ProjectGrant,
        SqlRegistry, TraceFilter, TracePage, TraceStore, conformance,
        usage::{MemoryUsage, Quota, QuotaOf, Taken, UsageId, UsageLease, UsageStore, Used},
    },
    secret::KeyRing,
    trace::Step,
};
use serde_json::{Value, json};

use super::support::{
    admin::Operator,
    directory::Directory,
    gateway::{Gateway, auto, chat, connections_builder},
    model::{Answer, calls, says},
    replicas::limited_calls,
    sql::open,
};

fn limits(of: CallLimit, calls: u32) -> CallLimits {
    CallLimits::default().with(of, calls).unwrap()
}

/// A gateway whose project `web` has this grant.
async fn limited(answers: impl IntoIterator<Item = Answer>, grant: ProjectGrant) -> Gateway {
    Gateway::with_server(answers, |server| server.with_grants([grant]).unwrap()).await
}

fn web() -> ProjectGrant {
    ProjectGrant::new("web")
}

/// A turn with so many calls of `echo`, and the answer to it.
fn echoes(count: usize) -> [Answer; 2] {
    let echo = ("s__echo", json!({"text": "a"}));
    [calls(&vec![echo; count]), says("done")]
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

#[tokio::test]
async fn a_call_over_a_limit_does_not_run_and_the_model_is_told_when_it_may() {
    let grant = web().with_limits(limits(CallLimit::PerMinute, 2));
    let traces = MemoryTraces::default();
    let gateway = limited(echoes(3), grant).await;
    let gateway = gateway.layered(|layer| layer.add_trace_sink(traces.clone()));
    let mut body = auto(json!({}));
    // One after the other, so that it is the last that is too many.
    body["parallel_tool_calls"] = false.into();
    let reply = gateway.send_as("web", &body).await;
    let told = results(&gateway);
    assert_eq!(told[..2], ["a", "a"]);
    let expected = "Error: not run: the limit of 2 calls a minute for the tools of this server is reached; they may be called again in ";
    let seconds = told[2].strip_prefix(expected).unwrap();
    let seconds: u64 = seconds.strip_suffix(" s").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let receipt = reply.receipt();
    let call = &receipt["calls"][2];
    assert_eq!(call["is_error"], true);
    assert_eq!(
        call["limit"],
        json!({"of": "calls_per_minute", "for": "server", "retry_after_s": seconds})
    );
    assert_eq!(receipt["calls"][0].get("limit"), None);
    let (filter, page) = (TraceFilter::default(), TracePage::default());
    let listing = traces.list("default", &filter, &page).await.unwrap();
    let recorded = traces.get("default", listing.traces[0].id).await;
    let recorded = recorded.unwrap().unwrap();
    let steps = recorded.steps().into_owned();
    let errors = steps.iter().filter_map(|step| match step {
        Step::Call(call) => call.error.as_deref(),
        _ => None,
    });
    assert_eq!(errors.collect::<Vec<_>>(), ["limit_exceeded"]);
    assert_eq!(gateway.server.calls(), 2);
}

#[tokio::test]
async fn other_projects_tools_and_servers_are_not_concerned() {
    let echo = limits(CallLimit::PerDay, 1);
    let gateway = limited([], web().add_tool_limits("echo", echo).unwrap()).await;
    for (project, ran) in [("web", 1), ("web", 1), ("batch", 2), ("batch", 3)] {
        gateway.model.add(echoes(1));
        gateway.send_as(project, &auto(json!({}))).await;
        assert_eq!(gateway.server.calls(), ran, "{project}");
    }
    gateway
        .model
        .add([calls(&[("s__add", json!({"a": 1, "b": 2}))]), says("3")]);
    gateway.send_as("web", &auto(json!({}))).await;
    assert_eq!(gateway.server.calls(), 4);
}

/// The limits of a tool and of all of a server's count the same call, or neither does.
#[tokio::test]
async fn a_call_counts_for_its_tool_and_for_its_server_or_for_neither() {
    let grant = web()
        .with_limits(limits(CallLimit::PerDay, 2))
        .add_tool_limits("echo", limits(CallLimit::PerMinute, 1))
        .unwrap();
    let gateway = limited([], grant).await;
    let add = || calls(&[("s__add", json!({"a": 1, "b": 2}))]);
    for (answer, ran) in [
        (echoes(3), 1),
        ([add(), says("3")], 2),
        ([add(), says("3")], 2),
    ] {
        gateway.model.add(answer);
        gateway.send_as("web", &auto(json!({}))).await;
        assert_eq!(gateway.server.calls(), ran);
    }
    let told = &results(&gateway)[0];
    assert!(told.contains("the limit of 2 calls a day"), "{told}");
}

/// Whatever their project may, and however many servers they call.
#[tokio::test]
async fn callers_have_limits_of_their_own() {
    let gateway = Gateway::new([]).await;
    let of_key = CallerLimits(limits(CallLimit::PerDay, 2));
    for (caller, ran, is_limited) in [
        ("key-1", 2, true),
        ("key-1", 2, true),
        ("key-2", 4, true),
        ("", 7, false),
    ] {
        gateway.model.add(echoes(3));
        let mut request = chat(auto(json!({})).to_string());
        request.extensions_mut().insert(of_key);
        if !caller.is_empty() {
            request.extensions_mut().insert(CallerId::new(caller));
        }
        gateway.request(request).await;
        assert_eq!(gateway.server.calls(), ran, "{caller}");
        let told = "Error: not run: the limit of 2 calls a day for all tools is reached";
        let limited = results(&gateway).iter().any(|text| text.starts_with(told));
        assert_eq!(limited, is_limited, "{caller}");
    }
}

#[tokio::test]
async fn calls_at_once_are_those_that_run() {
    let slow = ("s__slow", json!({"ms": 100}));
    let gateway = limited([], web().with_limits(limits(CallLimit::AtOnce, 2))).await;
    for ran in [2, 4] {
        gateway
            .model
            .add([calls(&vec![slow.clone(); 5]), says("done")]);
        let reply = gateway.send_as("web", &auto(json!({}))).await;
        assert_eq!(gateway.server.calls(), ran);
        let receipt = reply.receipt();
        let limited = receipt["calls"].as_array().unwrap().iter();
        let limited =
            limited.filter(|call| call["limit"] == json!({"of": "calls_at_once", "for": "server"}));
        assert_eq!(limited.count(), 3);
        assert_eq!(gateway.server.most_at_once(), 2);
    }
    // One after the other they are no more than one.
    let mut body = auto(json!({}));
    body["parallel_tool_calls"] = false.into();
    gateway.model.add([calls(&vec![slow; 3]), says("done")]);
    gateway.send_as("web", &body).await;
    assert_eq!(gateway.server.calls(), 7);
}

#[tokio::test]
async fn a_call_that_was_cancelled_runs_no_more() {
    let grant = web().with_limits(limits(CallLimit::AtOnce, 1));
    let gateway = limited([calls(&[("s__slow", json!({"ms": 60_000}))])], grant)
        .await
        .layered(McpLayer::without_exchanges);
    let body = auto(json!({}));
    let hung_up = gateway.send_as("web", &body);
    let begun = async {
        while gateway.server.calls() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = hung_up => panic!("answered"),
        () = begun => {}
    }
    // It is given back by a task.
    tokio::time::sleep(Duration::from_millis(5)).await;
    gateway.model.add(echoes(1));
    gateway.send_as("web", &auto(json!({}))).await;
    assert_eq!(results(&gateway), ["a"]);
}

#[tokio::test]
async fn an_operators_calls_count_as_well() {
    let grant = ProjectGrant::new("default").with_limits(limits(CallLimit::PerDay, 1));
    let gateway = limited([], grant).await;
    let operator = Operator::over(
        connections_builder(Default::default()).build(),
        gateway.registry.clone(),
        |admin| admin.with_tool_caller(gateway.layer.tool_caller()),
    );
    let path = "/api/v1/servers/s/tools/echo/call";
    let body = json!({"arguments": {"text": "a"}});
    for is_error in [false, true] {
        let called = operator.post(path, &body).await.expect(200);
        assert_eq!(called["is_error"], is_error, "{called}");
    }
    assert_eq!(gateway.server.calls(), 1);
}

/// A store that fails from some moment on.
#[derive(Clone, Default)]
struct Failing(MemoryUsage, Arc<AtomicBool>);

impl Failing {
    fn or<'a, T: Send + 'a>(
        &self,
        done: BoxFuture<'a, Result<T, Error>>,
    ) -> BoxFuture<'a, Result<T, Error>> {
        match self.1.load(SeqCst) {
            true => std::future::ready(Err(Error::unavailable("it is away"))).boxed(),
            false => done,
        }
    }
}

impl UsageStore for Failing {
    fn take<'a>(
        &'a self,
        quotas: &'a [Quota],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Taken, Error>> {
        self.or(self.0.take(quotas, lease))
    }

    fn give_back(&self, lease: UsageLease) -> BoxFuture<'_, Result<(), Error>> {
        self.or(self.0.give_back(lease))
    }

    fn add<'a>(&'a self, amounts: &'a [(UsageId, u64)]) -> BoxFuture<'a, Result<(), Error>> {
        self.or(self.0.add(amounts))
    }

    fn used<'a>(&'a self, of: &'a [(UsageId, QuotaOf)]) -> BoxFuture<'a, Result<Vec<Used>, Error>> {
        self.or(self.0.used(of))
    }
}

#[tokio::test]
async fn a_store_at_fault_stops_the_calls_that_are_limited_and_no_others() {
    let store = Failing::default();
    store.1.store(true, SeqCst);
    let limit = limits(CallLimit::PerDay, 9);
    let grant = web().add_tool_limits("echo", limit).unwrap();
    let gateway = limited([], grant).await;
    let gateway = gateway.layered(|layer| layer.with_usage(store.clone()));
    let both = || {
        let add = ("s__add", json!({"a": 1, "b": 2}));
        [calls(&[("s__echo", json!({"text": "a"})), add]), says("3")]
    };
    for (is_away, echoed) in [
        (
            true,
            "Error: not run: the gateway cannot check the limits of this tool",
        ),
        (false, "a"),
    ] {
        store.1.store(is_away, SeqCst);
        gateway.model.add(both());
        gateway.send_as("web", &auto(json!({}))).await;
        assert_eq!(results(&gateway), [echoed, "3"]);
    }
    assert_eq!(gateway.server.calls(), 3);
}

#[tokio::test]
async fn every_clause_of_a_store_of_usage_holds() {
    conformance::usage::all(async || MemoryUsage::default()).await;
    let directory = Directory::new();
    let count = std::cell::Cell::new(0);
    conformance::usage::all(async || {
        let number = count.replace(count.get() + 1);
        open(
            &directory.url(&format!("{number}.db")),
            &KeyRing::generate(),
        )
        .await
    })
    .await;
}

#[tokio::test]
async fn replicas_on_one_file_run_exactly_as_many_calls_as_they_may() {
    let directory = Directory::new();
    let (url, ring) = (directory.url("a.db"), KeyRing::generate());
    let replicas = [open(&url, &ring).await, open(&url, &ring).await];
    assert_eq!(limited_calls(replicas).await, (1000, 9000));
}

/// A server's record is the same, wherever it is kept.
#[tokio::test]
async fn grants_are_entered_read_and_changed_over_rest() {
    let directory = Directory::new();
    let registry: SqlRegistry = open(&directory.url("a.db"), &KeyRing::generate()).await;
    for operator in [
        Operator::new(registry),
        Operator::new(MemoryRegistry::default()),
    ] {
        let grants = json!([
            {"project": "batch", "tools": []},
            {"project": "web", "tools": ["a"], "calls_per_day": 5,
             "tool_limits": [{"tool": "a", "calls_at_once": 2}]},
        ]);
        let server = json!({"name": "a", "url": "https://mcp.example.com/mcp", "grants": grants});
        let created = operator.create(&server).await;
        assert_eq!(created["grants"], grants);
        let path = "/api/v1/servers/a";
        assert_eq!(operator.get(path).await["grants"], grants);
        for (changed, param) in [
            (
                json!([{"project": "web", "calls_per_minute": 0}]),
                "grants[0].calls_per_minute",
            ),
            (
                json!([{"project": "web", "calls_at_once": 1.5}]),
                "grants[0].calls_at_once",
            ),
            (json!([{"project": "web"}, {"project": "web"}]), "grants"),
            (json!([{"tools": ["a"]}]), "grants[0].project"),
        ] {
            let patch = json!({"grants": changed, "version": 1}).to_string();
            let answer = operator.ask("PATCH", path, Some(&patch)).await;
            assert_eq!(answer.error(400).1.as_deref(), Some(param));
        }
        // Left out they would be gone: a project that was barred would be let in.
        let whole = json!({
            "url": "https://mcp.example.com/mcp", "projects": "all", "tools": "all", "version": 1,
        });
        let (code, at) = operator.put(path, &whole).await.error(400);
        assert_eq!((&*code, at.as_deref()), ("invalid_server", Some("grants")));
        // A project that may not use the server any more takes its grant along.
        let patch = json!({"projects": ["web"], "version": 1}).to_string();
        let answer = operator.ask("PATCH", path, Some(&patch)).await;
        let message = answer.json()["error"]["message"].to_string();
        assert_eq!(answer.error(400).1.as_deref(), Some("grants"));
        assert!(message.contains("batch"), "{message}");
        let patch = json!({"grants": null, "version": 1}).to_string();
        let patched = operator.ask("PATCH", path, Some(&patch)).await;
        assert_eq!(patched.expect(200)["grants"], Value::Array(Vec::new()));
    }
}
