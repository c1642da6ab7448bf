//! Search for secrets in a text and in its decoded views.
//!
//! ```text
//! text --- as it is ------------------------------ needles
//!      \-- around its escapes: JSON, %, &; -- view -- as it is, and again
//!      \-- around = and ends of lines ------- view -- …
//!      \-- its base64, in four alignments --- view -- …
//!      \-- its hex, in two ------------------ view -- …
//! ```
//!
//! An escape that cannot be part of a secret, or of another encoding, creates no view, so ordinary
//! text creates next to none. Work is counted in bytes decoded and compared: a text that needs more
//! than twelve times its length is refused, not passed on unread.

use std::ops::Range;

use memchr::{memchr2_iter, memchr3};

use super::bases::{Digits, digits_for, next_run};
use super::escapes::{NESTED, Unit, escape, line_end, printable};
use super::needles::Needles;
use super::view::{Text, View};

/// The depth of nested encodings that is searched.
const DEPTH: usize = 5;

/// The bytes searched before and behind an escape: they may hold a piece of a secret that is
/// encoded twice more.
const AROUND: usize = 128;

/// The longest view; longer ones are made in pieces, so that memory in use stays small and cached.
const PIECE: usize = 8 * 1024;

/// The overlap of two pieces.
const SHARED: usize = 1024;

/// The bytes that may be decoded and compared for each byte of a text: pages full of escapes need
/// one and a half.
const WORK_A_BYTE: usize = 12;

/// The bytes that may be decoded and compared for a text of any length.
const WORK: usize = 64 * 1024;

/// The error of a text whose nested encodings are too expensive to search.
#[derive(Debug)]
pub(super) struct TooDear;

pub(super) struct Search<'a> {
    needles: &'a Needles,
    found: Vec<Range<usize>>,
    work: usize,
    /// Buffers for reuse: most texts have many runs, and few of them yield anything.
    spare: Vec<Digits>,
}

/// Finds the secrets in `text`, from the first to the last.
pub(super) fn find(needles: &Needles, text: &[u8]) -> Result<Vec<Range<usize>>, TooDear> {
    let mut search = Search {
        needles,
        found: Vec::new(),
        work: text.len().saturating_mul(WORK_A_BYTE).saturating_add(WORK),
        spare: Vec::new(),
    };
    search.text(Text::source(text), 0)?;
    Ok(merged(search.found))
}

fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_unstable_by_key(|found| found.start);
    found.dedup_by(|next, last| {
        let overlaps = next.start < last.end;
        if overlaps {
            last.end = last.end.max(next.end);
        }
        overlaps
    });
    found
}

impl Search<'_> {
    fn text(&mut self, text: Text<'_>, depth: usize) -> Result<(), TooDear> {
        self.as_it_is(text)?;
        if depth == DEPTH || text.bytes.len() < self.needles.least {
            return Ok(());
        }
        self.bases(text, depth)?;
        self.escapes(text, depth)?;
        self.lines(text, depth)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TooDear> {
        self.work = self.work.checked_sub(bytes).ok_or(TooDear)?;
        Ok(())
    }

    fn as_it_is(&mut self, text: Text<'_>) -> Result<(), TooDear> {
        let Self {
            needles,
            found,
            work,
            ..
        } = self;
        let mut left = Some(*work);
        let spend = |bytes| {
            left = left.and_then(|left| left.checked_sub(bytes));
            left.is_some()
        };
        needles.find(text.bytes, spend, |at| found.push(text.place(at)));
        *work = left.ok_or(TooDear)?;
        Ok(())
    }

    /// Searches around the escapes of JSON, URLs and HTML.
    fn escapes(&mut self, text: Text<'_>, depth: usize) -> Result<(), TooDear> {
        let bytes = text.bytes;
        let mut region = Region::default();
        let mut at = 0;
        while let Some(next) = memchr3(b'\\', b'%', b'&', &bytes[at..]) {
            at += next;
            let Some((len, unit)) = escape(&bytes[at..]) else {
                at += 1;
                continue;
            };
            if self.matters(unit, bytes, at..at + len)
                && let Some(region) = region.extend(at..at + len, bytes.len())
            {
                self.decoded(text, region, depth, unescape)?;
            }
            at += len;
        }
        self.decoded(text, region.0, depth, unescape)
    }

    /// Returns true if the value of an escape may belong to a secret, or to another escape or
    /// encoding.
    fn matters(&self, unit: Unit, text: &[u8], at: Range<usize>) -> bool {
        let ([byte, ..], _) = unit.bytes();
        let rest = &text[at.end..];
        let goes_on = || match byte {
            b'+' | b'/' | b'-' | b'_' | b'=' | b'#' | b';' => true,
            b'\\' => match rest.iter().take(NESTED).find(|byte| **byte != b'\\') {
                Some(b'u' | b'x' | b'/' | b'%' | b'&') => true,
                // `\\n` occurs in every string of JSON in JSON, and is searched as it is.
                Some(b'n' | b'r') => at.len() > 2,
                _ => false,
            },
            b'%' => rest
                .first()
                .is_some_and(|byte| byte.is_ascii_hexdigit() || b"%&\\u".contains(byte)),
            b'&' => {
                rest.first() == Some(&b'#')
                    || rest
                        .iter()
                        .take(12)
                        .any(|byte| matches!(byte, b';' | b'%' | b'\\' | b'&'))
            }
            b'\n' | b'\r' => {
                let long = at.len() > 2;
                let in_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
                long && in_word(at.start.checked_sub(1).and_then(|before| text.get(before))) || {
                    let before = &text[..at.start];
                    self.joins(before.strip_suffix(b"\\r").unwrap_or(before), rest)
                }
            }
            _ => byte.is_ascii_alphanumeric(),
        };
        self.needles.has_byte(byte) || goes_on()
    }

    /// Returns true if a secret may continue from one text to the other.
    fn joins(&self, before: &[u8], after: &[u8]) -> bool {
        let has = |byte: Option<&u8>| byte.is_some_and(|byte| self.needles.has_byte(*byte));
        let touch = has(before.last()) && has(after.first());
        touch && (self.needles.may_end(before) || self.needles.may_begin(after))
    }

    /// Searches around the escapes of quoted-printable, and around line breaks that may split a
    /// secret.
    fn lines(&mut self, text: Text<'_>, depth: usize) -> Result<(), TooDear> {
        let bytes = text.bytes;
        let mut region = Region::default();
        for at in memchr2_iter(b'=', b'\n', bytes) {
            let rest = &bytes[at..];
            let matters = match printable(rest) {
                Some((_, None)) => true,
                // Nobody encodes a single letter, and `a=30` is in every URL.
                Some((_, Some(byte))) if byte.is_ascii_alphanumeric() => {
                    let before = at.checked_sub(3).and_then(|at| printable(&bytes[at..]));
                    before.is_some() || printable(&rest[3..]).is_some()
                }
                Some((_, Some(byte))) => self.matters(Unit::Byte(byte), bytes, at..at + 3),
                None if rest[0] == b'\n' => {
                    let before = bytes[..at].strip_suffix(b"\r").unwrap_or(&bytes[..at]);
                    self.joins(before, &rest[1..])
                }
                None => false,
            };
            if matters && let Some(region) = region.extend(at..at + 1, bytes.len()) {
                self.decoded(text, region, depth, join)?;
            }
        }
        self.decoded(text, region.0, depth, join)
    }

    /// Decodes a region of `text`, and searches the result.
    fn decoded(
        &mut self,
        text: Text<'_>,
        region: Range<usize>,
        depth: usize,
        decode: impl Fn(Text<'_>, Range<usize>) -> View,
    ) -> Result<(), TooDear> {
        let mut from = region.start;
        while from < region.end {
            let to = region.end.min(from + PIECE);
            self.spend(to - from)?;
            let view = decode(text, from..to);
            self.text(view.text(), depth + 1)?;
            from = if to == region.end { to } else { to - SHARED };
        }
        Ok(())
    }

    /// Searches the base64 and the hex in `text`.
    fn bases(&mut self, text: Text<'_>, depth: usize) -> Result<(), TooDear> {
        let least = digits_for(self.needles.least);
        let mut from = 0;
        while let Some(mut run) = next_run(text.bytes, from, least) {
            from = run.end;
            while !run.is_empty() {
                let mut digits = self.spare.pop().unwrap_or_default();
                digits.read(text.bytes, run.clone(), PIECE);
                self.digits(text, &digits, depth)?;
                let is_last = digits.end == run.end;
                run.start = match digits.last(SHARED) {
                    Some(shared) if !is_last => shared,
                    _ => digits.end,
                };
                self.spare.push(digits);
            }
        }
        Ok(())
    }

    fn digits(&mut self, text: Text<'_>, digits: &Digits, depth: usize) -> Result<(), TooDear> {
        let needles = self.needles;
        if digits.len() < digits_for(needles.least) {
            return Ok(());
        }
        for found in digits.sixty_fours(needles.ascii, |bytes| needles.may_begin(bytes)) {
            self.spend(found.len())?;
            let view = digits.sixty_four_bytes(found, text);
            self.text(view.text(), depth + 1)?;
        }
        for found in digits.sixteens(needles.ascii, needles.least) {
            self.spend(found.len())?;
            let view = digits.sixteen_bytes(found, text);
            self.text(view.text(), depth + 1)?;
        }
        Ok(())
    }
}

/// A growing piece of a text that is to be decoded.
#[derive(Default)]
struct Region(Range<usize>);

impl Region {
    /// Adds the surroundings of an escape; returns the region before it, if there is a gap.
    fn extend(&mut self, at: Range<usize>, len: usize) -> Option<Range<usize>> {
        let around = at.start.saturating_sub(AROUND)..len.min(at.end + AROUND);
        if around.start <= self.0.end {
            self.0.end = around.end;
            return None;
        }
        let before = std::mem::replace(&mut self.0, around);
        (!before.is_empty()).then_some(before)
    }
}

/// Decodes the escapes of JSON, URLs and HTML. An escaped line break joins its lines.
fn unescape(text: Text<'_>, region: Range<usize>) -> View {
    let mut view = View::with_capacity(region.len());
    let mut at = region.start;
    while at < region.end {
        let rest = &text.bytes[at..region.end];
        let plain = memchr3(b'\\', b'%', b'&', rest).unwrap_or(rest.len());
        view.copy(text, at..at + plain);
        at += plain;
        if at == region.end {
            break;
        }
        match escape(&text.bytes[at..]) {
            Some((len, unit)) => {
                // Soft line breaks of quoted-printable are left to the next view.
                let goes_on = matches!(view.bytes.last(), Some(b'=' | b'\r'));
                if !unit.is_line_end() || goes_on {
                    view.decode(unit, text, at..at + len);
                }
                at += len;
            }
            None => {
                view.copy(text, at..at + 1);
                at += 1;
            }
        }
    }
    view
}

/// Decodes quoted-printable, and removes line breaks.
fn join(text: Text<'_>, region: Range<usize>) -> View {
    let mut view = View::with_capacity(region.len());
    let mut at = region.start;
    while at < region.end {
        let rest = &text.bytes[at..region.end];
        let plain = memchr3(b'=', b'\n', b'\r', rest).unwrap_or(rest.len());
        view.copy(text, at..at + plain);
        at += plain;
        if at == region.end {
            break;
        }
        let rest = &text.bytes[at..];
        match printable(rest) {
            Some((len, byte)) => {
                if let Some(byte) = byte {
                    view.push(byte, text, at..at + len);
                }
                at += len;
            }
            None if rest[0] != b'=' => at += line_end(rest),
            None => {
                view.copy(text, at..at + 1);
                at += 1;
            }
        }
    }
    view
}
