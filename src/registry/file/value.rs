//! TOML as a tree, and the position of a value in its text.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    registry::members::{Blank, Step, Tree, Words},
    secret::Doubtful,
};

/// The vocabulary of a file.
pub(super) const WORDS: Words = Words {
    unknown: "unknown key",
    table: "a table",
    // A quoted key can hold anything: line breaks, and somebody's secret.
    name: |key| Doubtful(key).to_string(),
    secrets: &[
        ("value", &["value_env", "value_file"]),
        (
            "client_secret",
            &["client_secret_env", "client_secret_file"],
        ),
        ("private_key", &["private_key_env", "private_key_file"]),
    ],
    blank: Blank::Refused,
    blames_items: false,
    pins: true,
};

/// Reads `value` as a tree, with the keys of each table in the order of the text.
pub(super) fn tree<'a>(value: &'a DeValue<'a>) -> Tree<'a> {
    match value {
        DeValue::String(text) => (&**text).into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Array(items) => items.iter().map(|item| tree(item.get_ref())).collect(),
        DeValue::Table(table) => members(table),
        DeValue::Integer(number) => {
            let count = u64::from_str_radix(number.as_str(), number.radix());
            count.map_or(Tree::Other, Tree::Count)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Tree::Other, Tree::Fraction),
        DeValue::Datetime(_) => Tree::Other,
    }
}

fn members<'a>(table: &'a DeTable<'a>) -> Tree<'a> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(key, _)| key.span().start);
    let member = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
        let key: &std::borrow::Cow<'a, str> = key.get_ref();
        (std::borrow::Cow::Borrowed(&**key), tree(value.get_ref()))
    };
    Tree::Table(members.into_iter().map(member).collect())
}

/// The offset of the value at `path` of `entry`, or of the table that should contain it.
pub(super) fn offset(entry: &Spanned<DeValue<'_>>, path: &[Step]) -> usize {
    let mut at = entry;
    for step in path {
        let next = match (at.get_ref(), step) {
            (DeValue::Table(table), Step::Member(key)) => table.get(key.as_str()),
            (DeValue::Array(items), Step::Item(index)) => items.get(*index),
            _ => None,
        };
        let Some(next) = next else { break };
        at = next;
    }
    at.span().start
}

/// The line and the column, in characters, of an offset in a text; both from 1.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    // The parser may point behind the end, or into a character.
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_counted_from_one_in_characters() {
        let text = "ab\r\né=\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 4), (2, 1));
        // In the middle of the é, and after it.
        assert_eq!(line_and_column(text, 5), (2, 1));
        assert_eq!(line_and_column(text, 6), (2, 2));
        assert_eq!(line_and_column(text, 8), (3, 1));
        assert_eq!(line_and_column(text, 99), (3, 1));
        assert_eq!(line_and_column("", 7), (1, 1));
    }
}
