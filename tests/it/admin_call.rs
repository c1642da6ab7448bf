//! Tools that an operator calls, over REST and by a page: under the checks that hold for callers, and
//! recorded as an exchange.

use mcp_layer::{
    McpLayer,
    admin::{Admin, Metrics},
    guard::{GuardRule, Guards},
    mcp::ServerLimits,
    registry::{
        AuditEntry, AuditFilter, AuditListing, AuditPage, AuditStore, BoxFuture, Error,
        MemoryRegistry, MemoryTraces, SelectedTool, Server, ServerStore, ToolPolicy,
    },
    trace::Payloads,
};
use serde_json::{Value, json};

use super::support::{
    admin::{Answer, Operator},
    gateway::connections_builder,
    guards::{Does, Sentry},
    mcp_server::{McpServer, Mode},
    pages::Pages,
};

/// A server `s`, of which `echo` and `fail` run at once and `add` asks first.
struct Bench {
    server: McpServer,
    operator: Operator,
    guards: Guards,
}

impl Bench {
    async fn new() -> Self {
        Self::with(|admin| admin).await
    }

    async fn with(set: impl FnOnce(Admin) -> Admin) -> Self {
        let server = McpServer::start(Mode::Stateless).await;
        let registry = MemoryRegistry::default();
        let tools = [
            SelectedTool::new("echo", ToolPolicy::Auto),
            SelectedTool::new("fail", ToolPolicy::Auto),
            SelectedTool::new("add", ToolPolicy::AskFirst),
        ];
        let record = Server::new("s", &server.url()).unwrap();
        let record = record.with_tools(tools).unwrap();
        let record = record.with_projects(["default", "web"]).unwrap();
        registry.insert(record).await.unwrap();
        let connections = connections_builder(ServerLimits::default())
            .observations(registry.clone())
            .build();
        let traces = MemoryTraces::default();
        let (guards, metrics) = (Guards::default(), Metrics::default());
        let layer = McpLayer::new(registry.clone())
            .with_connections(connections.clone())
            .with_guards(guards.clone())
            .with_trace_payloads(Payloads::Full)
            .add_trace_sink(metrics.clone())
            .add_trace_sink(traces.clone());
        let operator = Operator::over(connections, registry, |admin| {
            let admin = admin.with_tool_caller(layer.tool_caller());
            let admin = admin.with_metrics(metrics);
            set(admin.with_traces(traces))
        });
        operator.get("/api/v1/servers/s/tools").await;
        Self {
            server,
            operator,
            guards,
        }
    }

    async fn call(&self, tool: &str, body: &Value) -> Answer {
        let path = format!("/api/v1/servers/s/tools/{tool}/call");
        self.operator.post(&path, body).await
    }

    async fn fingerprint(&self, tool: &str) -> String {
        let tools = self.operator.get("/api/v1/servers/s/tools").await;
        let mut tools = tools["tools"].as_array().unwrap().iter();
        let found = tools.find(|listed| listed["name"] == tool).unwrap();
        found["fingerprint"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_call_has_the_result_and_is_a_trace() {
    let bench = Bench::new().await;
    let called = bench
        .call(
            "echo",
            &json!({"arguments": {"text": "hello"}, "project": "web"}),
        )
        .await;
    let called = called.expect(200);
    assert_eq!(
        (&called["result"], &called["is_error"]),
        (&json!("hello"), &json!(false))
    );
    let path = format!("/api/v1/traces/{}", called["trace"].as_str().unwrap());
    let trace = bench.operator.get(&path).await;
    assert_eq!(
        (&trace["project"], &trace["outcome"]),
        (&json!("web"), &json!("ok"))
    );
    assert_eq!(trace["servers"], json!(["s"]));
    let spans = trace["spans"].as_array().unwrap().iter();
    let span = spans
        .clone()
        .find(|span| span["name"] == "execute_tool s__echo")
        .unwrap();
    assert_eq!(
        span["attributes"]["gen_ai.tool.call.arguments"],
        r#"{"text": "hello"}"#.replace(": ", ":")
    );

    let called = bench.call("fail", &json!({})).await.expect(200);
    assert_eq!(called["is_error"], true);
    let failed = bench.operator.get("/api/v1/traces?failed=tools").await;
    assert_eq!(failed["traces"][0]["id"], called["trace"]);
}

#[tokio::test]
async fn a_call_is_guarded_and_names_the_definition_that_was_read_where_a_guard_asks() {
    let bench = Bench::new().await;
    let pages = Pages::signed_in(bench.operator.clone()).await;
    let read = bench.fingerprint("echo").await;
    let unread = "Error: not run: a guard wants this call approved; read the tool's definition in GET .../servers/{name}/tools, and send its fingerprint as \"fingerprint\" with the call";
    for (does, fingerprint, expected, runs) in [
        (Does::Ask, Some(&read), "hello", 1),
        (Does::Ask, None, unread, 0),
        (
            Does::Deny("not by hand"),
            Some(&read),
            "Error: not run: not by hand",
            0,
        ),
        (
            Does::Fail,
            None,
            "Error: not run: it could not be checked",
            0,
        ),
    ] {
        let before = bench.server.calls();
        let guard = Sentry::before(does);
        bench.guards.replace([GuardRule::new("g", guard)]);
        let mut body = json!({"arguments": {"text": "hello"}});
        if let Some(read) = fingerprint {
            body["fingerprint"] = read.as_str().into();
        }
        let called = bench.call("echo", &body).await.expect(200);
        assert_eq!(called["result"], expected);
        assert_eq!(bench.server.calls() - before, runs);
        // What a guard decided is in the record, and on its page.
        let path = format!("/traces/{}", called["trace"].as_str().unwrap());
        let page = pages.get(&path).await.text;
        for part in [
            "<bdi>g · s__echo</bdi>",
            "before",
            "<span class=\"key guard\">",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
    let scraped = bench.operator.ask("GET", "/metrics", None).await.text;
    for (outcome, count) in [("allow", 1), ("ask", 2), ("deny", 1), ("failed_closed", 1)] {
        let line =
            format!(r#"mcp_layer_guard_decisions_total{{guard="g",outcome="{outcome}"}} {count}"#);
        assert!(scraped.lines().any(|l| l == line), "{line} in\n{scraped}");
    }
}

#[tokio::test]
async fn a_call_is_in_the_audit_without_what_it_says() {
    let bench = Bench::new().await;
    let arguments = json!({"text": "hello-audit"});
    let called = bench.call("echo", &json!({"arguments": arguments})).await;
    let called = called.expect(200);
    let refused = bench.call("nothing", &json!({"project": "web"})).await;
    assert_eq!(refused.status, 400);
    let audit = bench
        .operator
        .ask("GET", "/api/v1/audit?target=s&action=tool.", None)
        .await;
    assert!(!audit.text.contains("hello-audit"), "{}", audit.text);
    let audit = audit.expect(200);
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries[2]["target"], "s/echo");
    let actions: Vec<_> = entries.iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["tool.call_failed", "tool.call", "tool.call"]);
    assert_eq!(entries[2]["operator"], "admin");
    let after = json!({"tool": "echo", "project": "default", "trace": called["trace"]});
    assert_eq!(entries[2]["after"], after);
    // What was refused is a trace as well, under the id that the audit names.
    let trace = entries[1]["after"]["trace"].as_str().unwrap();
    let trace = bench.operator.get(&format!("/api/v1/traces/{trace}")).await;
    assert_eq!(trace["outcome"], "refused");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_called() {
    let bench = Bench::with(|admin| admin.with_audit(NoAudit)).await;
    let calls = bench.server.calls();
    let called = bench.call("echo", &json!({})).await;
    assert_eq!(called.error(500).0, "mcp_registry_error");
    assert_eq!(bench.server.calls(), calls);
}

/// An audit that takes nothing.
struct NoAudit;

impl AuditStore for NoAudit {
    fn append_audit<'a>(&'a self, _: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Err(Error::unavailable("full")) })
    }

    fn list_audit<'a>(
        &'a self,
        _: &'a str,
        _: &'a AuditFilter,
        _: &'a AuditPage,
    ) -> BoxFuture<'a, Result<AuditListing, Error>> {
        Box::pin(async { Err(Error::unavailable("full")) })
    }
}

#[tokio::test]
async fn what_a_caller_may_not_do_an_operator_may_not_either() {
    let bench = Bench::new().await;
    let calls = bench.server.calls();
    for (tool, body, status, code, param) in [
        ("image", json!({}), 400, "invalid_mcp_options", Some("tool")),
        (
            "nothing",
            json!({}),
            400,
            "invalid_mcp_options",
            Some("tool"),
        ),
        (
            "echo",
            json!({"project": "batch"}),
            404,
            "mcp_server_not_found",
            Some("project"),
        ),
        (
            "echo",
            json!({"project": "a\n\u{0}b"}),
            400,
            "invalid_request",
            Some("project"),
        ),
        (
            "echo",
            json!({"project": "p".repeat(101)}),
            400,
            "invalid_request",
            Some("project"),
        ),
        (
            "echo",
            json!({"arguments": [1]}),
            400,
            "invalid_request",
            Some("arguments"),
        ),
        (
            "echo",
            json!({"arguments": {}, "argument": 1}),
            400,
            "invalid_request",
            Some("argument"),
        ),
        (
            "echo",
            json!({"fingerprint": "x"}),
            400,
            "invalid_request",
            Some("fingerprint"),
        ),
        (
            "echo",
            json!({"fingerprint": "0".repeat(64)}),
            400,
            "invalid_mcp_options",
            Some("fingerprint"),
        ),
        (
            "add",
            json!({"arguments": {"a": 1, "b": 2}}),
            400,
            "invalid_mcp_options",
            Some("fingerprint"),
        ),
    ] {
        let answer = bench.call(tool, &body).await;
        assert_eq!(
            answer.error(status),
            (code.to_owned(), param.map(str::to_owned)),
            "{tool}: {body}"
        );
    }
    let misfit = bench
        .call("echo", &json!({"arguments": {"text": 7}}))
        .await
        .expect(200);
    assert_eq!(misfit["is_error"], true);
    assert_eq!(bench.server.calls(), calls, "nothing reached the server");
    let unknown = bench
        .operator
        .post("/api/v1/servers/t/tools/echo/call", &json!({}))
        .await;
    assert_eq!(unknown.error(404).0, "mcp_server_not_found");

    let fingerprint = bench.fingerprint("add").await;
    let seen = json!({"arguments": {"a": 1, "b": 2}, "fingerprint": fingerprint});
    assert_eq!(bench.call("add", &seen).await.expect(200)["result"], "3");
    let refused = bench
        .operator
        .get("/api/v1/traces?outcome=refused&q=operator")
        .await;
    assert_eq!(refused["traces"], json!([]), "what was refused has no call");
}

#[tokio::test]
async fn without_a_layer_nothing_is_called() {
    let operator = Operator::memory();
    let answer = operator
        .post("/api/v1/servers/s/tools/echo/call", &json!({}))
        .await;
    assert_eq!(answer.error(404).0, "not_found");
}

#[tokio::test]
async fn a_form_made_from_the_schema_runs_the_tool() {
    let bench = Bench::new().await;
    let pages = Pages::signed_in(bench.operator.clone()).await;
    let tools = pages.get("/servers/s/tools").await;
    assert!(
        tools
            .html(200)
            .contains("href=\"/servers/s/try?tool=echo\"")
    );
    let page = pages.get("/servers/s/try?tool=add").await;
    let html = page.html(200);
    for part in [
        "name=\"argument.a\"",
        "name=\"argument.b\"",
        "asks first",
        "name=\"fingerprint\" value=\"",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let fingerprint = bench.fingerprint("add").await;
    let mut fields = vec![
        ("tool", "add"),
        ("fingerprint", &*fingerprint),
        ("argument.a", "2"),
        ("argument.b", "much"),
        ("project", "default"),
    ];
    let page = pages.post("/servers/s/try", &fields).await;
    let html = page.html(400);
    assert!(
        html.contains("Must be a") && html.contains("value=\"much\""),
        "{html}"
    );
    fields[3].1 = "40";
    let page = pages.post("/servers/s/try", &fields).await;
    let html = page.html(200);
    for part in [
        "<bdi>42</bdi>",
        "Succeeded",
        "href=\"/traces/",
        "The same over REST",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    fields[4].1 = "batch";
    let page = pages.post("/servers/s/try", &fields).await;
    let html = page.html(200);
    for part in [
        "Not called",
        "The server s is not available to the project batch; choose one of: default, web.",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let long = "p".repeat(101);
    fields[4].1 = &long;
    let page = pages.post("/servers/s/try", &fields).await;
    assert!(page.html(400).contains("1 to 100"), "{}", page.text);
    fields[1].1 = "0";
    fields[4].1 = "default";
    let page = pages.post("/servers/s/try", &fields).await;
    assert!(
        page.html(200).contains("Fingerprint is required"),
        "{}",
        page.text
    );
    for tool in ["", "nothing", "%3Cb%3E"] {
        pages
            .get(&format!("/servers/s/try?tool={tool}"))
            .await
            .html(404);
    }
}
