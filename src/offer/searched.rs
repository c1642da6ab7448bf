//! The texts by which the tools of a list are found, indexed when they are first searched.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use super::tool::Offer;
use crate::{
    json::Object,
    search::{Index, Text},
};

/// How many times over the words of a part count. What a tool is called says more of it than a sentence
/// that mentions others; measured with `tests/it/tool_search_quality.rs`.
const NAME: u16 = 3;
const TITLE: u16 = 2;
const DESCRIPTION: u16 = 1;
const PARAMETERS: u16 = 1;

/// The tools of a list, and their index once there is one.
///
/// It has all tools of the list, whatever a record or a request selects of them: so it depends on the
/// list alone, goes with it, and is never out of date.
#[derive(Debug)]
pub(crate) struct Searched {
    tools: Vec<Arc<Offer>>,
    /// The bytes of their definitions.
    bytes: usize,
    index: OnceLock<Index>,
}

impl Searched {
    pub(super) fn new(tools: Vec<Arc<Offer>>, bytes: usize) -> Self {
        Self {
            tools,
            bytes,
            index: OnceLock::new(),
        }
    }

    /// The index, made now if nobody has made it before; others wait meanwhile.
    pub(crate) fn index(&self) -> &Index {
        self.index
            .get_or_init(|| Index::new(self.tools.iter().map(|tool| texts(tool))))
    }

    /// The bytes that are still to be read for the index.
    pub(crate) fn unread_bytes(&self) -> usize {
        match self.index.get() {
            Some(_) => 0,
            None => self.bytes,
        }
    }

    /// The offered name of the tool at this place of the index.
    pub(crate) fn name(&self, place: usize) -> &str {
        &self.tools[place].name
    }
}

/// The parts of a tool that are searched.
fn texts(tool: &Offer) -> Vec<Text<'_>> {
    let text = |text, weight| Text { text, weight };
    let schema = Object::parse(tool.input_schema.get()).ok();
    let properties = schema.and_then(|schema| Object::parse(schema.present("properties")?).ok());
    let names = properties
        .iter()
        .flat_map(Object::iter)
        .map(|(name, _)| name);
    let mut texts = vec![text(Cow::Borrowed(&*tool.name), NAME)];
    texts.extend(
        tool.listed
            .title()
            .map(|title| text(Cow::Owned(title), TITLE)),
    );
    let description = tool.description.as_deref();
    texts.extend(description.map(|said| text(Cow::Borrowed(said), DESCRIPTION)));
    texts.push(text(
        Cow::Owned(names.collect::<Vec<_>>().join(" ")),
        PARAMETERS,
    ));
    texts
}
