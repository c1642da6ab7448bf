//! A tool that is left out, and why.

use std::borrow::Cow;

use crate::unseen::is_unseen;

/// The longest tool name that is shown; MCP advises 128 characters.
const NAME_BYTES: usize = 1024;

/// A tool that a server lists and that is not offered, with the reason.
///
/// The reason is one of three kinds: the tool cannot be used (a malformed entry, a schema beyond
/// the limits), it cannot be offered (its name hides something, or collides with another), or it
/// is withheld until an operator accepts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    tool: String,
    reason: Cow<'static, str>,
}

impl LeftOut {
    pub(crate) fn new(tool: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            tool: cut(seen(tool), NAME_BYTES),
            reason: reason.into(),
        }
    }

    /// The tool's own name, without characters that no terminal should see; empty if it has none.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The reason in a few words, for an operator.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// `text` without unseen characters.
fn seen(text: &str) -> Cow<'_, str> {
    match text.chars().any(is_unseen) {
        true => text.chars().filter(|c| !is_unseen(*c)).collect(),
        false => text.into(),
    }
}

/// `text`, cut at `limit` bytes, which is announced.
pub(crate) fn cut(text: Cow<'_, str>, limit: usize) -> String {
    let mut text = text.into_owned();
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push_str(" [cut]");
    }
    text
}
