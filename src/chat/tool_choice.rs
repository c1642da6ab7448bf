//! `tool_choice`: what it asks for, in the shapes of OpenAI's chat completions and of their
//! neighbours.

use std::{borrow::Cow, ops::Range};

use crate::json::{Edit, Object, array, string};

/// The most allowed tools that are read: more fit into no request.
const NAMES: usize = 1024;

/// The caller's `tool_choice`.
#[derive(Debug, Default)]
pub(super) struct ToolChoice {
    /// No tool may be called.
    pub(super) forbids: bool,
    /// It says what holds without it.
    pub(super) is_default: bool,
    /// The tool that has to be called.
    named: Option<String>,
    /// The edit that leaves the choice to the model; `None` if it has it, or if nobody knows what
    /// the caller asks for.
    relaxed: Option<Edit>,
    /// The value in its place, which has one of the tools called that were added.
    chosen: Option<String>,
}

/// `{"type": "mcp", "server_label": …, "name": …}`: a tool of a server, as OpenAI's Responses API says
/// it, and no chat completion.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OfServer<'a> {
    /// `None` if it is no text.
    pub(crate) label: Option<Cow<'a, str>>,
    /// `None` for any of its tools.
    pub(crate) name: Option<Cow<'a, str>>,
}

impl<'a> OfServer<'a> {
    /// Reads a choice; `None` if it is none of these.
    pub(super) fn of(choice: &'a str) -> Option<Self> {
        let choice = Object::parse(choice).ok()?;
        choice.string("type").filter(|kind| *kind == "mcp")?;
        Some(Self {
            label: choice.string("server_label"),
            name: choice.string("name"),
        })
    }
}

/// A choice without the name of a tool.
enum Mode {
    None,
    Auto,
    /// Some tool has to be called.
    Forced,
}

impl Mode {
    /// Reads a mode. Mistral says `any` for `required`, and so do Anthropic, and Gemini in capitals.
    fn of(text: &str) -> Option<Self> {
        match text {
            "none" | "NONE" => Some(Self::None),
            "auto" | "AUTO" => Some(Self::Auto),
            "required" | "any" | "ANY" => Some(Self::Forced),
            _ => None,
        }
    }
}

impl ToolChoice {
    /// Reads the choice of a request.
    pub(super) fn of(request: &Object<'_>) -> Self {
        let Some(choice) = request.present("tool_choice") else {
            return Self::default();
        };
        let Ok(object) = Object::parse(choice) else {
            return string(choice).map_or_else(Self::default, |mode| {
                let relaxed = Edit::replace(request.span(choice), r#""auto""#);
                Self::mode(&mode, relaxed)
            });
        };
        match named(&object) {
            Some(name) => Self {
                named: Some(name.into()),
                relaxed: Some(Edit::replace(request.span(choice), auto_like(&object))),
                ..Self::default()
            },
            None => Self::in_object(request, &object),
        }
    }

    /// Reads an object that names no tool: its mode is relaxed where it stands, so that a list of
    /// allowed tools stays.
    fn in_object(request: &Object<'_>, object: &Object<'_>) -> Self {
        let allowed = object.present("allowed_tools");
        let allowed = allowed.and_then(|allowed| Object::parse(allowed).ok());
        let mode = match &allowed {
            Some(allowed) => allowed.get("mode"),
            None => object.get("mode").or_else(|| object.get("type")),
        };
        let Some((place, mode)) = mode.and_then(|mode| Some((mode, string(mode)?))) else {
            return Self::default();
        };
        let auto = match &*mode {
            "ANY" => r#""AUTO""#,
            _ => r#""auto""#,
        };
        Self::mode(&mode, Edit::replace(request.span(place), auto))
    }

    fn mode(mode: &str, relaxed: Edit) -> Self {
        match Mode::of(mode) {
            Some(Mode::None) => Self {
                forbids: true,
                ..Self::default()
            },
            Some(Mode::Auto) => Self {
                is_default: true,
                ..Self::default()
            },
            Some(Mode::Forced) => Self {
                relaxed: Some(relaxed),
                ..Self::default()
            },
            None => Self::default(),
        }
    }

    /// Has one of the tools called that were added, in the words of `value`, until tools have run.
    pub(super) fn choose(&mut self, value: String, place: Range<usize>) {
        *self = Self {
            chosen: Some(value),
            relaxed: Some(Edit::replace(place, r#""auto""#)),
            ..Self::default()
        };
    }

    /// The value in place of the caller's own.
    pub(super) fn chosen(&self) -> Option<&str> {
        self.chosen.as_deref()
    }

    /// The value that forbids tools, in the shape of `request`'s own.
    pub(super) fn forbidding(request: &Object<'_>) -> &'static str {
        let choice = request
            .present("tool_choice")
            .and_then(|choice| Object::parse(choice).ok());
        let Some(choice) = choice else {
            return r#""none""#;
        };
        match choice.string("type").as_deref() {
            Some("tool" | "any" | "auto") => r#"{"type":"none"}"#,
            None if choice.get("mode").is_some() => r#"{"mode":"NONE"}"#,
            _ => r#""none""#,
        }
    }

    /// The edit for turns after tools have run: a model that must call a tool never finishes. A
    /// caller with tools of its own ends the loop with them, so only a tool that is none of them is
    /// let go.
    pub(super) fn relaxed<'a>(&self, mut own: impl Iterator<Item = &'a str>) -> Option<&Edit> {
        let relaxed = self.relaxed.as_ref()?;
        let is_kept = match &self.named {
            Some(name) => own.any(|own| own == name),
            None => self.chosen.is_none() && own.next().is_some(),
        };
        (!is_kept).then_some(relaxed)
    }
}

/// The tools that a choice names, the one or all that are allowed.
pub(super) fn names(choice: &str) -> Vec<String> {
    let Ok(choice) = Object::parse(choice) else {
        return Vec::new();
    };
    let allowed = choice.present("allowed_tools");
    let allowed = allowed.and_then(|allowed| Object::parse(allowed).ok());
    let tools = allowed.and_then(|allowed| array(allowed.present("tools")?, NAMES));
    let tools = tools.unwrap_or_default().into_iter();
    let tools = tools.filter_map(|tool| named(&Object::parse(tool).ok()?).map(Into::into));
    tools.chain(named(&choice).map(Into::into)).collect()
}

/// The tool that a choice names: `{"type":"function","function":{"name":…}}`, also of another type,
/// or with the name beside the type, as in OpenAI's Responses and (`tool`) in Anthropic's Messages.
fn named<'a>(choice: &Object<'a>) -> Option<Cow<'a, str>> {
    let kind = choice.string("type").unwrap_or("function".into());
    let inner = choice
        .present(&kind)
        .and_then(|text| Object::parse(text).ok());
    match inner {
        Some(inner) => inner.string("name"),
        None => choice.string("name"),
    }
}

/// The free choice, in the shape of a forced one.
fn auto_like(choice: &Object<'_>) -> &'static str {
    match choice.string("type").as_deref() {
        Some("tool") => r#"{"type":"auto"}"#,
        _ => r#""auto""#,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The choice after tools have run, beside these tools of the caller's.
    fn later(choice: &Value, own: &[&str]) -> Value {
        let text = json!({"tool_choice": choice}).to_string();
        let object = Object::parse(&text).unwrap();
        let read = ToolChoice::of(&object);
        let edits = read.relaxed(own.iter().copied()).cloned();
        let text = object.edited(edits.into_iter().collect());
        serde_json::from_str::<Value>(&text).unwrap()["tool_choice"].clone()
    }

    #[test]
    fn a_forced_choice_is_relaxed_in_each_of_its_shapes_and_no_other_is() {
        let function = |name: &str| json!({"type": "function", "function": {"name": name}});
        let allowed = |mode: &str| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [1]}});
        let flat = |mode: &str| json!({"type": "allowed_tools", "mode": mode, "tools": [1]});
        for (sent, expected) in [
            (json!("required"), json!("auto")),
            (json!("any"), json!("auto")),
            (function("s__f"), json!("auto")),
            (json!({"type": "function", "name": "s__f"}), json!("auto")),
            (
                json!({"type": "tool", "name": "s__f"}),
                json!({"type": "auto"}),
            ),
            (
                json!({"type": "any", "disable_parallel_tool_use": true}),
                json!({"type": "auto", "disable_parallel_tool_use": true}),
            ),
            (json!({"mode": "ANY"}), json!({"mode": "AUTO"})),
            (allowed("required"), allowed("auto")),
            (flat("required"), flat("auto")),
        ] {
            assert_eq!(later(&sent, &[]), expected, "{sent}");
        }
        for sent in [
            json!("auto"),
            json!("none"),
            json!("validated"),
            json!({"type": "none"}),
            json!({"type": "auto"}),
            json!({"mode": "NONE"}),
            json!({"type": "web_search"}),
            json!({"strategy": "any"}),
            json!(7),
            allowed("auto"),
        ] {
            assert_eq!(later(&sent, &[]), sent);
        }
    }

    #[test]
    fn a_tool_of_a_server_is_told_from_all_other_choices() {
        let of = |choice: &Value| {
            let text = choice.to_string();
            let read = OfServer::of(&text)?;
            Some([read.label, read.name].map(|text| text.map(Cow::into_owned)))
        };
        let [label, name] = ["l", "n"].map(|text| Some(text.to_owned()));
        for (choice, expected) in [
            (
                json!({"type": "mcp", "server_label": "l", "name": "n"}),
                [label.clone(), name],
            ),
            (
                json!({"type": "mcp", "server_label": "l", "name": null}),
                [label, None],
            ),
            (json!({"type": "mcp", "server_label": 1}), [None, None]),
        ] {
            assert_eq!(of(&choice), Some(expected), "{choice}");
        }
        for choice in [
            json!("mcp"),
            json!({"type": "function", "server_label": "l"}),
            json!({"server_label": "l", "name": "n"}),
        ] {
            assert_eq!(of(&choice), None, "{choice}");
        }
    }

    #[test]
    fn tools_are_forbidden_in_the_shape_that_was_sent() {
        for (sent, expected) in [
            (json!(null), r#""none""#),
            (json!("required"), r#""none""#),
            (
                json!({"type": "function", "function": {"name": "f"}}),
                r#""none""#,
            ),
            (
                json!({"type": "allowed_tools", "mode": "auto"}),
                r#""none""#,
            ),
            (json!({"type": "tool", "name": "f"}), r#"{"type":"none"}"#),
            (json!({"type": "auto"}), r#"{"type":"none"}"#),
            (json!({"mode": "ANY"}), r#"{"mode":"NONE"}"#),
        ] {
            let text = json!({"tool_choice": sent}).to_string();
            let object = Object::parse(&text).unwrap();
            assert_eq!(ToolChoice::forbidding(&object), expected, "{sent}");
        }
    }

    #[test]
    fn a_caller_with_tools_of_its_own_is_only_freed_of_a_tool_that_is_not_its_own() {
        let named = |name: &str| json!({"type": "function", "function": {"name": name}});
        for stays in [
            json!("required"),
            json!("any"),
            json!({"type": "any"}),
            named("own"),
        ] {
            assert_eq!(later(&stays, &["other", "own"]), stays);
        }
        assert_eq!(later(&named("s__f"), &["own"]), json!("auto"));
    }
}
