//! Options: what this caller asked for, in the member `mcp`.

use std::{borrow::Cow, collections::HashSet};

use super::{
    gateway::{Gateway, LookedUp},
    wanted::Wanted,
    ways::{self, ByModel, Entry, Found, OptIn, OptInHeaders, ToolRules, both},
};
use crate::{
    caller::CallerTokens,
    catalog::Catalog,
    chat::{ChatRequest, ENTRIES, Unread},
    json::{Object, array, string},
    name::short,
    project::Project,
    refusal::{Kind, Refusal},
    settings::{OnMaxRounds, OwnTools, Settings, Streaming},
};

/// What a request asks for, checked: in the member `mcp`, or in another [way](ways).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) enabled: bool,
    /// The servers in their order, each once, with the place of its first mention.
    pub(crate) servers: Vec<Wanted>,
    pub(crate) auto_execute: bool,
    pub(crate) max_tool_rounds: u64,
    /// The only tools to offer; `None` for all.
    tools: Option<Vec<String>>,
    /// The place in the request that names them.
    tools_param: &'static str,
    pub(crate) resume: bool,
    pub(crate) receipt: bool,
    pub(crate) on_max_rounds: OnMaxRounds,
    pub(crate) own_tools: OwnTools,
    /// The caller's own choice for streams; `None` for the operator's.
    pub(crate) on_stream: Option<Streaming>,
    /// The place in the request where it opts in, if that is not the member `mcp`.
    pub(crate) way: Option<String>,
    /// The request asks for nothing; its operator has decided for it.
    pub(crate) is_default: bool,
    /// Entries of `tools` whose servers are still to be [found](Self::find).
    entries: Vec<Entry>,
    /// What such entries say of the tools of their servers, each given by its place.
    pub(crate) rules: Vec<(Vec<usize>, ToolRules)>,
    /// The label of each entry, with the servers that it means.
    pub(crate) labels: Vec<(String, Vec<String>)>,
    /// A stream of the loop tells of tool calls while they run.
    pub(crate) events: bool,
    /// The model searches for tools; `None` for the operator's choice.
    pub(crate) tool_search: Option<bool>,
}

impl Options {
    /// Reads the options of `request`, and, where they are enabled, the caller's own tools.
    pub(crate) fn read(
        request: &mut ChatRequest,
        (headers, by_model): (&OptInHeaders, &ByModel),
        settings: &Settings,
    ) -> Result<Self, Refusal> {
        let options = Self::parse(request, (headers, by_model), settings)?;
        let limit = settings.limits.tools;
        // A service that refuses such a list would not see it beside ours.
        if options.enabled && request.has_odd_tools {
            return Err(Refusal::invalid_option("tools", "must be an array"));
        }
        // They are counted while they are read.
        if options.enabled && !request.read_tools(limit) {
            let message = format!("the request's own tools are too many, at most {limit} fit");
            return Err(Refusal::new(Kind::TooManyTools, message).at("tools"));
        }
        Ok(options)
    }

    /// Reads the options of `request`.
    pub(crate) fn parse(
        request: &ChatRequest,
        (headers, by_model): (&OptInHeaders, &ByModel),
        settings: &Settings,
    ) -> Result<Self, Refusal> {
        let way = ways::place(request, headers);
        let is_ours = request.mcp.is_some() || way.is_some() || by_model.is_any();
        if is_ours && request.is_deeper_than(settings.limits.json_depth) {
            let limit = settings.limits.json_depth;
            return Err(Refusal::new(
                Kind::InvalidJson,
                format!("the request is nested deeper than {limit} levels"),
            ));
        }
        let (mut options, said) = match &request.mcp {
            Some(mcp) => Self::of_member(mcp, settings)?,
            None => (Self::absent(settings), Said::default()),
        };
        if let Some(resumes) = headers.resumes()? {
            if said.resumes == Some(!resumes) {
                let fault = "says otherwise than x-mcp-resume";
                return Err(Refusal::invalid_option("mcp.resume_tool_calls", fault));
            }
            options.resume = resumes;
        }
        if let Some(way) = way.as_ref().filter(|_| options.enabled) {
            return Err(both("mcp.enabled", way));
        }
        // What says that it is off is off, in each way.
        if !said.opts_in {
            let opt_in = match &way {
                Some(_) => ways::opt_in(request, headers, names(settings))?,
                None => by_model.opt_in(),
            };
            let is_default = way.is_none() && by_model.alias.is_none();
            if let Some(opt_in) = opt_in {
                options.is_default = is_default;
                if let Some(member) = said.against {
                    let way = opt_in.param;
                    let fault = format!("says otherwise than {way}, with which tools always run");
                    return Err(Refusal::invalid_option(member, &fault));
                }
                options.opt_in(opt_in)?;
            }
            if options.is_default {
                ways::default::check(request)?;
            }
        }
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

    /// The members that the request lacks for its model to search among so many tools of servers, each
    /// with its value.
    pub(crate) fn lacks_for_search(
        &self,
        request: &ChatRequest,
        added: usize,
        settings: &Settings,
    ) -> Vec<&'static str> {
        let own = request.tools.len();
        let searches = self
            .tool_search
            .unwrap_or_else(|| settings.searches(own, added));
        let streaming = self.on_stream.unwrap_or(settings.streaming);
        let rejects = settings.streaming == Streaming::Reject && self.way.is_none();
        let on_stream = match rejects {
            true => "stream: false",
            false => "mcp.on_stream: \"execute\"",
        };
        let lacks = [
            (!self.auto_execute, "mcp.auto_execute_tools: true"),
            (
                request.stream && (rejects || streaming != Streaming::Execute),
                on_stream,
            ),
            (!searches, "mcp.tool_search: true"),
        ];
        let lacks = lacks.into_iter().filter(|(is_lacking, _)| *is_lacking);
        lacks.map(|(_, member)| member).collect()
    }

    /// The options of a request without the member: nothing is enabled.
    fn absent(settings: &Settings) -> Self {
        Self {
            enabled: false,
            servers: Vec::new(),
            auto_execute: false,
            max_tool_rounds: settings.rounds_cap(),
            tools: None,
            tools_param: "mcp.tools",
            resume: false,
            receipt: settings.receipt,
            on_max_rounds: settings.on_max_rounds,
            own_tools: settings.own_tools,
            on_stream: None,
            way: None,
            is_default: false,
            entries: Vec::new(),
            rules: Vec::new(),
            labels: Vec::new(),
            events: false,
            tool_search: None,
        }
    }

    /// Enables what a way asks for. Whoever opts in so cannot run calls, so that streams are streams of
    /// the loop, whatever the operator says.
    fn opt_in(&mut self, opt_in: OptIn) -> Result<(), Refusal> {
        let OptIn {
            param,
            servers,
            tools,
            entries,
        } = opt_in;
        if let Some(tools) = tools {
            if self.tools.is_some() {
                return Err(both("mcp.tools", TOOLS_HEADER));
            }
            self.tools = Some(tools);
            self.tools_param = TOOLS_HEADER;
        }
        (self.enabled, self.auto_execute) = (true, true);
        self.on_stream = Some(Streaming::Execute);
        (self.servers, self.entries) = (servers, entries);
        self.way = Some(param);
        Ok(())
    }

    /// Returns `true` if there are servers to be [found](Self::find).
    pub(crate) fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Finds the servers that entries of `tools` mean, and adds the tokens that these give to `tokens`.
    /// `hosts` are those that the request may have come to. `None` if there are no entries.
    ///
    /// # Errors
    /// An entry means no server, or says of one what it may not.
    pub(crate) async fn find(
        &mut self,
        gateway: &Gateway,
        project: &Project,
        hosts: &[String],
        tokens: &mut CallerTokens,
    ) -> Result<Option<LookedUp>, Refusal> {
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() {
            return Ok(None);
        }
        let found = ways::tools_entries::find(gateway, project, hosts, tokens, &entries);
        let found: Found = found.await?;
        (self.servers, self.rules) = (found.servers, found.rules);
        self.labels = found.labels;
        Ok(Some(found.looked_up))
    }

    /// The tools that a later request gets which goes on from this one, if they are not all of the
    /// servers: no more than those of its catalog.
    pub(crate) fn kept_tools(&self, catalog: &Catalog) -> Option<Vec<String>> {
        let are_chosen = |(_, rules): &(Vec<usize>, ToolRules)| rules.allowed.is_some();
        match self.rules.iter().any(are_chosen) {
            true => Some(
                catalog
                    .entries()
                    .map(|tool| tool.offer().name.clone())
                    .collect(),
            ),
            false => self.tools.clone(),
        }
    }

    /// The only tools to offer, and the place in the request that names them.
    pub(crate) fn only(&self) -> Option<(&[String], &'static str)> {
        Some((self.tools.as_deref()?, self.tools_param))
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

    fn of_member(mcp: &str, settings: &Settings) -> Result<(Self, Said), Refusal> {
        let object =
            Object::parse(mcp).map_err(|_| Refusal::invalid_option("mcp", "must be an object"))?;
        if let Some(name) = object.doubled() {
            return Err(Refusal::invalid_option(
                &format!("mcp.{}", short(name)),
                "is given twice",
            ));
        }
        let (cap, names) = (settings.rounds_cap(), names(settings));
        let mut options = Self::absent(settings);
        for (name, value) in object.iter() {
            let set = options.set(name, value, cap, names);
            set.map_err(|fault| fault.of(name))?;
        }
        Ok((options, Said::of(&object)))
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
            "tool_search" => self.tool_search = Some(boolean(value)?),
            _ => {
                return Err(Fault::new(
                    "is not a member of mcp; those are enabled, servers, auto_execute_tools, max_tool_rounds, tools, resume_tool_calls, receipt, on_max_rounds, own_tools, on_stream, events and tool_search",
                ));
            }
        }
        Ok(())
    }

    fn check(&self, request: &ChatRequest, settings: &Settings) -> Result<(), Refusal> {
        if self.servers.is_empty() && self.entries.is_empty() {
            return Err(Refusal::invalid_option(
                "mcp.servers",
                "must name at least one server when mcp is enabled",
            ));
        }
        if !request.has_messages() {
            return Err(Refusal::invalid_option("messages", "must be an array"));
        }
        if self.auto_execute && !request.one_choice {
            let way = self.way.as_deref().unwrap_or("mcp.auto_execute_tools");
            return Err(Refusal::invalid_option(
                "n",
                &format!("must be 1 with {way}"),
            ));
        }
        let rejects = settings.streaming == Streaming::Reject && self.way.is_none();
        if self.auto_execute && request.stream && rejects {
            let message = "mcp.auto_execute_tools needs \"stream\": false here";
            return Err(Refusal::new(Kind::RequiresNonStream, message).at("stream"));
        }
        Ok(())
    }
}

/// What a member `mcp` says about opting in.
#[derive(Default)]
struct Said {
    /// It says whether, or with which servers; otherwise it goes with any way.
    opts_in: bool,
    /// A member that forbids what other ways always do.
    against: Option<&'static str>,
    /// Whether open calls are to be run.
    resumes: Option<bool>,
}

impl Said {
    fn of(mcp: &Object<'_>) -> Self {
        let runs_none = mcp.get("auto_execute_tools") == Some("false");
        let returns = mcp.string("on_stream").as_deref() == Some("return");
        Self {
            opts_in: mcp.count("enabled") + mcp.count("servers") > 0,
            against: match (runs_none, returns) {
                (true, _) => Some("mcp.auto_execute_tools"),
                (false, true) => Some("mcp.on_stream"),
                (false, false) => None,
            },
            resumes: mcp.get("resume_tool_calls").map(|said| said == "true"),
        }
    }
}

/// The most names of servers or tools in a list of this gateway's callers: each server that is of use
/// has a tool, and names may be repeated.
fn names(settings: &Settings) -> usize {
    NAMES.max(settings.limits.tools)
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
            Unread::TooManyEntries => {
                let fault = format!("has more than {ENTRIES} entries of the type mcp");
                Some(Refusal::invalid_option("tools", &fault))
            }
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

/// The header that names tools, as `mcp.tools` does.
const TOOLS_HEADER: &str = "x-mcp-tools";

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
            (&OptInHeaders::default(), &ByModel::default()),
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
                (&OptInHeaders::default(), &ByModel::default()),
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
