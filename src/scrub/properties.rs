//! Pieces of secrets in every composition of encodings, and texts that have none.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{ScrubbedChunks, Scrubber, bases};

/// Encodings written apart from what decodes them.
pub(super) mod encodings {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    fn mapped(bytes: &[u8], map: impl Fn(u8) -> String) -> String {
        bytes.iter().map(|byte| map(*byte)).collect()
    }

    pub(in super::super) fn hex(bytes: &[u8]) -> String {
        mapped(bytes, |byte| format!("{byte:02x}"))
    }

    /// Encodes roughly as `encodeURIComponent` does.
    pub(in super::super) fn percent(bytes: &[u8]) -> String {
        mapped(bytes, |byte| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).into(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).into(),
            _ => format!("%{byte:02X}"),
        })
    }

    /// An encoder breaks no escape in two.
    fn printable(bytes: &[u8], width: usize) -> String {
        let mut left = width;
        mapped_in_turn(bytes, |byte| {
            let unit = match byte {
                b' '..=b'~' if byte != b'=' => char::from(byte).to_string(),
                _ => format!("={byte:02X}"),
            };
            let ends = left < unit.len();
            left = if ends { width } else { left } - unit.len();
            format!("{}{unit}", if ends { "=\r\n" } else { "" })
        })
    }

    fn mapped_in_turn(bytes: &[u8], map: impl FnMut(u8) -> String) -> String {
        bytes.iter().copied().map(map).collect()
    }

    fn wrapped(text: &str, width: usize, end: &str) -> String {
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(width)
            .map(String::from_utf8_lossy)
            .collect();
        lines.join(end)
    }

    pub(super) const COUNT: usize = 22;

    /// One of the ways to write `text` (ASCII); `at` moves what can be moved.
    pub(super) fn encode(which: usize, at: usize, text: &str) -> String {
        let bytes = text.as_bytes();
        let json = || {
            let quoted = serde_json::to_string(text).unwrap();
            quoted[1..quoted.len() - 1].to_owned()
        };
        let shifted = || format!("{}{text}", &"x: y"[..at % 4]);
        match which {
            0 => text.to_owned(),
            1 => json(),
            2 => json().replace('/', "\\/"),
            3 => mapped(bytes, |byte| match byte {
                b'<' | b'>' | b'&' | b'\'' | b'"' | b'+' | b'`' | b'\\' => format!("\\u{byte:04X}"),
                _ => char::from(byte).into(),
            }),
            4 => mapped(bytes, |byte| format!("\\u{byte:04x}")),
            5 => percent(bytes),
            6 => mapped(bytes, |byte| match byte {
                b' ' => "+".into(),
                _ => percent(&[byte])
                    .replace('A', if byte == b'A' { "A" } else { "a" })
                    .replace('B', if byte == b'B' { "B" } else { "b" }),
            }),
            7 => percent(bytes).replace("%20", "+").replace("%2F", "/"),
            8 => mapped(bytes, |byte| format!("%{byte:02x}")),
            9 => mapped(bytes, |byte| match byte {
                b'&' => "&amp;".into(),
                b'<' => "&lt;".into(),
                b'>' => "&gt;".into(),
                b'"' => "&quot;".into(),
                b'\'' => "&#39;".into(),
                b'+' => "&plus;".into(),
                b'/' => "&#x2F;".into(),
                b'=' => "&#061;".into(),
                _ => char::from(byte).into(),
            }),
            10 => mapped(bytes, |byte| format!("&#{byte};")),
            11 => mapped(bytes, |byte| format!("&#X{byte:x};")),
            12 => printable(bytes, 20 + at),
            13 => mapped(bytes, |byte| format!("={byte:02X}")),
            14 => STANDARD.encode(shifted()),
            15 => URL_SAFE_NO_PAD.encode(shifted()),
            16 => wrapped(&STANDARD.encode(shifted()), 20 + at, "\r\n"),
            17 => wrapped(&STANDARD.encode(shifted()), 4 + at, "\n"),
            18 => wrapped(&STANDARD.encode(shifted()), 20 + at, "\\n"),
            19 => hex(bytes),
            20 => hex(bytes).to_uppercase(),
            _ => wrapped(&hex(bytes), 10 + at, "\\r\\n"),
        }
    }
}

fn cases() -> u32 {
    let cases = std::env::var("MCP_LAYER_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

/// Values of headers as services have them.
fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        "Bearer (sk-proj-|ghp_|xoxb-|sk_live_|AKIA|github_pat_11)?[A-Za-z0-9_-]{16,48}",
        "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\\.eyJpc3MiOiJodHRwczovL[A-Za-z0-9_-]{80,200}\\.[A-Za-z0-9_-]{43}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "theme=dark; session=[A-Za-z0-9+/]{32}; lang=en",
        "[0-9]{12,16}",
        "application/json; charset=utf-8",
        "https://api\\.example\\.com/v1/[0-9a-f]{32}",
        "Basic [A-Za-z0-9+/]{32}",
    ]
}

/// Pieces of ordinary texts, and of other credentials of the same services.
fn texts() -> impl Strategy<Value = String> {
    const TEXTS: [&str; 8] = [
        "The quick brown fox\njumps over the lazy dog; https://api.example.com/v1/items?a=1&amp;b=%2Fx. ",
        "{\"content\":[{\"type\":\"text\",\"text\":\"{\\\"a\\\": \\\"b\\\\nc\\\", \\\"n\\\": 12345678901}\"}]}",
        "let found = text.iter().map(|byte| usize::from(*byte) + 1).collect::<Vec<_>>();\n\t// why=20",
        "content-type: application/json; charset=utf-8\r\nset-cookie: theme=dark; lang=en\r\n",
        "<p class=\"x\">&quot;Caf&eacute;&#39;s&quot; &lt;b&gt; &#x2014; na\\u00efve \\ud83d\\ude00</p>",
        "Subject: =?utf-8?Q?caf=C3=A9=20au=20lait?=\r\nsoft=\r\nbreak=3D1 000000000000000000000000",
        "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL ",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    let text = prop_oneof![
        prop::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        values(),
        "[A-Za-z0-9+/]{20,400}",
        "[ -~\n]{1,80}",
        "\\PC{1,40}",
        prop::collection::vec(any::<u8>(), 12..300).prop_map(|image| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(image)
        }),
    ];
    prop::collection::vec(text, 1..8).prop_map(|texts| texts.concat())
}

/// Redacts chunks as [`ScrubbedChunks`] does, each with all that is before it.
fn with_everything_before(scrubber: &Scrubber, chunks: &[&[u8]]) -> Vec<u8> {
    let (mut before, mut clean) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let from = before.len();
        before.extend_from_slice(chunk);
        clean.extend_from_slice(chunk);
        for found in scrubber.find(&before).unwrap() {
            if found.end > from {
                super::overwrite(&mut clean[found.start.max(from)..found.end]);
            }
        }
    }
    clean
}

/// The text with one mark for each redacted place, and without the line breaks and backslashes before
/// it: they may belong to an encoding that began in an earlier chunk, and are no part of a secret.
fn marks(clean: &[u8]) -> String {
    let clean = String::from_utf8_lossy(clean);
    let pieces = clean.split("[redacted]").enumerate();
    let pieces = pieces.map(|(index, piece)| match index {
        0 => piece,
        _ => piece.trim_start_matches('*'),
    });
    let trimmed = pieces.map(|piece| piece.trim_end_matches(['\\', '\n', '\r']));
    trimmed.collect::<Vec<_>>().join("[redacted]")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_piece_of_a_secret_is_found_in_any_composition_of_encodings(
        secret in "[A-Za-z0-9_~./+<>&'\"-]{24,48}",
        from in 0_usize..12,
        len in 12_usize..24,
        ways in prop::collection::vec((0..encodings::COUNT, 0_usize..20), 0..=3),
        upper in any::<bool>(),
        around in prop::sample::select(vec![("", ""), ("you sent ", ", and this"), ("{\"a\":\"", "\"}"), ("[p]", "[/p]"), ("x: ", ";y=1"), ("AbC", "\n:;")]),
    ) {
        let scrubber = Scrubber::new([format!("Bearer {secret}").as_bytes()]);
        let piece = &secret[from..(from + len).min(secret.len())];
        let mut encoded = if upper { piece.to_uppercase() } else { piece.to_owned() };
        for (way, at) in &ways {
            encoded = encodings::encode(*way, *at, &encoded);
        }
        let (before, after) = around;
        let text = format!("{before}{encoded}{after}");
        let clean = scrubber.text(text.clone());
        let distinct: std::collections::BTreeSet<_> = piece.to_lowercase().bytes().collect();
        if distinct.len() >= 4 {
            prop_assert!(clean.contains("[redacted:credential]"), "{piece} {ways:?} {text}");
            let may_belong = before == "AbC";
            prop_assert!(may_belong || clean.starts_with(&before[..before.len().saturating_sub(1)]) , "{clean}");
            prop_assert!(clean.ends_with(after.get(1..).unwrap_or_default()), "{clean}");
        }
    }

    #[test]
    fn a_text_without_the_secret_stays_as_it_is(value in values(), text in texts()) {
        let scrubber = Scrubber::new([value.as_bytes()]);
        if !text.contains(&value) {
            prop_assert_eq!(scrubber.text(text.clone()), text);
        }
    }

    #[test]
    fn a_run_is_found_where_each_byte_is_judged_alone(text in texts(), least in 15_usize..40) {
        let text = text.repeat(2);
        let is_in = |at: &usize| bases::is_in_run(text.as_bytes(), *at);
        let (mut from, mut runs) = (0, Vec::new());
        while from < text.len() {
            let run = (from..text.len()).take_while(is_in).count();
            if run >= least {
                runs.push(from..from + run);
            }
            from += run + 1;
        }
        let mut from = 0;
        let next = || bases::next_run(text.as_bytes(), from, least).inspect(|run| from = run.end);
        prop_assert_eq!(std::iter::from_fn(next).collect::<Vec<_>>(), runs);
    }

    #[test]
    fn of_what_came_before_a_chunk_no_more_matters_than_is_kept(
        secret in "[A-Za-z0-9_~./+<>&'\" -]{20,40}",
        texts in prop::collection::vec((texts(), prop::collection::vec((0..encodings::COUNT, 0_usize..20), 0..=2)), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let scrubber = Arc::new(Scrubber::new([format!("Bearer {secret}").as_bytes()]));
        let mut text = String::new();
        for (around, ways) in &texts {
            text.push_str(&around.chars().take(60).collect::<String>());
            let encode = |text: String, (way, at): &(usize, usize)| encodings::encode(*way, *at, &text);
            text.push_str(&ways.iter().fold(secret.clone(), encode));
        }
        // No more than a chunk is searched with.
        let text = &text.as_bytes()[..text.len().min(super::BEFORE)];
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        let mut scrubbed = ScrubbedChunks::new(scrubber.clone());
        let clean: Vec<_> = chunks.iter().map(|chunk| scrubbed.next(Bytes::copy_from_slice(chunk))).collect();
        let (clean, whole) = (clean.concat(), with_everything_before(&scrubber, &chunks));
        prop_assert_eq!(marks(&clean), marks(&whole));
    }
}
