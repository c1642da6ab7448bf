//! Lists of names in one text, with commas between them.

use crate::{refusal::Refusal, tool_loop::wanted::Wanted};

/// The names of the list `text`, which is at `param`, each once. White space around names, and commas
/// with nothing between them, mean nothing.
///
/// # Errors
/// No name, or more than `most`.
pub(super) fn names(text: &str, param: &str, most: usize) -> Result<Vec<String>, Refusal> {
    let names = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let mut found: Vec<String> = Vec::new();
    for (place, name) in names.enumerate() {
        if place == most {
            let fault = format!("has more than {most} names");
            return Err(Refusal::invalid_option(param, &fault));
        }
        if !found.iter().any(|other| other == name) {
            found.push(name.to_owned());
        }
    }
    match found.is_empty() {
        true => Err(Refusal::invalid_option(
            param,
            "must have at least one name",
        )),
        false => Ok(found),
    }
}

/// The servers of these names, all of which stand at `param`.
pub(super) fn wanted(names: Vec<String>, param: &str) -> Vec<Wanted> {
    let wanted = names.into_iter().map(|name| Wanted {
        name,
        param: param.to_owned(),
    });
    wanted.collect()
}
