//! All tools of one server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use bytes::Bytes;

use super::{
    form::Form,
    instructions::Instructions,
    offered::{Entry, Offered, joined},
    searched::Searched,
    tool::{Offer, name_fault},
};
use crate::{
    apart,
    left_out::LeftOut,
    mcp::Tool,
    name::{ServerName, offered_name},
    registry::{Pins, Server, ToolPolicy, ToolState},
    schema,
    unseen::{self, Json},
};

const HIDDEN_NAME: &str = "a name in its input schema has invisible characters";

/// The largest list of tools read on a serving thread: a few thousandths of a second.
const LISTED_HERE: usize = 64 << 10;
/// The most forms of a list that are kept beside the usual one; a proxy has one upstream.
const FORMS: usize = 2;
/// Tools left out of another form that are named in the log.
const NAMED: usize = 8;
/// The bytes of a tool in another form, beside its definition.
const TOOL: usize = 512;

/// All tools of one server that can be offered, by offered name, and those that cannot.
#[derive(Debug)]
pub(crate) struct Offers {
    pub(crate) tools: Vec<Arc<Offer>>,
    pub(crate) left_out: Vec<LeftOut>,
    /// The pins accepted when they were listed, for records that have none.
    pub(crate) pins: Option<Arc<Pins>>,
    /// What the server said of how to use them.
    pub(crate) instructions: Option<Instructions>,
    /// The definitions of all tools, which are slices of it.
    definitions: Bytes,
    /// What the record that was last asked for offers. A server has one record, so one place is
    /// enough: only while an edit spreads do requests take it from each other.
    // Held for an assignment, never across an await.
    offered: Mutex<Option<Arc<Offered>>>,
    /// The index of all tools, made when they are first searched.
    searched: Arc<Searched>,
    /// The same tools in other forms, made when they are first asked for.
    forms: Mutex<Vec<(Form, Arc<Self>)>>,
}

impl Offers {
    /// The tools that `server` listed, in the usual form.
    pub(crate) fn new(server: &ServerName, listed: Vec<Tool>, mut left_out: Vec<LeftOut>) -> Self {
        let mut uses: HashMap<String, usize> = HashMap::new();
        for tool in &listed {
            *uses.entry(offered_name(server, &tool.name)).or_default() += 1;
        }
        let mut tools = Vec::with_capacity(listed.len());
        let compiled = Arc::new(AtomicU64::new(0));
        for tool in listed {
            let name = offered_name(server, &tool.name);
            let fault = name_fault(&tool.name).or_else(|| schema::fault(&tool.input_schema));
            let schema = unseen::json(tool.input_schema.get());
            let hides = matches!(schema, Json::InAName).then_some(HIDDEN_NAME);
            if uses[&name] > 1 && fault.or(hides).is_none() {
                let reason = format!("another tool of this server also becomes {name}");
                left_out.push(LeftOut::new(&tool.name, reason));
                continue;
            }
            let offer = || Offer::new(name, &tool, &schema, Form::default(), &compiled);
            match fault.or(hides).map_or_else(offer, Err) {
                Ok(offer) => tools.push(offer),
                Err(reason) => left_out.push(LeftOut::new(&tool.name, reason)),
            }
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Self::of(tools, left_out, None)
    }

    fn of(mut tools: Vec<Offer>, left_out: Vec<LeftOut>, pins: Option<Arc<Pins>>) -> Self {
        let definitions = share_definitions(&mut tools);
        let tools: Vec<_> = tools.into_iter().map(Arc::new).collect();
        Self {
            searched: Arc::new(Searched::new(tools.clone(), definitions.len())),
            tools,
            left_out,
            pins,
            instructions: None,
            definitions,
            offered: Mutex::default(),
            forms: Mutex::default(),
        }
    }

    /// These tools in `form`, where they were made before.
    pub(crate) fn known_in(self: &Arc<Self>, form: Form) -> Option<Arc<Self>> {
        if form == Form::default() {
            return Some(self.clone());
        }
        let forms = self.forms();
        let known = forms.iter().find(|(known, _)| *known == form);
        known.map(|(_, offers)| offers.clone())
    }

    /// The same tools in `form`, which are made once; on another thread if they are many. `None` if
    /// that failed.
    pub(crate) async fn in_form(
        self: &Arc<Self>,
        server: &ServerName,
        form: Form,
    ) -> Option<Arc<Self>> {
        let known = self.known_in(form);
        if known.is_some() {
            return known;
        }
        let (offers, name) = (self.clone(), server.clone());
        let make = move || Arc::new(offers.formed(&name, form));
        let made = match self.definitions.len() <= LISTED_HERE {
            true => make(),
            false => apart::finish(make).await?,
        };
        for tool in made.left_out.iter().skip(self.left_out.len()).take(NAMED) {
            tracing::warn!(%server, tool = tool.tool(), reason = tool.reason(), "tool left out for this upstream");
        }
        let mut forms = self.forms();
        forms.truncate(FORMS - 1);
        forms.insert(0, (form, made.clone()));
        Some(made)
    }

    fn formed(&self, server: &ServerName, form: Form) -> Self {
        let (mut tools, mut left_out) = (Vec::new(), self.left_out.clone());
        let fault = form.name_fault(server);
        for offer in &self.tools {
            match fault.map_or_else(|| offer.in_form(form), Err) {
                Ok(offer) => tools.push(offer),
                Err(reason) => left_out.push(LeftOut::new(&offer.tool, reason)),
            }
        }
        Self {
            instructions: self.instructions.clone(),
            ..Self::of(tools, left_out, self.pins.clone())
        }
    }

    /// The bytes that the other forms take.
    pub(crate) fn form_bytes(&self) -> usize {
        let forms = self.forms();
        let bytes = forms
            .iter()
            .map(|(_, form)| form.definitions.len() + form.tools.len() * TOOL);
        bytes.sum()
    }

    fn forms(&self) -> MutexGuard<'_, Vec<(Form, Arc<Self>)>> {
        self.forms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds the offers on another thread if the list is long; `None` if that failed.
    pub(crate) async fn listed(
        server: &ServerName,
        listed: Vec<Tool>,
        left_out: Vec<LeftOut>,
    ) -> Option<Self> {
        let size = |tool: &Tool| {
            let description = tool.description.as_ref().map_or(0, String::len);
            tool.input_schema.get().len() + description
        };
        if listed.iter().map(size).sum::<usize>() <= LISTED_HERE {
            return Some(Self::new(server, listed, left_out));
        }
        let server = server.clone();
        apart::finish(move || Self::new(&server, listed, left_out)).await
    }

    /// What `server` offers of them: as it was made for the last request, if that had the same
    /// record. Nothing is done for each tool then.
    pub(crate) fn offered(&self, server: &Arc<Server>) -> Arc<Offered> {
        let kept = || self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(offered) = &*kept()
            && offered.is_of(server)
        {
            return offered.clone();
        }
        let offered = Arc::new(self.select(server));
        *kept() = Some(offered.clone());
        offered
    }

    fn select(&self, server: &Arc<Server>) -> Offered {
        let entry = |(offer, policy): (&Arc<Offer>, _)| Entry {
            server: server.clone(),
            policy,
            is_always: server.tools.is_always(&offer.tool),
            offer: offer.clone(),
            pins: self.pins.clone(),
        };
        let entries: Vec<_> = self.selected(server).map(entry).collect();
        let definitions = match entries.len() == self.tools.len() {
            true => self.definitions.clone(),
            false => joined(entries.iter().map(|entry| &entry.offer.definition)),
        };
        let withheld = self.withheld(server).collect();
        let instructions = self.instructions_for(server);
        let searched = self.searched.clone();
        Offered::new(server.clone(), entries, definitions, withheld, searched)
            .with_instructions(instructions)
    }

    /// The instructions that go to models.
    fn instructions_for(&self, server: &Server) -> Option<Arc<str>> {
        let instructions = self.instructions.as_ref().filter(|_| server.instructions)?;
        let pins = self.pins.as_deref();
        let is_withheld = server.withholds_instructions(instructions.fingerprint, pins);
        (!is_withheld).then(|| instructions.given.clone())
    }

    /// The tools that `server` offers.
    pub(crate) fn selected(
        &self,
        server: &Server,
    ) -> impl Iterator<Item = (&Arc<Offer>, ToolPolicy)> {
        self.tools.iter().filter_map(move |offer| {
            let policy = server.tools.policy(&offer.tool)?;
            let is_offered = offer.withheld(server, self.pins.as_deref()).is_none();
            is_offered.then_some((offer, policy))
        })
    }

    /// The tools that `server` would offer, if somebody accepted them.
    pub(crate) fn withheld(&self, server: &Server) -> impl Iterator<Item = LeftOut> {
        self.tools.iter().filter_map(move |offer| {
            server.tools.policy(&offer.tool)?;
            let state = offer.withheld(server, self.pins.as_deref())?;
            let reason = match state {
                ToolState::Changed => "it has changed since it was accepted",
                _ => "it is new and not accepted yet",
            };
            Some(LeftOut::new(&offer.tool, reason))
        })
    }
}

/// Puts the definitions of all tools into one piece of memory, of which each then has a slice.
fn share_definitions(tools: &mut [Offer]) -> Bytes {
    let all = joined(tools.iter().map(|offer| &offer.definition));
    let mut start = 0;
    for offer in tools {
        let end = start + offer.definition.len();
        offer.definition = all.slice(start..end);
        start = end + 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::RawValue};

    use super::*;
    use crate::{registry::Definition, unseen::is_unseen};

    fn tool(name: &str, schema: Value) -> Tool {
        raw_tool(name, serde_json::value::to_raw_value(&schema).unwrap())
    }

    fn raw_tool(name: &str, input_schema: Box<RawValue>) -> Tool {
        Tool {
            name: name.into(),
            input_schema,
            title: None,
            description: None,
            output_schema: None,
            annotations: None,
        }
    }

    fn offers(tools: Vec<Tool>) -> Offers {
        Offers::new(&"s".parse().unwrap(), tools, Vec::new())
    }

    #[test]
    fn tools_are_sorted_and_keep_their_schema_byte_for_byte() {
        let schema = RawValue::from_string(
            r#"{"type":"object", "properties":{ "a" : {"maximum":1.0} },"x-unknown":[ ]}"#.into(),
        )
        .unwrap();
        let offers = offers(vec![tool("b", json!({})), raw_tool("a", schema)]);
        let names: Vec<_> = offers.tools.iter().map(|t| &*t.name).collect();
        assert_eq!(names, ["s__a", "s__b"]);
        assert_eq!(
            offers.tools[0].definition,
            r#"{"type":"function","function":{"name":"s__a","parameters":{"type":"object", "properties":{ "a" : {"maximum":1.0} },"x-unknown":[ ]}}}"#
        );
        let b: Value = serde_json::from_slice(&offers.tools[1].definition).unwrap();
        let empty = json!({"type": "object", "properties": {}});
        assert_eq!(b["function"]["parameters"], empty);
    }

    #[test]
    fn two_tools_that_end_at_one_name_are_both_left_out() {
        let offers = offers(vec![
            tool("a", json!({})),
            tool("twice", json!({})),
            tool("twice", json!({})),
        ]);
        assert_eq!(offers.tools.len(), 1);
        assert_eq!(offers.left_out.len(), 2);
        assert!(offers.left_out[0].reason().contains("s__twice"));
    }

    #[test]
    fn evil_names_are_left_out_and_shown_without_their_evil() {
        for name in [
            "",
            "a\u{1b}[31m",
            "a\0",
            "a\u{202e}b",
            "a\u{200b}",
            "\u{e0041}",
            &"x".repeat(10_000),
        ] {
            let offers = offers(vec![tool(name, json!({}))]);
            assert!(offers.tools.is_empty(), "{name:?}");
            assert!(offers.left_out[0].tool().chars().all(|c| !is_unseen(c)));
            assert!(offers.left_out[0].tool().len() < 1100);
        }
        assert_eq!(offers(vec![tool("search.v2 🔍", json!({}))]).tools.len(), 1);
    }

    #[test]
    fn a_description_is_cleaned_and_cut() {
        let mut tool = tool("a", json!({}));
        tool.description = Some(format!("see\u{202e}n\n{}", "x".repeat(20_000)));
        let offers = offers(vec![tool]);
        let description = offers.tools[0].description.as_deref().unwrap();
        assert!(description.starts_with("seen\nxxx") && description.ends_with("x [cut]"));
        assert!(description.len() < 9000);
        let offered: Value = serde_json::from_slice(&offers.tools[0].definition).unwrap();
        let offered = offered["function"]["description"].as_str().unwrap();
        assert!(offered.starts_with("seen\nxxx") && offered.ends_with("x [cut]"));
        assert_eq!(offered.len(), 1024);
    }

    #[test]
    fn what_cannot_be_seen_reaches_no_model_and_fingerprints_are_made_of_all() {
        let schema = r#"{"properties":{"a":{"title":"A\udb40\udc41","enum":["x\u200b"]}}}"#;
        let schema = RawValue::from_string(schema.into()).unwrap();
        let mut hiding = raw_tool("a", schema.clone());
        hiding.description = Some("reads\u{e0041}\u{202e} files".into());
        let original = Definition::of(&hiding);
        let offers = offers(vec![hiding, tool("b", json!({"title": "plain é"}))]);
        let [a, b] = &offers.tools[..] else {
            panic!("two tools")
        };
        let offered: Value = serde_json::from_slice(&a.definition).unwrap();
        assert_eq!(offered["function"]["description"], "reads files");
        let property = &offered["function"]["parameters"]["properties"]["a"];
        assert_eq!(*property, json!({"title": "A", "enum": ["x"]}));
        assert_eq!(a.listed, original);
        assert_eq!(a.input_schema.get(), schema.get());
        assert!(a.is_cleaned && !b.is_cleaned);
    }

    #[test]
    fn a_tool_whose_schema_hides_something_in_a_name_is_left_out() {
        let schema = json!({"properties": {"a\u{200b}": {"type": "string"}}});
        let offers = offers(vec![tool("a", schema)]);
        assert!(offers.tools.is_empty());
        assert!(offers.left_out[0].reason().contains("invisible"));
    }
}
