//! What is made once for many requests: the tools of a server, as long as neither its record nor its
//! list changes, and never for anybody else.

use http::Request;
use mcp_layer::{
    Connections, McpLayer, Project,
    mcp::ServerLimits,
    registry::{Auth, MemoryRegistry, Server, ServerStore},
};
use serde_json::{Value, json};

use crate::support::{
    evil::{Evil, Received, Step, json_reply},
    gateway::{Gateway, Reply, chat, connections, with_mcp},
    mcp_server::{McpServer, Mode},
    model::{Answer, Model, says},
    shelf::{Shelf, tool},
};

/// A layer over these servers, whose model is asked so often.
struct Warm {
    gateway: Gateway,
    connections: Connections,
}

impl Warm {
    async fn new(servers: impl IntoIterator<Item = Server>, times: usize) -> Self {
        let registry = MemoryRegistry::new(servers).unwrap();
        let connections = connections(ServerLimits::default());
        let layer = McpLayer::new(registry.clone()).with_connections(connections.clone());
        let answers: Vec<Answer> = (0..times).map(|_| says("done")).collect();
        let gateway = Gateway {
            layer,
            model: Model::new(answers),
            server: McpServer::start(Mode::Stateless).await,
            registry,
        };
        Self {
            gateway,
            connections,
        }
    }

    async fn record(&self) -> Server {
        let name = "s".parse().unwrap();
        (*self.gateway.registry.get("default", &name).await.unwrap()).clone()
    }

    async fn replace(&self, change: impl FnOnce(Server) -> Server) {
        let changed = change(self.record().await);
        self.gateway.registry.replace(changed).await.unwrap();
    }

    /// The names that the model is offered for this request.
    async fn offered(&self, mcp: Value, change: impl FnOnce(&mut Request<()>)) -> Vec<String> {
        let before = self.gateway.model.asked().len();
        let reply = self.send(mcp, change).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let asked = self.gateway.model.asked();
        assert_eq!(asked.len(), before + 1);
        let tools = asked[before].json()["tools"].take();
        let name = |tool: &Value| tool["function"]["name"].as_str().unwrap().to_owned();
        tools.as_array().unwrap().iter().map(name).collect()
    }

    async fn send(&self, mcp: Value, change: impl FnOnce(&mut Request<()>)) -> Reply {
        let (mut parts, body) = chat(with_mcp(mcp, json!({})).to_string()).into_parts();
        let mut head = Request::from_parts(parts, ());
        change(&mut head);
        (parts, ()) = head.into_parts();
        self.gateway.request(Request::from_parts(parts, body)).await
    }
}

fn of(servers: &[&str]) -> Value {
    json!({"enabled": true, "servers": servers})
}

fn only(tools: &[&str]) -> Value {
    json!({"enabled": true, "servers": ["s"], "tools": tools})
}

fn as_it_is(_: &mut Request<()>) {}

fn tools(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| tool(name, name)).collect()
}

#[tokio::test]
async fn whatever_changes_a_record_counts_at_the_next_request() {
    let shelf = Shelf::start(&tools(&["a", "b", "c"])).await;
    let warm = Warm::new([Server::new("s", &shelf.url()).unwrap()], 7).await;
    for _ in 0..2 {
        let offered = warm.offered(of(&["s"]), as_it_is).await;
        assert_eq!(offered, ["s__a", "s__b", "s__c"]);
    }
    warm.replace(|server| server.with_tools(["c", "a"]).unwrap())
        .await;
    for _ in 0..2 {
        let offered = warm.offered(of(&["s"]), as_it_is).await;
        assert_eq!(offered, ["s__a", "s__c"]);
    }
    warm.replace(|server| server.with_enabled(false)).await;
    let reply = warm.send(of(&["s"]), as_it_is).await;
    assert_eq!(reply.error().1, "mcp_server_inactive");
    warm.replace(|server| server.with_enabled(true)).await;
    let offered = warm.offered(of(&["s"]), as_it_is).await;
    assert_eq!(offered, ["s__a", "s__c"]);

    let name = "s".parse().unwrap();
    let removed = warm.gateway.registry.remove("default", &name).await;
    removed.unwrap();
    let reply = warm.send(of(&["s"]), as_it_is).await;
    assert_eq!(reply.error().1, "mcp_server_not_found");
    let again = Server::new("s", &shelf.url()).unwrap();
    let again = again.with_tools(["b"]).unwrap();
    warm.gateway.registry.insert(again).await.unwrap();
    assert_eq!(warm.offered(of(&["s"]), as_it_is).await, ["s__b"]);
    let projects = |server: Server| server.with_projects(["web"]).unwrap();
    warm.replace(projects).await;
    let reply = warm.send(of(&["s"]), as_it_is).await;
    assert_eq!(reply.error().1, "mcp_server_not_found");
    let web = |request: &mut Request<()>| {
        request.extensions_mut().insert(Project::new("web"));
    };
    assert_eq!(warm.offered(of(&["s"]), web).await, ["s__b"]);
}

#[tokio::test]
async fn a_list_that_was_fetched_again_is_offered_at_the_next_request() {
    let shelf = Shelf::start(&tools(&["a", "b"])).await;
    let warm = Warm::new([Server::new("s", &shelf.url()).unwrap()], 3).await;
    for names in [&["a", "b"][..], &["b", "c"], &["b"]] {
        shelf.put(&tools(names));
        warm.connections.probe(&warm.record().await).await.unwrap();
        let offered = warm.offered(of(&["s"]), as_it_is).await;
        let names: Vec<_> = names.iter().map(|name| format!("s__{name}")).collect();
        assert_eq!(offered, names);
    }
}

#[tokio::test]
async fn what_one_caller_chooses_is_chosen_for_no_other() {
    let shelf = Shelf::start(&tools(&["a", "b", "c", "d"])).await;
    let warm = Warm::new([Server::new("s", &shelf.url()).unwrap()], 8).await;
    for _ in 0..2 {
        for chosen in [&["s__d", "s__b", "s__d"][..], &["s__a"], &["s__b", "s__d"]] {
            let offered = warm.offered(only(chosen), as_it_is).await;
            let mut expected = chosen.to_vec();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(offered, expected);
        }
        let all = warm.offered(of(&["s"]), as_it_is).await;
        assert_eq!(all, ["s__a", "s__b", "s__c", "s__d"]);
    }
    let reply = warm.send(only(&["s__a", "s__e"]), as_it_is).await;
    assert_eq!(reply.error().2, "mcp.tools[1]");
}

#[tokio::test]
async fn callers_with_lists_of_their_own_get_no_others() {
    fn list(request: &Received) -> String {
        let token = request.header("x-token").unwrap_or_default();
        let own = json!({"name": format!("of_{token}"), "inputSchema": {"type": "object"}});
        let all = json!({"name": "all", "inputSchema": {"type": "object"}});
        request.result(&json!({"resultType": "complete", "tools": [own, all]}))
    }
    let server = Evil::stateless(|request| vec![Step::Send(json_reply(&list(request)))]).await;
    let auth = Auth::token_passthrough(Some("X-Token")).unwrap();
    let record = Server::new("s", &server.url()).unwrap().with_auth(auth);
    let warm = Warm::new([record], 9).await;
    for _ in 0..3 {
        for token in ["ann", "bob", "eve"] {
            let with = |request: &mut Request<()>| {
                let headers = request.headers_mut();
                headers.insert("x-mcp-auth-s", token.parse().unwrap());
            };
            let offered = warm.offered(of(&["s"]), with).await;
            assert_eq!(offered, ["s__all".to_owned(), format!("s__of_{token}")]);
        }
    }
    assert_eq!(server.count("tools/list"), 3);
}

#[tokio::test]
async fn servers_of_one_name_in_two_organizations_have_their_own_tools() {
    let (ours, theirs) = (
        Shelf::start(&tools(&["ours"])).await,
        Shelf::start(&tools(&["theirs"])).await,
    );
    let of_ours = Server::new("s", &ours.url()).unwrap();
    let of_theirs = Server::new("s", &theirs.url()).unwrap();
    let warm = Warm::new([of_ours, of_theirs.with_organization("other")], 4).await;
    let other = |request: &mut Request<()>| {
        let project = Project::new("default").with_organization("other");
        request.extensions_mut().insert(project);
    };
    for _ in 0..2 {
        assert_eq!(warm.offered(of(&["s"]), as_it_is).await, ["s__ours"]);
        assert_eq!(warm.offered(of(&["s"]), other).await, ["s__theirs"]);
    }
}

#[tokio::test]
async fn tools_of_several_servers_are_in_the_order_of_their_names() {
    let shelf = Shelf::start(&tools(&["b", "a"])).await;
    let names = ["ab", "a-b", "b", "a", "a0"];
    let servers = names.map(|name| Server::new(name, &shelf.url()).unwrap());
    let warm = Warm::new(servers, 3).await;
    for order in [["ab", "a-b", "b", "a", "a0"], ["a0", "b", "a", "a-b", "ab"]] {
        let offered = warm.offered(of(&order), as_it_is).await;
        assert_eq!(offered.len(), 10);
        assert!(offered.is_sorted(), "{offered:?}");
    }
    let tools = json!({"enabled": true, "servers": ["b", "a", "ab"], "tools": ["b__a", "ab__b"]});
    assert_eq!(warm.offered(tools, as_it_is).await, ["ab__b", "b__a"]);
}
