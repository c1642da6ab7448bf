//! When models search for tools: `off`, `auto`, or above a number of tools.

use std::{fmt, str::FromStr};

use clap::ValueEnum;
use mcp_layer::{NativeToolSearch, ToolSearch};
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
    /// {"type": "tool_search"}, as OpenAI's Responses API has it
    Openai,
    /// tool_search_tool_bm25, as Claude has it
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
