//! Six ways to ask, whole and streamed, for each thing that may be wrong with what is asked for: every
//! answer is written out.

use mcp_layer::registry::{DefaultServers, ModelAlias, ServerStore};
use mcp_layer::{McpLayer, ServerName};
use serde_json::{Value, json};

use crate::support::events::assembled;
use crate::support::framework::turn;
use crate::support::gateway::{Reply, chat};
use crate::support::ways::{Ask, House, Way, names};

/// A way to ask, also by what an operator has decided.
#[derive(Clone, Copy, Debug)]
enum By {
    Request(Way),
    Alias,
    Default,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Case {
    OneServer,
    Several,
    Unknown,
    AnotherProjects,
    Inactive,
    /// Beside a member `mcp` that asks for another server.
    MemberOn,
    /// Beside a member `mcp` that is off.
    MemberOff,
}

/// What the caller gets.
#[derive(Clone, Copy, Debug)]
enum Cell {
    /// The model has these tools, its call runs, and the caller gets what it says then.
    Runs(&'static [&'static str]),
    /// The model has these tools, and its call goes to the caller.
    Returns(&'static [&'static str]),
    /// Status, code and place of an error; nobody is asked.
    Refused(u16, &'static str, &'static str),
    /// The model gets the request without anything of ours.
    Passes,
    /// The same, and the caller is told why; the reason has this.
    LeftOut(&'static str),
}

use Case::*;
use Cell::*;

/// The columns of the tables.
const CASES: [Case; 7] = [
    OneServer,
    Several,
    Unknown,
    AnotherProjects,
    Inactive,
    MemberOn,
    MemberOff,
];

/// The rows of the tables.
const WAYS: [By; 6] = [
    By::Request(Way::Mcp),
    By::Request(Way::Tools),
    By::Request(Way::Metadata),
    By::Request(Way::Header),
    By::Alias,
    By::Default,
];

const A: &[&str] = &["a__read", "a__write"];
const ALL: &[&str] = &["a__read", "a__write", "b__look"];
const B: &[&str] = &["b__look"];

const fn unknown(place: &'static str) -> Cell {
    Refused(404, "mcp_server_not_found", place)
}

const fn inactive(place: &'static str) -> Cell {
    Refused(400, "mcp_server_inactive", place)
}

const fn invalid(place: &'static str) -> Cell {
    Refused(400, "invalid_mcp_options", place)
}

#[rustfmt::skip]
const WHOLE: [[Cell; CASES.len()]; WAYS.len()] = [
    // mcp: a second member is one too many
    [Runs(A), Runs(ALL), unknown("mcp.servers[1]"), unknown("mcp.servers[1]"), inactive("mcp.servers[1]"), invalid("mcp"), invalid("mcp")],
    // tools
    [Runs(A), Runs(ALL), unknown("tools[1].server_label"), unknown("tools[1].server_label"), inactive("tools[1].server_label"), invalid("mcp.enabled"), Passes],
    // metadata.mcp_servers
    [Runs(A), Runs(ALL), unknown("metadata.mcp_servers"), unknown("metadata.mcp_servers"), inactive("metadata.mcp_servers"), invalid("mcp.enabled"), Passes],
    // x-mcp-servers
    [Runs(A), Runs(ALL), unknown("x-mcp-servers"), unknown("x-mcp-servers"), inactive("x-mcp-servers"), invalid("mcp.enabled"), Passes],
    // an alias: the member goes before it
    [Runs(A), Runs(ALL), unknown("model"), unknown("model"), inactive("model"), Runs(B), Passes],
    // a default: the member goes before it, and it fails nothing
    [Runs(A), Runs(ALL), LeftOut("nothing"), LeftOut("theirs"), LeftOut("off is inactive"), Runs(B), Passes],
];

/// The operator says nothing of streams, so that with a member `mcp` calls go back; with the other
/// ways they run.
#[rustfmt::skip]
const STREAMED: [[Cell; CASES.len()]; WAYS.len()] = [
    // mcp
    [Returns(A), Returns(ALL), unknown("mcp.servers[1]"), unknown("mcp.servers[1]"), inactive("mcp.servers[1]"), invalid("mcp"), invalid("mcp")],
    // tools
    [Runs(A), Runs(ALL), unknown("tools[1].server_label"), unknown("tools[1].server_label"), inactive("tools[1].server_label"), invalid("mcp.enabled"), Passes],
    // metadata.mcp_servers
    [Runs(A), Runs(ALL), unknown("metadata.mcp_servers"), unknown("metadata.mcp_servers"), inactive("metadata.mcp_servers"), invalid("mcp.enabled"), Passes],
    // x-mcp-servers
    [Runs(A), Runs(ALL), unknown("x-mcp-servers"), unknown("x-mcp-servers"), inactive("x-mcp-servers"), invalid("mcp.enabled"), Passes],
    // an alias
    [Runs(A), Runs(ALL), unknown("model"), unknown("model"), inactive("model"), Returns(B), Passes],
    // a default
    [Runs(A), Runs(ALL), LeftOut("nothing"), LeftOut("theirs"), LeftOut("off is inactive"), Returns(B), Passes],
];

impl Case {
    /// The servers that are asked for, beside any member.
    fn servers(self) -> &'static [&'static str] {
        match self {
            OneServer | MemberOn | MemberOff => &["a"],
            Several => &["b", "a"],
            Unknown => &["a", "nothing"],
            AnotherProjects => &["a", "theirs"],
            Inactive => &["a", "off"],
        }
    }

    /// The member `mcp` beside the way.
    fn member(self) -> Option<Value> {
        match self {
            MemberOn => {
                Some(json!({"enabled": true, "servers": ["b"], "auto_execute_tools": true}))
            }
            MemberOff => Some(json!({"enabled": false})),
            _ => None,
        }
    }

    /// The model of requests that are to get the alias, or the default, of this case.
    fn model(self, by: By) -> String {
        match by {
            By::Request(_) => "m".to_owned(),
            By::Alias => format!("alias-{self:?}"),
            By::Default => format!("default-{self:?}"),
        }
    }
}

/// A house with an alias and a default for each case.
async fn house() -> House {
    let servers = |case: Case| -> Vec<ServerName> {
        let names = case.servers().iter();
        names.map(|name| name.parse().unwrap()).collect()
    };
    let alias = |case: Case| ModelAlias::new(case.model(By::Alias), "m", servers(case));
    let default = |case: Case| {
        DefaultServers::new("default", servers(case)).with_models([case.model(By::Default)])
    };
    let house = House::new().await;
    house.layered(|layer: McpLayer| {
        let layer = layer.with_model_aliases(CASES.map(alias)).unwrap();
        layer.with_defaults(CASES.map(default)).unwrap()
    })
}

/// The request of a cell: its body, as text, since a member may be there twice.
fn request(by: By, case: Case, stream: bool) -> (String, Vec<(&'static str, String)>) {
    let members = match stream {
        true => json!({"stream": true}),
        false => json!({}),
    };
    let Ask { mut body, headers } = match by {
        By::Request(way) => way.asks(case.servers(), &members),
        By::Alias | By::Default => {
            let mut ask = Way::Metadata.asks(&[], &members);
            ask.body.as_object_mut().unwrap().remove("metadata");
            ask
        }
    };
    body["model"] = case.model(by).into();
    if let Some(mcp) = body.get_mut("mcp") {
        // What the operator says of streams counts.
        mcp.as_object_mut().unwrap().remove("on_stream");
    }
    let mut text = body.to_string();
    if let Some(member) = case.member() {
        text.pop();
        text += &format!(r#","mcp":{member}}}"#);
    }
    (text, headers)
}

/// The request as the model gets it where it has nothing of ours.
fn plain(by: By, case: Case, stream: bool) -> Value {
    let model = match by {
        By::Alias => "m".to_owned(),
        by => case.model(by),
    };
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    if stream {
        body["stream"] = true.into();
    }
    body
}

struct Told {
    reply: Reply,
    /// The bodies that the model got, each with its headers' names.
    turns: Vec<Value>,
    calls: usize,
}

async fn tell(house: &House, by: By, case: Case, stream: bool, cell: Cell) -> Told {
    let (asked, calls) = (house.gateway.model.asked().len(), house.calls());
    let called = |tools: &[&'static str]| *tools.last().unwrap();
    let answers = match cell {
        Runs(tools) => vec![
            turn(stream, "", &[(called(tools), json!({}))]),
            turn(stream, "done", &[]),
        ],
        Returns(tools) => vec![turn(stream, "", &[(called(tools), json!({}))])],
        Passes | LeftOut(_) => vec![turn(stream, "done", &[])],
        Refused(..) => Vec::new(),
    };
    house.gateway.model.add(answers);
    let (body, headers) = request(by, case, stream);
    let mut request = chat(body);
    for (name, value) in headers {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = house.gateway.request(request).await;
    let turns = house.gateway.model.asked().split_off(asked);
    let has_ours = |name: &http::HeaderName| name.as_str().starts_with("x-mcp");
    assert!(!turns.iter().any(|turn| turn.headers.keys().any(has_ours)));
    Told {
        reply,
        turns: turns.iter().map(|turn| turn.json()).collect(),
        calls: house.calls() - calls,
    }
}

async fn check(house: &House, by: By, case: Case, stream: bool, cell: Cell) {
    let told = tell(house, by, case, stream, cell).await;
    let Told {
        reply,
        turns,
        calls,
    } = &told;
    let place = format!("{by:?} {case:?} {stream} {cell:?}: {:?}", reply.body);
    let text = String::from_utf8_lossy(&reply.body);
    let plain = plain(by, case, stream);
    // Nothing of ours but tools and their results goes to the model.
    for turn in turns {
        for member in ["model", "mcp", "metadata"] {
            assert_eq!(turn.get(member), plain.get(member), "{place}");
        }
    }
    match cell {
        Runs(tools) => {
            assert_eq!(
                (reply.status.as_u16(), turns.len(), *calls),
                (200, 2, 1),
                "{place}"
            );
            for turn in turns {
                assert_eq!(names(&turn.to_string()), tools, "{place}");
            }
            assert!(
                text.contains("done") && !text.contains("tool_calls\""),
                "{place}"
            );
            let receipt = receipt(reply, stream);
            assert_eq!(
                (&receipt["rounds"], &receipt["stopped_by"]),
                (&json!(1), &json!("final")),
                "{place}"
            );
            assert_eq!(text.contains("[DONE]"), stream, "{place}");
        }
        Returns(tools) => {
            assert_eq!(
                (reply.status.as_u16(), turns.len(), *calls),
                (200, 1, 0),
                "{place}"
            );
            assert_eq!(names(&turns[0].to_string()), tools, "{place}");
            assert!(text.contains(r#""finish_reason":"tool_calls""#), "{place}");
        }
        Refused(status, code, param) => {
            assert_eq!(
                reply.error(),
                (status, code.to_owned(), param.into()),
                "{place}"
            );
            assert_eq!((turns.len(), *calls), (0, 0), "{place}");
        }
        Passes => {
            assert_eq!(
                (reply.status.as_u16(), turns, *calls),
                (200, &vec![plain], 0),
                "{place}"
            );
            assert!(!reply.headers.contains_key("x-mcp-default"), "{place}");
            assert!(!text.contains("\"mcp\""), "{place}");
        }
        LeftOut(reason) => {
            assert_eq!(
                (reply.status.as_u16(), turns, *calls),
                (200, &vec![plain], 0),
                "{place}"
            );
            let header = reply.headers["x-mcp-default"].to_str().unwrap();
            let receipt = receipt(reply, stream);
            let told = receipt["default"]["left_out"].as_str().unwrap();
            assert!(header.contains(reason) && told.contains(reason), "{place}");
        }
    }
}

/// The receipt of an answer, which has just one.
fn receipt(reply: &Reply, stream: bool) -> Value {
    match stream {
        true => {
            let told = assembled(&reply.body);
            assert_eq!(told.receipts.len(), 1, "{:?}", reply.body);
            told.receipts[0].clone()
        }
        false => reply.receipt(),
    }
}

#[tokio::test]
async fn six_ways_whole_and_streamed_get_what_is_written_here_in_every_case() {
    let house = house().await;
    let mut checked = 0;
    for (stream, table) in [(false, WHOLE), (true, STREAMED)] {
        for (by, row) in WAYS.into_iter().zip(table) {
            for (case, cell) in CASES.into_iter().zip(row) {
                check(&house, by, case, stream, cell).await;
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 2 * WAYS.len() * CASES.len());
    // What was left out for its servers is not left out for good.
    let name: ServerName = "theirs".parse().unwrap();
    let theirs = house.gateway.registry.get("default", &name);
    let mut theirs = (*theirs.await.unwrap()).clone();
    theirs.projects = mcp_layer::registry::Projects::All;
    theirs.url = house.b.url().parse().unwrap();
    house.gateway.registry.replace(theirs).await.unwrap();
    let both = &["a__read", "a__write", "theirs__look"];
    for by in WAYS {
        check(&house, by, AnotherProjects, false, Runs(both)).await;
    }
}
