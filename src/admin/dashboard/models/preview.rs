//! What requests get by an alias or a default, told by the layer itself.

use http::HeaderMap;
use serde_json::json;

use super::{pages::ModelPages, place::Kind};
use crate::{
    admin::dashboard::{
        control::texts,
        text::{Shown, sentence},
    },
    pattern::covers,
    project::Project,
    registry::{
        ModelRules,
        members::{Node, Tree, Words, read_alias, read_default},
    },
    tool_loop::Unoffered,
};

/// Tools that are shown: no request has more.
const TOOLS: usize = 128;
/// Tools left out that are shown.
const LEFT_OUT: usize = 500;

/// What a request of one project gets.
pub(super) struct Preview {
    pub(super) project: Shown,
    /// The offered names, each with its server and its tool.
    pub(super) tools: Vec<(Shown, String, Shown)>,
    /// How many there are, and how many of them the model finds by a search.
    pub(super) count: usize,
    pub(super) found: usize,
    /// Tools that it does not get, with their server and the reason.
    pub(super) left_out: Vec<(Shown, String, Shown)>,
    /// Why the request gets nothing.
    pub(super) refusal: Option<Shown>,
}

impl Preview {
    /// What requests of `project` get by `entry`; `None` where nobody explains, or it is none yet.
    pub(super) async fn of(
        pages: &ModelPages,
        kind: Kind,
        entry: &Tree<'_>,
        project: &str,
    ) -> Option<Self> {
        let explainer = pages.explainer.as_ref()?;
        let rules = pages.models.in_force();
        let (model, is_in_force) = model(kind, entry, project, &rules)?;
        let mut body = json!({"model": model, "messages": []});
        if !is_in_force {
            // What is not saved yet is asked for by name.
            let servers = texts(entry.get("servers"));
            body["mcp"] = json!({"enabled": true, "servers": servers, "auto_execute_tools": true});
        }
        let mut preview = Self {
            project: Shown::of(project),
            tools: Vec::new(),
            count: 0,
            found: 0,
            left_out: Vec::new(),
            refusal: None,
        };
        let whose = Project::new(project).with_organization(pages.store.organization().clone());
        let body = body.to_string().into();
        let explained = explainer
            .explain(body, &whose, &mut HeaderMap::new(), None)
            .await;
        match explained {
            Err(unserved) => {
                let refusal = unserved.refusal.to_string();
                preview.refusal = Some(Shown::of(&sentence(&refusal)));
            }
            Ok(explanation) => {
                let reason = explanation.no_default.as_deref();
                preview.refusal = reason.map(|reason| Shown::of(&sentence(reason)));
                let tools = explanation.tools.iter().take(TOOLS);
                preview.count = explanation.tools.len();
                preview.found = explanation
                    .tools
                    .iter()
                    .filter(|tool| tool.is_found)
                    .count();
                let tools = tools.map(|tool| {
                    let (name, own) = (Shown::of(&tool.offered_name), Shown::of(&tool.tool));
                    (name, tool.server.to_string(), own)
                });
                preview.tools = tools.collect();
                let left_out = explanation.left_out.iter().take(LEFT_OUT);
                let left_out = left_out.map(|Unoffered { server, tool, .. }| {
                    (
                        Shown::of(tool.tool()),
                        server.to_string(),
                        Shown::of(tool.reason()),
                    )
                });
                preview.left_out = left_out.collect();
            }
        }
        Some(preview)
    }
}

/// A model of a request that gets `entry`, and whether it does so now; `None` if it is no entry.
fn model(
    kind: Kind,
    entry: &Tree<'_>,
    project: &str,
    rules: &ModelRules,
) -> Option<(String, bool)> {
    let at = Node::new(entry, &Words::JSON);
    match kind {
        Kind::Alias => {
            let alias = read_alias(&at).ok()?;
            match rules.alias(project, &alias.name) {
                Some(found) if *found == alias => Some((alias.name, true)),
                _ => Some((alias.model, false)),
            }
        }
        Kind::Default => {
            let default = read_default(&at).ok()?;
            let model = literal(default.models.first()?);
            let is_first = rules.default_servers(project, &model) == Some(&default);
            Some((model, is_first))
        }
    }
}

/// The shortest name that fits a pattern.
fn literal(pattern: &str) -> String {
    pattern.replace('*', "")
}

/// The first pattern of the default `entry` that is of no use, since all its models get an earlier
/// default. One of which only some do is of use: what is narrow stands before what is wide on purpose.
pub(super) fn overtaken(entry: &Tree<'_>, rules: &ModelRules) -> Option<String> {
    let default = read_default(&Node::new(entry, &Words::JSON)).ok()?;
    let at = rules.defaults().iter().position(|rule| *rule == default)?;
    let earlier = rules.defaults()[..at].iter();
    let earlier = earlier.filter(|rule| rule.project == default.project);
    let earlier: Vec<&String> = earlier.flat_map(|rule| &rule.models).collect();
    let mut patterns = default.models.iter();
    let is_overtaken = |pattern: &&String| earlier.iter().any(|wide| covers(wide, pattern));
    patterns.find(is_overtaken).cloned()
}
