//! The target for files of servers.

use toml::de::{DeTable, DeValue};

use super::entry::declared;
use crate::{fuzz_input::text, registry::Source};

/// A secret in the file or in one of its variables; no error may repeat it.
const SECRET: &str = "k3y-5f0c9d1e7a2b";

/// Any text becomes servers, with aliases and defaults, or an error in one line.
pub(crate) fn servers_toml(data: &[u8]) {
    let text = text(data);
    let env = |name: &str| match name {
        "EMPTY" => Some(String::new()),
        "ODD" => Some(format!("Bearer {SECRET}\n\u{e9}")),
        name if name.starts_with('N') => None,
        _ => Some(format!("Bearer {SECRET}")),
    };
    match declared(text, &env) {
        Ok((servers, models)) => {
            let are_whole = models
                .aliases()
                .iter()
                .all(|alias| !alias.servers.is_empty());
            assert!(are_whole && models.defaults().iter().all(|rule| !rule.models.is_empty()));
            for server in servers {
                assert!(server.source == Source::File && server.url.has_host());
                assert!(!format!("{server:?}").contains(SECRET) || text.contains(SECRET));
            }
        }
        Err(error) => {
            let told = format!("{error} {error:?}");
            assert!(!error.to_string().chars().any(char::is_control), "{told}");
            if !is_named(text) {
                assert!(!told.contains(SECRET), "{told}");
            }
        }
    }
}

/// Returns `true` if the secret is part of a key or of a name, which errors do show.
fn is_named(text: &str) -> bool {
    fn in_keys(value: &DeValue<'_>) -> bool {
        match value {
            DeValue::Table(table) => in_table(table),
            DeValue::Array(items) => items.iter().any(|item| in_keys(item.get_ref())),
            _ => false,
        }
    }
    fn in_table(table: &DeTable<'_>) -> bool {
        table.iter().any(|(key, value)| {
            let key = key.get_ref();
            let is_name = key == "name"
                && value
                    .get_ref()
                    .as_str()
                    .is_some_and(|name| name.contains(SECRET));
            is_name || key.contains(SECRET) || in_keys(value.get_ref())
        })
    }
    DeTable::parse(text).is_ok_and(|table| in_table(table.get_ref()))
}
