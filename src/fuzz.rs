//! Fuzz targets for `tests/fuzz`: a function for each parser of hostile bytes, which panics if that
//! parser breaks a promise. Hidden, and not part of the public API.
//!
//! Each part of the crate has its targets in its own `fuzz.rs`, which sees its private parsers;
//! those of single-file parts are here.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::{
    TraceParent, admin, chat,
    fuzz_input::{halves, line, number, text},
    hex::hex,
    kept, mcp,
    name::ServerName,
    oauth,
    offer::Offers,
    registry,
    schema::{self, Schema},
    scrub::Scrubber,
    secret::{KeyRing, Place},
    sse::Parser,
    subject_token::SubjectToken,
    tool_loop, trace,
};

/// A parser and its promises, driven by any bytes.
pub type Target = fn(&[u8]);

/// All targets by name; the folder of a corpus has the same name.
pub const TARGETS: &[(&str, Target)] = &[
    ("answer", chat::fuzz::answer),
    ("callback", oauth::fuzz::callback),
    ("challenge", oauth::fuzz::challenge),
    ("chunks", chat::fuzz::chunks),
    ("content", mcp::fuzz::content),
    ("cookies", admin::fuzz::cookies),
    ("forms", admin::fuzz::forms),
    ("history", kept::fuzz::history),
    ("id_token", oauth::fuzz::id_token),
    ("kept_turn", kept::fuzz::turn),
    ("keys", keys),
    ("mcp_json", admin::fuzz::mcp_json),
    ("metadata", oauth::fuzz::metadata),
    ("redact", trace::fuzz::redact),
    ("registration", oauth::fuzz::registration),
    ("rejection", tool_loop::fuzz::rejection),
    ("request", tool_loop::fuzz::request),
    ("rpc", mcp::fuzz::rpc),
    ("rpc_stream", mcp::fuzz::stream),
    ("schema", schema),
    ("scrub", scrub),
    ("sealed", sealed),
    ("servers_toml", registry::fuzz::servers_toml),
    ("sse", sse),
    ("subject_token", subject_token),
    ("tokens", oauth::fuzz::tokens),
    ("tools", tools),
    ("trace_parent", trace_parent),
    ("ways", tool_loop::fuzz::ways),
];

/// Checks that events are the same wherever the stream is cut, and never larger than allowed.
fn sse(data: &[u8]) {
    const MAX: usize = 256;
    let (at, data) = number(data);
    let read = |pieces: &[Bytes]| {
        let mut parser = Parser::new(MAX);
        let mut events = Vec::new();
        for piece in pieces {
            let mut piece = piece.clone();
            loop {
                match parser.next(&mut piece) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(fault) => return Err((fault, events)),
                }
            }
            assert!(piece.is_empty(), "bytes are left over");
        }
        let id = parser.last_id().map(<[u8]>::to_vec);
        Ok((events, id, parser.retry(), parser.is_inside_event()))
    };
    let whole = read(&[Bytes::copy_from_slice(data)]);
    assert_eq!(whole, read(&halves(data, at)), "cut at {at}");
    let crumbs: Vec<_> = data
        .iter()
        .map(|byte| Bytes::copy_from_slice(&[*byte]))
        .collect();
    assert_eq!(whole, read(&crumbs), "byte by byte");
    if let Ok((events, id, ..)) = whole {
        for event in events {
            assert!(event.data.len() + event.name.len() <= MAX);
        }
        let id = id.unwrap_or_default();
        assert!(
            HeaderValue::from_bytes(&id).is_ok()
                || id.iter().any(|byte| *byte < 32 || *byte == 127)
        );
    }
}

/// Checks that a caller's token says whose it is, and until when. What is wrong with one is said in fixed words.
fn subject_token(data: &[u8]) {
    let token = text(data);
    if let Ok(read) = SubjectToken::from_jwt(token.into()) {
        assert!(!read.issuer().is_empty() && !read.subject().is_empty());
        assert!(read.expires_at().is_some());
        assert!(HeaderValue::from_str(token).is_ok());
        let parts: Vec<_> = token.split('.').collect();
        assert!(
            parts.len() == 3 && !parts[2].is_empty(),
            "nobody has signed it"
        );
    }
}

/// Reads the first line as a schema and the rest as arguments, and checks that any pair is judged
/// in bounded words.
fn schema(data: &[u8]) {
    let (schema, arguments) = line(text(data));
    let Ok(schema) = RawValue::from_string(schema.to_owned()) else {
        return;
    };
    let fault = schema::fault(&schema);
    assert!(fault.is_some() || schema.get().starts_with('{'));
    if serde_json::from_str::<&RawValue>(arguments).is_ok()
        && let Some(read) = schema::reread(&schema, arguments)
    {
        assert!(read.len() <= arguments.len(), "it has grown");
        serde_json::from_str::<&RawValue>(&read).expect("what is read anew is JSON");
    }
    let compiled = Schema::of(&schema);
    let arguments =
        serde_json::from_str(arguments).unwrap_or_else(|_| serde_json::json!({"a": arguments}));
    if !matches!(compiled.place(&arguments), schema::Place::AtTheServer)
        && let Err(told) = compiled.check(&schema, &arguments, || true)
    {
        assert!(told.len() < 10_000, "{} bytes", told.len());
    }
}

/// Reads pages of `tools/list`, one per line, and checks that models are offered sound tools,
/// whatever a server lists.
fn tools(data: &[u8]) {
    const SERVER: &str = "a-server";
    let listed = mcp::fuzz::list(data);
    let (count, gone) = (listed.tools.len(), listed.left_out.len());
    let server: ServerName = SERVER.parse().expect("a name");
    let offers = Offers::new(&server, listed.tools, Vec::new());
    assert_eq!(
        count,
        offers.tools.len() + offers.left_out.len(),
        "{gone} gone before"
    );
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let mut before = None;
    for offer in &offers.tools {
        let name = &*offer.name;
        assert!(name.len() <= 64 && name.bytes().all(allowed), "{name:?}");
        assert!(name.starts_with("a-server__"), "{name:?}");
        assert!(
            before.is_none_or(|before| before < name),
            "twice, or out of order: {name}"
        );
        before = Some(name);
        let definition = text(&offer.definition);
        let function = crate::json::Object::parse(definition).expect("a definition is JSON");
        let function = function.get("function").expect("a function");
        let function = crate::json::Object::parse(function).expect("a function is an object");
        assert_eq!(function.string("name").as_deref(), Some(name));
        let parameters = function.get("parameters").expect("parameters");
        let parameters = crate::json::Object::parse(parameters).expect("parameters are an object");
        assert!(parameters.get("properties").is_some());
        let description = offer.description.as_deref().unwrap_or_default();
        assert!(description.len() <= (8 << 10) + " [cut]".len());
        assert!(
            description
                .chars()
                .all(|c| matches!(c, '\n' | '\t') || !c.is_control())
        );
    }
    for tool in offers.left_out {
        assert!(tool.tool().len() <= 1024 + " [cut]".len());
    }
}

/// Hides a secret in a text, at each byte from 0 to 4 in one of its encodings, and checks that the
/// output does not contain it.
fn scrub(data: &[u8]) {
    use base64::{Engine, engine::general_purpose::STANDARD};

    /// Characters of secrets: none occurs in our replacements, so that those form no secret; and no
    /// `=`, which ends a name.
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/(_-.~%&<>!#$*^|QWERTYUIOPA";
    let (length, data) = number(data);
    let length = (length % 64).min(data.len());
    let (secret, text) = data.split_at(length);
    let secret: Vec<u8> = secret
        .iter()
        .map(|byte| ALPHABET[usize::from(byte & 63)])
        .collect();
    let value = [b"Bearer ", &*secret].concat();
    let scrubber = Scrubber::new([&*value]);
    let hex = hex(&secret);
    let json = serde_json::to_string(&String::from_utf8_lossy(&secret)).unwrap_or_default();
    let spelt = [
        secret.clone(),
        STANDARD.encode(&secret).into_bytes(),
        hex.into_bytes(),
        json.trim_matches('"').as_bytes().to_vec(),
    ];
    let mut dirty = Vec::new();
    for byte in text {
        match spelt.get(usize::from(*byte)) {
            Some(spelling) => dirty.extend_from_slice(spelling),
            None => dirty.push(*byte),
        }
    }
    let clean = scrubber.bytes(&dirty);
    // Repetitive text is no evidence of a secret.
    let varied = |window: &[u8]| {
        let window = window.to_ascii_lowercase();
        window.iter().collect::<BTreeSet<_>>().len() >= 4
    };
    if secret.len() >= 12 && secret.windows(12).all(varied) {
        for spelling in spelt.iter().map(Vec::as_slice).chain(secret.windows(12)) {
            assert!(
                memchr::memmem::find(&clean, spelling).is_none(),
                "it is still there"
            );
        }
    }
    if let Ok(dirty) = String::from_utf8(dirty.clone()) {
        assert_eq!(scrubber.text(dirty), String::from_utf8_lossy(&clean));
    }
}

/// Overlays bytes on a sealed record, and checks that nothing opens but the record itself, in its
/// place.
fn sealed(data: &[u8]) {
    use secrecy::ExposeSecret;
    use std::sync::LazyLock;

    const SECRET: &str = "a secret of some length";
    const HERE: Place<'_> = Place {
        organization: "default",
        server: "a",
        field: "headers",
        origin: "https://a.example",
        version: 1,
    };
    static RING: LazyLock<(KeyRing, Vec<u8>)> = LazyLock::new(|| {
        let ring = KeyRing::parse("J8aQGc1OEn0qMvDIcQUuYhJrL0vLr3LvdbFbzHYgOLM=").expect("a key");
        let record = ring.seal(&HERE, &SECRET.into());
        (ring, record)
    });
    let (ring, record) = &*RING;
    let (longer, data) = number(data);
    let mut forged = record.clone();
    forged.resize((record.len() + longer).saturating_sub(128), 0);
    for (byte, over) in forged.iter_mut().zip(data) {
        *byte ^= over;
    }
    match ring.open(&HERE, &forged) {
        Ok(opened) => {
            assert!(forged == *record, "a forged record opens");
            assert_eq!(opened.expose_secret(), SECRET);
        }
        Err(_) => assert!(forged != *record, "the record does not open"),
    }
    assert!(ring.open(&HERE, data).is_err(), "it opens out of nothing");
    let (server, field) = line(text(data));
    let elsewhere = Place {
        server,
        field,
        ..HERE
    };
    if (server, field) != (HERE.server, HERE.field) {
        assert!(ring.open(&elsewhere, record).is_err(), "it opens elsewhere");
    }
}

/// Parses the text of a key file, and checks that no error repeats any of it.
fn keys(data: &[u8]) {
    let text = text(data);
    match KeyRing::parse(text) {
        Ok(ring) => {
            let ids: Vec<_> = ring.ids().collect();
            assert!((1..=100).contains(&ids.len()) && ids.last() == Some(&ring.newest()));
            assert!(
                ids.iter()
                    .enumerate()
                    .all(|(index, id)| !ids[..index].contains(id))
            );
        }
        Err(error) => {
            let told = format!("{error} {error:?}");
            let long = text.split_whitespace().filter(|word| word.len() >= 24);
            for word in long {
                assert!(!told.contains(word), "{told}");
            }
        }
    }
}

/// Reads two lines as the two headers, and checks that a trace is passed on valid and unchanged.
fn trace_parent(data: &[u8]) {
    let (parent, state) = line(text(data));
    let Some(trace) = TraceParent::parse(parent, state) else {
        return;
    };
    let mut headers = HeaderMap::new();
    trace.insert_into(&mut headers);
    assert_eq!(TraceParent::of(&headers).as_ref(), Some(&trace));
    let name = HeaderName::from_static("traceparent");
    assert_eq!(headers[&name].len(), 55);
    let mut child = HeaderMap::new();
    trace.child().insert_into(&mut child);
    assert_eq!(
        headers[&name].as_bytes()[..35],
        child[&name].as_bytes()[..35]
    );
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The package that is published has no corpora.
    #[test]
    fn every_known_input_holds() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        if !corpora.exists() {
            return;
        }
        for (name, target) in TARGETS {
            let inputs = fs::read_dir(corpora.join(name)).unwrap();
            for input in inputs.map(|input| input.unwrap().path()) {
                println!("{}", input.display());
                target(&fs::read(&input).unwrap());
            }
        }
    }
}
