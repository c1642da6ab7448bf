//! References: each leads to a definition at the root.
//!
//! Providers follow `#/$defs/NAME` and little else: a pointer to another place of the schema, as
//! zod writes for what is used twice, is refused or lost (Mnehmos/mnehmos.rpg.mcp#73,
//! langchain4j/langchain4j#5790), and one to a definition that is not there makes OpenAI and
//! Moonshot refuse the request (CommandCodeAI/command-code#566).

use std::collections::{BTreeMap, HashMap, HashSet};

use percent_encoding::percent_decode_str;

use super::walk::{each, look};
use crate::json::{Members, Node};

/// The most places beside definitions that references may lead to: each is copied.
const MOST: usize = 64;
/// The most places that are looked for; those that lead nowhere count.
const MOST_LOOKED_FOR: usize = 256;
/// The keywords of references; a dynamic one is followed as if it were not.
const KEYWORDS: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
/// Where definitions are.
pub(super) const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// Returned where too many places are referred to.
#[derive(Debug)]
pub(super) struct TooMany;

/// Makes every reference lead to a definition at the root: what it leads to elsewhere is copied
/// there, and one that leads nowhere, or only to itself, is removed. Returns true if that changed
/// anything.
pub(super) fn lead_to_definitions(root: &mut Node) -> Result<bool, TooMany> {
    let mut targets = BTreeMap::new();
    let mut moved = Vec::new();
    let mut wanted = references(root);
    while let Some(reference) = wanted.pop() {
        if targets.contains_key(&reference) || is_definition(root, &reference) {
            continue;
        }
        let target = find(root, &reference);
        let place = target.map(|target| {
            let name = free_name(root, &moved, &reference);
            wanted.extend(references(&target));
            let place = format!("#/$defs/{name}");
            moved.push((name, target));
            place
        });
        targets.insert(reference, place);
        if moved.len() > MOST || targets.len() > MOST_LOOKED_FOR {
            return Err(TooMany);
        }
    }
    let mut changed = !moved.is_empty();
    add(root, moved);
    each(root, &mut |schema| changed |= redirect(schema, &targets));
    Ok(changed | break_circles(root))
}

/// The name of the definition at the root that `reference` leads to.
pub(super) fn definition_name(reference: &str) -> Option<(&'static str, String)> {
    let pointer = reference.strip_prefix("#/")?;
    let (place, name) = pointer.split_once('/')?;
    let place = DEFINITIONS.into_iter().find(|known| *known == place)?;
    (!name.contains('/') && !name.contains('%')).then(|| (place, unescaped(name)))
}

/// The definition at the root that `reference` leads to.
pub(super) fn definition<'a>(root: &'a Members, reference: &str) -> Option<&'a Node> {
    let (place, name) = definition_name(reference)?;
    root.get(place)?.members()?.get(&name)
}

fn is_definition(root: &Node, reference: &str) -> bool {
    let root = root.members();
    root.is_some_and(|root| definition(root, reference).is_some())
}

/// All references of a schema.
fn references(schema: &Node) -> Vec<String> {
    let mut all = Vec::new();
    look(schema, &mut |schema| {
        all.extend(KEYWORDS.iter().filter_map(|name| schema.text(name)));
    });
    all
}

/// What `reference` leads to: by pointer, by anchor, or by the name of a definition that stands
/// only once, further inside, where a generator has left it.
fn find(root: &Node, reference: &str) -> Option<Node> {
    let fragment = reference.strip_prefix('#')?;
    let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
    if fragment.is_empty() {
        let mut whole = root.clone();
        let members = whole.members_mut()?;
        members.retain(|name, _| !DEFINITIONS.contains(&name) && name != "$schema");
        return Some(whole);
    }
    match fragment.strip_prefix('/') {
        Some(pointer) => by_pointer(root, pointer).or_else(|| lost(root, &fragment)),
        None => named(root, |schema| {
            ["$anchor", "$dynamicAnchor"]
                .iter()
                .any(|name| schema.text(name).as_deref() == Some(&*fragment))
                || ["$id", "id"]
                    .iter()
                    .any(|name| schema.text(name).as_deref() == Some(reference))
        }),
    }
}

fn by_pointer(root: &Node, pointer: &str) -> Option<Node> {
    let mut at = root;
    for token in pointer.split('/') {
        at = match at {
            Node::Object(members) => members.get(&unescaped(token))?,
            Node::Array(elements) => elements.get(token.parse::<usize>().ok()?)?,
            Node::Plain(_) => return None,
        };
    }
    matches!(at, Node::Object(_)).then(|| at.clone())
}

/// The one definition within `root` that has the name at the end of `pointer`.
fn lost(root: &Node, pointer: &str) -> Option<Node> {
    let (place, name) = pointer.rsplit_once('/')?;
    DEFINITIONS
        .contains(&place.strip_prefix('/')?)
        .then_some(())?;
    let mut found = Vec::new();
    look(root, &mut |schema| {
        let all = DEFINITIONS.iter().filter_map(|place| schema.get(place));
        found.extend(all.filter_map(|all| all.members()?.get(&unescaped(name)).cloned()));
    });
    let one = found.pop()?;
    found.is_empty().then_some(one)
}

/// The first subschema for which `is_it` is true.
fn named(root: &Node, is_it: impl Fn(&Members) -> bool) -> Option<Node> {
    let mut found = None;
    look(root, &mut |schema| {
        if found.is_none() && is_it(schema) {
            found = Some(Node::Object(schema.clone()));
        }
    });
    found
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// A name for a definition: the last of the pointer, and a number if it is taken.
fn free_name(root: &Node, moved: &[(String, Node)], reference: &str) -> String {
    let last = reference.rsplit(['/', '#']).next().unwrap_or_default();
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    let name: String = last.chars().filter(is_plain).take(32).collect();
    let name = if name.is_empty() { "root".into() } else { name };
    let defined = root.members().and_then(|root| root.get("$defs")?.members());
    let is_free = |name: &String| {
        !defined.is_some_and(|all| all.has(name)) && moved.iter().all(|(known, _)| known != name)
    };
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(is_free).unwrap_or(name)
}

fn add(root: &mut Node, definitions: Vec<(String, Node)>) {
    let Some(root) = root.members_mut().filter(|_| !definitions.is_empty()) else {
        return;
    };
    if root.get("$defs").is_none_or(|all| all.members().is_none()) {
        root.set("$defs", Node::empty());
    }
    if let Some(all) = root.get_mut("$defs").and_then(Node::members_mut) {
        for (name, definition) in definitions {
            all.set(&name, definition);
        }
    }
}

/// Gives the references of one subschema their new targets; returns true if that changed it.
fn redirect(schema: &mut Members, targets: &BTreeMap<String, Option<String>>) -> bool {
    let mut changed = false;
    for keyword in KEYWORDS {
        let Some(reference) = schema.text(keyword) else {
            continue;
        };
        let place = match targets.get(&reference) {
            Some(place) => place.clone(),
            None if keyword == "$ref" => continue,
            None => Some(reference),
        };
        schema.remove(keyword);
        if let Some(place) = place {
            schema.set("$ref", Node::string(&place));
        }
        changed = true;
    }
    changed
}

/// The reference that stands at the top of a definition.
fn reference(definition: &Node) -> Option<String> {
    definition.members()?.text("$ref")
}

/// Removes the references of definitions that lead only to each other.
fn break_circles(root: &mut Node) -> bool {
    let Some(members) = root.members() else {
        return false;
    };
    let mut endless = Vec::new();
    // Whether the chain that begins with a reference never ends: each link is followed once.
    let mut known = HashMap::new();
    for place in DEFINITIONS {
        let all = members.get(place).and_then(Node::members);
        for (name, node) in all.iter().flat_map(|all| all.iter()) {
            let mut seen = HashSet::new();
            let mut next = reference(node);
            let mut is_endless = false;
            while let Some(link) = next {
                if let Some(known) = known.get(&link) {
                    is_endless = *known;
                    break;
                }
                next = definition(members, &link).and_then(reference);
                if !seen.insert(link) {
                    is_endless = true;
                    break;
                }
            }
            known.extend(seen.into_iter().map(|link| (link, is_endless)));
            if is_endless {
                endless.push((place, name.to_owned()));
            }
        }
    }
    for (place, name) in &endless {
        let all = root.members_mut().and_then(|root| root.get_mut(place));
        let one = all.and_then(|all| all.members_mut()?.get_mut(name)?.members_mut());
        one.map(|one| one.remove("$ref"));
    }
    !endless.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_chain_of_definitions_is_followed_once() {
        let link = |at: usize, to: usize| format!(r##""d{at}":{{"$ref":"#/$defs/d{to}"}}"##);
        for end in [r#""d1500":{"type":"string"}"#.to_owned(), link(1500, 1499)] {
            let links: Vec<_> = (0..1500).map(|at| link(at, at + 1)).collect();
            let schema = format!(r#"{{"$defs":{{{},{end}}}}}"#, links.join(","));
            let mut root = Node::parse(&schema).unwrap().0;
            let began = std::time::Instant::now();
            let is_circle = !end.contains("type");
            assert_eq!(lead_to_definitions(&mut root).unwrap(), is_circle);
            assert_eq!(root.written().contains("$ref"), !is_circle);
            let took = began.elapsed();
            assert!(took.as_secs() < 2, "{took:?}");
        }
    }
}
