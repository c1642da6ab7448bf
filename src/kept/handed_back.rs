//! The calls of a turn as the caller gets them.

use bytes::Bytes;

use super::said::{calls, read};
use crate::json::quoted;

/// The `tool_calls` of a turn's message as the caller gets them: only those at the places that have
/// an id, under that id; every other member of a call stays as it is. With `indexed` each has an
/// `index`, as deltas have. `None` if `message` is none.
pub(crate) fn handed_back(
    message: &Bytes,
    ids: impl Fn(usize) -> Option<String>,
    indexed: bool,
) -> Option<String> {
    let message = read(message)?;
    let mut list = Vec::new();
    for (place, call) in calls(&message).into_iter().enumerate() {
        let Some(id) = ids(place) else {
            continue;
        };
        let (id, index) = (quoted(&id), list.len().to_string());
        let members = [("id", &*id), ("index", &*index)];
        let members = &members[..1 + usize::from(indexed)];
        list.push(call.edited(call.set(members)));
    }
    Some(format!("[{}]", list.join(",")))
}
