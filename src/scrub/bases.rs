//! Base64 and hex in a text, recognised by what they decode to: secrets are ASCII, and so is nearly
//! everything encoded twice. The base64 of an image decodes to almost none.

use std::ops::Range;

use super::escapes::line_end;
use super::view::{Text, View};

/// Marks a byte that is a digit of neither base.
const NONE: u8 = 64;

/// The digits of base64 in both alphabets.
const SIXTY_FOUR: [u8; 256] = {
    let mut values = [NONE; 256];
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < digits.len() {
        values[digits[value] as usize] = value as u8;
        value += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};

const SIXTEEN: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Bytes that may occur within base64 or hex: digits, and ends of lines, which may be escaped.
const IN_RUN: [bool; 256] = {
    let mut is = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        is[byte] = SIXTY_FOUR[byte] != NONE || byte == b'\n' as usize || byte == b'\r' as usize;
        byte += 1;
    }
    is
};

/// Returns true for a byte that encoded texts contain; images have other bytes.
fn is_text(byte: u8) -> bool {
    byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r')
}

/// Returns the number of digits that encode this many bytes in any alignment.
pub(super) fn digits_for(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// The bytes that are judged at once.
const BLOCK: usize = 8;
/// The bytes that are looked over at once for marks.
const STRIP: usize = 8 * BLOCK;

/// Finds the next run of possible base64 or hex that ends behind `from` and has the least length.
/// Every such run contains a whole block, and most blocks of a text contain a blank or a quote.
pub(super) fn next_run(bytes: &[u8], from: usize, least: usize) -> Option<Range<usize>> {
    if least < 2 * BLOCK - 1 {
        return next_where(bytes.len(), from, least, |at| is_in_run(bytes, at));
    }
    let is_in = |at: usize| is_in_run(bytes, at);
    let mut from = from;
    let mut at = from;
    while let Some(block) = next_block(bytes, at) {
        let next = block + BLOCK;
        let before = (from..block).rev().take_while(|at| is_in(*at)).count();
        let after = (next..bytes.len()).take_while(|at| is_in(*at)).count();
        let run = block - before..next + after;
        if run.len() >= least {
            return Some(run);
        }
        from = run.end;
        at = run.end;
    }
    None
}

pub(super) fn is_in_run(bytes: &[u8], at: usize) -> bool {
    let byte = bytes[at];
    IN_RUN[usize::from(byte)]
        || byte == b'\\' && matches!(bytes.get(at + 1), Some(b'n' | b'r' | b'\\'))
}

/// Returns the next block that is within a run, in steps of a block from `from`.
fn next_block(bytes: &[u8], from: usize) -> Option<usize> {
    let is_within = |at: usize| (at..at + BLOCK).all(|at| is_in_run(bytes, at));
    let mut at = from;
    while let Some(strip) = bytes.get(at..).and_then(<[u8]>::first_chunk::<STRIP>) {
        // Without a branch for any byte, so that the compiler judges sixteen in one step.
        let mut marks = [0; STRIP];
        for (mark, byte) in marks.iter_mut().zip(strip) {
            *mark = is_mark(*byte);
        }
        for (block, marks) in marks.chunks_exact(BLOCK).enumerate() {
            let block = at + block * BLOCK;
            if is_unmarked(marks) && is_within(block) {
                return Some(block);
            }
        }
        at += STRIP;
    }
    let blocks = (at..bytes.len()).step_by(BLOCK);
    let mut blocks = blocks.take_while(|at| at + BLOCK <= bytes.len());
    blocks.find(|at| is_within(*at))
}

/// Returns 1 for a byte that is certainly outside of any run: a blank, a quote, or another mark
/// before `+`, `,` and `.`, one between `9` and `A`, or none of ASCII.
#[inline]
fn is_mark(byte: u8) -> u8 {
    let low = byte.wrapping_sub(b'\r' + 1) < b'+' - (b'\r' + 1);
    let high = byte.wrapping_sub(b':') < b'A' - b':';
    u8::from(low) | u8::from(high) | u8::from(byte & !2 == b',') | byte >> 7
}

fn is_unmarked(marks: &[u8]) -> bool {
    u64::from_le_bytes(marks.try_into().unwrap_or_default()) == 0
}

/// Finds the next run of at least `least` places where `is` holds. Each such run contains one that
/// is probed.
fn next_where(
    len: usize,
    from: usize,
    least: usize,
    is_so: impl Fn(usize) -> bool,
) -> Option<Range<usize>> {
    let mut probe = from + least - 1;
    let mut from = from;
    while probe < len {
        if !is_so(probe) {
            from = probe + 1;
            probe += least;
            continue;
        }
        let mut start = probe;
        while start > from && is_so(start - 1) {
            start -= 1;
        }
        let mut end = probe + 1;
        while end < len && is_so(end) {
            end += 1;
        }
        if end - start >= least {
            return Some(start..end);
        }
        from = end;
        probe = end + least;
    }
    None
}

/// The digits of a run, with their positions.
#[derive(Default)]
pub(super) struct Digits {
    bytes: Vec<u8>,
    places: Vec<u32>,
    /// The position where the run continues.
    pub(super) end: usize,
}

impl Digits {
    /// Reads at most `most` digits from the beginning of `run`, replacing those read before.
    pub(super) fn read(&mut self, text: &[u8], run: Range<usize>, most: usize) {
        self.bytes.clear();
        self.places.clear();
        let (longest, mut at) = (run.len().min(most), run.start);
        self.bytes.reserve(longest);
        self.places.reserve(longest);
        while at < run.end && self.bytes.len() < most {
            let rest = &text[at..run.end.min(at + most - self.bytes.len())];
            let is_digit = |byte: &&u8| SIXTY_FOUR[usize::from(**byte)] != NONE;
            let digits = rest.iter().take_while(is_digit).count();
            self.bytes.extend_from_slice(&rest[..digits]);
            self.places.extend(at as u32..(at + digits) as u32);
            at += digits;
            if digits < rest.len() {
                at += line_end(&text[at..]).max(1);
            }
        }
        self.end = at.min(run.end);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the position of the last `count` digits.
    pub(super) fn last(&self, count: usize) -> Option<usize> {
        let index = self.len().checked_sub(count)?;
        self.places.get(index).map(|place| *place as usize)
    }

    fn quad(&self, at: usize) -> u32 {
        let digit = |byte: &u8| u32::from(SIXTY_FOUR[usize::from(*byte)]);
        let digits = self.bytes[at..at + 4].iter().map(digit);
        digits.fold(0, |quad, digit| quad << 6 | digit)
    }

    /// Finds the digits that are the base64 of ASCII, or of anything if `ascii` is false. Of each
    /// twelve bytes, six at a multiple of six are examined: as many again must be ASCII, or
    /// `known`.
    pub(super) fn sixty_fours(
        &self,
        ascii: bool,
        known: impl Fn(&[u8]) -> bool,
    ) -> Vec<Range<usize>> {
        const GROUP: usize = 8;
        let high = if ascii { 0x8080_8080_8080 } else { 0 };
        let mut found = Vec::new();
        let mut was_ascii = [false; 4];
        let mut done = [0; 4];
        let mut group = 0_u64;
        for (index, byte) in self.bytes.iter().enumerate() {
            group = group << 6 | u64::from(SIXTY_FOUR[usize::from(*byte)]);
            // One group of eight digits in each alignment.
            if (index + 1) & 4 != 0 || index + 1 < GROUP {
                continue;
            }
            let start = index + 1 - GROUP;
            let alignment = start % 4;
            let is_ascii = group & high == 0;
            let was = std::mem::replace(&mut was_ascii[alignment], is_ascii);
            if !is_ascii || start < done[alignment] {
                continue;
            }
            let bytes = (group << 16).to_be_bytes();
            let is_text = || bytes[..6].iter().all(|byte| !ascii || is_text(*byte));
            if known(&bytes[..6]) || was && is_text() {
                let around = self.around(start, done[alignment], (high >> 24) as u32);
                done[alignment] = around.end;
                found.push(around);
            }
        }
        found
    }

    /// Returns all digits around `start` in its alignment that are the base64 of ASCII, and four
    /// more on each side.
    fn around(&self, start: usize, floor: usize, high: u32) -> Range<usize> {
        let is_ascii = |at| self.quad(at) & high == 0;
        let (mut from, mut to) = (start, start);
        while from >= floor + 4 && is_ascii(from - 4) {
            from -= 4;
        }
        while to + 4 <= self.len() && is_ascii(to) {
            to += 4;
        }
        let from = if from >= 4 { from - 4 } else { from };
        from..self.len().min(to + 4)
    }

    /// Decodes these digits from base64.
    pub(super) fn sixty_four_bytes(&self, digits: Range<usize>, text: Text<'_>) -> View {
        let mut view = View::with_capacity(digits.len() * 3 / 4);
        let value = |at: usize| SIXTY_FOUR[usize::from(self.bytes[at])];
        let mut add = |at: usize, left: u32, right: u32| {
            if at + 1 < digits.end {
                let byte = value(at) << left | value(at + 1) >> right;
                view.push(byte, text, self.place(at..at + 2));
            }
        };
        for quad in digits.clone().step_by(4) {
            add(quad, 2, 4);
            add(quad + 1, 4, 2);
            add(quad + 2, 6, 0);
        }
        view
    }

    /// Finds the digits that are the hex of at least `least` bytes of ASCII, or of anything.
    pub(super) fn sixteens(&self, ascii: bool, least: usize) -> Vec<Range<usize>> {
        let digit = |at: usize| SIXTEEN[usize::from(self.bytes[at])];
        let mut found = Vec::new();
        let mut from = 0;
        let is_digit = |at| digit(at) != NONE;
        while let Some(run) = next_where(self.len(), from, least * 2, is_digit) {
            from = run.end;
            for start in [run.start, run.start + 1] {
                let mut begin = start;
                let mut at = start;
                while at < run.end {
                    let is_byte = at + 1 < run.end && (!ascii || digit(at) < 8);
                    if is_byte {
                        at += 2;
                        continue;
                    }
                    if at - begin >= least * 2 {
                        found.push(begin..at);
                    }
                    at += 2;
                    begin = at;
                }
                if at == run.end && at - begin >= least * 2 {
                    found.push(begin..at);
                }
            }
        }
        found
    }

    /// Decodes these digits from hex.
    pub(super) fn sixteen_bytes(&self, digits: Range<usize>, text: Text<'_>) -> View {
        let mut view = View::with_capacity(digits.len() / 2);
        for pair in digits.step_by(2) {
            let digit = |at: usize| SIXTEEN[usize::from(self.bytes[at])];
            view.push(
                digit(pair) << 4 | digit(pair + 1),
                text,
                self.place(pair..pair + 2),
            );
        }
        view
    }

    /// Returns the range of these digits in the text that they were read from.
    fn place(&self, digits: Range<usize>) -> Range<usize> {
        self.places[digits.start] as usize..self.places[digits.end - 1] as usize + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_in_no_run() {
        for byte in 0..=u8::MAX {
            assert!(is_mark(byte) == 0 || !is_in_run(&[byte, b'n'], 0), "{byte}");
        }
        assert_eq!(
            is_mark(b'"') + is_mark(b':') + is_mark(b',') + is_mark(b'.'),
            4
        );
    }
}
