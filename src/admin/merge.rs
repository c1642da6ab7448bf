//! JSON Merge Patch (RFC 7396) of a server, as `PATCH` sends it.

use std::{collections::HashMap, mem};

use crate::registry::members::Tree;

/// Changes the parts of a server that `patch` has, and removes those that are `null` in it.
///
/// Where the patch has another type of authentication, nothing is left of the one before: its
/// members would only be refused beside the new type.
pub(super) fn patched<'a>(mut server: Tree<'a>, patch: Tree<'a>) -> Tree<'a> {
    let kind = patch.get("auth").get("type").as_text();
    if kind.is_some() && kind != server.get("auth").get("type").as_text() {
        server.set("auth", Tree::new());
    }
    merge(&mut server, patch);
    server
}

/// The function `MergePatch` of RFC 7396 section 2.
///
/// A member that is there twice stays so: whoever reads the result refuses it. Members are looked up
/// and never searched for, since a body may have a hundred thousand.
fn merge<'a>(target: &mut Tree<'a>, patch: Tree<'a>) {
    let Tree::Table(changes) = patch else {
        *target = patch;
        return;
    };
    if !matches!(target, Tree::Table(_)) {
        *target = Tree::new();
    }
    let Tree::Table(members) = target else { return };
    // The place of each member that the patch has not named yet; `None` once it has.
    let names = members.iter().map(|(name, _)| name.clone());
    let mut places: HashMap<_, _> = names.zip((0..).map(Some)).collect();
    let mut merged: Vec<_> = mem::take(members).into_iter().map(Some).collect();
    for (name, change) in changes {
        match places.insert(name.clone(), None) {
            Some(Some(at)) if change.is_null() => merged[at] = None,
            Some(Some(at)) => {
                if let Some((_, value)) = &mut merged[at] {
                    merge(value, change);
                }
            }
            None if change.is_null() => {}
            Some(None) | None => {
                let mut added = Tree::Null;
                merge(&mut added, change);
                merged.push(Some((name, added)));
            }
        }
    }
    *members = merged.into_iter().flatten().collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(target: &str, patch: &str) -> String {
        let mut target = Tree::json(target.as_bytes()).unwrap();
        merge(&mut target, Tree::json(patch.as_bytes()).unwrap());
        serde_json::to_string(&target).unwrap()
    }

    /// Those of RFC 7396, appendix A, of whose values servers have any.
    #[test]
    fn the_examples_of_the_rfc_come_out_as_it_says() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merged(target, patch), result, "{target} {patch}");
        }
    }

    #[test]
    fn what_is_there_twice_is_left_to_be_refused() {
        assert_eq!(
            merged(r#"{"a":1}"#, r#"{"a":2,"a":3,"b":4,"b":null}"#),
            r#"{"a":2,"a":3,"b":4,"b":null}"#
        );
    }

    /// 100,000 members took minutes while each was looked for among all others.
    #[test]
    fn members_by_the_thousand_are_merged() {
        let members: Vec<_> = (0..100_000).map(|n| format!("\"{n:05}\":0")).collect();
        let patch = format!("{{{}}}", members.join(","));
        assert_eq!(merged("{}", &patch), patch);
        assert_eq!(merged(&patch, &patch), patch);
        assert_eq!(merged(&patch, &patch.replace(":0", ":null")), "{}");
    }

    #[test]
    fn another_type_of_authentication_leaves_nothing_of_the_one_before() {
        let server = r#"{"auth":{"type":"static_headers","headers":[1]}}"#;
        for (patch, auth) in [
            (r#"{"auth":{"type":"none"}}"#, r#"{"type":"none"}"#),
            (
                r#"{"auth":{"type":"static_headers"}}"#,
                r#"{"type":"static_headers","headers":[1]}"#,
            ),
            (
                r#"{"auth":{"headers":[2]}}"#,
                r#"{"type":"static_headers","headers":[2]}"#,
            ),
        ] {
            let [server, patch] = [server, patch].map(|json| Tree::json(json.as_bytes()).unwrap());
            let patched = patched(server, patch);
            let after = serde_json::to_string(patched.get("auth")).unwrap();
            assert_eq!(after, auth);
        }
    }
}
