//! A scan of JSON text: its grammar, the ends of its values and how deep it nests, in one pass.
//!
//! Conversations are long, nearly all of them is inside of strings, and each is read here once in
//! full. So plain text is skipped in steps of many bytes, and nothing is built. What is accepted is
//! what serde_json accepts for a `RawValue`: any depth, since the stack takes a bit for each level,
//! and any number.

use memchr::memchr2;

/// A place in a JSON text.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    json: &'a str,
    at: usize,
    /// `true` if there is no control character at all, so that nothing ends the plain text of a
    /// string but a quote or a backslash.
    is_printable: bool,
    open: Open,
    deepest: usize,
}

/// The kinds of the lists and objects that are open, a bit each: set for an object.
#[derive(Debug, Default)]
struct Open {
    depth: usize,
    bits: u64,
    /// The levels below those of `bits`, 64 in each.
    below: Vec<u64>,
}

/// Returned where the text is not JSON.
#[derive(Debug)]
pub(crate) struct NoJson;

/// The length from which a text is first looked through for control characters: with few of them,
/// strings are skipped faster than that takes.
const LONG: usize = 4 << 10;

impl<'a> Scan<'a> {
    pub(crate) fn new(json: &'a str) -> Self {
        // Without a branch for each byte, so that it compiles to comparisons of many at once.
        let has_control = |found, byte| found | u8::from(byte < b' ');
        Self {
            json,
            at: 0,
            is_printable: json.len() >= LONG && json.bytes().fold(0, has_control) == 0,
            open: Open::default(),
            deepest: 0,
        }
    }

    /// The number of bytes scanned so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The most levels of the values scanned so far.
    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    /// Scans white space, and returns the byte behind it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.json.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// Scans white space and then `byte`, if it is there.
    #[inline]
    pub(super) fn eats(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Scans `byte`, with white space before it.
    pub(super) fn eat(&mut self, byte: u8) -> Result<(), NoJson> {
        self.eats(byte).then_some(()).ok_or(NoJson)
    }

    /// Scans a string; returns its text, with the quotes, and whether nothing in it is escaped.
    pub(super) fn string(&mut self) -> Result<(&'a str, bool), NoJson> {
        self.eat(b'"')?;
        let start = self.at - 1;
        let is_plain = self.end_string()?;
        Ok((&self.json[start..self.at], is_plain))
    }

    /// Scans a value; returns its text.
    pub(crate) fn value(&mut self) -> Result<&'a str, NoJson> {
        self.peek();
        let start = self.at;
        self.begin_value()?;
        while self.open.depth > 0 {
            self.go_on()?;
        }
        Ok(&self.json[start..self.at])
    }

    /// Scans a value that is no list or object, or the beginning of one, with its first value.
    fn begin_value(&mut self) -> Result<(), NoJson> {
        loop {
            let first = self.peek().ok_or(NoJson)?;
            match first {
                b'"' => {
                    self.at += 1;
                    return self.end_string().map(drop);
                }
                b'{' => {
                    self.at += 1;
                    self.enter(true);
                    if self.eats(b'}') {
                        self.open.leave();
                        return Ok(());
                    }
                    self.name()?;
                }
                b'[' => {
                    self.at += 1;
                    self.enter(false);
                    if self.eats(b']') {
                        self.open.leave();
                        return Ok(());
                    }
                }
                b'-' | b'0'..=b'9' => return self.number(),
                b't' => return self.word("true"),
                b'f' => return self.word("false"),
                b'n' => return self.word("null"),
                _ => return Err(NoJson),
            }
        }
    }

    /// Scans what stands behind a value inside of a list or an object: its end, or the next value.
    fn go_on(&mut self) -> Result<(), NoJson> {
        let is_object = self.open.is_object();
        if self.eats(b',') {
            if is_object {
                self.name()?;
            }
            return self.begin_value();
        }
        self.eat(if is_object { b'}' } else { b']' })?;
        self.open.leave();
        Ok(())
    }

    fn name(&mut self) -> Result<(), NoJson> {
        self.eat(b'"')?;
        self.end_string()?;
        self.eat(b':')
    }

    fn enter(&mut self, is_object: bool) {
        self.open.enter(is_object);
        self.deepest = self.deepest.max(self.open.depth);
    }

    /// Scans the rest of a string, with its closing quote; returns `true` if nothing in it is
    /// escaped.
    fn end_string(&mut self) -> Result<bool, NoJson> {
        let bytes = self.json.as_bytes();
        let mut is_plain = true;
        loop {
            let rest = &bytes[self.at..];
            self.at += match self.is_printable {
                true => memchr2(b'"', b'\\', rest).ok_or(NoJson)?,
                false => plain(rest),
            };
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(is_plain);
                }
                Some(b'\\') => {
                    is_plain = false;
                    self.at += escape(&bytes[self.at + 1..])? + 1;
                }
                // The end, or a control character.
                _ => return Err(NoJson),
            }
        }
    }

    fn number(&mut self) -> Result<(), NoJson> {
        self.skips(b"-");
        if !self.skips(b"0") {
            self.digits()?;
        }
        if self.skips(b".") {
            self.digits()?;
        }
        if self.skips(b"eE") {
            self.skips(b"+-");
            self.digits()?;
        }
        Ok(())
    }

    /// Scans one byte, if it is one of these.
    fn skips(&mut self, bytes: &[u8]) -> bool {
        let next = self.json.as_bytes().get(self.at);
        let is_there = next.is_some_and(|byte| bytes.contains(byte));
        self.at += usize::from(is_there);
        is_there
    }

    fn digits(&mut self) -> Result<(), NoJson> {
        let rest = &self.json.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        (digits > 0).then_some(()).ok_or(NoJson)
    }

    fn word(&mut self, word: &str) -> Result<(), NoJson> {
        let is_there = self.json.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        is_there.then_some(()).ok_or(NoJson)
    }
}

impl Open {
    fn enter(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.below.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.below.pop().unwrap_or_default();
        }
    }

    fn is_object(&self) -> bool {
        self.bits & 1 == 1
    }
}

/// The length of an escape behind its backslash.
fn escape(rest: &[u8]) -> Result<usize, NoJson> {
    match rest {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(1),
        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {
            Ok(5)
        }
        _ => Err(NoJson),
    }
}

/// The number of bytes at the beginning of `text` that a string may have as they are: neither quotes,
/// nor backslashes, nor control characters.
#[inline]
pub(super) fn plain(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &&u8| is_plain(**byte);
    text.len() - rest.len() + rest.iter().take_while(is_plain).count()
}

fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

/// The bytes of `word` that are not plain: the lowest set bit is in the first of them.
fn special(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let differs = |byte: u8| word ^ (EACH * u64::from(byte));
    // A byte that is zero here borrows, and so does one below a blank; those of other scripts, from
    // 0x80 on, are plain.
    let borrows = word.wrapping_sub(EACH * 0x20)
        | differs(b'"').wrapping_sub(EACH)
        | differs(b'\\').wrapping_sub(EACH);
    borrows & !word & (EACH << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// The value that `json` is, with its depth.
    fn scanned(json: &str) -> Option<(&str, usize)> {
        let mut scan = Scan::new(json);
        let value = scan.value().ok()?;
        scan.peek().is_none().then(|| (value, scan.deepest()))
    }

    fn by_serde(json: &str) -> Option<&str> {
        serde_json::from_str::<&RawValue>(json)
            .ok()
            .map(RawValue::get)
    }

    /// Pieces of JSON, whole and broken.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[\\[\\]{},:\" \n0a\\\\-]{1,3}",
            "(\"[ -~é😀]{0,40}\")|(-?[0-9.eE+-]{1,6})|true|false|null|nul",
            "\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-fA-Fg]{3,4}|[\u{0}-\u{1f}\u{7f}-\u{ff}]",
            "\"[a-z]{0,70}\":",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn trees() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("-0.5e-7".to_owned()),
            Just("12345678901234567890123".to_owned()),
            ".{0,80}".prop_map(|text| serde_json::to_string(&text).unwrap_or_default()),
        ];
        let blank = prop_oneof![Just(""), Just(" "), Just("\r\n\t")];
        leaf.prop_recursive(8, 40, 5, move |inner| {
            let list = (
                prop::collection::vec(inner, 0..5),
                blank.clone(),
                any::<bool>(),
            );
            list.prop_map(|(items, blank, is_object)| {
                let comma = format!("{blank},{blank}");
                match is_object {
                    false => format!("{blank}[{blank}{}{blank}]", items.join(&comma)),
                    true => {
                        let members = items.iter().map(|item| format!("\"k\"{blank}:{item}"));
                        let members = members.collect::<Vec<_>>().join(&comma);
                        format!("{{{blank}{members}{blank}}}{blank}")
                    }
                }
            })
        })
    }

    proptest! {
        #[test]
        fn any_text_is_scanned_as_serde_json_reads_it(json in pieces()) {
            prop_assert_eq!(scanned(&json).map(|(value, _)| value), by_serde(&json));
        }

        #[test]
        fn a_tree_is_scanned_whole_and_no_further_when_it_is_cut(json in trees(), cut in any::<prop::sample::Index>()) {
            let (value, depth) = scanned(&json).unwrap();
            prop_assert_eq!(Some(value), by_serde(&json));
            prop_assert_eq!(depth, crate::json::depth(json.as_bytes()));
            let cut = &json[..json.floor_char_boundary(cut.index(json.len()))];
            prop_assert_eq!(scanned(cut).map(|(value, _)| value), by_serde(cut));
        }

        #[test]
        fn a_long_text_is_scanned_as_a_short_one(pieces in pieces(), fill in 0_usize..3) {
            let fill = ["a", "b\\n", "c\n"][fill].repeat(LONG);
            let json = format!("[\"{fill}\",{pieces}]");
            prop_assert_eq!(scanned(&json).map(|(value, _)| value), by_serde(&json));
        }
    }

    #[test]
    fn a_special_byte_is_found_at_every_place_of_a_text_of_any_length() {
        for special in ["\"", "\\n", "\u{1}", "\u{1f}"] {
            for before in 0..100 {
                let text = "é ~\u{7f}"[..].repeat(30);
                let text = &text[..text.floor_char_boundary(before)];
                let json = format!("\"{text}{special}\"");
                assert_eq!(
                    scanned(&json).map(|(value, _)| value),
                    by_serde(&json),
                    "{json}"
                );
            }
        }
    }

    #[test]
    fn every_level_knows_its_kind_however_deep_it_is() {
        for depth in [1, 63, 64, 65, 128, 129, 1000] {
            let opens: Vec<_> = (0..depth).map(|level| level % 3 == 0).collect();
            let mut json = String::new();
            for is_object in &opens {
                json.push_str(if *is_object { "{\"a\":" } else { "[" });
            }
            json.push('1');
            for is_object in opens.iter().rev() {
                json.push(if *is_object { '}' } else { ']' });
            }
            assert_eq!(scanned(&json), Some((&*json, depth)));
            let wrong = json.replacen("1]", "1}", 1).replacen("]}", "]]", 1);
            assert_eq!(scanned(&wrong).map(|(value, _)| value), by_serde(&wrong));
        }
    }
}
