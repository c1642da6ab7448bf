//! The encodings in which a secret is looked for. Written apart from the scrubber in `src`: what
//! one of them misses, the other is to find.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

pub const ENCODINGS: [&str; 7] = [
    "clear",
    "base64",
    "base64url",
    "percent-encoding",
    "JSON",
    "hex",
    "HEX",
];

/// All forms of a secret; an encoding may have several, or the same as another.
pub fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex =
        |digits: fn(u8) -> String| secret.iter().map(|byte| digits(*byte)).collect::<String>();
    let mut forms = vec![
        ("clear", secret.to_vec()),
        ("hex", hex(|byte| format!("{byte:02x}")).into_bytes()),
        ("HEX", hex(|byte| format!("{byte:02X}")).into_bytes()),
    ];
    for skipped in 0..3 {
        let text = [&b"\0\0\0"[..skipped], secret].concat();
        // Without the characters at both ends that hold bits of the neighbours.
        let own = (skipped * 8).div_ceil(6)..text.len() * 8 / 6;
        let standard = BASE64_STANDARD_NO_PAD.encode(&text);
        forms.push(("base64", standard.as_bytes()[own.clone()].to_vec()));
        let url = BASE64_URL_SAFE_NO_PAD.encode(&text);
        forms.push(("base64url", url.as_bytes()[own].to_vec()));
    }
    for digits in [
        |byte: u8| format!("%{byte:02X}"),
        |byte: u8| format!("%{byte:02x}"),
    ] {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let encoded = secret.iter().map(|byte| match unreserved(*byte) {
            true => char::from(*byte).to_string(),
            false => digits(*byte),
        });
        forms.push(("percent-encoding", encoded.collect::<String>().into_bytes()));
    }
    if let Ok(text) = str::from_utf8(secret) {
        let quoted = serde_json::Value::from(text).to_string();
        let inner = &quoted[1..quoted.len() - 1];
        forms.push(("JSON", inner.as_bytes().to_vec()));
        forms.push(("JSON", inner.replace('/', "\\/").into_bytes()));
        // As encoders write it that think of HTML: Go's, and .NET's.
        let escaped = |special: &str, digits: fn(u32) -> String| -> Vec<u8> {
            let text: String = text
                .chars()
                .map(|c| match special.contains(c) {
                    true => digits(c.into()),
                    false if c == '"' || c == '\\' => format!("\\{c}"),
                    false => c.to_string(),
                })
                .collect();
            text.into_bytes()
        };
        forms.push(("JSON", escaped("<>&", |c| format!("\\u{c:04x}"))));
        forms.push(("JSON", escaped("<>&'\"+`", |c| format!("\\u{c:04X}"))));
    }
    forms
}
