//! `[[vision]]`: which models take images and recordings, besides the known ones.

use mcp_layer::MediaPatterns;
use serde::Deserialize;

use crate::config::Invalid;

/// What some models take beside text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[vision]]")]
pub struct Vision {
    /// Patterns of names, in which `*` matches any text.
    models: Vec<String>,
    /// Without either of these, the models take text only, also if they are known to take more.
    #[serde(default = "yes")]
    images: bool,
    #[serde(default)]
    audio: bool,
}

fn yes() -> bool {
    true
}

/// Refuses a table without models.
pub fn check(tables: &[Vision]) -> Result<(), Invalid> {
    let is_empty =
        |table: &Vision| table.models.is_empty() || table.models.contains(&String::new());
    match tables.iter().position(is_empty) {
        Some(index) => Err(Invalid::new(format!(
            "vision: number {} has no models, or one without a name",
            index + 1
        ))),
        None => Ok(()),
    }
}

/// The models of all tables, over the known ones.
pub fn models(tables: &[Vision]) -> MediaPatterns {
    let known = MediaPatterns::default();
    tables.iter().fold(known, |known, table| {
        let names = || table.models.iter().map(String::as_str);
        let known = match table.images {
            true => known.with_images(names()),
            false => known,
        };
        match (table.images, table.audio) {
            (_, true) => known.with_audio(names()),
            (true, false) => known,
            (false, false) => known.with_text_only(names()),
        }
    })
}

/// What an operator reads of them.
pub fn told(tables: &[Vision]) -> String {
    let mut told =
        String::from("images and audio of tool results: to models that are known to take them");
    let names = |is_one: fn(&Vision) -> bool| {
        let tables = tables.iter().filter(|table| is_one(table));
        let names = tables.flat_map(|table| &table.models).map(String::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    for (kind, names) in [
        ("images also to", names(|table| table.images)),
        ("audio also to", names(|table| table.audio)),
        ("neither to", names(|table| !table.images && !table.audio)),
    ] {
        if !names.is_empty() {
            told += &format!("; {kind} {names}");
        }
    }
    told
}
