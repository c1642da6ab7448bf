//! Case-insensitive search for pieces of secrets in a text.
//!
//! Any text with [`WINDOW`] bytes of a secret has one of its five-byte grams at a multiple of
//! eight, since a window has eight places for a gram. So only one gram of eight is looked up in a
//! bit table, nearly always without a hit, and a text is read at memory speed.

use std::ops::Range;

use zeroize::Zeroizing;

use super::secrets::{OWN, Secret, WINDOW};

/// The most positions kept of one gram of a secret: a secret with endless repetitions is made to be
/// expensive.
const REPEATS: usize = 8;

/// The least number of distinct bytes of a match, so that `000000000000` is none.
const DISTINCT: usize = 4;

/// Marks that belong to no encoding: escaped, too, they stand for themselves.
const MARKS: &[u8] = b" \"{}[](),";

pub(super) struct Needles {
    /// All texts, concatenated and in lower case.
    folded: Zeroizing<Vec<u8>>,
    secrets: Vec<Needle>,
    /// A bit for the hash of each gram.
    filter: Vec<u64>,
    /// The start of each hash's bucket in `places`.
    buckets: Vec<u32>,
    places: Vec<u32>,
    shift: u32,
    /// `true` if a secret is so short that one gram of four must be looked up.
    short: bool,
    bytes: [bool; 256],
    /// The length of the shortest match.
    pub(super) least: usize,
    pub(super) ascii: bool,
}

struct Needle {
    /// The text in `folded`; the next ranges are relative to `folded`, too.
    at: Range<usize>,
    own: Vec<Range<usize>>,
    least: usize,
}

/// Bits in the filter for each gram, of which one is set.
const BITS_A_GRAM: usize = 16;
/// The average number of grams in a bucket.
const FILL: usize = 4;

impl Needles {
    pub(super) fn new(secrets: Vec<Secret>) -> Option<Self> {
        let least = secrets.iter().map(|secret| secret.least).min()?.min(WINDOW);
        let mut needles = Self {
            folded: Zeroizing::new(Vec::with_capacity(
                secrets.iter().map(|s| s.text.len()).sum(),
            )),
            secrets: Vec::with_capacity(secrets.len()),
            filter: Vec::new(),
            buckets: Vec::new(),
            places: Vec::new(),
            shift: 0,
            short: least < WINDOW,
            bytes: [false; 256],
            least,
            ascii: true,
        };
        for secret in secrets {
            needles.add(secret);
        }
        needles.index();
        Some(needles)
    }

    fn add(&mut self, secret: Secret) {
        let from = self.folded.len();
        self.folded
            .extend(secret.text.iter().map(u8::to_ascii_lowercase));
        for byte in &*secret.text {
            self.bytes[usize::from(byte.to_ascii_lowercase())] = true;
            self.bytes[usize::from(byte.to_ascii_uppercase())] = true;
            self.ascii &= byte.is_ascii();
        }
        let moved = |part: Range<usize>| part.start + from..part.end + from;
        self.secrets.push(Needle {
            at: from..self.folded.len(),
            own: secret.own.into_iter().map(moved).collect(),
            least: secret.least,
        });
    }

    fn index(&mut self) {
        let mut grams: Vec<(u64, u32)> = Vec::new();
        for secret in &self.secrets {
            let first = grams.len();
            for at in self.sought(secret) {
                grams.push((self.gram(&self.folded[at..]), at as u32));
            }
            grams[first..].sort_unstable();
            let mut seen = (0, 0);
            let mut repeats = |gram: u64| {
                seen = if seen.0 == gram {
                    (gram, seen.1 + 1)
                } else {
                    (gram, 1)
                };
                seen.1
            };
            let kept: Vec<_> = grams
                .drain(first..)
                .filter(|(gram, _)| repeats(*gram) <= REPEATS)
                .collect();
            grams.extend(kept);
        }
        let bits = (grams.len() * BITS_A_GRAM).next_power_of_two().max(4096);
        self.shift = 64 - bits.trailing_zeros();
        self.filter = vec![0; bits / 64];
        for (gram, _) in &grams {
            let hash = self.hash(*gram);
            self.filter[hash / 64] |= 1 << (hash % 64);
        }
        let buckets = (grams.len() / FILL).next_power_of_two().max(2);
        let bucket = |needles: &Self, gram| needles.hash(gram) / (bits / buckets);
        grams.sort_by_key(|(gram, _)| bucket(self, *gram));
        self.buckets = Vec::with_capacity(buckets + 1);
        for (place, (gram, _)) in grams.iter().enumerate() {
            let bucket = bucket(self, *gram);
            self.buckets
                .resize(self.buckets.len().max(bucket + 1), place as u32);
        }
        self.buckets.resize(buckets + 1, grams.len() as u32);
        self.places = grams.iter().map(|(_, at)| *at).collect();
    }

    /// Returns the positions of the grams to look up: those of every possible match.
    fn sought<'a>(&'a self, secret: &'a Needle) -> impl Iterator<Item = usize> + 'a {
        let len = self.gram_len();
        let at = secret.at.clone();
        let matches = at.start..=at.end - secret.least;
        let is_match = move |start: usize| self.is_match(secret, start..start + secret.least);
        // A match has a gram at one of its first places.
        let mut until = at.start;
        matches
            .filter(move |start| is_match(*start))
            .flat_map(move |start| {
                let grams = start.max(until)..start + self.stride();
                until = grams.end.max(until);
                grams.filter(move |gram| gram + len <= at.end)
            })
    }

    fn gram_len(&self) -> usize {
        if self.short { 4 } else { 5 }
    }

    fn stride(&self) -> usize {
        if self.short { 4 } else { 8 }
    }

    /// Returns the first bytes of `text` as a number, in lower case.
    fn gram(&self, text: &[u8]) -> u64 {
        let mut bytes = [0; 8];
        let len = self.gram_len();
        bytes[..len].copy_from_slice(&text[..len]);
        self.folded_gram(u64::from_le_bytes(bytes))
    }

    fn folded_gram(&self, bytes: u64) -> u64 {
        let gram = if self.short {
            0xffff_ffff
        } else {
            0xff_ffff_ffff
        };
        (bytes | 0x2020_2020_2020_2020) & gram
    }

    fn hash(&self, gram: u64) -> usize {
        (gram.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    #[inline]
    fn may_have(&self, gram: u64) -> bool {
        let hash = self.hash(gram);
        self.filter[hash / 64] & (1 << (hash % 64)) != 0
    }

    /// Returns true if a secret may contain this byte.
    pub(super) fn has_byte(&self, byte: u8) -> bool {
        self.bytes[usize::from(byte)]
    }

    /// Returns where the end of `text` begins from which a secret may go on in a text behind it; at
    /// most `most` bytes of it count.
    ///
    /// Nothing goes on over a mark that is no part of a secret, and of no encoding of one. Ends of
    /// lines behind it are within nothing.
    pub(super) fn open_end(&self, text: &[u8], most: usize) -> usize {
        let from = text.len().saturating_sub(most);
        let is_end = |byte: &u8| MARKS.contains(byte) && !self.has_byte(*byte);
        let Some(mark) = text[from..].iter().rposition(is_end) else {
            return from;
        };
        let behind = &text[from + mark + 1..];
        let is_line_end = |byte: &&u8| matches!(byte, b'\n' | b'\r') && !self.has_byte(**byte);
        text.len() - behind.len() + behind.iter().take_while(is_line_end).count()
    }

    /// Returns true if a secret may contain the first bytes of `text`, or its last few.
    pub(super) fn may_begin(&self, text: &[u8]) -> bool {
        text.len() >= self.gram_len() && self.may_have(self.gram(text))
    }

    pub(super) fn may_end(&self, text: &[u8]) -> bool {
        let len = self.gram_len();
        text.len() >= len && self.may_have(self.gram(&text[text.len() - len..]))
    }

    /// Passes each match in `text` to `found`; `work` receives the number of bytes compared, and
    /// stops the search by returning `false`.
    pub(super) fn find(
        &self,
        text: &[u8],
        mut work: impl FnMut(usize) -> bool,
        mut found: impl FnMut(Range<usize>),
    ) -> bool {
        let mut done = 0;
        let mut look = |at: usize, gram: u64| {
            if at < done {
                return true;
            }
            let (matched, compared) = self.match_at(text, at, gram, done);
            if let Some(matched) = matched {
                done = matched.end;
                found(matched);
            }
            work(compared)
        };
        let chunks = text.chunks_exact(8);
        let rest = chunks.remainder();
        for (n, chunk) in chunks.enumerate() {
            let bytes = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
            let gram = self.folded_gram(bytes);
            if self.may_have(gram) && !look(n * 8, gram) {
                return false;
            }
            if self.short {
                let gram = self.folded_gram(bytes >> 32);
                if self.may_have(gram) && !look(n * 8 + 4, gram) {
                    return false;
                }
            }
        }
        let at = text.len() - rest.len();
        rest.len() < self.gram_len() || {
            let gram = self.gram(rest);
            !self.may_have(gram) || look(at, gram)
        }
    }

    /// Returns the longest match around the gram at `at` that begins at or after `floor`, and the
    /// number of bytes compared.
    fn match_at(
        &self,
        text: &[u8],
        at: usize,
        gram: u64,
        floor: usize,
    ) -> (Option<Range<usize>>, usize) {
        let bucket = self.hash(gram) / ((1 << (64 - self.shift)) / (self.buckets.len() - 1));
        let places = self.buckets[bucket] as usize..self.buckets[bucket + 1] as usize;
        let mut longest = None::<Range<usize>>;
        let mut compared = 1;
        for place in &self.places[places] {
            let place = *place as usize;
            if self.gram(&self.folded[place..]) != gram {
                continue;
            }
            let index = self
                .secrets
                .partition_point(|secret| secret.at.end <= place);
            let secret = &self.secrets[index];
            let same = |(text, own): &(&u8, &u8)| text.to_ascii_lowercase() == **own;
            let before = text[floor..at]
                .iter()
                .rev()
                .zip(self.folded[secret.at.start..place].iter().rev());
            let before = before.take_while(same).count();
            let after = text[at..].iter().zip(&self.folded[place..secret.at.end]);
            let after = after.take_while(same).count();
            compared += before + after;
            let is_longer = longest
                .as_ref()
                .is_none_or(|longest| longest.len() < before + after);
            if is_longer && self.is_match(secret, place - before..place + after) {
                longest = Some(at - before..at + after);
            }
        }
        (longest, compared)
    }

    /// Returns true if this piece of `folded` is evidence of the secret.
    fn is_match(&self, secret: &Needle, piece: Range<usize>) -> bool {
        if piece.len() < secret.least {
            return false;
        }
        if piece.len() == secret.at.len() {
            return true;
        }
        let own = secret.own.iter().map(|own| {
            own.end
                .min(piece.end)
                .saturating_sub(own.start.max(piece.start))
        });
        own.sum::<usize>() >= OWN && has_distinct(&self.folded[piece])
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.folded.capacity()
            + self.filter.capacity() * 8
            + self.buckets.capacity() * 4
            + self.places.capacity() * 4
            + size_of::<Self>()
            + self.secrets.capacity() * size_of::<Needle>()
            + self
                .secrets
                .iter()
                .map(|secret| secret.own.capacity() * size_of::<Range<usize>>())
                .sum::<usize>()
    }
}

fn has_distinct(bytes: &[u8]) -> bool {
    let mut seen = [0; DISTINCT];
    let mut count = 0;
    for byte in bytes {
        if !seen[..count].contains(byte) {
            seen[count] = *byte;
            count += 1;
            if count == DISTINCT {
                return true;
            }
        }
    }
    false
}
