//! A registry is asked once for the servers of a request, whatever way that asks, and is not waited for
//! longer than servers are.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_layer::registry::{
    Auth, BoxFuture, DefaultServers, Error, MemoryRegistry, ModelAlias, Server, ServerRegistry,
};
use mcp_layer::{Connections, McpLayer, Project, ServerName};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::model::says;
use crate::support::outbound;
use crate::support::ways::{Ask, House, Way, entry};

/// A registry that counts how often it is asked.
#[derive(Clone)]
struct Counted {
    registry: MemoryRegistry,
    asked: Arc<Mutex<Vec<&'static str>>>,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Well,
    /// It finds servers by their names alone, and takes this long to say so.
    ByName(Duration),
    /// It never answers, but for what it is asked by other means than a name.
    Hangs,
}

impl ServerRegistry for Counted {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        self.asked.lock().unwrap().push("find");
        match self.how {
            How::Hangs => Box::pin(pending()),
            How::Well | How::ByName(_) => self.registry.find(project, names),
        }
    }

    fn visible<'a>(
        &'a self,
        project: &'a Project,
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        self.asked.lock().unwrap().push("visible");
        match self.how {
            How::Hangs => Box::pin(pending()),
            How::Well => self.registry.visible(project),
            How::ByName(wait) => Box::pin(async move {
                sleep(wait).await;
                Ok(Vec::new())
            }),
        }
    }
}

impl Counted {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// The house over such a registry, with a server `own` that takes the caller's token, the alias
/// `with-a` and a default for `default`.
async fn house(how: How) -> (House, Counted) {
    let own = |b: &str| {
        let auth = Auth::token_passthrough(Some("authorization")).unwrap();
        vec![
            Server::new("own", &format!("{b}/own"))
                .unwrap()
                .with_auth(auth),
        ]
    };
    let house = House::with(own).await;
    let counted = Counted {
        registry: house.gateway.registry.clone(),
        asked: Arc::default(),
        how,
    };
    let registry = counted.clone();
    let a = || ["a".parse::<ServerName>().unwrap()];
    let house = house.layered(|_| {
        let layer = McpLayer::new(registry)
            .with_connections(Connections::new(outbound()))
            .with_header_opt_in(true)
            .with_model_aliases([ModelAlias::new("with-a", "m", a())]);
        let default = DefaultServers::new("default", a()).with_models(["by-default"]);
        layer.unwrap().with_defaults([default]).unwrap()
    });
    (house, counted)
}

fn label(name: &str) -> Value {
    entry(&json!({"server_label": name}))
}

fn at(url: &str) -> Value {
    entry(&json!({"server_label": "any", "server_url": url}))
}

fn by_model(model: &str) -> Ask {
    Ask {
        body: json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}),
        headers: Vec::new(),
    }
}

#[tokio::test]
async fn a_registry_is_asked_once_for_all_servers_of_a_request() {
    let (house, counted) = house(How::Well).await;
    let (a, b) = (house.a.url(), house.b.url());
    let with_token = entry(&json!({"server_label": "own", "authorization": "mine"}));
    let with_url = entry(
        &json!({"server_label": "own", "server_url": format!("{b}/own"), "authorization": "mine"}),
    );
    // Once its tools are known a server is not asked for them.
    let first = Ask::entries(&[label("a"), label("b"), with_token.clone()]);
    house.offered(&first).await;
    counted.take();
    for (entries, asked) in [
        (vec![label("a")], "find"),
        (vec![label("a"), label("b"), label("a")], "find"),
        (vec![with_token.clone(), label("a")], "find"),
        (vec![at(&a), at(&b)], "visible"),
        (vec![at(&a), label("b"), with_token], "visible"),
        (vec![with_url], "visible"),
        (
            vec![at("litellm_proxy"), at("litellm_proxy/mcp/b")],
            "visible",
        ),
    ] {
        let ask = Ask::entries(&entries);
        assert!(!house.offered(&ask).await.is_empty(), "{ask:?}");
        assert_eq!(counted.take(), [asked], "{ask:?}");
    }
    for way in [Way::Mcp, Way::Metadata, Way::Header] {
        house.offered(&way.asks(&["a", "b"], &json!({}))).await;
        assert_eq!(counted.take(), ["find"], "{way:?}");
    }
    for model in ["with-a", "by-default"] {
        house.offered(&by_model(model)).await;
        assert_eq!(counted.take(), ["find"], "{model}");
    }
    // What is not there is told without another look.
    for entries in [vec![at(&a), label("nobody")], vec![label("nobody")]] {
        let refused = house.refused(&Ask::entries(&entries)).await;
        assert_eq!(refused.1, "mcp_server_not_found");
        assert_eq!(counted.take().len(), 1);
    }
}

#[tokio::test]
async fn a_registry_that_knows_names_alone_is_asked_by_these_once_it_has_told_nothing_else() {
    let (house, counted) = house(How::ByName(Duration::ZERO)).await;
    let here = at("http://gateway.example/mcp/b");
    let ask = Ask::entries(&[label("a"), here]).header("host", "gateway.example");
    assert_eq!(
        house.offered(&ask).await,
        ["a__read", "a__write", "b__look"]
    );
    assert_eq!(counted.take(), ["visible", "find"]);
}

#[tokio::test]
async fn a_registry_that_hangs_is_waited_for_once_and_no_longer_than_servers_are() {
    let (house, counted) = house(How::Hangs).await;
    let a = house.a.url();
    let with_token = entry(&json!({"server_label": "own", "authorization": "mine"}));
    let mut asks: Vec<Ask> = vec![
        Ask::entries(&[label("a")]),
        Ask::entries(&[with_token, at(&a), label("b")]),
        by_model("with-a"),
    ];
    let others = [Way::Mcp, Way::Metadata, Way::Header];
    asks.extend(others.map(|way| way.asks(&["a"], &json!({}))));
    tokio::time::pause();
    for ask in asks {
        let began = Instant::now();
        let refused = house.refused(&ask).await;
        assert_eq!(
            (refused.0, &*refused.1),
            (500, "mcp_registry_error"),
            "{ask:?}"
        );
        assert_eq!(began.elapsed().as_secs(), 10, "{ask:?}");
        assert_eq!(counted.take().len(), 1, "{ask:?}");
    }
    // Nobody waits for a default for as long, and it fails nothing.
    let began = Instant::now();
    let reply = house.send(&by_model("by-default"), vec![says("hi")]).await;
    assert_eq!((reply.status.as_u16(), began.elapsed().as_secs()), (200, 5));
    assert!(reply.headers.contains_key("x-mcp-default"));
}

#[tokio::test]
async fn two_looks_and_the_lists_of_tools_have_one_limit() {
    let (mut house, _) = house(How::ByName(Duration::from_secs(6))).await;
    let ask = Ask::entries(&[label("a"), at("http://gateway.example/mcp/b")]);
    let ask = ask.header("host", "gateway.example");
    house.a.goes_down().await;
    tokio::time::pause();
    let began = Instant::now();
    let (status, code, _) = house.refused(&ask).await;
    assert_eq!((status, &*code), (400, "mcp_server_inactive"));
    assert!(
        began.elapsed() <= Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}
