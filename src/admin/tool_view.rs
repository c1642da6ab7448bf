//! Tools as an operator is shown them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    name::offered_name,
    registry::{Fingerprint, Observation, Server, ToolState, members::Word},
};

/// A tool in JSON.
#[derive(Serialize)]
pub(super) struct ToolView<'a> {
    pub(super) name: &'a str,
    pub(super) offered_name: String,
    pub(super) description: Option<String>,
    pub(super) input_schema: Option<&'a RawValue>,
    /// What the server says of what the tool does, as it says it.
    pub(super) annotations: Option<&'a RawValue>,
    selected: bool,
    policy: Option<&'static str>,
    /// It is offered, too, where tools are searched for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    always: bool,
    pub(super) state: ToolState,
    /// The present fingerprint; `null` if the server no longer has the tool.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) approved_fingerprint: Option<Fingerprint>,
    /// The present definition of a tool that is new or has changed; the accepted one of the latter
    /// follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) definition: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approved_definition: Option<&'a RawValue>,
}

/// A server's instructions in JSON.
#[derive(Serialize)]
pub(super) struct InstructionsView {
    /// As the server wrote them.
    pub(super) text: String,
    /// Whether models get them.
    given: bool,
    pub(super) state: ToolState,
    pub(super) fingerprint: Fingerprint,
}

impl InstructionsView {
    /// What `server` said when its tools were last listed; `None` if that was nothing.
    pub(super) fn of(server: &Server, seen: &Observation) -> Option<Self> {
        let fingerprint = seen.instructions?;
        let is_withheld = server.withholds_instructions(fingerprint, seen.pins.as_deref());
        Some(Self {
            text: seen.instructions_text().unwrap_or_default(),
            given: server.instructions && !is_withheld,
            state: match server.instructions && is_withheld {
                true => ToolState::Changed,
                false => ToolState::Approved,
            },
            fingerprint,
        })
    }
}

impl<'a> ToolView<'a> {
    /// All tools that are known of `server`, by name.
    pub(super) fn all(server: &'a Server, seen: &'a Observation) -> Vec<Self> {
        let tools = seen.tools(server);
        tools
            .map(|(tool, state)| Self::of(tool, state, server, seen))
            .collect()
    }

    fn of(tool: &'a str, state: ToolState, server: &'a Server, seen: &'a Observation) -> Self {
        let pins = server.pins.as_deref().or(seen.pins.as_deref());
        let approved = pins.and_then(|pins| pins.of(tool));
        let now = seen.listed.get(tool).copied();
        // Of definitions that are very long only the fingerprint is kept.
        let text = |fingerprint: Option<Fingerprint>| -> Option<&'a RawValue> {
            serde_json::from_str(seen.definitions.get(&fingerprint?)?).ok()
        };
        let shown = text(now.or(approved));
        let shown = shown.and_then(|text| serde_json::from_str(text.get()).ok());
        let shown: Shown<'a> = shown.unwrap_or_default();
        let is_changed = state == ToolState::Changed;
        let is_to_review = is_changed || state == ToolState::New;
        let policy = server.tools.policy(tool);
        Self {
            name: tool,
            offered_name: offered_name(&server.name, tool),
            description: shown.description,
            input_schema: shown.input_schema,
            annotations: shown.annotations,
            selected: policy.is_some(),
            policy: policy.map(Word::word),
            always: server.tools.is_always(tool),
            state,
            fingerprint: now,
            approved_fingerprint: approved,
            definition: text(now).filter(|_| is_to_review),
            approved_definition: text(approved).filter(|_| is_changed),
        }
    }
}

/// What a tool does to what it works on, as its server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    ReadsOnly,
    Destroys,
}

impl ToolView<'_> {
    /// What the annotations say; `None` where they say neither.
    ///
    /// MCP takes a tool without any for one that may destroy: such a mark on nearly every tool would
    /// warn of none.
    pub(super) fn effect(&self) -> Option<Effect> {
        let hints: Hints = serde_json::from_str(self.annotations?.get()).ok()?;
        match (hints.read_only_hint, hints.destructive_hint) {
            (Some(true), _) => Some(Effect::ReadsOnly),
            (_, Some(true)) => Some(Effect::Destroys),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    read_only_hint: Option<bool>,
    destructive_hint: Option<bool>,
}

/// The members of a definition that are shown by themselves.
#[derive(Default, Deserialize)]
struct Shown<'a> {
    description: Option<String>,
    #[serde(borrow, rename = "inputSchema")]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}
