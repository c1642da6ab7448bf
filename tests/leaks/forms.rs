//! The forms in which a secret is planted, and looked for where it must not be. Written apart
//! from the scrubber in `src`: what one of them misses, the other is to find.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

pub const ENCODINGS: [&str; 16] = [
    "clear",
    "other case",
    "a piece",
    "base64",
    "base64url",
    "base64 in lines",
    "percent-encoding",
    "Python's quote",
    "encodeURIComponent",
    "JSON",
    "JSON in JSON",
    "HTML",
    "quoted-printable",
    "hex",
    "HEX",
    "one in another",
];

/// Shorter pieces are in other texts as well.
pub const SHORTEST: usize = 12;

/// All forms of a secret; an encoding may have several, or the same as another.
pub fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("clear", secret.to_vec()),
        ("hex", bytewise(secret, |byte| format!("{byte:02x}"))),
        ("HEX", bytewise(secret, |byte| format!("{byte:02X}"))),
        ("percent-encoding", percent(secret, b"-._~", true)),
        ("percent-encoding", percent(secret, b"-._~", false)),
        ("Python's quote", percent(secret, b"-._~/", true)),
        ("encodeURIComponent", percent(secret, b"-._~!*'()", true)),
        ("quoted-printable", quoted_printable(secret)),
        ("base64 in lines", in_lines(secret, "\n")),
        ("base64 in lines", in_lines(secret, "\r\n")),
        (
            "one in another",
            in_lines(&percent(secret, b"", true), "\n"),
        ),
    ];
    let form = percent(secret, b"-._~", true);
    forms.push(("percent-encoding", replaced(&form, "%20", "+")));
    for skipped in 0..3 {
        let text = [&b"\0\0\0"[..skipped], secret].concat();
        // Without the characters at both ends that hold bits of the neighbours.
        let own = (skipped * 8).div_ceil(6)..text.len() * 8 / 6;
        let standard = BASE64_STANDARD_NO_PAD.encode(&text);
        forms.push(("base64", standard.as_bytes()[own.clone()].to_vec()));
        let url = BASE64_URL_SAFE_NO_PAD.encode(&text);
        forms.push(("base64url", url.as_bytes()[own].to_vec()));
    }
    if let Ok(text) = str::from_utf8(secret) {
        forms.extend(texts(text).map(|(encoding, text)| (encoding, text.into_bytes())));
    }
    forms
}

/// What is made of characters rather than bytes.
fn texts(text: &str) -> impl Iterator<Item = (&'static str, String)> {
    let json = |text: &str| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    // As encoders write it that think of HTML: Go's and Gson, and .NET's.
    let escaped = |special: &str, digits: fn(u32) -> String| -> String {
        let escaped = text.chars().map(|c| match special.contains(c) {
            true => digits(c.into()),
            false if c == '"' || c == '\\' => format!("\\{c}"),
            false => c.to_string(),
        });
        escaped.collect()
    };
    let php = json(text).replace('/', "\\/");
    let gson = escaped("<>&='", |c| format!("\\u{c:04x}"));
    let dot_net = escaped("<>&'\"+`", |c| format!("\\u{c:04X}"));
    let html = |named: bool| -> String {
        let entity = |c: char| match (named, c) {
            (_, '&') => "&amp;".to_owned(),
            (_, '<') => "&lt;".to_owned(),
            (_, '>') => "&gt;".to_owned(),
            (true, '"') => "&quot;".to_owned(),
            (true, '/') => "&sol;".to_owned(),
            (true, '+') => "&plus;".to_owned(),
            (true, '=') => "&#x3D;".to_owned(),
            (false, c) if !c.is_ascii_alphanumeric() => format!("&#{};", u32::from(c)),
            (_, c) => c.to_string(),
        };
        text.chars().map(entity).collect()
    };
    let most = text.ceil_char_boundary(SHORTEST.max(text.len() * 5 / 6));
    let from = text.floor_char_boundary((text.len() - SHORTEST.min(text.len())) / 2);
    let to = text.ceil_char_boundary((from + SHORTEST).min(text.len()));
    let all = [
        ("other case", text.to_ascii_uppercase()),
        ("other case", text.to_ascii_lowercase()),
        ("a piece", text[..most.min(text.len())].to_owned()),
        ("a piece", text[from..to].to_owned()),
        ("JSON", json(text)),
        ("JSON", escaped("<>&", |c| format!("\\u{c:04x}"))),
        ("JSON in JSON", json(&php)),
        ("JSON in JSON", json(&gson)),
        ("JSON in JSON", json(&json(&dot_net))),
        ("JSON", php),
        ("JSON", gson),
        ("JSON", dot_net),
        ("HTML", html(true)),
        ("HTML", html(false)),
        ("one in another", BASE64_STANDARD.encode(html(false))),
        ("one in another", json(&html(true).replace('&', "%26"))),
    ];
    all.into_iter()
}

fn bytewise(secret: &[u8], form: impl Fn(u8) -> String) -> Vec<u8> {
    secret
        .iter()
        .map(|byte| form(*byte))
        .collect::<String>()
        .into_bytes()
}

fn percent(secret: &[u8], kept: &[u8], upper: bool) -> Vec<u8> {
    bytewise(secret, |byte| match upper {
        _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => char::from(byte).to_string(),
        true => format!("%{byte:02X}"),
        false => format!("%{byte:02x}"),
    })
}

fn quoted_printable(secret: &[u8]) -> Vec<u8> {
    let (begin, end) = secret.split_at(secret.len() / 2);
    let form = |secret: &[u8]| {
        bytewise(secret, |byte| match byte {
            b' '..=b'~' if byte != b'=' => char::from(byte).to_string(),
            _ => format!("={byte:02X}"),
        })
    };
    [form(begin), b"=\r\n".to_vec(), form(end)].concat()
}

fn in_lines(secret: &[u8], end: &str) -> Vec<u8> {
    let encoded = BASE64_STANDARD.encode(secret);
    let lines: Vec<_> = encoded.as_bytes().chunks(20).collect();
    lines.join(end.as_bytes())
}

fn replaced(form: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(form).replace(from, to).into_bytes()
}
