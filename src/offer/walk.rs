//! The subschemas of a schema: where JSON Schema has them.

use crate::{
    json::{Members, Node},
    schema::NAMED,
};

/// Keywords that hold one subschema.
pub(super) const ONE: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords that hold a list of subschemas; of old drafts `items` is one as well.
pub(super) const LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
/// Keywords whose subschemas decide about others: made looser, they make the whole stricter.
pub(super) const TURNING: [&str; 2] = ["if", "not"];

/// Calls `visit` with every subschema that is an object, innermost first and `schema` last.
pub(super) fn each(schema: &mut Node, visit: &mut impl FnMut(&mut Members)) {
    walk(schema, &[], visit);
}

/// Like [`each`], without what is below a keyword of [`TURNING`].
pub(super) fn each_straight(schema: &mut Node, visit: &mut impl FnMut(&mut Members)) {
    walk(schema, &TURNING, visit);
}

/// Calls `see` with every subschema that is an object, innermost first and `schema` last.
pub(super) fn look(schema: &Node, see: &mut impl FnMut(&Members)) {
    let Node::Object(members) = schema else {
        return;
    };
    for (name, value) in members.iter() {
        match value {
            Node::Object(named) if NAMED.contains(&name) => {
                named.iter().for_each(|(_, inner)| look(inner, see));
            }
            Node::Object(_) if ONE.contains(&name) => look(value, see),
            Node::Array(elements) if LISTS.contains(&name) => {
                elements.iter().for_each(|inner| look(inner, see));
            }
            _ => {}
        }
    }
    see(members);
}

fn walk(schema: &mut Node, without: &[&str], visit: &mut impl FnMut(&mut Members)) {
    let Node::Object(members) = schema else {
        return;
    };
    for (name, value) in members.iter_mut() {
        match value {
            Node::Object(named) if NAMED.contains(&name) => {
                named
                    .iter_mut()
                    .for_each(|(_, inner)| walk(inner, without, visit));
            }
            Node::Object(_) if ONE.contains(&name) && !without.contains(&name) => {
                walk(value, without, visit);
            }
            Node::Array(elements) if LISTS.contains(&name) => {
                elements
                    .iter_mut()
                    .for_each(|inner| walk(inner, without, visit));
            }
            _ => {}
        }
    }
    visit(members);
}
