//! The index of one list: which of its documents have a word, and how much that says of each.

use std::borrow::Cow;

use super::words::words;

/// A part of a document, and how many times over each of its words counts.
#[derive(Debug)]
pub(crate) struct Text<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) weight: u16,
}

/// The words of the documents of one list.
///
/// A word is kept as its hash. Whoever writes a text whose words have the hashes of others could as
/// well have written those others.
#[derive(Debug)]
pub(crate) struct Index {
    /// The hashes of all words, sorted.
    words: Box<[u64]>,
    /// Where the documents of each word begin in `uses`; and the end of the last.
    starts: Box<[u32]>,
    uses: Box<[Use]>,
    /// The length of each document in words, weighted.
    lengths: Box<[u32]>,
}

/// A document that has a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) document: u32,
    /// How often it has it, weighted.
    pub(super) count: u32,
}

impl Index {
    /// Indexes documents, each given by its parts.
    pub(crate) fn new<'a, D>(documents: impl IntoIterator<Item = D>) -> Self
    where
        D: IntoIterator<Item = Text<'a>>,
    {
        let mut all: Vec<(u64, Use)> = Vec::new();
        let mut lengths = Vec::new();
        let mut own: Vec<(u64, u32)> = Vec::new();
        for (document, parts) in (0..).zip(documents) {
            own.clear();
            for part in parts {
                words(&part.text, |word| {
                    own.push((hash(word), part.weight.into()))
                });
            }
            lengths.push(
                own.iter()
                    .map(|(_, count)| *count)
                    .fold(0, u32::saturating_add),
            );
            own.sort_unstable();
            all.extend(own.chunk_by(|one, next| one.0 == next.0).map(|same| {
                let count = same
                    .iter()
                    .map(|(_, count)| *count)
                    .fold(0, u32::saturating_add);
                (same[0].0, Use { document, count })
            }));
        }
        all.sort_unstable_by_key(|(word, one)| (*word, one.document));
        let (mut words, mut starts) = (Vec::new(), Vec::new());
        for (place, (word, _)) in (0..).zip(&all) {
            if words.last() != Some(word) {
                words.push(*word);
                starts.push(place);
            }
        }
        starts.push(u32::try_from(all.len()).unwrap_or(u32::MAX));
        Self {
            words: words.into(),
            starts: starts.into(),
            uses: all.into_iter().map(|(_, one)| one).collect(),
            lengths: lengths.into(),
        }
    }

    /// The documents that have the word with this hash.
    pub(super) fn uses(&self, word: u64) -> &[Use] {
        match self.words.binary_search(&word) {
            Ok(at) => &self.uses[self.starts[at] as usize..self.starts[at + 1] as usize],
            Err(_) => &[],
        }
    }

    /// The length of each document.
    pub(super) fn lengths(&self) -> &[u32] {
        &self.lengths
    }
}

/// FNV-1a, which is quick for words.
pub(super) fn hash(word: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    word.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
