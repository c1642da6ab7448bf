//! Looks for secrets in everything that the tests let out: see `tests/leaks/run`.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails, and a binary has no public interface"
)]
#![allow(dead_code, reason = "the other half of `evidence` is the tests'")]

mod evidence;
mod forms;
mod scan;
mod views;

use std::collections::BTreeMap;

use self::{
    evidence::{CHANNELS, PLANTED, REPEATED},
    forms::{ENCODINGS, forms},
    scan::{Scanner, Secret, plant, read_secrets},
};

/// What must have been in use while the tests ran: a scan that looks for nothing finds nothing.
const KINDS: [&str; 19] = [
    "static header",
    "Basic password",
    "passthrough token",
    REPEATED,
    "client secret",
    "registered client's secret",
    "access token",
    "refresh token",
    "authorization code",
    "PKCE verifier",
    "private key",
    "client assertion",
    "subject token",
    "state",
    "browser secret",
    "session id",
    "sealing key",
    "proxy's API key",
    "upstream key",
];

#[test]
#[ignore = "reads what tests/leaks/run has gathered"]
fn nothing_that_left_has_a_secret_in_it() {
    let folder = evidence::folder().expect("MCP_LAYER_LEAKS names the folder of the evidence");
    let all = read_secrets(folder);
    let is_planted = |kind: &str| kind.starts_with(PLANTED);
    let mut count = BTreeMap::<&str, usize>::new();
    for secret in all.iter().filter(|secret| !is_planted(&secret.kind)) {
        *count.entry(&secret.kind).or_default() += 1;
    }
    println!("\n| secret | how many |\n|---|--:|");
    for (kind, count) in &count {
        println!("| {kind} | {count} |");
    }
    for kind in KINDS {
        assert!(count.contains_key(kind), "no test has used a {kind}");
    }

    let scanner = Scanner::new(&all);
    let mut hits = Vec::new();
    println!("\n| left by | files | bytes | hits |\n|---|--:|--:|--:|");
    for channel in CHANNELS {
        let found = scanner.folder(&folder.join("left").join(channel));
        let kind = format!("{PLANTED}{channel}");
        assert!(
            found.hits.iter().any(|hit| hit.kind == kind),
            "what a test has planted in `{channel}` is not found"
        );
        let of_channel: Vec<_> = found
            .hits
            .into_iter()
            .filter(|hit| !is_planted(&hit.kind))
            .filter(|hit| !(hit.kind == REPEATED && channel == "model"))
            .collect();
        println!(
            "| {channel} | {} | {} | {} |",
            found.files,
            found.bytes,
            of_channel.len()
        );
        // Where, and never what.
        for hit in of_channel.iter().take(40) {
            println!("a {} in {}", hit.kind, hit.place);
        }
        hits.extend(of_channel);
    }

    let expected = plant(
        folder,
        all.iter().filter(|secret| !is_planted(&secret.kind)),
    );
    let missed: Vec<_> = expected
        .iter()
        .filter(|(kind, _, text)| !scanner.text(text).contains(&**kind))
        .map(|(kind, encoding, _)| (kind, encoding))
        .collect();
    println!(
        "\n{} secrets in {} encodings: {} hits; of {} planted in pieces of a log {} found",
        count.values().sum::<usize>(),
        ENCODINGS.len(),
        hits.len(),
        expected.len(),
        expected.len() - missed.len()
    );
    assert!(missed.is_empty(), "planted and not found: {missed:?}");
    assert!(hits.is_empty(), "{} secrets have leaked", hits.len());
}

fn scanner(value: &[u8]) -> Scanner {
    Scanner::new(&[Secret {
        kind: "token".to_owned(),
        value: value.to_vec(),
    }])
}

#[test]
fn every_encoding_of_a_secret_is_found_amid_other_text() {
    let value = b"canary/\"+token?of & more~1=";
    let scanner = scanner(value);
    for (encoding, form) in forms(value) {
        assert!(ENCODINGS.contains(&encoding), "{encoding}");
        let text = [b"you sent ", &*form, b", and this"].concat();
        let found = scanner.text(&text).contains("token");
        assert!(found, "{encoding}: {}", String::from_utf8_lossy(&form));
    }
    for encoding in ENCODINGS {
        let is_one = |(known, _): &(&str, Vec<u8>)| *known == encoding;
        assert!(forms(value).iter().any(is_one), "{encoding}");
    }
    assert!(scanner.text(b"you sent nothing").is_empty());
}

#[test]
fn what_others_have_as_well_is_no_secret() {
    let scanner = scanner(b"github_pat_11ABCDEFG0aBcDeFgHiJkL000000000000");
    for text in [
        "github_pat_11HIJKLMN0",
        "000000000000000000000000",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
    ] {
        assert!(scanner.text(text.as_bytes()).is_empty(), "{text}");
    }
    assert!(!scanner.text(b"<aBcDeFgHiJkL>").is_empty());
}
