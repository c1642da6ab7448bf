//! Finds forms of secrets in files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufReader, Read},
    path::Path,
};

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::forms::forms;

/// Hits that are told of one file: one leak can be in a log a thousand times.
const MOST: usize = 1000;
/// How much of a log a copy with planted secrets is made of.
const COPIED: u64 = 1 << 20;

pub struct Secret {
    pub kind: String,
    pub value: Vec<u8>,
}

pub struct Hit {
    pub kind: String,
    pub encoding: &'static str,
    pub place: String,
}

/// What a folder has.
#[derive(Default)]
pub struct Found {
    pub files: usize,
    pub bytes: u64,
    pub hits: Vec<Hit>,
}

pub struct Scanner {
    automaton: AhoCorasick,
    /// For each pattern what it is a form of, and how. Two secrets may share a form.
    names: Vec<Vec<(String, &'static str)>>,
}

impl Scanner {
    pub fn new(secrets: &[Secret]) -> Self {
        let mut names = BTreeMap::<Vec<u8>, Vec<(String, &'static str)>>::new();
        for secret in secrets {
            for (encoding, form) in forms(&secret.value) {
                names
                    .entry(form)
                    .or_default()
                    .push((secret.kind.clone(), encoding));
            }
        }
        let (patterns, names): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(patterns)
            .unwrap();
        Self { automaton, names }
    }

    pub fn text(&self, text: &[u8]) -> Vec<Hit> {
        let found = self.automaton.find_overlapping_iter(text);
        found
            .flat_map(|found| self.hits(found.pattern().as_usize(), "a text"))
            .collect()
    }

    /// All files of a folder; none if there is no such folder.
    pub fn folder(&self, folder: &Path) -> Found {
        let mut all = Found::default();
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            all.files += 1;
            all.bytes += fs::metadata(&path).unwrap().len();
            let file = BufReader::new(File::open(&path).unwrap());
            let found = self.automaton.stream_find_iter(file).take(MOST);
            for found in found {
                let found = found.unwrap();
                let place = format!("{}, byte {}", path.display(), found.start());
                all.hits
                    .extend(self.hits(found.pattern().as_usize(), &place));
            }
        }
        all
    }

    fn hits<'a>(&'a self, pattern: usize, place: &'a str) -> impl Iterator<Item = Hit> + 'a {
        self.names[pattern].iter().map(move |(kind, encoding)| Hit {
            kind: kind.clone(),
            encoding,
            place: place.to_owned(),
        })
    }
}

/// The secrets that the tests have noted, each once.
pub fn read_secrets(folder: &Path) -> Vec<Secret> {
    let mut secrets = BTreeSet::new();
    for entry in fs::read_dir(folder.join("secrets")).unwrap() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let (kind, hex) = line.split_once('\t').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let value: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            secrets.insert((value, kind.to_owned()));
        }
    }
    let secrets = secrets.into_iter();
    secrets
        .map(|(value, kind)| Secret { kind, value })
        .collect()
}

/// A piece of a log in which one secret of each kind is planted in every form, and which those
/// are.
pub fn plant(folder: &Path, secrets: &[Secret]) -> (Vec<u8>, Vec<(String, &'static str)>) {
    let mut copy = Vec::new();
    for entry in fs::read_dir(folder.join("left/log")).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        file.take(COPIED).read_to_end(&mut copy).unwrap();
    }
    let (mut block, mut planted) = (Vec::new(), Vec::new());
    let mut kinds = BTreeSet::new();
    for secret in secrets.iter().filter(|secret| kinds.insert(&secret.kind)) {
        for (encoding, form) in forms(&secret.value) {
            block.extend([b"\nx", &*form, b"x "].concat());
            planted.push((secret.kind.clone(), encoding));
        }
    }
    let middle = copy.len() / 2;
    copy.splice(middle..middle, block);
    (copy, planted)
}
