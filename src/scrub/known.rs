//! Parts that many secrets share, which identify none of them: schemes, prefixes, token headers.

use std::ops::Range;

/// Prefixes of services' keys.
const PREFIXES: [&str; 50] = [
    "sk_live_",
    "sk_test_",
    "pk_live_",
    "pk_test_",
    "rk_live_",
    "rk_test_",
    "whsec_",
    "sk-ant-api03-",
    "sk-ant-admin01-",
    "sk-ant-oat01-",
    "sk-proj-",
    "sk-svcacct-",
    "sk-admin-",
    "sk-or-v1-",
    "sk-lf-",
    "pk-lf-",
    "sk-",
    "github_pat_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "glpat-",
    "glptt-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxe-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIzaSy",
    "ya29.",
    "GOCSPX-",
    "hf_",
    "npm_",
    "pypi-AgEIcHlwaS5vcmc",
    "shpat_",
    "dop_v1_",
    "lin_api_",
    "mcpk_",
    "secret_",
    "ntn_",
    "figd_",
    "ATATT3xFfGF0",
    "SG.",
    "tvly-",
    "r8_",
    "gsk_",
];

/// Beginnings of a token's claims, after its header: `{"iss":"https://`, and the like.
const CLAIMS: [&str; 8] = [
    "eyJpc3MiOiJodHRwczovL",
    "eyJpc3MiOi",
    "eyJhdWQiOiJodHRwczovL",
    "eyJhdWQiOi",
    "eyJzdWIiOi",
    "eyJleHAiOjE3",
    "eyJpYXQiOjE3",
    "eyJqdGkiOi",
];

/// Beginnings of header values that are common words, not secrets.
const WORDS: [&str; 5] = ["application/", "text/", "mozilla/", "https://", "http://"];

/// Returns true if this is certainly a scheme, and so neither a secret nor part of one.
pub(super) fn is_scheme(scheme: &[u8]) -> bool {
    const SCHEMES: [&str; 5] = ["bearer", "basic", "token", "apikey", "negotiate"];
    let is = |known: &str| scheme.eq_ignore_ascii_case(known.as_bytes());
    SCHEMES.iter().any(|known| is(known))
}

/// Returns the length of the beginning that a secret shares with others.
pub(super) fn prefix(secret: &[u8]) -> usize {
    let head = secret
        .starts_with(b"eyJ")
        .then(|| secret.iter().position(|byte| *byte == b'.'));
    match head.flatten() {
        // A JSON web token: its header names the signing algorithm.
        Some(dot) => dot + 1 + longest(&CLAIMS, &secret[dot + 1..]),
        None => longest(&PREFIXES, secret),
    }
}

fn longest(known: &[&str], text: &[u8]) -> usize {
    let begins = known
        .iter()
        .filter(|known| text.starts_with(known.as_bytes()));
    begins.map(|known| known.len()).max().unwrap_or(0)
}

/// Returns true for a value whose parts occur in many texts: a URL, a media type.
pub(super) fn is_wordy(value: &[u8]) -> bool {
    let begins = |word: &&str| {
        let begin = value.get(..word.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
    };
    WORDS.iter().any(begins)
}

/// Returns the pieces of a wordy value that look like keys: long, with a digit.
pub(super) fn keys(value: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    let pieces = value.split(|byte| b"/?&=@:#; ,()".contains(byte));
    pieces.filter_map(move |piece| {
        let at = from..from + piece.len();
        from = at.end + 1;
        let has_digit = piece.iter().any(u8::is_ascii_digit);
        (piece.len() >= 16 && has_digit).then_some(at)
    })
}
