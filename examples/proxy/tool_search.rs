//! The search for tools: by mode (`off`, `auto`, or above a number of tools), and by whom.

use std::{fmt, str::FromStr};

use clap::ValueEnum;
use mcp_layer::{McpLayer, NativeToolSearch, ToolSearch};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

const EXPECTED: &str = "must be \"off\", \"auto\", or a number of tools";

/// The value of `tool_search`.
#[derive(Clone, Copy)]
pub struct Mode(pub ToolSearch);

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "off" => Ok(Self(ToolSearch::Off)),
            "auto" => Ok(Self(ToolSearch::Auto)),
            number => match number.parse() {
                Ok(most) => Ok(Self(ToolSearch::Above(most))),
                Err(_) => Err(EXPECTED),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl Visitor<'_> for Read {
            type Value = Mode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\", \"auto\", or a number of tools")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Mode, E> {
                let most = usize::try_from(number).map_err(|_| E::custom(EXPECTED))?;
                Ok(Mode(ToolSearch::Above(most)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mode, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Read)
    }
}

#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NativeMode {
    /// {"type": "tool_search"} of OpenAI's Responses API, for upstreams that translate into it
    Openai,
    /// tool_search_tool_bm25 of Claude, as LiteLLM and the like pass it on
    Anthropic,
}

impl From<NativeMode> for NativeToolSearch {
    fn from(mode: NativeMode) -> Self {
        match mode {
            NativeMode::Openai => Self::OpenAi,
            NativeMode::Anthropic => Self::Anthropic,
        }
    }
}

/// The settings of the search, as far as they are given.
#[derive(Clone, Copy)]
pub struct Searching {
    pub mode: Option<Mode>,
    pub native: Option<NativeMode>,
}

impl Searching {
    /// Hands the settings to the layer.
    pub fn over(self, layer: McpLayer) -> McpLayer {
        let layer = match self.mode {
            Some(Mode(mode)) => layer.with_tool_search(mode),
            None => layer,
        };
        match self.native {
            Some(service) => layer.with_native_tool_search(service.into()),
            None => layer,
        }
    }

    /// The mode that counts: where the upstream searches itself, and nothing else is said, `auto`.
    fn mode(self) -> ToolSearch {
        match (self.mode, self.native) {
            (Some(Mode(mode)), _) => mode,
            (None, Some(_)) => ToolSearch::Auto,
            (None, None) => ToolSearch::Off,
        }
    }

    /// Returns `true` if models search for so many tools of servers, where `most` fit into a request.
    pub fn is_for(self, tools: usize, most: usize) -> bool {
        match self.mode() {
            ToolSearch::Auto => tools > most,
            ToolSearch::Above(number) => tools > number.min(most),
            _ => false,
        }
    }

    /// Tells an operator when models search, and by whom.
    pub fn told(self, most: usize) -> String {
        let when = match self.mode() {
            ToolSearch::Auto => format!("for requests with more than {most} tools"),
            ToolSearch::Above(number) => {
                format!("for requests with more than {number} tools of servers, or {most} of any")
            }
            _ => "off, but for requests with mcp.tool_search".to_owned(),
        };
        let whose = match self.native {
            Some(NativeMode::Openai) => "; the upstream searches (openai)",
            Some(NativeMode::Anthropic) => "; the upstream searches (anthropic)",
            None => "",
        };
        format!("tool search: {when}{whose}")
    }
}
