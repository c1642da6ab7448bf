//! A chunk of a streamed completion.
//!
//! A chunk is changed like a request, by edits over its text, so members that nobody here knows
//! stay as they came. `id`, `created`, `model` and `system_fingerprint` become those of the first
//! turn, which makes all turns look like one completion, and a second role is removed.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};

use super::choices;
use crate::{
    hex::hex,
    json::{Edit, Object, first, quoted},
    name::shortened,
    random::fill_random,
};

/// The members that all chunks of one stream share.
const IDENTITY: [&str; 4] = ["id", "created", "model", "system_fingerprint"];

/// The empty reason that some upstreams send in every chunk but the last.
const NO_REASON: &str = r#""""#;

/// A chunk of a streamed turn, with the positions of its parts.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    object: Object<'a>,
    choice: Option<Object<'a>>,
    delta: Option<Object<'a>>,
    is_odd: bool,
}

/// The members that all chunks of the caller's stream share, each as JSON text: those of the first
/// chunk with a choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity([Option<String>; 4]);

/// A change of a chunk on its way to the caller.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change<'a> {
    pub(crate) identity: Option<&'a Identity>,
    /// Removes the role, which an earlier chunk has already sent.
    pub(crate) without_role: bool,
    /// Removes the tool calls, which are sent in another chunk or not at all.
    pub(crate) without_calls: bool,
    /// Replaces the reason of a chunk that ends the turn, as JSON text.
    pub(crate) finish_reason: Option<&'a str>,
    /// Sets these members.
    pub(crate) members: &'a [(&'a str, &'a str)],
}

impl<'a> Chunk<'a> {
    /// Reads a chunk; `None` if it is not a JSON object.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let object = Object::parse(text).ok()?;
        let choices = object.present("choices");
        let choice = choices.and_then(Object::first_of);
        let delta = choice
            .as_ref()
            .and_then(|choice| Object::parse(choice.present("delta")?).ok());
        let is_odd = |choices| Some(choices::are_odd(choices, choice.as_ref()?));
        Some(Self {
            is_odd: choices.and_then(is_odd).unwrap_or_default(),
            object,
            choice,
            delta,
        })
    }

    /// Returns `true` if it reports that the upstream failed.
    pub(crate) fn is_error(&self) -> bool {
        self.object.present("error").is_some()
    }

    pub(crate) fn text(&self) -> &'a str {
        self.object.text()
    }

    /// Returns `true` if it is none of a stream of one choice, and has to be taken
    /// [apart](super::StreamReader::apart) first.
    pub(crate) fn is_odd(&self) -> bool {
        self.is_odd
    }

    pub(crate) fn delta(&self) -> Option<&Object<'a>> {
        self.delta.as_ref()
    }

    /// Returns `true` if it begins or continues tool calls.
    pub(crate) fn has_calls(&self) -> bool {
        let Some(delta) = &self.delta else {
            return false;
        };
        let calls = delta.present("tool_calls").and_then(first);
        calls.is_some() || delta.present("function_call").is_some()
    }

    /// Returns `true` if it ends the turn.
    pub(crate) fn is_finish(&self) -> bool {
        let choice = self.choice.as_ref();
        let reason = choice.and_then(|choice| choice.present("finish_reason"));
        reason.is_some_and(|reason| reason != NO_REASON)
    }

    /// The reason why the turn ended; `None` if it does not end here.
    pub(crate) fn finish_reason(&self) -> Option<String> {
        let choice = self.choice.as_ref()?;
        choice.string("finish_reason").map(Into::into)
    }

    /// Returns `true` if it has a choice; chunks with usage have none.
    pub(crate) fn has_choice(&self) -> bool {
        self.choice.is_some()
    }

    /// Returns `true` if its delta has the role.
    pub(crate) fn says_role(&self) -> bool {
        let delta = self.delta.as_ref();
        delta.is_some_and(|delta| delta.present("role").is_some())
    }

    /// Returns `true` if its delta has anything besides the role, tool calls and empty texts.
    pub(crate) fn says_more(&self) -> bool {
        let says = |(name, value): (&str, &str)| {
            !matches!(name, "role" | "tool_calls" | "function_call")
                && !matches!(value, "null" | "\"\"" | "[]")
        };
        self.delta
            .as_ref()
            .is_some_and(|delta| delta.iter().any(says))
    }

    pub(crate) fn usage(&self) -> Option<Map<String, Value>> {
        // Moonshot has it in the last choice (earendil-works/pi#2017).
        let in_choice = || self.choice.as_ref()?.present("usage");
        let usage = self.object.present("usage").or_else(in_choice)?;
        serde_json::from_str(usage).ok()
    }

    pub(crate) fn model(&self) -> Option<String> {
        self.object.string("model").map(Into::into)
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity(IDENTITY.map(|name| self.object.present(name).map(Into::into)))
    }

    /// The chunk after `change`.
    pub(crate) fn changed(&self, change: Change<'_>) -> Cow<'a, str> {
        let mut edits = Vec::new();
        if let Some(Identity(values)) = change.identity {
            for (name, meant) in IDENTITY.into_iter().zip(values) {
                let meant = meant.as_deref().unwrap_or("null");
                if self.object.get(name).is_some_and(|said| said != meant) {
                    edits.extend(self.object.set(&[(name, meant)]));
                }
            }
        }
        edits.extend(self.object.set(change.members));
        if let Some(choice) = &self.choice {
            let inner = self.changed_choice(choice, change);
            edits.extend(self.object.within(choice.text(), inner));
        }
        match edits.is_empty() {
            true => self.object.text().into(),
            false => self.object.edited(edits).into(),
        }
    }

    fn changed_choice(&self, choice: &Object<'a>, change: Change<'_>) -> Vec<Edit> {
        let mut edits = Vec::new();
        let reason = match self.is_finish() {
            true => change.finish_reason,
            false => (choice.get("finish_reason") == Some(NO_REASON)).then_some("null"),
        };
        if let Some(reason) = reason {
            edits.extend(choice.set(&[("finish_reason", reason)]));
        }
        let goes = |name: &str| match name {
            "role" => change.without_role,
            "tool_calls" | "function_call" => change.without_calls,
            _ => false,
        };
        if let Some(delta) = &self.delta
            && delta.iter().any(|(name, _)| goes(name))
        {
            let stays = delta.iter().filter(|(name, _)| !goes(name));
            let stays = stays.map(|(name, value)| format!("{}:{value}", quoted(name)));
            let stays = stays.collect::<Vec<_>>().join(",");
            edits.push(Edit::replace(
                choice.span(delta.text()),
                format!("{{{stays}}}"),
            ));
        }
        edits
    }
}

impl Identity {
    /// That of a stream which begins before the model has said anything.
    pub(crate) fn new(model: Option<&str>) -> Self {
        let mut id = [0; 12];
        fill_random(&mut id);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let created = now.unwrap_or_default().as_secs();
        let model = quoted(&shortened(model.unwrap_or_default()));
        let id = quoted(&format!("chatcmpl-{}", hex(&id)));
        Self([Some(id), Some(created.to_string()), Some(model), None])
    }

    /// A chunk with this identity and these members, with this choice or none.
    pub(crate) fn chunk(&self, choice: Option<&str>, members: &[(&str, &str)]) -> String {
        self.object("chat.completion.chunk", choice, members)
    }

    /// A whole completion with this identity, this choice and these members.
    pub(crate) fn completion(&self, choice: &str, members: &[(&str, &str)]) -> String {
        self.object("chat.completion", Some(choice), members)
    }

    fn object(&self, kind: &str, choice: Option<&str>, members: &[(&str, &str)]) -> String {
        let [id, others @ ..] = &self.0;
        // Clients insist on an id.
        let id = id.as_deref().unwrap_or("\"\"");
        let mut text = format!(r#"{{"id":{id},"object":"{kind}""#);
        for (name, value) in IDENTITY[1..].iter().zip(others) {
            if let Some(value) = value {
                text.push_str(&format!(",{}:{value}", quoted(name)));
            }
        }
        text.push_str(&format!(r#","choices":[{}]"#, choice.unwrap_or_default()));
        for (name, value) in members {
            text.push_str(&format!(",{}:{value}", quoted(name)));
        }
        text.push('}');
        text
    }
}
