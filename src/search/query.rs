//! The words that a query asks for: its own without those that say nothing, and others that mean nearly the
//! same.
//!
//! Tools are named with a dozen verbs and the nouns of their makers; people and models ask in their own.
//! Among ten hits both tables together find a right tool for 5 more of the hundred tasks of
//! `tests/search/tasks.json` that were looked at, and for 3 more of those held out. They are English, as
//! most names and descriptions are; a query in another language does without.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use super::{index::hash, words::words};

/// The bytes of a query that are read; a request in plain words has a tenth of that.
const QUERY: usize = 1 << 10;
/// The different words of a query that are looked up.
const WORDS: usize = 32;
/// The weight of a word that means nearly the same as one of the query.
const ALIKE_WEIGHT: f32 = 0.5;

/// Words that are rare in descriptions of tools, so that BM25 would take them for telling, and say nothing.
const UNSAID: &str = "a about am an and any are as at be been but by can could did do does for from had \
    has have here how i if in into is it its may me mine more my need no not now of off on or our out \
    please s so some such than that the their them then there these they this those to up us want was we \
    were what when where which who whom whose why will with would you your";

/// Words that mean nearly the same where tools are concerned.
const ALIKE: [&str; 16] = [
    "create make add new write generate open insert",
    "delete remove drop forget erase",
    "list show all find",
    "get read fetch retrieve show look view",
    "update change edit modify set",
    "search find look query",
    "send post write tell message",
    "run execute start trigger",
    "stop cancel kill terminate",
    "file document",
    "folder directory",
    "picture image photo screenshot",
    "ticket issue bug story",
    "comment note reply answer remark",
    "mail email message",
    "person people user member",
];

/// The words of a query as hashes, each with what it counts.
pub(super) fn wanted(query: &str) -> Vec<(u64, f32)> {
    static UNSAID_WORDS: LazyLock<HashSet<u64>> = LazyLock::new(|| hashes(UNSAID).collect());
    static ALIKE_WORDS: LazyLock<HashMap<u64, Vec<u64>>> = LazyLock::new(alike);
    let query = &query[..query.floor_char_boundary(QUERY)];
    let mut said: Vec<u64> = Vec::new();
    let unsaid = |word: &u64| UNSAID_WORDS.contains(word);
    // A query of nothing else may mean them.
    let is_empty = hashes(query).all(|word| unsaid(&word));
    for word in hashes(query).filter(|word| is_empty || !unsaid(word)) {
        if said.len() < WORDS && !said.contains(&word) {
            said.push(word);
        }
    }
    let alike = said
        .iter()
        .filter_map(|word| ALIKE_WORDS.get(word))
        .flatten();
    let mut wanted: Vec<(u64, f32)> = said.iter().map(|word| (*word, 1.0)).collect();
    for word in alike {
        if !wanted.iter().any(|(known, _)| known == word) {
            wanted.push((*word, ALIKE_WEIGHT));
        }
    }
    wanted
}

fn alike() -> HashMap<u64, Vec<u64>> {
    let mut alike: HashMap<u64, Vec<u64>> = HashMap::new();
    for group in ALIKE {
        for word in hashes(group) {
            let others = hashes(group).filter(|other| *other != word);
            alike.entry(word).or_default().extend(others);
        }
    }
    alike
}

fn hashes(text: &str) -> impl Iterator<Item = u64> {
    let mut hashes = Vec::new();
    words(text, |word| hashes.push(hash(word)));
    hashes.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(query: &str) -> Vec<u64> {
        let wanted = wanted(query).into_iter();
        wanted
            .filter(|(_, weight)| *weight == 1.0)
            .map(|(word, _)| word)
            .collect()
    }

    #[test]
    fn what_says_nothing_is_left_out_unless_there_is_nothing_else() {
        assert_eq!(said("Which of my pages are there?"), [hash("page")]);
        assert_eq!(said("who am I"), ["who", "am", "i"].map(hash));
        assert!(said(" ,.").is_empty());
    }

    #[test]
    fn what_means_nearly_the_same_counts_half() {
        let wanted = wanted("drop tables");
        assert!(wanted.contains(&(hash("table"), 1.0)));
        assert!(wanted.contains(&(hash("delete"), ALIKE_WEIGHT)));
        assert!(!wanted.iter().any(|(word, _)| *word == hash("create")));
        assert_eq!(super::wanted("delete and remove").len(), 5);
    }

    #[test]
    fn a_query_is_read_so_far_and_no_further() {
        assert!(said(&("x".repeat(QUERY) + " mail")).len() == 1);
        let many: String = (0..99)
            .map(|word| format!("{}w ", "x".repeat(word % 7)))
            .collect();
        assert!(said(&many).len() <= WORDS);
        assert_eq!(said(&"mail ".repeat(1 << 18)), [hash("mail")]);
        assert!(wanted(&ALIKE.concat()).len() < 200);
    }
}
