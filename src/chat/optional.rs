//! Members that a turn can do without: left out where the model's service rejects them.
//!
//! Each is a row. How rejections name them is the same for all of them, and not told here.

use bytes::Bytes;

use super::is_media_message;
use crate::json::{Edit, Object};

/// A member that a turn can do without.
#[derive(Debug)]
pub(crate) struct Optional {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// What some services say in place of its name, or to reject it.
    pub(crate) others: &'static [&'static str],
}

/// The place where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the top of the request.
    Request,
    /// In the model's own turns, as this request's loop sends them back.
    Turn,
    /// In the answers to its calls.
    ToolMessage,
}

const fn row(place: Place, name: &'static str, others: &'static [&'static str]) -> Optional {
    Optional {
        name,
        place,
        others,
    }
}

/// All of them.
pub(crate) const OPTIONAL: [Optional; 15] = [
    // Asked for to count tokens. Databricks (continuedev/continue#12936, anomalyco/opencode#31156),
    // Cerebras (janhq/jan#7928), Bedrock, which names the inner member (BerriAI/litellm#9916).
    row(Place::Request, "stream_options", &["include_usage"]),
    // The loop runs one call after the other in any case. OpenAI's o-series
    // (run-llama/llama_index#20865), Azure (Azure/azure-rest-api-specs#29545), Gemini
    // (jackmpcollins/magentic#382).
    row(Place::Request, "parallel_tool_calls", &[]),
    // While they think: DeepSeek (deepseek-ai/DeepSeek-V3#1376), Qwen (cloudwego/eino#994), Kimi
    // (AstrBotDevs/AstrBot#7805). As an object: LM Studio (lmstudio-ai/lmstudio-bug-tracker#670).
    row(Place::Request, "tool_choice", &[]),
    // Groq (karthink/gptel#774), Fireworks (can1357/oh-my-pi#1157), Kimi (earendil-works/pi#4514).
    row(Place::Turn, "reasoning", &[]),
    // Groq (AstrBotDevs/AstrBot#5946), Mistral (charmbracelet/crush#1590), Cerebras
    // (Kilo-Org/kilocode#10375).
    row(Place::Turn, "reasoning_content", &[]),
    // The same thought in OpenRouter's words, and in Copilot's (can1357/oh-my-pi#1157).
    row(Place::Turn, "reasoning_details", &[]),
    row(Place::Turn, "reasoning_text", &[]),
    // What LiteLLM puts beside a message of other providers' (LibreChat-AI/agents#38).
    row(Place::Turn, "provider_specific_fields", &[]),
    row(Place::Turn, "thinking_blocks", &[]),
    // What OpenAI's own answers have, rejected where a router sends the next turn elsewhere.
    row(Place::Turn, "annotations", &[]),
    row(Place::Turn, "refusal", &[]),
    // What vLLM's answers have beside them, all null, and what Groq's tell of its own tools.
    row(Place::Turn, "audio", &[]),
    row(Place::Turn, "function_call", &[]),
    row(Place::Turn, "executed_tools", &[]),
    // Wanted by Gemini; OpenCode's relay (NousResearch/hermes-agent#114713), xAI
    // (BerriAI/litellm#9720).
    row(Place::ToolMessage, "name", &["can have a name"]),
];

/// The rows of the request's own members.
const STREAM_OPTIONS: usize = 0;
const PARALLEL_TOOL_CALLS: usize = 1;
const TOOL_CHOICE: usize = 2;

/// Some of these members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Omitted(u16);

impl Omitted {
    pub(crate) const STREAM_OPTIONS: Self = Self(1 << STREAM_OPTIONS);
    pub(crate) const PARALLEL_TOOL_CALLS: Self = Self(1 << PARALLEL_TOOL_CALLS);
    pub(crate) const TOOL_CHOICE: Self = Self(1 << TOOL_CHOICE);

    /// The members for whose row this is true.
    pub(crate) fn of(is_omitted: impl Fn(&Optional) -> bool) -> Self {
        let rows = OPTIONAL.iter().enumerate();
        let bits = rows.filter(|(_, row)| is_omitted(row));
        Self(bits.fold(0, |bits, (index, _)| bits | 1 << index))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns `true` if all of `other` are among them.
    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Their rows.
    pub(crate) fn rows(self) -> impl Iterator<Item = &'static Optional> {
        let rows = OPTIONAL.iter().enumerate();
        rows.filter_map(move |(index, row)| (self.0 & 1 << index != 0).then_some(row))
    }

    /// The members of these that a message has.
    pub(super) fn in_message(self, message: &Bytes) -> Self {
        // Megabytes that need not be read.
        if is_media_message(message) {
            return Self::default();
        }
        let Some(object) = object(message) else {
            return Self::default();
        };
        let place = place(&object);
        let has = |row: &Optional| Some(row.place) == place && object.get(row.name).is_some();
        self.common(Self::of(has))
    }

    /// A message of the loop without these members; the same where it has none of them.
    pub(super) fn taken_from(self, message: &Bytes) -> Bytes {
        let found = self.in_message(message);
        if found.is_empty() {
            return message.clone();
        }
        let Some(object) = object(message) else {
            return message.clone();
        };
        let text = object.text().to_owned();
        let text = found
            .rows()
            .fold(text, |text, row| without(&text, row.name));
        text.into()
    }
}

fn object(message: &Bytes) -> Option<Object<'_>> {
    Object::parse(std::str::from_utf8(message).ok()?).ok()
}

/// The place that a message of the loop is.
fn place(message: &Object<'_>) -> Option<Place> {
    match message.string("role").as_deref() {
        Some("tool") => Some(Place::ToolMessage),
        // Some models leave their role out.
        Some("assistant") | None => Some(Place::Turn),
        Some(_) => None,
    }
}

fn without(text: &str, name: &str) -> String {
    let edits = Object::parse(text)
        .ok()
        .and_then(|object| object.remove(name));
    Edit::apply_to_text(text, edits.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_rows_are_where_they_are_said_to_be() {
        let names = |omitted: Omitted| omitted.rows().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(Omitted::STREAM_OPTIONS), ["stream_options"]);
        assert_eq!(names(Omitted::PARALLEL_TOOL_CALLS), ["parallel_tool_calls"]);
        assert_eq!(names(Omitted::TOOL_CHOICE), ["tool_choice"]);
    }

    #[test]
    fn a_message_loses_what_is_rejected_at_its_own_place_and_keeps_the_rest_byte_for_byte() {
        let all = Omitted::of(|_| true);
        for (message, expected) in [
            (
                r#"{"role":"assistant", "reasoning":"x", "n": 1.0,"reasoning_content":null,"name":"n"}"#,
                r#"{"role":"assistant", "n": 1.0,"name":"n"}"#,
            ),
            (
                r#"{"reasoning":1,"content":"reasoning"}"#,
                r#"{"content":"reasoning"}"#,
            ),
            (
                r#"{"role":"tool","name":"f","content":"","reasoning":1}"#,
                r#"{"role":"tool","content":"","reasoning":1}"#,
            ),
            (
                r#"{"role":"user","name":"f"}"#,
                r#"{"role":"user","name":"f"}"#,
            ),
            ("7", "7"),
        ] {
            assert_eq!(all.taken_from(&message.into()), expected);
        }
    }
}
