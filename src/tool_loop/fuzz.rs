//! Targets for what callers send, and for what providers reject.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use memchr::memmem::Finder;
use serde_json::{Value, json};

use super::{
    failure::rejected,
    options::Options,
    ways::{ByModel, OptInHeaders},
};
use crate::{
    chat::{ChatRequest, Conversation, OPTIONAL, OpenTurn},
    fuzz_input::{halves, number},
    json::{concat, is_ruled_out, sought_text},
    settings::Settings,
    sniff::may_have_mcp,
};

/// A body: it is found wherever its bytes are cut, and what goes on differs from it in nothing but
/// what was meant.
pub(crate) fn request(data: &[u8]) {
    let (at, data) = number(data);
    let body = Bytes::copy_from_slice(data);
    let sniffed = may_have_mcp([&body].into_iter());
    assert_eq!(
        sniffed,
        may_have_mcp(halves(data, at).iter()),
        "cut at {at}"
    );
    let sought = sought_text(halves(data, at).iter(), "model");
    let Ok(mut request) = ChatRequest::parse(body.clone()) else {
        return;
    };
    // What is longer is not looked at.
    if body.len() <= 1024 {
        assert_eq!(sought, request.model, "cut at {at}");
        let model = sought.unwrap_or_default();
        let is_out = is_ruled_out([&body].into_iter(), &Finder::new("\"model\""), |of| {
            of == model
        });
        assert!(sniffed || !is_out, "its own model is ruled out");
    }
    if request.mcp.is_none() || request.asks.is_any() {
        return;
    }
    assert!(sniffed, "a request for us is passed by");
    let rest = concat(&request.without_mcp());
    assert!(is_cut(&body, &rest), "more than one piece is gone");
    let ways = (&OptInHeaders::default(), &ByModel::default());
    if let Ok(options) = Options::parse(&request, ways, &Settings::default()) {
        assert!((1..=5).contains(&options.max_tool_rounds));
        assert!(!options.enabled || !options.servers.is_empty() && request.has_messages());
    }
    // What is nested too deep for a tree is refused by then.
    let Ok(Value::Object(mut expected)) = serde_json::from_slice(data) else {
        return;
    };
    expected.remove("mcp");
    let mut expected = Value::Object(expected);
    assert_eq!(read(&[rest]), expected);
    if !request.has_messages() {
        return;
    }
    turns(&request, expected.clone());
    request.ask_for_usage();
    let asked = read(&Conversation::new(&request, &[]).turn(false));
    assert_eq!(asked["stream_options"]["include_usage"], true);
    expected["stream_options"] = asked["stream_options"].clone();
    assert_eq!(asked, expected);
}

/// A header in the first line, and a body: what asks us for something is found and taken out, and
/// nothing else.
pub(crate) fn ways(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (line, body) = data.split_at(end);
    let mut headers = HeaderMap::new();
    if let (false, Ok(value)) = (line.is_empty(), HeaderValue::from_bytes(line)) {
        headers.insert("x-mcp-servers", value);
    }
    let headers = OptInHeaders::take(&mut headers, true);
    let body = Bytes::copy_from_slice(body);
    let Ok(request) = ChatRequest::read(body.clone(), headers.given().is_some()) else {
        return;
    };
    let asks = &request.asks;
    assert!(
        !asks.is_any() || may_have_mcp([&body].into_iter()),
        "a request for us is passed by"
    );
    if let Ok(options) = Options::parse(
        &request,
        (&headers, &ByModel::default()),
        &Settings::default(),
    ) && options.enabled
    {
        assert!(options.has_entries() || !options.servers.is_empty());
        assert!(options.way.is_none() || options.auto_execute);
    }
    let Ok(Value::Object(mut expected)) = serde_json::from_slice(&body) else {
        return;
    };
    if let Some(Value::Array(tools)) = expected.get_mut("tools") {
        let mut places = 0..;
        tools.retain(|tool| {
            let place = places.next();
            let is_taken = asks.entries.iter().any(|(taken, _)| Some(*taken) == place);
            assert!(is_taken || tool["type"] != "mcp", "an entry stays");
            !is_taken
        });
        if asks.no_tools {
            expected.remove("tools");
        }
    }
    if let Some(Value::Object(metadata)) = expected.get_mut("metadata") {
        let servers = metadata.remove("mcp_servers");
        assert_eq!(servers.is_some(), asks.servers.is_some());
        if servers.is_some() && metadata.is_empty() {
            expected.remove("metadata");
        }
    }
    assert_eq!(read(&[request.bytes().clone()]), Value::Object(expected));
}

/// What a rejection names is a row, whatever it says.
pub(crate) fn rejection(data: &[u8]) {
    let data = &data[..data.len().min(rejected::READ)];
    let both = rejected::named(data).and(rejected::mentioned(data));
    assert!(both.rows().count() <= OPTIONAL.len());
}

/// Returns `true` if `rest` is `body` with one piece cut out.
fn is_cut(body: &[u8], rest: &[u8]) -> bool {
    let before = body.iter().zip(rest).take_while(|(a, b)| a == b).count();
    let behind = body.iter().rev().zip(rest.iter().rev());
    let behind = behind.take_while(|(a, b)| a == b).count();
    rest.len() < body.len() && before + behind >= rest.len()
}

/// The turns have our tools behind the caller's, our messages behind the caller's, and else what
/// the caller sent.
fn turns(request: &ChatRequest, sent: Value) {
    let tool = json!({"type": "function", "function": {"name": "s__a"}});
    let message = json!({"role": "tool", "content": "\"]"});
    let mut conversation = Conversation::new(request, &[tool.to_string().into()]);
    conversation.push(message.to_string().into());
    let mut expected = sent.clone();
    match &mut expected["tools"] {
        Value::Array(tools) => tools.push(tool),
        tools => *tools = json!([tool]),
    }
    let messages = expected["messages"].as_array_mut();
    messages.expect("there are messages").push(message.clone());
    assert_eq!(read(&conversation.turn(false)), expected);
    let relaxed = read(&conversation.turn(true));
    if request.tools.is_empty() {
        assert_ne!(relaxed["tool_choice"], "required");
    }
    expected["tool_choice"] = relaxed["tool_choice"].clone();
    if let Some(members) = expected.as_object_mut()
        && relaxed.get("tool_choice").is_none()
    {
        members.remove("tool_choice");
    }
    assert_eq!(relaxed, expected);
    if let Ok(open) = OpenTurn::of(request, 128) {
        assert!(!open.calls.is_empty() && open.calls.len() == open.answered.len());
        let mut conversation = Conversation::resumed(request, &[], open.kept);
        conversation.push(message.to_string().into());
        let resumed = read(&conversation.turn(false));
        let kept = sent["messages"].as_array().map(|sent| &sent[..open.kept]);
        let told = resumed["messages"].as_array().expect("messages");
        assert_eq!(Some(&told[..open.kept]), kept);
        assert_eq!(told[open.kept..], [message]);
    }
}

fn read(segments: &[Bytes]) -> Value {
    serde_json::from_slice(&concat(segments)).expect("what is sent on is JSON")
}
