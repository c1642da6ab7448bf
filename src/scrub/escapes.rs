//! Escapes of JSON, addresses, HTML and quoted-printable, one at a time.

use zeroize::Zeroizing;

/// Entities for the characters of keys and of escapes.
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

/// The most backslashes before one letter: JSON in JSON doubles them each time.
pub(super) const NESTED: usize = 32;

/// The longest entity name that is recognised.
const LONGEST_NAME: usize = 12;

/// The decoded value of an escape.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// One byte of a character; URLs escape each byte separately.
    Byte(u8),
    Char(char),
}

impl Unit {
    /// Returns the bytes and their number.
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

/// Reads an escape of JSON, a URL or HTML at the start of `text`: its length and its value.
pub(super) fn escape(text: &[u8]) -> Option<(usize, Unit)> {
    let byte = |len, byte: u8| Some((len, Unit::Byte(byte)));
    match text {
        [b'\\', b'u', digits @ ..] => Some((6, char_of(hex(digits.get(..4)?)?))),
        [b'\\', b'x', digits @ ..] => Some((4, char_of(hex(digits.get(..2)?)?))),
        [b'\\', b'n', ..] => byte(2, b'\n'),
        [b'\\', b'r', ..] => byte(2, b'\r'),
        [b'\\', b't', ..] => byte(2, b'\t'),
        // A backslash that another encoding has cut off from its letter: no JSON escapes an escape.
        [b'\\', b'&' | b'%', ..] if escape(&text[1..]).is_some() => None,
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

/// Reads a numeric entity; browsers need no semicolon.
fn entity(before: usize, digits: &[u8], radix: u32) -> Option<(usize, Unit)> {
    const LONGEST: usize = 10;
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let len = digits.iter().take(LONGEST).take_while(is_digit).count();
    let number = u32::from_str_radix(str::from_utf8(&digits[..len]).ok()?, radix).ok()?;
    let end = usize::from(digits.get(len) == Some(&b';'));
    Some((before + len + end, char_of(number)))
}

/// Converts a code point; a surrogate or an invalid one becomes a character that no secret
/// contains.
fn char_of(code: u32) -> Unit {
    Unit::Char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// Reads an escape of quoted-printable at the start of `text`: its length and its byte, which is
/// `None` for a soft line break. The line break may itself be escaped, as in a JSON string.
pub(super) fn printable(text: &[u8]) -> Option<(usize, Option<u8>)> {
    let rest = text.strip_prefix(b"=")?;
    if let Some(code) = rest.get(..2).and_then(hex) {
        return Some((3, u8::try_from(code).ok()));
    }
    let end = line_end(rest);
    (end > 0).then_some((1 + end, None))
}

/// Returns the length of the line breaks at the start of `text`, plain or escaped.
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

/// Decodes every escape in `text`.
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
