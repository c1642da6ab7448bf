//! The memory that a list of tools takes, about.

use crate::{
    keyed::{Digest, Keyed},
    offer::Offers,
    registry::Server,
};

/// The bytes of a tool beside its texts.
const TOOL: usize = 512;
/// The factor by which a schema grows when its first call compiles it.
const COMPILED: usize = 4;
/// What the index of a tool's words takes once its list is searched, by the length of its description:
/// eight bytes for each use of a word, and twelve for a word that no other tool of the list has.
const INDEXED: usize = 2;

/// The bytes that these offers take, compiled schemas included, with what `server` offers of them.
pub(super) fn bytes(offers: &Offers, server: &Server) -> usize {
    let tools = offers.tools.iter().map(|tool| {
        let schema = tool.input_schema.get().len();
        let texts = [
            tool.name.len(),
            tool.tool.len(),
            tool.description.as_ref().map_or(0, String::len) * (1 + INDEXED),
            tool.definition.len(),
            tool.listed.json().len(),
            schema * (1 + COMPILED),
        ];
        TOOL + texts.iter().sum::<usize>()
    });
    let left_out = offers.left_out.iter();
    let left_out = left_out.map(|tool| TOOL + tool.tool().len() + tool.reason().len());
    let selected = offers.selected(server);
    let selected: Vec<_> = selected.map(|(tool, _)| tool.definition.len()).collect();
    // All of them are there once; a part of them is put together for requests.
    let part = match selected.len() < offers.tools.len() {
        true => selected.iter().sum(),
        false => 0,
    };
    let instructions = offers.instructions.as_ref();
    let instructions = instructions.map_or(0, |said| said.said.len() * 2);
    tools.chain(left_out).sum::<usize>() + part + instructions
}

/// The digest of these offers: equal for lists that are equal to the byte.
pub(super) fn digest(offers: &Offers) -> Digest {
    let mut hash = Keyed::new("offers");
    for tool in &offers.tools {
        hash.add(&tool.definition);
        hash.add(tool.input_schema.get());
        hash.add(&**tool.listed.json());
    }
    hash.add([]);
    for tool in &offers.left_out {
        hash.add(tool.tool());
        hash.add(tool.reason());
    }
    if let Some(instructions) = &offers.instructions {
        hash.add([]);
        hash.add(&*instructions.said);
    }
    hash.finish()
}
