//! Escapes of JSON, addresses, HTML and quoted-printable, one at a time.

use zeroize::Zeroizing;

/// Entities for what keys are made of, and for what escapes are made of.
const NAMED: [(&[u8], char); 44] = [
    (b"amp", '&'),
    (b"quot", '"'),
    (b"apos", '\''),
    (b"lt", '<'),
    (b"gt", '>'),
    (b"plus", '+'),
    (b"sol", '/'),
    (b"bsol", '\\'),
    (b"equals", '='),
    (b"num", '#'),
    (b"percnt", '%'),
    (b"lowbar", '_'),
    (b"UnderBar", '_'),
    (b"hyphen", '-'),
    (b"dash", '-'),
    (b"period", '.'),
    (b"comma", ','),
    (b"colon", ':'),
    (b"semi", ';'),
    (b"excl", '!'),
    (b"quest", '?'),
    (b"commat", '@'),
    (b"dollar", '$'),
    (b"ast", '*'),
    (b"midast", '*'),
    (b"lpar", '('),
    (b"rpar", ')'),
    (b"lsqb", '['),
    (b"lbrack", '['),
    (b"rsqb", ']'),
    (b"rbrack", ']'),
    (b"lcub", '{'),
    (b"lbrace", '{'),
    (b"rcub", '}'),
    (b"rbrace", '}'),
    (b"verbar", '|'),
    (b"vert", '|'),
    (b"VerticalLine", '|'),
    (b"Hat", '^'),
    (b"grave", '`'),
    (b"nbsp", '\u{a0}'),
    (b"Tab", '\t'),
    (b"NewLine", '\n'),
    (b"tilde", '~'),
];

/// Backslashes before one letter: JSON in JSON doubles them each time.
pub(super) const NESTED: usize = 32;

/// The longest of an entity's names that is looked at.
const LONGEST_NAME: usize = 12;

/// What an escape stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// One of the bytes of a character, which in an address has an escape for each.
    Byte(u8),
    Char(char),
}

impl Unit {
    /// As bytes, of which there are so many.
    pub(super) fn bytes(self) -> ([u8; 4], usize) {
        let mut bytes = [0; 4];
        match self {
            Self::Byte(byte) => {
                bytes[0] = byte;
                (bytes, 1)
            }
            Self::Char(char) => {
                let len = char.encode_utf8(&mut bytes).len();
                (bytes, len)
            }
        }
    }

    pub(super) fn is_line_end(self) -> bool {
        matches!(self.bytes(), ([b'\n' | b'\r', ..], 1))
    }
}

/// How much of `text` is an escape of JSON, of an address or of HTML, and what it stands for.
pub(super) fn escape(text: &[u8]) -> Option<(usize, Unit)> {
    let byte = |len, byte: u8| Some((len, Unit::Byte(byte)));
    match text {
        [b'\\', b'u', digits @ ..] => Some((6, char_of(hex(digits.get(..4)?)?))),
        [b'\\', b'x', digits @ ..] => Some((4, char_of(hex(digits.get(..2)?)?))),
        [b'\\', b'n', ..] => byte(2, b'\n'),
        [b'\\', b'r', ..] => byte(2, b'\r'),
        [b'\\', b't', ..] => byte(2, b'\t'),
        [b'\\', escaped, ..] if escaped.is_ascii_punctuation() => byte(2, *escaped),
        [b'%', b'u', digits @ ..] => Some((6, char_of(hex(digits.get(..4)?)?))),
        [b'%', digits @ ..] => byte(3, hex(digits.get(..2)?)? as u8),
        [b'&', b'#', b'x' | b'X', digits @ ..] => entity(3, digits, 16),
        [b'&', b'#', digits @ ..] => entity(2, digits, 10),
        [b'&', name @ ..] => {
            let len = name
                .iter()
                .take(LONGEST_NAME)
                .position(|byte| *byte == b';')?;
            let known = NAMED.iter().find(|(known, _)| *known == &name[..len])?;
            Some((len + 2, Unit::Char(known.1)))
        }
        _ => None,
    }
}

/// An entity by number; browsers need no semicolon.
fn entity(before: usize, digits: &[u8], radix: u32) -> Option<(usize, Unit)> {
    const LONGEST: usize = 10;
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let len = digits.iter().take(LONGEST).take_while(is_digit).count();
    let number = u32::from_str_radix(str::from_utf8(&digits[..len]).ok()?, radix).ok()?;
    let end = usize::from(digits.get(len) == Some(&b';'));
    Some((before + len + end, char_of(number)))
}

/// Half of a character, or none, is one that no secret has.
fn char_of(code: u32) -> Unit {
    Unit::Char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// How much of `text` is an escape of quoted-printable, and its byte; none for a line that goes
/// on. The end of a line may itself be escaped, as in a string of JSON.
pub(super) fn printable(text: &[u8]) -> Option<(usize, Option<u8>)> {
    let rest = text.strip_prefix(b"=")?;
    if let Some(code) = rest.get(..2).and_then(hex) {
        return Some((3, u8::try_from(code).ok()));
    }
    let end = line_end(rest);
    (end > 0).then_some((1 + end, None))
}

/// How much of `text` is the end of a line, or several, as they are or escaped.
pub(super) fn line_end(text: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let rest = &text[end..];
        let slashes = rest.iter().take(NESTED);
        let slashes = slashes.take_while(|byte| **byte == b'\\').count();
        match rest.get(slashes) {
            Some(b'\n' | b'\r') if slashes == 0 => end += 1,
            Some(b'n' | b'r') if slashes > 0 => end += slashes + 1,
            _ => return end,
        }
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let mut number = 0;
    for digit in digits {
        number = number * 16 + char::from(*digit).to_digit(16)?;
    }
    Some(number)
}

/// `text` with every escape taken for what it stands for.
pub(super) fn unescaped(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut at = 0;
    while at < text.len() {
        match escape(&text[at..]) {
            Some((len, unit)) => {
                let (bytes, count) = unit.bytes();
                plain.extend_from_slice(&bytes[..count]);
                at += len;
            }
            None => {
                plain.push(text[at]);
                at += 1;
            }
        }
    }
    plain
}
