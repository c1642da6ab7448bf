//! Ranks documents by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
//! Beyond", 2009): a word says the more the fewer documents have it, and the less the longer a document
//! is; each further use in one document says less than the one before.

use super::{index::Index, query::wanted};

/// How soon further uses of a word in a document say no more, as is usual.
const K1: f32 = 1.2;
/// How much the length of a document counts, as is usual.
const B: f32 = 0.75;

/// A document that fits a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hit {
    /// The place of its list.
    pub(crate) list: usize,
    /// Its place in that.
    pub(crate) document: usize,
    score: f32,
}

/// The documents of these lists that have a word of `query`, best first.
pub(crate) fn rank(lists: &[&Index], query: &str) -> Vec<Hit> {
    let lengths = || lists.iter().flat_map(|list| list.lengths());
    let count = lengths().count() as f32;
    let average = lengths().map(|length| *length as f32).sum::<f32>() / count.max(1.0);
    let mut scores: Vec<Vec<f32>> = lists.iter().map(|_| Vec::new()).collect();
    for (word, weight) in wanted(query) {
        let having = lists
            .iter()
            .map(|list| list.uses(word).len())
            .sum::<usize>() as f32;
        let rarity = weight * (1.0 + (count - having + 0.5) / (having + 0.5)).ln();
        for (list, scores) in lists.iter().zip(&mut scores) {
            for one in list.uses(word) {
                let document = one.document as usize;
                let length = list.lengths()[document] as f32 / average.max(1.0);
                let uses = one.count as f32;
                scores.resize(list.lengths().len(), 0.0);
                scores[document] +=
                    rarity * uses * (K1 + 1.0) / (uses + K1 * (1.0 - B + B * length));
            }
        }
    }
    let hits = scores.iter().enumerate().flat_map(|(list, scores)| {
        let hits = scores.iter().enumerate().filter(|(_, score)| **score > 0.0);
        hits.map(move |(document, score)| Hit {
            list,
            document,
            score: *score,
        })
    });
    let mut hits: Vec<_> = hits.collect();
    // Equal ones stay in the order of their lists.
    hits.sort_by(|one, other| other.score.total_cmp(&one.score));
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Text;

    fn index(documents: &[&str]) -> Index {
        Index::new(documents.iter().map(|text| {
            [Text {
                text: (*text).into(),
                weight: 1,
            }]
        }))
    }

    fn found(lists: &[&Index], query: &str) -> Vec<(usize, usize)> {
        let hits = rank(lists, query).into_iter();
        hits.map(|hit| (hit.list, hit.document)).collect()
    }

    #[test]
    fn a_rare_word_says_more_than_a_common_one_and_a_short_text_more_than_a_long_one() {
        let list = index(&[
            "rotate keys",
            "rotate maps",
            "rotate maps of a wiki and of others",
        ]);
        assert_eq!(found(&[&list], "key"), [(0, 0)]);
        assert_eq!(found(&[&list], "rotate wiki"), [(0, 2), (0, 0), (0, 1)]);
        assert_eq!(found(&[&list], "maps"), [(0, 1), (0, 2)]);
        assert!(found(&[&list], "weather").is_empty());
    }

    #[test]
    fn several_lists_are_ranked_as_one() {
        let texts = [
            "send mail",
            "send a message to a channel",
            "read mail",
            "channel",
        ];
        let one = index(&texts);
        let (first, second) = (index(&texts[..1]), index(&texts[1..]));
        let empty = index(&[]);
        for query in ["mail", "send message", "channel mail", "x", ""] {
            let apart = found(&[&first, &empty, &second], query).into_iter();
            let apart: Vec<_> = apart.map(|(list, at)| (0, at + list.div_ceil(2))).collect();
            assert_eq!(apart, found(&[&one], query), "{query}");
        }
    }

    #[test]
    fn a_weight_is_as_many_uses() {
        let parts = |text: &'static str, weight| {
            let text = text.into();
            [Text { text, weight }]
        };
        let list = Index::new([
            parts("mail", 1),
            parts("mail mail mail", 1),
            parts("mail", 3),
        ]);
        let hits = rank(&[&list], "mail");
        assert_eq!(hits[0].score, hits[1].score);
        assert!(hits[1].score > hits[2].score, "{hits:?}");
    }
}
