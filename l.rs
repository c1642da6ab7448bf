//! The order of the parts in `ARCHITECTURE.md`, held against what the files of `src` import.
//!
//! Paths that begin with `crate::`, `self::` or `super::` are followed to the file that defines what
//! they name, through re-exports. Unit tests are not read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A file of `src`: where it stands in the tree of modules, and what it names.
struct File {
    /// `src/tool_loop/claim.rs` is `["tool_loop", "claim"]`, and `src/lib.rs` is empty.
    module: Vec<String>,
    /// Full paths from the crate's root, each with the name that it has in this file.
    imports: Vec<(Vec<String>, String)>,
}

/// The files of `src` by their module.
type Tree = BTreeMap<Vec<String>, File>;

/// A line of the list in `ARCHITECTURE.md`.
struct Listed {
    name: String,
    is_inner: bool,
    is_step: bool,
}

#[test]
fn parts_import_only_from_parts_that_stand_below_them() {
    let tree = tree();
    let list = list();
    let parts: Vec<&str> = list
        .iter()
        .filter(|line| !line.is_inner)
        .map(|line| &*line.name)
        .collect();
    let place = |part: &str| parts.iter().position(|listed| *listed == part);
    let mut faults = BTreeSet::new();
    for (from, to) in arrows(&tree) {
        let (Some(from_part), Some(to_part)) = (from.first(), to.first()) else {
            continue;
        };
        match (place(from_part), place(to_part)) {
            (None, _) => faults.insert(format!("{from_part} is not in the list")),
            (_, None) => faults.insert(format!("{to_part} is not in the list")),
            (Some(from_place), Some(to_place)) if from_place > to_place => {
                faults.insert(format!("{} imports {}", from.join("/"), to.join("/")))
            }
            _ => false,
        };
    }
    for part in parts {
        if !tree.contains_key(&vec![part.to_owned()]) {
            faults.insert(format!("{part} is in the list, and not in src"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_steps_of_the_loop_do_not_import_each_other() {
    let list = list();
    let loop_files = list.iter().filter(|line| line.is_inner);
    let loop_files: Vec<_> = loop_files.collect();
    let line = |module: &[String]| {
        let (folder, file) = (module.first()?, module.get(1)?);
        let of_loop = folder == "tool_loop";
        let at = loop_files.iter().position(|line| of_loop && line.name == *file)?;
        Some((at, loop_files[at].is_step))
    };
    let mut faults = BTreeSet::new();
    for (from, to) in arrows(&tree()) {
        let (Some((from_place, from_step)), Some((to_place, to_step))) = (line(&from), line(&to))
        else {
            continue;
        };
        if from_place != to_place && (from_step && to_step || from_place > to_place) {
            faults.insert(format!("{} imports {}", from.join("/"), to.join("/")));
        }
    }
    assert!(loop_files.iter().filter(|line| line.is_step).count() >= 5);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_file_imports_itself_through_others() {
    let mut arrows_from: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (from, to) in arrows(&tree()) {
        arrows_from.entry(from).or_default().insert(to);
    }
    let leads_back = |from: &Vec<String>, to: &Vec<String>| {
        let (mut seen, mut next) = (BTreeSet::from([to]), vec![to]);
        while let Some(file) = next.pop() {
            let targets = arrows_from.get(file).into_iter().flatten();
            next.extend(targets.filter(|target| seen.insert(target)));
        }
        seen.contains(from)
    };
    let circles: Vec<_> = arrows_from
        .iter()
        .flat_map(|(from, targets)| targets.iter().map(move |to| (from, to)))
        .filter(|(from, to)| leads_back(from, to))
        .map(|(from, to)| format!("{} imports {}", from.join("/"), to.join("/")))
        .collect();
    assert!(circles.is_empty(), "part of a circle: {circles:#?}");
}

#[test]
fn paths_are_read_from_trees_and_followed_through_re_exports() {
    let text = "use crate::{a::{self, B, c::D as E}, f::g}; fn h() { super::i::j() } // crate::no";
    let read: Vec<_> = paths(text, &["x".to_owned(), "y".to_owned()])
        .into_iter()
        .map(|(path, name)| (path.join("::"), name))
        .collect();
    let expected = [
        ("a", "a"),
        ("a::B", "B"),
        ("a::c::D", "E"),
        ("f::g", "g"),
        ("x::i::j", "j"),
    ];
    assert_eq!(
        read,
        expected.map(|(path, name)| (path.to_owned(), name.to_owned()))
    );
    let file = |module: &[&str], text: &str| {
        let module: Vec<String> = module.iter().map(|&name| name.to_owned()).collect();
        let imports = paths(text, &module);
        (module.clone(), File { module, imports })
    };
    let tree = Tree::from([
        file(&["hub"], "pub use self::inner::Thing;"),
        file(&["hub", "inner"], "pub struct Thing;"),
    ]);
    let target = ["hub", "Thing"].map(str::to_owned);
    assert_eq!(
        defining_file(&tree, &target, 0).map(|module| module.join("/")),
        Some("hub/inner".to_owned())
    );
}

/// Every import from one file to another.
fn arrows(tree: &Tree) -> Vec<(Vec<String>, Vec<String>)> {
    let mut arrows = Vec::new();
    for file in tree.values().filter(|file| !file.module.is_empty()) {
        for (path, _) in &file.imports {
            let target = defining_file(tree, path, 0).filter(|target| *target != file.module);
            arrows.extend(target.map(|target| (file.module.clone(), target)));
        }
    }
    arrows
}

/// The module of the file that defines what `path` names; `None` for what comes from elsewhere.
fn defining_file(tree: &Tree, path: &[String], steps: usize) -> Option<Vec<String>> {
    let depth = (1..=path.len()).take_while(|&depth| tree.contains_key(&path[..depth]));
    let depth = depth.last().unwrap_or(0);
    let file = tree.get(&path[..depth])?;
    let Some(name) = path.get(depth) else {
        return Some(file.module.clone());
    };
    let passed_on = file.imports.iter().find(|(target, alias)| {
        alias == name && target.len() > 1 && target[..] != path[..=depth]
    });
    match passed_on {
        Some((target, _)) if steps < 8 => defining_file(tree, target, steps + 1),
        _ if depth == 0 => None,
        _ => Some(file.module.clone()),
    }
}

/// The list in `ARCHITECTURE.md`, from top to bottom: `name.rs` or `name/`, and what it is. A file of the
/// loop is indented, and a step has a star.
fn list() -> Vec<Listed> {
    let text = include_str!("/work/wt/upstream/ARCHITECTURE.md");
    let list = text
        .split("```text\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let lines = list.expect("the list of parts").lines();
    let listed = lines.filter_map(|line| {
        let is_inner = line.starts_with([' ', '*']);
        let words = line.trim_start();
        let is_step = line.starts_with("* ");
        let word = words.trim_start_matches("* ").split(' ').next()?;
        let name = word.strip_suffix(".rs").or(word.strip_suffix('/'))?;
        Some(Listed {
            name: name.to_owned(),
            is_inner,
            is_step,
        })
    });
    listed.collect()
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read_folder(&root, &mut Vec::new(), &mut tree);
    assert!(tree.len() > 100, "src was read");
    tree
}

fn read_folder(folder: &Path, module: &mut Vec<String>, tree: &mut Tree) {
    for entry in fs::read_dir(folder).expect("a folder of src") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let stem = stem.expect("a name").to_owned();
        if path.is_dir() {
            module.push(stem);
            read_folder(&path, module, tree);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut module = module.clone();
            if !matches!(&*stem, "mod" | "lib") {
                module.push(stem);
            }
            let text = fs::read_to_string(&path).expect("a file of src");
            let imports = paths(without_tests(&text), &module);
            tree.insert(module.clone(), File { module, imports });
        }
    }
    // Tests in files of their own.
    tree.retain(|module, _| !matches!(module.last().map(|name| &**name), Some("tests" | "properties")));
}

fn without_tests(text: &str) -> &str {
    text.split("\nmod tests {").next().unwrap_or(text)
}

/// The paths in `text`, a file of `module`, that begin at the crate's root or beside the file.
fn paths(text: &str, module: &[String]) -> Vec<(Vec<String>, String)> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let mut paths = Vec::new();
    let mut read_to = 0;
    for (at, _) in code.match_indices("::") {
        if at < read_to {
            continue;
        }
        let before = &code[..at];
        let word = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next();
        let word = word.unwrap_or_default();
        let before = &before[..before.len() - word.len()];
        // A visibility such as `pub(in crate::registry)` names no thing.
        let is_first = !before.ends_with("::") && !before.ends_with("(in ");
        let base = match word {
            "crate" if is_first => Vec::new(),
            "self" if is_first => module.to_vec(),
            "super" if is_first => module[..module.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        let rest = read_tree(&code[at + 2..], base, &mut paths);
        read_to = code.len() - rest.len();
    }
    paths
}

/// Reads what stands behind `base::`, and returns what stands behind that.
fn read_tree<'a>(
    text: &'a str,
    mut base: Vec<String>,
    paths: &mut Vec<(Vec<String>, String)>,
) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = read_tree(rest, base.clone(), paths).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            if rest.is_empty() {
                return rest;
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    match word {
        "super" => drop(base.pop()),
        "self" | "" => {}
        word => base.push(word.to_owned()),
    }
    if let Some(rest) = rest.strip_prefix("::") {
        return read_tree(rest, base, paths);
    }
    let alias = rest.strip_prefix(" as ").map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        rest.split_at(end.unwrap_or(rest.len()))
    });
    let (alias, rest) = alias.map_or((None, rest), |(alias, rest)| (Some(alias), rest));
    if let Some(last) = base.last() {
        let name = alias.unwrap_or(last).to_owned();
        paths.push((base.clone(), name));
    }
    match word.is_empty() {
        // Neither a word nor a tree, such as `*`: what comes next is no part of this path.
        true => rest.get(1..).unwrap_or_default(),
        false => rest,
    }
}
