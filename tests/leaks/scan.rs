//! Finds pieces of secrets in files, in whatever encoding.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::Read,
    num::NonZero,
    path::Path,
    thread,
};

use crate::{
    forms::{SHORTEST, forms},
    views,
};

/// Hits that are told of one file: one leak can be in a log a thousand times.
const MOST: usize = 1000;
/// How much of a log is around a planted secret.
const AROUND: u64 = 2 << 10;
/// How much of a file is looked at in one go, and how much of it once more with what follows.
const PIECE: usize = 256 << 10;
const SHARED: usize = 4 << 10;

/// Of each piece of a secret some of these bytes stand where they are looked up: at every
/// seventh place of a text.
const GRAM: usize = 6;
const STEP: usize = SHORTEST - GRAM + 1;

/// A piece has so many different bytes: `000000000000` is in every text.
const DISTINCT: usize = 5;

/// What keys of a service begin with: it is no secret.
const PREFIXES: [&str; 5] = ["sk-proj-", "sk_live_", "ghp_", "github_pat_", "xoxb-"];

pub struct Secret {
    pub kind: String,
    pub value: Vec<u8>,
}

pub struct Hit {
    pub kind: String,
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
    /// In lower case, without their prefixes.
    secrets: Vec<(String, Vec<u8>)>,
    /// Which secrets have these bytes, and where.
    grams: HashMap<[u8; GRAM], Vec<(usize, usize)>>,
    /// Whether any gram has this hash: nearly none of a text's has one.
    seen: Vec<bool>,
}

impl Scanner {
    pub fn new(secrets: &[Secret]) -> Self {
        let known = |secret: &Secret| {
            let value = secret.value.as_slice();
            let mut prefixes = PREFIXES.iter().map(|prefix| prefix.as_bytes());
            let own = prefixes.find_map(|prefix| value.strip_prefix(prefix));
            let own = own.unwrap_or(value);
            (secret.kind.clone(), own.to_ascii_lowercase())
        };
        let mut scanner = Self {
            secrets: secrets.iter().map(known).collect(),
            grams: HashMap::new(),
            seen: vec![false; 1 << 22],
        };
        for (index, (_, value)) in scanner.secrets.iter().enumerate() {
            for (at, gram) in value.windows(GRAM).enumerate() {
                scanner.seen[hash(gram)] = true;
                let gram = gram.try_into().unwrap();
                scanner.grams.entry(gram).or_default().push((index, at));
            }
        }
        scanner
    }

    /// The kinds of secrets in a text.
    pub fn text(&self, text: &[u8]) -> BTreeSet<&str> {
        let mut kinds = BTreeSet::new();
        views::each(text, &mut |view| self.view(view, &mut kinds));
        kinds
    }

    fn view<'a>(&'a self, view: &[u8], kinds: &mut BTreeSet<&'a str>) {
        let view = view.to_ascii_lowercase();
        for at in (0..view.len()).step_by(STEP) {
            let gram = match view.get(at..at + GRAM) {
                Some(gram) if self.seen[hash(gram)] => gram,
                _ => continue,
            };
            for (index, place) in self.grams.get(gram).into_iter().flatten() {
                let (kind, secret) = &self.secrets[*index];
                let before = view[..at].iter().rev().zip(secret[..*place].iter().rev());
                let before = before.take_while(|(a, b)| a == b).count();
                let after = view[at..].iter().zip(&secret[*place..]);
                let after = after.take_while(|(a, b)| a == b).count();
                let piece = &secret[place - before..place + after];
                if piece.len() >= SHORTEST
                    && piece.iter().collect::<BTreeSet<_>>().len() >= DISTINCT
                {
                    kinds.insert(kind);
                }
            }
        }
    }

    /// All files of a folder; none if there is no such folder.
    pub fn folder(&self, folder: &Path) -> Found {
        let mut all = Found::default();
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let text = fs::read(&path).unwrap();
            all.files += 1;
            all.bytes += text.len() as u64;
            all.hits
                .extend(self.pieces(&path, &text).into_iter().take(MOST));
        }
        all
    }

    /// The hits in a file's text, on as many threads as there are processors.
    fn pieces(&self, path: &Path, text: &[u8]) -> Vec<Hit> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let of_thread = |thread: usize| {
            let starts = (0..text.len()).step_by(PIECE).skip(thread).step_by(threads);
            let hits = starts.flat_map(|from| {
                let piece = &text[from..text.len().min(from + PIECE + SHARED)];
                let place = format!("{}, from byte {from} on", path.display());
                let hit = move |kind: &str| Hit {
                    kind: kind.to_owned(),
                    place: place.clone(),
                };
                self.text(piece).into_iter().map(hit)
            });
            hits.collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || of_thread(thread)))
                .collect();
            let found = running.into_iter().map(|thread| thread.join().unwrap());
            found.flatten().collect()
        })
    }
}

fn hash(gram: &[u8]) -> usize {
    let hash = gram.iter().fold(0_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    (hash >> 10) as usize
}

/// The secrets that the tests have noted, each once.
pub fn read_secrets(folder: &Path) -> Vec<Secret> {
    let mut secrets = BTreeSet::new();
    for entry in fs::read_dir(folder.join("secrets")).unwrap() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let (kind, hex) = line.split_once('\t').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let value: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            secrets.insert((opens(&value).to_vec(), kind.to_owned()));
        }
    }
    let secrets = secrets.into_iter();
    secrets
        .map(|(value, kind)| Secret { kind, value })
        .collect()
}

/// The part of a credential that opens something: of a JWT its signature. Others have the same header and the
/// same names of claims.
fn opens(value: &[u8]) -> &[u8] {
    let parts: Vec<_> = value.split(|byte| *byte == b'.').collect();
    match parts[..] {
        [header, _, signature] if header.starts_with(b"e") && signature.len() >= SHORTEST => {
            signature
        }
        _ => value,
    }
}

/// Pieces of a log, each with a secret of one kind planted in one form, and which those are.
pub fn plant<'a>(
    folder: &Path,
    secrets: impl Iterator<Item = &'a Secret>,
) -> Vec<(String, &'static str, Vec<u8>)> {
    let mut log = Vec::new();
    for entry in fs::read_dir(folder.join("left/log")).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        file.take(AROUND).read_to_end(&mut log).unwrap();
    }
    log.truncate(AROUND as usize * 2);
    let (before, after) = log.split_at(log.len() / 2);
    // The longest of each kind: of one with twelve bytes no encoding leaves all whose ends depend on
    // what is beside it.
    let mut longest = BTreeMap::<&str, &Secret>::new();
    for secret in secrets {
        let known = longest.entry(&secret.kind).or_insert(secret);
        if known.value.len() < secret.value.len() {
            *known = secret;
        }
    }
    let planted = longest.into_values().flat_map(|secret| {
        forms(&secret.value).into_iter().map(|(encoding, form)| {
            let text = [before, b"\n<", &*form, b"> ", after].concat();
            (secret.kind.clone(), encoding, text)
        })
    });
    planted.collect()
}
