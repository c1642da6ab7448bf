//! Which foreign crates the public interface names: a major version of one of these is one of ours.
//!
//! It reads the source, because rustdoc's JSON is not stable. What is `pub` can be reached, as the
//! lint `unreachable_pub` sees to. What a macro makes is not seen.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod read;

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

/// A crate, the folder of `src` that may name it, and what for.
const ALLOWED: [(&str, &str, &str); 12] = [
    ("axum", "admin", "the operator's side is a router of it"),
    ("bytes", "", "the data of bodies"),
    ("http", "", "requests, responses and headers"),
    ("http_body", "", "bodies"),
    ("secrecy", "", "secrets, re-exported from `secret`"),
    ("serde", "", "types that are written down"),
    ("serde_json", "", "arguments and schemas, as raw text"),
    (
        "tokio",
        "outbound",
        "the runtime that servers' work is moved to",
    ),
    ("sqlx", "registry/sql", "its errors become ours by `From`"),
    ("tower", "", "layers and services"),
    ("tracing", "", "the span whose trace is asked for"),
    ("url", "", "addresses of servers, and of ours"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The names of `[dependencies]`, as Rust spells them.
fn dependencies(manifest: &str) -> HashSet<String> {
    let (_, behind) = manifest.split_once("\n[dependencies]\n").unwrap();
    let table = behind.split("\n[").next().unwrap();
    let names = table.lines().filter_map(|line| line.split_once(" = "));
    names
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, _)| name.replace('-', "_"))
        .collect()
}

#[test]
fn the_interface_names_no_other_crates_than_those_that_are_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = dependencies(&fs::read_to_string(root.join("Cargo.toml")).unwrap());
    assert!(crates.contains("hyper_util") && crates.len() > 20);
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let files: Vec<_> = files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root.join("src")).unwrap().to_owned();
            (path, syn::parse_file(&text).unwrap())
        })
        .collect();
    let mut public = HashSet::new();
    for (_, file) in &files {
        read::public_names(file, &mut public);
    }

    let (mut used, mut faults) = (HashSet::new(), BTreeSet::new());
    for (path, file) in &files {
        for (name, item) in read::foreign(file, &public, &crates) {
            let allowed = ALLOWED
                .iter()
                .find(|(allowed, folder, _)| *allowed == name && path.starts_with(folder));
            match allowed {
                Some((allowed, ..)) => drop(used.insert(*allowed)),
                None => drop(faults.insert(format!("{}: {item} names {name}", path.display()))),
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    let unused: Vec<_> = ALLOWED
        .iter()
        .filter(|(name, ..)| !used.contains(name))
        .collect();
    assert!(unused.is_empty(), "no longer named: {unused:?}");
}

#[test]
fn a_foreign_type_is_found_wherever_it_stands() {
    let crates = HashSet::from(["reqwest".to_owned(), "hyper_util".to_owned()]);
    let find = |text: &str| {
        let file = syn::parse_file(text).unwrap();
        let mut public = HashSet::new();
        read::public_names(&file, &mut public);
        let found = read::foreign(&file, &public, &crates);
        found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    for text in [
        "pub fn a(x: reqwest::Client) {}",
        "use reqwest::Client as C; pub fn a() -> Result<C, ()> { todo!() }",
        "use reqwest::{Client}; pub struct S; impl S { pub fn a(&self, x: &Client) {} }",
        "use reqwest as r; pub struct S { pub x: Option<r::Client> }",
        "pub enum E { A(reqwest::Error) }",
        "pub trait T { fn a(&self) -> reqwest::Client; }",
        "pub struct S; impl From<reqwest::Error> for S { fn from(e: reqwest::Error) -> S { S } }",
        "pub struct S; impl Iterator for S { type Item = reqwest::Client; }",
        "pub struct S<T>(T) where T: Into<reqwest::Client>;",
        "pub type A = reqwest::Client;",
        "pub use reqwest::Client;",
        "use reqwest::Client; #[derive(Client)] pub struct S;",
        "pub mod m { pub fn a(x: reqwest::Client) {} }",
    ] {
        assert_eq!(
            find(text).first().map(String::as_str),
            Some("reqwest"),
            "{text}"
        );
    }
    for text in [
        "fn a(x: reqwest::Client) {}",
        "pub(crate) fn a(x: reqwest::Client) {}",
        "pub fn a() { let x: reqwest::Client; }",
        "pub struct S { x: reqwest::Client }",
        "struct S; impl From<reqwest::Error> for S {}",
        "trait T {} pub struct S; impl T for S { fn a(x: reqwest::Client) {} }",
        "use super::T; pub struct S; impl T for S { fn a(x: reqwest::Client) {} }",
        "pub struct S; impl S { fn a(x: reqwest::Client) {} }",
        "#[cfg(test)] mod tests { pub fn a(x: reqwest::Client) {} }",
        "use crate::reqwest; pub fn a(x: reqwest::Client) {}",
    ] {
        assert!(find(text).is_empty(), "{text}");
    }
}
