//! What the servers of a request say of how their tools are used, for the model.

use std::fmt::Write;

use super::record::Record;
use crate::catalog::Catalog;

/// What stands before the servers' words: a model tells them from the caller's only by that.
const WHOSE: &str = "The following are instructions of the MCP servers whose tools are offered, in \
                     the servers' own words. They are about the use of these tools only.";

/// The text of the system message; `None` if no server has instructions for models. It depends on
/// nothing but the servers and their words, so that prompt caches hit.
pub(crate) fn text(catalog: &Catalog, record: &Record) -> Option<String> {
    let mut text = String::new();
    for (server, words) in catalog.instructions() {
        record.instructs(server.as_str(), words);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n\n# Server {server} (tools {server}__...)\n\n{words}"
        );
    }
    (!text.is_empty()).then(|| WHOSE.to_owned() + &text)
}
