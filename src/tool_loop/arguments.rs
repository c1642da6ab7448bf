//! The arguments of a call, read as they were meant and checked by the tool's schema.

use serde_json::{Value, value::RawValue};

use super::record::Checked;
use crate::{
    catalog::Entry,
    chat::{ARE_NO_OBJECT, Arguments},
    json::doubled,
    name::short,
};

const ARE_CUT: &str = "not run: the answer was cut short before the arguments of this call were whole; call again, with less in one answer";

/// The arguments as they go to the server, if they are an object of at most `limit` bytes that fits:
/// byte for byte, but for what was meant in another way than it stands. They are never serialised
/// again, so a 20-digit id keeps all of its digits.
///
/// # Errors
/// The fault, in words that let a model repair its call.
pub(crate) async fn checked(
    entry: &Entry,
    arguments: &Arguments,
    limit: usize,
) -> Result<Checked, String> {
    let text = match arguments {
        Arguments::Text(text) | Arguments::Broken(text) => text,
        Arguments::Cut(_) => return Err(ARE_CUT.into()),
        Arguments::Unreadable => return Err(ARE_NO_OBJECT.into()),
    };
    checked_text(entry, text, limit).await
}

/// The same of arguments that are this text.
///
/// # Errors
/// As for [`checked`].
pub(crate) async fn checked_text(
    entry: &Entry,
    text: &str,
    limit: usize,
) -> Result<Checked, String> {
    if text.len() > limit {
        return Err(format!(
            "the arguments have {} bytes, more than the {limit} allowed",
            text.len()
        ));
    }
    let value: Value = serde_json::from_str(text)
        .map_err(|error| format!("the arguments are not valid JSON: {error}"))?;
    if !value.is_object() {
        return Err(ARE_NO_OBJECT.into());
    }
    // Two parsers may read a doubled name in two ways; what was checked must be what is used. No deeper
    // than serde_json reads.
    if let Some(name) = doubled(text) {
        return Err(format!("the argument {:?} is given twice", short(&name)));
    }
    let read = entry.check(text, value).await?;
    let raw = |text: &str| RawValue::from_string(text.trim().to_owned());
    let checked = match read {
        Some(read) => raw(&read).map(Checked::Reread),
        None => raw(text).map(Checked::AsSent),
    };
    checked.map_err(|_| ARE_NO_OBJECT.into())
}
