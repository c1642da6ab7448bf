//! Who shares a session with whom: what one tells a server with a memory is not told to another.

use std::collections::BTreeSet;

use mcp_layer::{
    CallerId, Connections, McpLayer, Project,
    mcp::Transport,
    registry::{Auth, MemoryRegistry, Server, ShareSession},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::support::{
    dice::Dice,
    gateway::{chat, with_mcp},
    model::{Answer, Model, calls, says},
    notebook::Notebook,
    outbound, until,
};

/// Who sends an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Who {
    project: &'static str,
    /// The key, which the proxy's authentication has taken off the request.
    id: Option<&'static str>,
    authorization: Option<&'static str>,
    headers: &'static [(&'static str, &'static str)],
    /// The member of the body that names the person.
    user: Option<(&'static str, &'static str)>,
}

impl Who {
    fn of(project: &'static str) -> Self {
        Self {
            project,
            ..Self::default()
        }
    }
}

fn request(who: Who, mcp: Value) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let mut members = json!({});
    if let Some((member, user)) = who.user {
        members[member] = user.into();
    }
    let mut request = chat(with_mcp(mcp, members).to_string());
    request.extensions_mut().insert(Project::new(who.project));
    if let Some(id) = who.id {
        request.extensions_mut().insert(CallerId::new(id));
    }
    let authorization = who.authorization.map(|value| ("authorization", value));
    for (name, value) in who.headers.iter().copied().chain(authorization) {
        let value = value.parse().unwrap();
        request.headers_mut().insert(name, value);
    }
    request
}

fn auto() -> Value {
    json!({"enabled": true, "servers": ["n"], "auto_execute_tools": true})
}

/// Notes `text` and recalls what is there.
fn notes(text: &str) -> [Answer; 3] {
    [
        calls(&[("n__remember", json!({"text": text}))]),
        calls(&[("n__recall", json!({}))]),
        says("done"),
    ]
}

/// The lines that the tools told the model.
fn told(model: &Model) -> BTreeSet<String> {
    let asked = model.asked();
    let last = asked.last().unwrap().json();
    let told = last["messages"].as_array().unwrap().iter();
    let told = told.filter(|message| message["role"] == "tool");
    let told = told.flat_map(|message| message["content"].as_str().unwrap().lines());
    told.map(str::to_owned).collect()
}

/// One exchange notes something and recalls what is there: all that its model is told.
async fn exchange(layer: &McpLayer, who: Who, text: &str) -> BTreeSet<String> {
    let model = Model::new(notes(text));
    let answer = layer.layer(model.clone()).oneshot(request(who, auto()));
    assert_eq!(answer.await.unwrap().status(), 200);
    let told = told(&model);
    assert!(told.contains(text), "{who:?}: {told:?}");
    told
}

fn layer(server: Server) -> McpLayer {
    let registry = MemoryRegistry::new([server]).unwrap();
    McpLayer::new(registry).with_connections(Connections::new(outbound()))
}

async fn stateful(transport: Transport, share: ShareSession, seed: u64) -> (Notebook, Server) {
    let notebook = Notebook::start(seed).await;
    let url = match transport {
        Transport::Sse => notebook.sse_url(),
        _ => notebook.url(),
    };
    let server = Server::new("n", &url).unwrap();
    let server = server.with_transport(transport).with_share_session(share);
    (notebook, server)
}

/// Whether `line`, which `number` of `from` noted, may be told to `who` in exchange `here`.
fn may_see(share: ShareSession, (who, here): (Who, usize), (from, number): (Who, usize)) -> bool {
    match share {
        ShareSession::Exchange => here == number,
        ShareSession::Caller => who == from,
        ShareSession::Project => who.project == from.project,
        _ => true,
    }
}

#[tokio::test]
async fn nothing_of_one_is_ever_in_the_answers_of_another() {
    let callers = [
        Who {
            id: Some("key-1"),
            ..Who::of("a")
        },
        Who {
            id: Some("key-2"),
            ..Who::of("a")
        },
        Who {
            id: Some("key-1"),
            user: Some(("user", "ann")),
            ..Who::of("a")
        },
        Who {
            id: Some("key-1"),
            ..Who::of("b")
        },
    ];
    let cases = std::env::var("MCP_LAYER_CASES").map_or(2, |cases| cases.parse().unwrap());
    for seed in 0..cases {
        for transport in [Transport::StreamableHttp, Transport::Sse] {
            for (word, share) in ShareSession::ALL {
                let (notebook, server) = stateful(transport, share, seed).await;
                let layer = layer(server);
                let mut dice = Dice(seed);
                let whose: Vec<Who> = (0..24).map(|_| *dice.of(&callers)).collect();
                let exchanges: Vec<_> = whose
                    .iter()
                    .enumerate()
                    .map(|(number, &who)| {
                        let layer = layer.clone();
                        let text = format!("note {number}");
                        tokio::spawn(async move { exchange(&layer, who, &text).await })
                    })
                    .collect();
                let mut shared = 0;
                for (here, exchange) in exchanges.into_iter().enumerate() {
                    for line in exchange.await.unwrap() {
                        let number: usize = line[5..].parse().unwrap();
                        let (to, from) = ((whose[here], here), (whose[number], number));
                        let context = format!("{word} over {transport:?}, seed {seed}");
                        assert!(may_see(share, to, from), "{context}: {from:?} to {to:?}");
                        shared += usize::from(here != number);
                    }
                }
                // Whoever shares a session sees what is in it: else this would be blind.
                assert_eq!(shared > 0, share != ShareSession::Exchange, "{word}");
                // The lists are everybody's.
                assert_eq!(notebook.lists(), 1, "{word}");
            }
        }
    }
}

#[tokio::test]
async fn whatever_tells_two_callers_apart_keeps_their_sessions_apart() {
    let (_notebook, server) = stateful(Transport::StreamableHttp, ShareSession::Caller, 1).await;
    let layer = layer(server);
    let one = Who::of("a");
    let callers = [
        one,
        Who::of("b"),
        Who {
            id: Some("key-1"),
            ..one
        },
        Who {
            id: Some("key-2"),
            ..one
        },
        Who {
            id: Some(""),
            ..one
        },
        Who {
            authorization: Some("Bearer one"),
            ..one
        },
        Who {
            authorization: Some("Bearer two"),
            ..one
        },
        Who {
            headers: &[("x-mcp-auth-other", "one")],
            ..one
        },
        Who {
            headers: &[("x-mcp-auth-other", "two")],
            ..one
        },
        Who {
            headers: &[("x-mcp-auth-another", "one")],
            ..one
        },
        Who {
            headers: &[("x-mcp-anything", "one")],
            ..one
        },
        Who {
            user: Some(("user", "ann")),
            ..one
        },
        Who {
            user: Some(("user", "bob")),
            ..one
        },
        Who {
            user: Some(("safety_identifier", "ann")),
            ..one
        },
    ];
    for round in 0..2 {
        for (index, who) in callers.into_iter().enumerate() {
            let text = format!("{index} {round}");
            let expected: BTreeSet<_> = (0..=round).map(|r| format!("{index} {r}")).collect();
            assert_eq!(exchange(&layer, who, &text).await, expected, "{who:?}");
        }
    }
}

#[tokio::test]
async fn the_key_of_a_caller_counts_and_not_what_it_is_sent_in() {
    let (_notebook, server) = stateful(Transport::StreamableHttp, ShareSession::Caller, 1).await;
    let layer = layer(server);
    let one = Who {
        id: Some("key-1"),
        ..Who::of("a")
    };
    let two = Who {
        authorization: Some("Bearer other"),
        headers: &[("x-request-id", "7")],
        ..one
    };
    exchange(&layer, one, "first").await;
    let expected = ["first", "second"].map(str::to_owned);
    assert_eq!(exchange(&layer, two, "second").await, expected.into());
}

#[tokio::test]
async fn what_everybody_shares_is_shared_by_nobody_with_another_token() {
    let (_notebook, server) = stateful(Transport::StreamableHttp, ShareSession::All, 1).await;
    let layer = layer(server.with_auth(Auth::token_passthrough(None).unwrap()));
    let ann = Who {
        headers: &[("x-mcp-auth-n", "ann")],
        ..Who::of("a")
    };
    let bob = Who {
        headers: &[("x-mcp-auth-n", "bob")],
        ..Who::of("a")
    };
    let ann_elsewhere = Who {
        project: "b",
        ..ann
    };
    exchange(&layer, ann, "of ann").await;
    assert_eq!(
        exchange(&layer, bob, "of bob").await,
        ["of bob".to_owned()].into()
    );
    let both = ["of ann", "of ann too"].map(str::to_owned);
    assert_eq!(
        exchange(&layer, ann_elsewhere, "of ann too").await,
        both.into()
    );
}

#[tokio::test]
async fn a_session_of_an_exchange_ends_with_it() {
    for transport in [Transport::StreamableHttp, Transport::Sse] {
        let (notebook, server) = stateful(transport, ShareSession::Exchange, 1).await;
        let layer = layer(server);
        for _ in 0..3 {
            exchange(&layer, Who::of("a"), "note").await;
        }
        // One stays, in which the tools were listed.
        assert_eq!(notebook.opened(), 4, "{transport:?}");
        until("the others have ended", || notebook.open() == 1).await;
    }
}

#[tokio::test]
async fn a_session_of_an_exchange_ends_when_its_caller_hangs_up() {
    for transport in [Transport::StreamableHttp, Transport::Sse] {
        let (notebook, server) = stateful(transport, ShareSession::Exchange, 1).await;
        let layer = layer(server).without_exchanges();
        exchange(&layer, Who::of("a"), "note").await;
        until("the first has ended", || notebook.open() == 1).await;
        notebook.holds_calls(true);
        let model = Model::new(notes("note"));
        let answer = layer.layer(model).oneshot(request(Who::of("a"), auto()));
        let answer = tokio::spawn(answer);
        until("the call has begun", || notebook.held() == 1).await;
        assert_eq!(notebook.open(), 2);
        answer.abort();
        until("its session has ended", || notebook.open() == 1).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_end_sessions_holds_nobody_up() {
    let notebook = Notebook::that_hangs_on().await;
    let server = Server::new("n", &notebook.url()).unwrap();
    let layer = layer(server.with_share_session(ShareSession::Exchange));
    let began = std::time::Instant::now();
    for _ in 0..10 {
        exchange(&layer, Who::of("a"), "note").await;
    }
    // Each end is waited for for seconds, by nobody.
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
}

#[tokio::test]
async fn an_outage_is_not_learnt_anew_by_each_project() {
    let (notebook, server) = stateful(Transport::StreamableHttp, ShareSession::Project, 1).await;
    let layer = layer(server);
    exchange(&layer, Who::of("a"), "note").await;
    drop(notebook);
    let send = async |project| {
        let model = Model::new(notes("note"));
        let service = layer.layer(model.clone());
        let answer = service.oneshot(request(Who::of(project), auto()));
        (answer.await.unwrap().status(), model.asked().len())
    };
    let mut answers = Vec::new();
    for project in ["b", "c", "d"] {
        answers.push(send(project).await);
    }
    assert_eq!(
        answers.last(),
        Some(&(http::StatusCode::BAD_REQUEST, 0)),
        "{answers:?}"
    );
    assert_eq!(send("e").await, (http::StatusCode::BAD_REQUEST, 0));
}
