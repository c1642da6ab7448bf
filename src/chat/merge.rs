//! Deltas of JSON, merged member by member: texts are appended, lists are appended or merged by
//! `index`, and of anything else the newest value counts.

use serde_json::{Map, Value};

pub(super) fn merge(known: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        add_member(known, &name, value);
    }
}

pub(super) fn add_member(known: &mut Map<String, Value>, name: &str, more: Value) {
    match (known.get_mut(name), more) {
        // A delta that says nothing takes nothing away.
        (Some(_), Value::Null) => {}
        (Some(Value::String(known)), Value::String(more)) => add_text(known, name, &more),
        (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
        (Some(Value::Array(known)), Value::Array(more)) => {
            more.into_iter().for_each(|item| add_item(known, item));
        }
        (_, Value::Array(items)) => {
            let mut known_items = Vec::new();
            items
                .into_iter()
                .for_each(|item| add_item(&mut known_items, item));
            known.insert(name.to_owned(), known_items.into());
        }
        (_, Value::Object(members)) => {
            let mut known_members = Map::new();
            merge(&mut known_members, members);
            known.insert(name.to_owned(), known_members.into());
        }
        (_, more) => {
            known.insert(name.to_owned(), more);
        }
    }
}

fn add_text(known: &mut String, name: &str, more: &str) {
    match name {
        // Said once, and by some upstreams in every delta.
        "id" | "type" | "role" | "format" | "object" if !known.is_empty() => {}
        "name" if known == more => {}
        _ => known.push_str(more),
    }
}

/// The number of items at the end of a list that are searched.
const END: usize = 1024;

fn add_item(items: &mut Vec<Value>, item: Value) {
    let index = |item: &Value| item.get("index").and_then(Value::as_u64);
    let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = |item: &Value| text(item, "type");
    let id = |item: &Value| text(item, "id");
    let (number, more, own) = (index(&item), kind(&item), id(&item));
    let is_same = |known: &&mut Value| {
        // Some upstreams number the texts and the ciphers of a thought alike, or all ciphers; what
        // has another id is another one.
        let is_one = |known: Option<String>, more: &Option<String>| {
            more.is_none() || known.is_none() || known == *more
        };
        index(known) == number && is_one(kind(known), &more) && is_one(id(known), &own)
    };
    // Of a list that never ends only the end is looked through.
    let known = number.and_then(|_| items.iter_mut().rev().take(END).find(is_same));
    match (known, item) {
        (Some(Value::Object(known)), Value::Object(more)) => {
            // A list's items have an index, not a sum of it.
            merge(known, more);
        }
        (_, item) => items.push(item),
    }
}
