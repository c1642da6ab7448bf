//! A text as whoever decodes it reads it. Nothing of it is the scrubber's: it decodes all of a
//! text, over and over, where the scrubber decodes what may matter.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::forms::SHORTEST;

/// Encodings within one another.
const DEPTH: usize = 4;

/// Base64 that stands for fewer bytes than are looked for.
const SHORTEST_RUN: usize = SHORTEST / 3 * 4;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Hands `text`, and whatever it may be read as, to `look`.
pub fn each(text: &[u8], look: &mut impl FnMut(&[u8])) {
    within(text, DEPTH, look);
}

fn within(text: &[u8], depth: usize, look: &mut impl FnMut(&[u8])) {
    look(text);
    if depth == 0 || text.len() < SHORTEST {
        return;
    }
    for decode in [without_escapes, without_line_ends] {
        let decoded = decode(text);
        if decoded != text {
            within(&decoded, depth - 1, look);
        }
    }
    let decoded = from_bases(text);
    within(&decoded, depth - 1, look);
}

/// Without the escapes of JSON, addresses and HTML.
fn without_escapes(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let escape = match first {
            b'\\' => json(rest),
            b'%' => number(&rest[1..], 2).map(|byte| (3, vec![byte as u8])),
            b'&' => entity(rest),
            _ => None,
        };
        let (len, bytes) = escape.unwrap_or_else(|| (1, vec![*first]));
        decoded.extend(bytes);
        rest = &rest[len..];
    }
    decoded
}

fn json(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    match text.get(1)? {
        b'u' => Some((6, utf8(number(&text[2..], 4)?))),
        b'n' => Some((2, b"\n".to_vec())),
        b'r' => Some((2, b"\r".to_vec())),
        b't' => Some((2, b"\t".to_vec())),
        other @ (b'"' | b'\'' | b'\\' | b'/') => Some((2, vec![*other])),
        _ => None,
    }
}

fn entity(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let name = str::from_utf8(&text[1..end]).ok()?;
    let code = match name {
        "amp" => '&'.into(),
        "lt" => '<'.into(),
        "gt" => '>'.into(),
        "quot" => '"'.into(),
        "apos" => '\''.into(),
        "sol" => '/'.into(),
        "plus" => '+'.into(),
        "equals" => '='.into(),
        _ => match name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => name.strip_prefix('#')?.parse().ok()?,
        },
    };
    Some((end + 1, utf8(code)))
}

fn utf8(code: u32) -> Vec<u8> {
    char::from_u32(code).unwrap_or('?').to_string().into_bytes()
}

fn number(text: &[u8], digits: usize) -> Option<u32> {
    let digits = text.get(..digits)?;
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    u32::from_str_radix(str::from_utf8(digits).ok().filter(|_| is_hex)?, 16).ok()
}

/// Without the escapes of quoted-printable, and in one line.
fn without_line_ends(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let code = (*first == b'=').then(|| number(&rest[1..], 2)).flatten();
        let soft = [&b"=\r\n"[..], b"=\n"]
            .into_iter()
            .find(|end| rest.starts_with(end));
        let len = match (code, soft) {
            (Some(byte), _) => {
                decoded.push(byte as u8);
                3
            }
            (None, Some(end)) => end.len(),
            (None, None) => {
                if !matches!(first, b'\r' | b'\n') {
                    decoded.push(*first);
                }
                1
            }
        };
        rest = &rest[len..];
    }
    decoded
}

/// What base64 and hex in a text stand for, wherever they may begin, as far as it is text.
fn from_bases(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_\r\n".contains(byte);
    for run in text.split(|byte| !is_digit(byte)) {
        if run.len() < SHORTEST_RUN {
            continue;
        }
        let digits: Vec<u8> = run
            .iter()
            .filter(|byte| !byte.is_ascii_whitespace())
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        for start in 0..4.min(digits.len()) {
            let digits = &digits[start..];
            // One digit more than whole bytes is none.
            let digits = &digits[..digits.len() - usize::from(digits.len() % 4 == 1)];
            keep_texts(&LENIENT.decode(digits).unwrap_or_default(), &mut decoded);
        }
        for start in 0..2.min(digits.len()) {
            let pairs = digits[start..].chunks_exact(2);
            let bytes = pairs.map(|pair| number(pair, 2).map_or(0, |byte| byte as u8));
            keep_texts(&bytes.collect::<Vec<_>>(), &mut decoded);
        }
    }
    decoded
}

/// Adds the stretches of `bytes` that are text, and long enough to have a secret in them.
fn keep_texts(bytes: &[u8], texts: &mut Vec<u8>) {
    let is_text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n');
    for text in bytes.split(|byte| !is_text(byte)) {
        let ascii = text.iter().filter(|byte| byte.is_ascii()).count();
        if text.len() >= SHORTEST && ascii * 4 >= text.len() * 3 {
            texts.extend_from_slice(text);
            texts.push(0);
        }
    }
}
