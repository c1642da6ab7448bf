//! Looking for a credential in what a server says, against reading the same JSON.

use std::{hint::black_box, rc::Rc};

use base64::{Engine, prelude::BASE64_STANDARD};
use mcp_layer::Scrubber;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::pair::{Group, Pair};

const CREDENTIAL: &[u8] = b"Bearer sk-proj-Ab3dEf9hIjKlMnOpQr5tUvWxYz012345678901";

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let english = concat!(
        include_str!("../../README.md"),
        include_str!("../../src/guide/requests.md"),
        include_str!("../../src/guide/proxy.md"),
        include_str!("../../src/guide/operate.md"),
        include_str!("../../src/guide/scale.md"),
        include_str!("../../src/guide/database.md"),
    );
    let code = include_str!("main.rs");
    let image: Vec<u8> = (0..48_000_u32)
        .map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8)
        .collect();
    let texts = [
        ("look for a credential in English", said(english)),
        ("look for a credential in code", said(code)),
        (
            "look for a credential in JSON in JSON",
            said(&said(english)),
        ),
        (
            "look for a credential in an image",
            said(&BASE64_STANDARD.encode(image)),
        ),
    ];
    Group {
        name: "scrub",
        pairs: texts
            .map(|(name, text)| pair(runtime, name, text.into()))
            .into(),
        check: Box::new(|| {}),
    }
}

fn said(text: &str) -> String {
    let result = json!({"content": [{"type": "text", "text": text}]});
    json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string()
}

fn pair(runtime: &Rc<Runtime>, name: &'static str, text: Rc<str>) -> Pair {
    let scrubber = Scrubber::new([CREDENTIAL]);
    assert_eq!(*scrubber.bytes(text.as_bytes()), *text.as_bytes());
    let again = text.clone();
    let floor = move || {
        black_box(read(&again));
        std::future::ready(())
    };
    let ours = move || {
        black_box(scrubber.bytes(text.as_bytes()));
        black_box(read(&text));
        std::future::ready(())
    };
    Pair::new(name, runtime, floor, ours)
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
