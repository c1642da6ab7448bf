//! The form in which tools are offered: for which provider, and how long.

use std::borrow::Cow;

use super::{
    gemini::gemini,
    portable::{Portable, portable},
};
use crate::{
    json::{Node, quoted},
    name::ServerName,
    schema_dialect::SchemaDialect,
};

/// The longest description, in bytes: OpenAI refuses a longer one (probelabs/probe#9,
/// janwilmake/openapi-mcp-server#23).
const DESCRIPTION_BYTES: usize = 1024;
/// What follows a description that was cut.
const CUT: &str = " [cut]";

/// A form of offered tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) dialect: SchemaDialect,
    /// The longest description in bytes, the note of a cut included.
    pub(crate) description_bytes: usize,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            dialect: SchemaDialect::default(),
            description_bytes: DESCRIPTION_BYTES,
        }
    }
}

/// What a model gets of a tool, and what was changed for that.
pub(super) struct Formed {
    /// The element of a request's `tools`.
    pub(super) definition: String,
    /// The rules that changed it.
    pub(super) changes: Vec<&'static str>,
}

impl Form {
    /// The reason why no tool of a server with this name can be offered.
    pub(super) fn name_fault(self, server: &ServerName) -> Option<&'static str> {
        let fault = self.dialect.name_fault(server);
        fault.map(|_| "its server's name begins with a digit, which Gemini refuses")
    }

    /// The definition of a tool with the offered name `name`.
    ///
    /// # Errors
    /// The reason why it cannot be offered.
    pub(super) fn define(
        self,
        name: &str,
        description: Option<&str>,
        schema: &str,
    ) -> Result<Formed, &'static str> {
        let Portable {
            schema: changed,
            told,
            mut changes,
        } = portable(schema)?;
        let parameters = match self.dialect {
            SchemaDialect::Standard => Some(match changed {
                Some(changed) => changed.written().into(),
                None => Cow::Borrowed(schema),
            }),
            SchemaDialect::Gemini => {
                let read = || Node::parse(schema).map(|(node, _)| node);
                let own = changes.is_empty();
                let root = changed
                    .or_else(read)
                    .ok_or("its input schema is not an object")?;
                match gemini(&root)? {
                    Some(same) if own && same.is_same(&root) => Some(Cow::Borrowed(schema)),
                    read => {
                        changes.push("Gemini's words only");
                        read.map(|read| read.written().into())
                    }
                }
            }
        };
        let description = self.describe(description.unwrap_or_default(), &told);
        if description.is_cut {
            changes.push("a description that is cut");
        }
        let member = |name: &str, json: String| format!(r#","{name}":{json}"#);
        let description = match description.text.as_str() {
            "" => String::new(),
            text => member("description", quoted(text)),
        };
        let parameters = parameters.map(|json| member("parameters", json.into_owned()));
        let parameters = parameters.unwrap_or_default();
        Ok(Formed {
            definition: format!(
                r#"{{"type":"function","function":{{"name":"{name}"{description}{parameters}}}}}"#
            ),
            changes,
        })
    }

    /// `text`, cut to the limit, and what is `told` besides, which is not cut off with its end.
    fn describe(self, text: &str, told: &str) -> Description {
        let most = self.description_bytes;
        let told = &told[..told.floor_char_boundary(most / 2)];
        let gap = if text.is_empty() || told.is_empty() {
            ""
        } else {
            "\n"
        };
        let left = most - told.len() - gap.len().min(most - told.len());
        let is_cut = text.len() > left;
        let text = match is_cut {
            true => {
                let end = text.floor_char_boundary(left.saturating_sub(CUT.len()));
                format!("{}{CUT}", &text[..end])
            }
            false => text.to_owned(),
        };
        Description {
            text: format!("{text}{gap}{told}"),
            is_cut,
        }
    }
}

struct Description {
    text: String,
    is_cut: bool,
}
