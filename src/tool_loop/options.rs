//! Options: what this caller asked for, in the member `mcp`.

use std::{borrow::Cow, collections::HashSet};

use super::wanted::Wanted;
use crate::{
    chat::{ChatRequest, Unread},
    json::{Object, array, string},
    name::short,
    refusal::{Kind, Refusal},
    settings::{OnMaxRounds, OwnTools, Settings, Streaming},
};

/// The member `mcp` of a request, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) enabled: bool,
    /// The servers in their order, each once, with the place of its first mention.
    pub(crate) servers: Vec<Wanted>,
    pub(crate) auto_execute: bool,
    pub(crate) max_tool_rounds: u64,
    /// The only tools to offer; `None` for all.
    pub(crate) tools: Option<Vec<String>>,
    pub(crate) resume: bool,
    pub(crate) receipt: bool,
    pub(crate) on_max_rounds: OnMaxRounds,
    pub(crate) own_tools: OwnTools,
    /// The caller's own choice for streams; `None` for the operator's.
    pub(crate) on_stream: Option<Streaming>,
    /// A stream of the loop tells of tool calls while they run.
    pub(crate) events: bool,
}

impl Options {
    /// Reads the options of `request`, and, where they are enabled, the caller's own tools.
    pub(crate) fn read(request: &mut ChatRequest, settings: &Settings) -> Result<Self, Refusal> {
        let options = Self::parse(request, settings)?;
        let limit = settings.limits.tools;
        // They are counted while they are read.
        if options.enabled && !request.read_tools(limit) {
            let message = format!("the request's own tools are too many, at most {limit} fit");
            return Err(Refusal::new(Kind::TooManyTools, message).at("tools"));
        }
        Ok(options)
    }

    /// Reads the options of `request`.
    pub(crate) fn parse(request: &ChatRequest, settings: &Settings) -> Result<Self, Refusal> {
        let is_ours = request.mcp.is_some();
        if is_ours && request.is_deeper_than(settings.limits.json_depth) {
            let limit = settings.limits.json_depth;
            return Err(Refusal::new(
                Kind::InvalidJson,
                format!("the request is nested deeper than {limit} levels"),
            ));
        }
        let options = match &request.mcp {
            Some(mcp) => Self::of_member(mcp, settings)?,
            None => Self::absent(settings),
        };
        if options.enabled {
            options.check(request, settings)?;
        }
        Ok(options)
    }

    /// Returns `true` if the whole loop is to be one stream.
    pub(crate) fn streams(&self, request: &ChatRequest, settings: &Settings) -> bool {
        let is_wanted = self.enabled && self.auto_execute && request.stream;
        let streaming = self.on_stream.unwrap_or(settings.streaming);
        is_wanted && streaming == Streaming::Execute
    }

    /// Returns `true` if the loop runs tools, whole or as one stream.
    pub(crate) fn loops(&self, request: &ChatRequest, settings: &Settings) -> bool {
        self.auto_execute && (!request.stream || self.streams(request, settings))
    }

    /// The options of a request without the member: nothing is enabled.
    fn absent(settings: &Settings) -> Self {
        Self {
            enabled: false,
            servers: Vec::new(),
            auto_execute: false,
            max_tool_rounds: settings.rounds_cap(),
            tools: None,
            resume: false,
            receipt: settings.receipt,
            on_max_rounds: settings.on_max_rounds,
            own_tools: settings.own_tools,
            on_stream: None,
            events: false,
        }
    }

    /// Those of a request that enables nothing, whose history is restored all the same: what the
    /// model then says passes.
    pub(crate) fn of_restoring(settings: &Settings) -> Self {
        Self {
            receipt: false,
            on_max_rounds: OnMaxRounds::Return,
            ..Self::absent(settings)
        }
    }

    fn of_member(mcp: &str, settings: &Settings) -> Result<Self, Refusal> {
        let object =
            Object::parse(mcp).map_err(|_| Refusal::invalid_option("mcp", "must be an object"))?;
        if let Some(name) = object.doubled() {
            return Err(Refusal::invalid_option(
                &format!("mcp.{}", short(name)),
                "is given twice",
            ));
        }
        let cap = settings.rounds_cap();
        // Each server that is of use has a tool, and names may be repeated.
        let names = NAMES.max(settings.limits.tools);
        let mut options = Self::absent(settings);
        for (name, value) in object.iter() {
            let set = options.set(name, value, cap, names);
            set.map_err(|fault| fault.of(name))?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str, cap: u64, names: usize) -> Result<(), Fault> {
        match name {
            "enabled" => self.enabled = boolean(value)?,
            "servers" => self.servers = once(strings(value, names)?, "mcp.servers"),
            "auto_execute_tools" => self.auto_execute = boolean(value)?,
            "max_tool_rounds" => self.max_tool_rounds = rounds(value, cap)?,
            "tools" => self.tools = Some(strings(value, names)?),
            "resume_tool_calls" => self.resume = boolean(value)?,
            "receipt" => self.receipt = boolean(value)?,
            "on_max_rounds" => {
                let words = [
                    ("answer", OnMaxRounds::Answer),
                    ("return", OnMaxRounds::Return),
                ];
                self.on_max_rounds = word(value, words)?;
            }
            "own_tools" => {
                let words = [("split", OwnTools::Split), ("whole", OwnTools::Whole)];
                self.own_tools = word(value, words)?;
            }
            "on_stream" => {
                let words = [
                    ("execute", Streaming::Execute),
                    ("return", Streaming::ReturnToolCalls),
                ];
                self.on_stream = Some(word(value, words)?);
            }
            "events" => self.events = boolean(value)?,
            _ => {
                return Err(Fault::new(
                    "is not a member of mcp; those are enabled, servers, auto_execute_tools, max_tool_rounds, tools, resume_tool_calls, receipt, on_max_rounds, own_tools, on_stream and events",
                ));
            }
        }
        Ok(())
    }

    fn check(&self, request: &ChatRequest, settings: &Settings) -> Result<(), Refusal> {
        if self.servers.is_empty() {
            return Err(Refusal::invalid_option(
                "mcp.servers",
                "must name at least one server when mcp is enabled",
            ));
        }
        if !request.has_messages() {
            return Err(Refusal::invalid_option("messages", "must be an array"));
        }
        if self.auto_execute && !request.one_choice {
            return Err(Refusal::invalid_option(
                "n",
                "must be 1 with mcp.auto_execute_tools",
            ));
        }
        if self.auto_execute && request.stream && settings.streaming == Streaming::Reject {
            let message = "mcp.auto_execute_tools needs \"stream\": false here";
            return Err(Refusal::new(Kind::RequiresNonStream, message).at("stream"));
        }
        Ok(())
    }
}

/// The refusal of a request that could not be read.
impl From<Unread> for Option<Refusal> {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::NotOurs => None,
            Unread::NotJson => Some(Refusal::new(
                Kind::InvalidJson,
                "the request is not valid JSON; look at its quotes, commas and brackets",
            )),
            Unread::Doubled(name) => Some(Refusal::invalid_option(&name, "is given twice")),
            Unread::TooLarge => Some(Refusal::new(
                Kind::InvalidJson,
                "the request has more top-level members than the gateway reads",
            )),
        }
    }
}

/// What is wrong with the value of a member.
struct Fault {
    text: Cow<'static, str>,
    /// The element of a list that it is about.
    at: Option<usize>,
}

impl Fault {
    fn new(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self { text, at: None }
    }

    /// The refusal of a request in whose member `name` it is.
    fn of(self, name: &str) -> Refusal {
        let param = match self.at {
            Some(index) => format!("mcp.{}[{index}]", short(name)),
            None => format!("mcp.{}", short(name)),
        };
        Refusal::invalid_option(&param, &self.text)
    }
}

fn boolean(value: &str) -> Result<bool, Fault> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::new("must be a boolean")),
    }
}

/// One of two words, by what it means.
fn word<T: Copy>(value: &str, words: [(&str, T); 2]) -> Result<T, Fault> {
    let said = string(value);
    let meant = words.iter().find(|(word, _)| said.as_deref() == Some(word));
    let [(one, _), (other, _)] = words;
    let fault = || Fault::new(format!("must be {one:?} or {other:?}"));
    meant.map(|(_, meant)| *meant).ok_or_else(fault)
}

/// The most names of servers or tools that are read.
const NAMES: usize = 1024;

fn strings(value: &str, most: usize) -> Result<Vec<String>, Fault> {
    let Some(elements) = array(value, most + 1) else {
        return Err(Fault::new("must be an array of strings"));
    };
    if elements.len() > most {
        return Err(Fault::new(format!("has more than {most} names")));
    }
    let string = |(index, element)| {
        let text = string(element).map(Cow::into_owned);
        text.ok_or(Fault {
            text: "must be a string".into(),
            at: Some(index),
        })
    };
    elements.into_iter().enumerate().map(string).collect()
}

/// Each name of the list `param` once, with the place of its first mention.
fn once(names: Vec<String>, param: &str) -> Vec<Wanted> {
    let mut seen = HashSet::with_capacity(names.len());
    let is_first: Vec<bool> = names.iter().map(|name| seen.insert(&**name)).collect();
    let names = names.into_iter().enumerate().zip(is_first);
    let first = names.filter_map(|(name, is_first)| is_first.then_some(name));
    let wanted = first.map(|(index, name)| Wanted {
        name,
        param: format!("{param}[{index}]"),
    });
    wanted.collect()
}

fn rounds(value: &str, cap: u64) -> Result<u64, Fault> {
    let integer = value
        .strip_prefix('-')
        .unwrap_or(value)
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    match integer.then(|| value.parse::<u64>()) {
        Some(Ok(rounds)) if rounds > 0 => Ok(rounds.min(cap)),
        // More than 64 bits hold is above any cap.
        Some(Err(_)) if !value.starts_with('-') => Ok(cap),
        _ => Err(Fault::new(format!(
            "must be an integer of at least 1; this gateway runs at most {cap} rounds"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(mcp: Value) -> Result<Options, Refusal> {
        let body = json!({"messages": [], "mcp": mcp}).to_string();
        Options::parse(
            &ChatRequest::parse(body.into()).unwrap(),
            &Settings::default(),
        )
    }

    #[test]
    fn the_defaults_are_off_five_rounds_and_a_receipt() {
        let options = parse(json!({"enabled": true, "servers": ["b", "a", "b"]})).unwrap();
        let wanted = options
            .servers
            .iter()
            .map(|wanted| (&*wanted.name, &*wanted.param));
        let expected = [("b", "mcp.servers[0]"), ("a", "mcp.servers[1]")];
        assert!(wanted.eq(expected), "{:?}", options.servers);
        assert!(!options.auto_execute && !options.resume && options.receipt);
        assert_eq!(options.max_tool_rounds, 5);
        assert!(!parse(json!({})).unwrap().enabled);
    }

    #[test]
    fn rounds_are_capped_and_never_guessed() {
        let rounds = |value: &str| {
            let body = format!(
                r#"{{"messages":[],"mcp":{{"enabled":true,"servers":["s"],"max_tool_rounds":{value}}}}}"#
            );
            Options::parse(
                &ChatRequest::parse(body.into()).unwrap(),
                &Settings::default(),
            )
            .map(|o| o.max_tool_rounds)
        };
        for (value, expected) in [("1", 1), ("5", 5), ("6", 5), ("99999999999999999999999", 5)] {
            assert_eq!(rounds(value), Ok(expected));
        }
        for value in [
            "0",
            "-1",
            "-99999999999999999999999",
            "1e99",
            "2.0",
            "\"3\"",
            "null",
            "[]",
        ] {
            let refusal = rounds(value).unwrap_err();
            assert!(
                refusal.to_string().contains("at least 1"),
                "{value}: {refusal}"
            );
        }
    }

    #[test]
    fn lists_without_end_are_named_and_not_read() {
        let names = vec!["s"; 2_000];
        for member in ["servers", "tools"] {
            let refusal = parse(json!({member: names})).unwrap_err();
            assert_eq!(refusal.param(), Some(&*format!("mcp.{member}")));
            assert!(refusal.to_string().contains("1024"), "{refusal}");
        }
    }

    #[test]
    fn every_fault_names_its_member() {
        for (mcp, param) in [
            (json!(null), "mcp"),
            (json!([]), "mcp"),
            (json!({"enabled": 1}), "mcp.enabled"),
            (json!({"enabled": true}), "mcp.servers"),
            (json!({"enabled": true, "servers": []}), "mcp.servers"),
            (json!({"servers": "s"}), "mcp.servers"),
            (json!({"servers": ["s", 1]}), "mcp.servers[1]"),
            (
                json!({"auto_execute_tools": "yes"}),
                "mcp.auto_execute_tools",
            ),
            (json!({"tools": {}}), "mcp.tools"),
            (json!({"receipt": null}), "mcp.receipt"),
            (json!({"events": "all"}), "mcp.events"),
            (json!({"resume_tool_calls": 0}), "mcp.resume_tool_calls"),
            (json!({"autoexecute": true}), "mcp.autoexecute"),
        ] {
            let refusal = parse(mcp.clone()).unwrap_err();
            assert_eq!(refusal.param(), Some(param), "{mcp}");
            assert_eq!(refusal.kind, Kind::InvalidMcpOptions);
        }
    }
}
