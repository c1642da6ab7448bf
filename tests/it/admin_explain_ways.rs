//! What a request would get by each way to ask for servers: it is what the request does get.

use http::Request;
use mcp_layer::{
    Connections, McpLayer, Project,
    mcp::ServerLimits,
    registry::{DefaultServers, MemoryModels, MemoryRegistry, ModelAlias, ModelRules, Server},
};
use serde_json::{Value, json};

use super::support::{
    admin::{Answer, Operator, request},
    gateway::{Gateway, chat, connections_builder},
    mcp_server::{McpServer, Mode},
    model::{Model, says},
    shelf::{Shelf, tool},
};

type Headers = [(&'static str, &'static str)];

/// A layer over a server `s` for the projects `web` and `batch`, and one `off` that is switched off;
/// an alias and a default lead to each.
struct Wondering {
    gateway: Gateway,
    operator: Operator,
    connections: Connections,
    _shelf: Shelf,
}

impl Wondering {
    async fn new() -> Self {
        let shelf = Shelf::start(&[tool("a", "A"), tool("b", "B")]).await;
        let s = Server::new("s", &shelf.url()).unwrap();
        let mut off = Server::new("off", "https://mcp.example.com/mcp").unwrap();
        off.enabled = false;
        let registry =
            MemoryRegistry::new([s.with_projects(["web", "batch"]).unwrap(), off]).unwrap();
        let connections = connections_builder(ServerLimits::default())
            .observations(registry.clone())
            .build();
        let of = |name: &str| [name.parse().unwrap()];
        let rules = ModelRules::new(
            [
                ModelAlias::new("alias", "gpt-5", of("s")),
                ModelAlias::new("alias-off", "gpt-5", of("off")),
            ],
            [
                DefaultServers::new("web", of("s")).with_models(["by-default*"]),
                DefaultServers::new("web", of("off")).with_models(["off-by-default"]),
            ],
        );
        let layer = McpLayer::new(registry.clone())
            .with_connections(connections.clone())
            .with_header_opt_in(true)
            .with_models(MemoryModels::new(rules.unwrap()));
        let operator = Operator::over(connections.clone(), registry.clone(), |admin| {
            admin.with_explainer(layer.explainer())
        });
        let gateway = Gateway {
            layer,
            model: Model::new((0..40).map(|_| says("hi"))),
            server: McpServer::start(Mode::Stateless).await,
            registry,
        };
        Self {
            gateway,
            operator,
            connections,
            _shelf: shelf,
        }
    }

    async fn explain(&self, project: &str, body: &Value, headers: &Headers) -> Answer {
        // The operator's side has a host of its own.
        let (host, headers): (Vec<_>, Vec<_>) =
            headers.iter().partition(|(name, _)| *name == "host");
        let host: String = host
            .iter()
            .map(|(_, host)| format!("&host={host}"))
            .collect();
        let path = format!("/api/v1/explain?project={project}{host}");
        let mut asked = request("POST", &path, Some(&body.to_string()));
        with(&mut asked, &headers);
        self.operator.send(asked).await
    }

    /// The tools that a request of the project `web` is told that it gets, which it does get.
    async fn offered(&self, body: &Value, headers: &Headers) -> Vec<String> {
        let explained = self.explain("web", body, headers).await.expect(200);
        let told = names(&explained["tools"], |tool| &tool["offered_name"]);
        let mut sent = chat(body.to_string());
        sent.extensions_mut().insert(Project::new("web"));
        with(&mut sent, headers);
        let asked = self.gateway.model.asked().len();
        let reply = self.gateway.request(sent).await;
        assert_eq!(reply.status, 200, "{body}");
        let seen = self.gateway.model.asked()[asked].json();
        assert_eq!(
            told,
            names(&seen["tools"], |tool| &tool["function"]["name"]),
            "{body}"
        );
        told
    }
}

fn with<B>(request: &mut Request<B>, headers: &Headers) {
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
}

fn names(tools: &Value, name: impl Fn(&Value) -> &Value) -> Vec<String> {
    let tools = tools.as_array().into_iter().flatten();
    tools
        .map(|tool| name(tool).as_str().unwrap().to_owned())
        .collect()
}

fn body(members: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn each_way_is_told_what_it_gets() {
    let wondering = Wondering::new().await;
    let entry = json!({"type": "mcp", "server_label": "s", "require_approval": "never"});
    let some = json!([{"type": "mcp", "server_label": "s", "allowed_tools": ["b"]}]);
    let header: &Headers = &[("x-mcp-servers", "s")];
    let both: &Headers = &[("x-mcp-servers", "s"), ("x-mcp-tools", "s__b")];
    let all = ["s__a", "s__b"];
    for (members, headers, expected) in [
        (
            json!({"mcp": {"enabled": true, "servers": ["s"]}}),
            &[][..],
            &all[..],
        ),
        (json!({"tools": [entry]}), &[], &all),
        (json!({"tools": some}), &[], &["s__b"]),
        (json!({"metadata": {"mcp_servers": "s"}}), &[], &all),
        (json!({}), header, &all),
        (json!({}), both, &["s__b"]),
        (json!({"model": "alias"}), &[], &all),
        (json!({"model": "by-default-5"}), &[], &all),
        (json!({}), &[], &[]),
        (
            json!({"model": "alias", "mcp": {"enabled": false}}),
            &[],
            &[],
        ),
        (
            json!({"model": "by-default", "tool_choice": "none"}),
            &[],
            &[],
        ),
    ] {
        assert_eq!(wondering.offered(&body(members), headers).await, expected);
    }
}

#[tokio::test]
async fn an_alias_or_a_default_is_explained_by_the_model_alone() {
    let wondering = Wondering::new().await;
    let explained = wondering
        .explain("web", &json!({"model": "alias"}), &[])
        .await;
    assert_eq!(explained.expect(200)["tools"][0]["offered_name"], "s__a");
    let default = json!({"model": "by-default"});
    let explained = wondering.explain("web", &default, &[]).await.expect(200);
    assert_eq!(explained["tools"][0]["offered_name"], "s__a", "{explained}");
    assert!(explained.get("default").is_none());
    // Another project's is no default of this one.
    let explained = wondering.explain("batch", &default, &[]).await.expect(200);
    assert_eq!(explained["tools"], json!([]));
}

#[tokio::test]
async fn why_a_default_would_be_left_out_is_told() {
    let wondering = Wondering::new().await;
    for (members, reason) in [
        (json!({"model": "off-by-default"}), "off is inactive"),
        (
            json!({"model": "by-default", "tool_choice": "none"}),
            "tool_choice",
        ),
        (json!({"model": "by-default", "n": 2}), "several choices"),
    ] {
        let explained = wondering
            .explain("web", &body(members), &[])
            .await
            .expect(200);
        let told = explained["default"]["left_out"].as_str().unwrap();
        assert!(told.contains(reason), "{told}");
        assert_eq!(explained["tools"], json!([]));
    }
}

#[tokio::test]
async fn what_would_be_refused_is_refused() {
    let wondering = Wondering::new().await;
    let unknown = json!([{"type": "mcp", "server_label": "unknown"}]);
    for (members, headers, expected) in [
        (
            json!({"model": "alias-off"}),
            &[][..],
            (400, "mcp_server_inactive"),
        ),
        (
            json!({"tools": unknown}),
            &[],
            (404, "mcp_server_not_found"),
        ),
        (
            json!({}),
            &[("x-mcp-servers", "unknown")],
            (404, "mcp_server_not_found"),
        ),
        (
            json!({}),
            &[("x-mcp-tools", "s__a")],
            (400, "invalid_mcp_options"),
        ),
    ] {
        let answer = wondering.explain("web", &body(members), headers).await;
        assert_eq!(answer.error(expected.0).0, expected.1);
    }
    // The alias is there for all, its server is not.
    let answer = wondering
        .explain("other", &json!({"model": "alias"}), &[])
        .await;
    assert_eq!(answer.error(404).0, "mcp_server_not_found");
}

/// A request with an entry for this address.
fn at(url: &str) -> Value {
    let entry = json!({"type": "mcp", "server_label": "any", "server_url": url, "require_approval": "never"});
    body(json!({"tools": [entry]}))
}

#[tokio::test]
async fn an_address_of_the_gateway_itself_means_what_it_means_to_a_request() {
    let mut wondering = Wondering::new().await;
    let all = ["s__a", "s__b"];
    for (host, url) in [
        ("gateway.example:8787", "http://gateway.example:8787/mcp/s"),
        ("gateway.example", "https://Gateway.example/mcp/s/"),
        ("[::1]:8787", "http://[::1]:8787/mcp/s"),
    ] {
        let sent: &Headers = &[("host", host)];
        assert_eq!(wondering.offered(&at(url), sent).await, all);
    }
    // Without a word of another one, it is the host that this side is asked under.
    let explained = wondering
        .explain("web", &at("http://127.0.0.1:8788/mcp/s"), &[])
        .await;
    let explained = explained.expect(200);
    assert_eq!(
        names(&explained["tools"], |tool| &tool["offered_name"]),
        all
    );
    let here = at("http://gateway.example:8787/mcp/s");
    let not_here = [
        // Of another port, of a name that is none of a server, and without a host of its own.
        (at("http://gateway.example/mcp/s"), "gateway.example:8787"),
        (at("http://gateway.example/mcp/nobody"), "gateway.example"),
        (at("/mcp/s"), "gateway.example"),
        (here.clone(), "gateway.example"),
    ];
    for (body, host) in &not_here {
        let sent: &Headers = &[("host", host)];
        let mut asked = chat(body.to_string());
        asked.extensions_mut().insert(Project::new("web"));
        asked.headers_mut().insert("host", host.parse().unwrap());
        let reply = wondering.gateway.request(asked).await;
        let explained = wondering.explain("web", body, sent).await;
        assert_eq!(reply.status, 404, "{body} {host}");
        assert_eq!(explained.error(404).0, "mcp_server_not_found");
        assert_eq!(explained.json(), reply.json());
    }

    // What is said to be the callers' host counts, and this side's own does not any more.
    let explainer = wondering.gateway.layer.explainer();
    let explainer = explainer.with_hosts(["localhost:8787", "gateway.example:8787"]);
    let (connections, store) = (
        wondering.connections.clone(),
        wondering.gateway.registry.clone(),
    );
    wondering.operator =
        Operator::over(connections, store, |admin| admin.with_explainer(explainer));
    let explained = wondering.explain("web", &here, &[]).await.expect(200);
    assert_eq!(
        names(&explained["tools"], |tool| &tool["offered_name"]),
        all
    );
    let own = wondering
        .explain("web", &at("http://127.0.0.1:8788/mcp/s"), &[])
        .await;
    assert_eq!(own.error(404).0, "mcp_server_not_found");
}

#[tokio::test]
async fn a_choice_of_a_server_that_is_not_there_is_explained_as_it_is_answered() {
    let wondering = Wondering::new().await;
    let entry = json!({"type": "mcp", "server_label": "s", "require_approval": "never"});
    let with = |choice: Value| body(json!({"tools": [entry], "tool_choice": choice}));
    let chosen = with(json!({"type": "mcp", "server_label": "s", "name": "a"}));
    assert_eq!(wondering.offered(&chosen, &[]).await, ["s__a", "s__b"]);
    let absent = with(json!({"type": "mcp", "server_label": "t"}));
    let answer = wondering.explain("web", &absent, &[]).await;
    assert_eq!(answer.error(400).0, "invalid_mcp_options");
}
