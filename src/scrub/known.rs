//! What is in many secrets, and so gives none away: schemes, prefixes, heads of tokens.

use std::ops::Range;

/// What services begin their keys with.
const PREFIXES: [&str; 49] = [
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
    "secret_",
    "ntn_",
    "figd_",
    "ATATT3xFfGF0",
    "SG.",
    "tvly-",
    "r8_",
    "gsk_",
];

/// What the claims of a token begin with, behind its head: `{"iss":"https://`, and the like.
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

/// Values of headers that are no secrets, as far as they are in every text.
const WORDS: [&str; 5] = ["application/", "text/", "mozilla/", "https://", "http://"];

/// Whether it is a scheme for sure, and so no secret and no part of one.
pub(super) fn is_scheme(scheme: &[u8]) -> bool {
    const SCHEMES: [&str; 5] = ["bearer", "basic", "token", "apikey", "negotiate"];
    let is = |known: &str| scheme.eq_ignore_ascii_case(known.as_bytes());
    SCHEMES.iter().any(|known| is(known))
}

/// How much of the beginning of a secret others have as well.
pub(super) fn prefix(secret: &[u8]) -> usize {
    let head = secret
        .starts_with(b"eyJ")
        .then(|| secret.iter().position(|byte| *byte == b'.'));
    match head.flatten() {
        // A JSON web token: its head says which algorithm it is signed with.
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

/// Whether a value is one of those whose parts are in many texts: an address, a media type.
pub(super) fn is_wordy(value: &[u8]) -> bool {
    let begins = |word: &&str| {
        let begin = value.get(..word.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
    };
    WORDS.iter().any(begins)
}

/// The pieces of a wordy value that look like keys: long, and with a digit in them.
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
