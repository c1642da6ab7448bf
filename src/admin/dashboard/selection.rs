//! The tools of a server, to choose from.

use std::collections::{BTreeMap, BTreeSet};

use url::form_urlencoded;

use super::{
    super::tool_view::{Effect, InstructionsView, ToolView},
    form::Form,
    text::Shown,
};
use crate::{
    left_out::LeftOut,
    registry::{Gate, Observation, Server, Source, ToolState, members::Tree},
};

/// The most characters of a schema that are shown.
const SCHEMA: usize = 8000;

/// The tools in a form, with those that are selected.
#[derive(Default)]
pub(super) struct Selection {
    /// `true` for all tools, including later ones.
    pub(super) is_all: bool,
    /// Whether later ones wait to be accepted.
    pub(super) is_later_withheld: bool,
    pub(super) rows: Vec<ToolRow>,
    /// Selected tools that the server does not list, one in each line.
    pub(super) typed: String,
    pub(super) count: usize,
    /// Tools that cannot be offered to anyone, with the reasons.
    pub(super) left_out: Vec<(Shown, Shown)>,
    pub(super) instructions: Option<Said>,
}

/// What a server says of how to use its tools.
pub(super) struct Said {
    pub(super) text: Shown,
    /// Whether models get it.
    pub(super) is_on: bool,
    pub(super) badge: Option<(&'static str, &'static str)>,
    pub(super) is_declared: bool,
}

/// A tool that the server lists, or has listed.
pub(super) struct ToolRow {
    pub(super) name: String,
    pub(super) label: Shown,
    pub(super) offered: String,
    pub(super) about: Option<Shown>,
    pub(super) schema: Option<Shown>,
    /// Where it is tried, for one that is listed.
    pub(super) tried_at: Option<String>,
    pub(super) is_on: bool,
    pub(super) asks: bool,
    /// It is offered, too, where tools are searched for.
    pub(super) is_always: bool,
    pub(super) badge: Option<(&'static str, &'static str)>,
    /// What it does, as its server says.
    pub(super) effect: Option<(&'static str, &'static str)>,
}

impl Selection {
    /// Reads `chosen`, the member `tools` as it was entered, as a selection from the known tools of
    /// `server`.
    pub(super) fn of(
        chosen: &Tree<'_>,
        server: &Server,
        seen: &Observation,
        left_out: &[LeftOut],
    ) -> Self {
        let is_all = !chosen.is_list();
        let policies: BTreeMap<&str, Chosen<'_>> =
            chosen.items().iter().filter_map(selected).collect();
        let views = ToolView::all(server, seen);
        let twice = twice(&views);
        let known: BTreeSet<&str> = views.iter().map(|view| view.name).collect();
        let typed = policies.keys().filter(|tool| !known.contains(**tool));
        let typed: Vec<&str> = typed.copied().collect();
        let row = |view: &ToolView<'_>| {
            let policy = policies.get(view.name);
            let schema = view.input_schema.map(|schema| pretty(schema.get()));
            ToolRow {
                name: view.name.to_owned(),
                label: Shown::of(view.name),
                offered: view.offered_name.clone(),
                about: view.description.as_deref().map(Shown::of),
                schema: schema.map(|schema| Shown::short(&schema, SCHEMA)),
                tried_at: tried_at(server, seen, view),
                is_on: policy.is_some() || is_all,
                asks: policy.is_some_and(|chosen| chosen.policy == "ask_first"),
                is_always: policy.is_some_and(|chosen| chosen.is_always),
                effect: effect(view),
                badge: match view.state {
                    _ if twice.contains(&view.offered_name) => {
                        Some(("bad", "left out: two tools have this offered name"))
                    }
                    state => badge(state),
                },
            }
        };
        let rows: Vec<_> = views.iter().map(row).collect();
        Self {
            count: rows.iter().filter(|row| row.is_on).count() + typed.len(),
            typed: typed.join("\n"),
            left_out: left_out
                .iter()
                .map(|tool| (Shown::of(tool.tool()), Shown::of(tool.reason())))
                .collect(),
            is_all,
            is_later_withheld: server.new_tools == Some(Gate::Block),
            rows,
            instructions: Said::of(server, seen),
        }
    }

    /// Shows the choice that was made in a form.
    pub(super) fn with_instructions(mut self, form: &Form) -> Self {
        if let Some(said) = &mut self.instructions {
            said.is_on = form.has("instructions");
        }
        self
    }
}

impl Said {
    fn of(server: &Server, seen: &Observation) -> Option<Self> {
        let view = InstructionsView::of(server, seen)?;
        Some(Self {
            text: Shown::of(&view.text),
            is_on: server.instructions,
            badge: badge(view.state),
            is_declared: server.source == Source::File,
        })
    }
}

/// The page on which a tool is tried; a draft has none, and a tool that is not offered.
fn tried_at(server: &Server, seen: &Observation, view: &ToolView<'_>) -> Option<String> {
    let now = view.fingerprint.filter(|_| !server.draft)?;
    server.tools.policy(view.name)?;
    if server
        .withheld(view.name, now, seen.pins.as_deref())
        .is_some()
    {
        return None;
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("tool", view.name).finish();
    Some(format!("/servers/{}/try?{query}", server.name))
}

/// How a tool is selected.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'t> {
    pub(super) policy: &'t str,
    pub(super) is_always: bool,
}

/// A tool in a list of a body, with how it is selected.
pub(super) fn selected<'t>(tool: &'t Tree<'_>) -> Option<(&'t str, Chosen<'t>)> {
    let chosen = Chosen {
        policy: tool.get("policy").as_text().unwrap_or("auto"),
        is_always: *tool.get("always") == Tree::Flag(true),
    };
    let name = tool.as_text().or_else(|| tool.get("name").as_text());
    Some((name?, chosen))
}

/// Offered names that two tools end at.
fn twice(views: &[ToolView<'_>]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let names = views.iter().map(|view| &view.offered_name);
    let twice = names.filter(|name| !seen.insert(*name));
    twice.cloned().collect()
}

pub(super) fn badge(state: ToolState) -> Option<(&'static str, &'static str)> {
    match state {
        ToolState::Approved => None,
        ToolState::Changed => Some(("warn", "changed")),
        ToolState::New => Some(("warn", "new")),
        ToolState::Removed => Some(("bad", "gone from the server")),
    }
}

/// The badge for what a tool does.
pub(super) fn effect(view: &ToolView<'_>) -> Option<(&'static str, &'static str)> {
    match view.effect()? {
        Effect::ReadsOnly => Some(("good", "read-only")),
        Effect::Destroys => Some(("bad", "destructive")),
    }
}

/// JSON with line breaks and indentation; a text that is not JSON unchanged.
pub(super) fn pretty(json: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(json).ok();
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    pretty.unwrap_or_else(|| json.to_owned())
}
