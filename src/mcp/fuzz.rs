//! Targets for what MCP servers answer.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::value::RawValue;

use super::{
    ServerLimits, ToolList, content,
    handshake::TaskSupport,
    http_sse,
    param_headers::ParamHeaders,
    tools::Listing,
    wire::{self, Incoming},
};
use crate::{
    fuzz_input::{line, number, text, url},
    json::depth,
    scrub::Scrubber,
    sse::Parser,
};

/// A secret that a server may repeat, and that must not be shown to anyone.
const SECRET: &str = "k3y-5f0c9d1e7a2b";

/// The text of a result is bounded by what was sent, and the result is handed on as it came.
pub(crate) fn content(data: &[u8]) {
    let Ok(result) = RawValue::from_string(text(data).to_owned()) else {
        return;
    };
    let Ok(read) = content::read(result.clone()) else {
        return;
    };
    assert_eq!(read.raw.get(), result.get());
    assert!(
        read.text.len() <= 64 + data.len() * 8,
        "{} of {} bytes",
        read.text.len(),
        data.len()
    );
    for media in read.media() {
        let digits = media.base64.trim_end_matches('=');
        assert!(!digits.is_empty() && media.base64.len() % 4 == 0);
        assert!(
            digits
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b))
        );
    }
}

/// A message or a batch: read the same alone and in a batch, and no error says what it must not.
pub(crate) fn rpc(data: &[u8]) {
    let scrubber = Scrubber::new([SECRET.as_bytes()]);
    let Ok(data) = wire::scrubbed(data, &scrubber) else {
        return;
    };
    let data = &*data;
    let alone = kinds(data);
    if let Some(alone) = &alone
        && data.trim_ascii_start().starts_with(b"{")
    {
        let batch = [b"[", data, b"]"].concat();
        assert_eq!(kinds(&batch).as_ref(), Some(alone), "in a batch");
    }
    if let Some((id, error)) = wire::error_in(data) {
        assert!(id.is_none_or(|id| {
            alone.is_some_and(|alone| alone.iter().any(|kind| kind.id == Some(id)))
        }));
        told(&error);
    }
}

#[derive(PartialEq, Debug)]
struct Kind {
    what: &'static str,
    id: Option<u64>,
    text: String,
}

fn kinds(data: &[u8]) -> Option<Vec<Kind>> {
    let mut kinds = Vec::new();
    let read = wire::read(data, |message| {
        let (what, id, text) = match message {
            Incoming::Answer(id, Ok(result)) => ("result", id, result.get().to_owned()),
            Incoming::Answer(id, Err(error)) => ("error", id, told(&error)),
            Incoming::Request(id, method) => {
                request(id, &method);
                ("request", Some(id), method.into_owned())
            }
            Incoming::Notification(method, _) => ("notification", None, method.into_owned()),
        };
        let id = id.and_then(wire::id_number);
        kinds.push(Kind { what, id, text });
    });
    assert!(kinds.len() <= 1024);
    match read {
        Ok(()) => Some(kinds),
        Err(error) => {
            told(&error);
            None
        }
    }
}

/// Our answer to a request is JSON, and names the request as it named itself.
fn request(id: &RawValue, method: &str) {
    let answer = wire::answer(id, method);
    let answer: std::collections::HashMap<String, &RawValue> =
        serde_json::from_slice(&answer).expect("an answer is JSON");
    assert_eq!(answer["id"].get(), id.get());
}

fn told(error: &super::Error) -> String {
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET), "{text}");
    let shown = error.to_string();
    assert!(
        shown.len() < 2048 && !shown.chars().any(char::is_control),
        "{shown:?}"
    );
    shown
}

/// A stream of HTTP+SSE: its endpoint never leads away from the server, and its messages are read.
pub(crate) fn stream(data: &[u8]) {
    let base = url("https://mcp.example/sse?key=0123456789abcdef");
    let scrubber = Scrubber::new([SECRET.as_bytes()]);
    let mut parser = Parser::new(4096);
    let mut bytes = Bytes::copy_from_slice(data);
    let mut endpoint = None;
    while let Ok(Some(event)) = parser.next(&mut bytes) {
        if endpoint.is_some() {
            if let Ok(data) = wire::scrubbed(&event.data, &scrubber) {
                kinds(&data);
            }
            continue;
        }
        match http_sse::endpoint_of(&base, event) {
            Ok(url) => {
                assert_eq!(url.origin(), base.origin());
                let id = http_sse::session_id(&base, &url);
                assert!(id.is_none_or(|id| !id.as_bytes().is_empty()));
                endpoint = Some(url);
            }
            Err(error) => {
                told(&error);
                return;
            }
        }
    }
}

/// Pages of `tools/list`, one a line, as a client puts them together.
pub(crate) fn list(data: &[u8]) -> ToolList {
    let limits = ServerLimits {
        pages: 4,
        tools: 32,
        schema_bytes: 1024,
        schema_depth: 16,
        ..ServerLimits::default()
    };
    let (choice, data) = number(data);
    let scrubber = Scrubber::new([SECRET.as_bytes()]);
    let mut listing = Listing::new(&limits);
    let mut rest = text(data);
    while !rest.is_empty() {
        let (page, behind) = line(rest);
        rest = behind;
        let Ok(page) = wire::scrubbed(page.as_bytes(), &scrubber) else {
            continue;
        };
        let Ok(page) = RawValue::from_string(text(&page).to_owned()) else {
            continue;
        };
        let tasks = match choice % 4 {
            0 => TaskSupport::None,
            2 => TaskSupport::OnRequest { can_cancel: true },
            _ => TaskSupport::ByChoice,
        };
        match listing.add(&page, tasks) {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => {
                told(&error);
                break;
            }
        }
    }
    let (list, plans) = listing.finish();
    assert!(list.tools.len() + list.left_out.len() <= limits.tools);
    for tool in &list.tools {
        assert!(!tool.name.is_empty() && tool.name.len() <= 1024 + 32);
        assert!(!tool.name.chars().any(char::is_control));
        assert!(tool.input_schema.get().len() <= limits.schema_bytes);
        assert!(depth(tool.input_schema.get().as_bytes()) <= limits.schema_depth);
        // Any object will do for arguments.
        let headers = ParamHeaders {
            name: &tool.name,
            arguments: &tool.input_schema,
            plan: plans.get(&tool.name),
        };
        headers.insert_into(&mut HeaderMap::new());
    }
    let texts = list
        .tools
        .iter()
        .flat_map(|tool| [&tool.title, &tool.description]);
    assert!(texts.flatten().all(|text| !text.contains(SECRET)));
    for tool in &list.left_out {
        assert!(tool.tool().chars().count() <= 64 + 32, "{:?}", tool.tool());
    }
    list
}
