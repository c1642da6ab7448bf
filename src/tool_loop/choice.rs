//! `tool_choice: {"type": "mcp", …}`: a tool of a server, as OpenAI's Responses API has it, said in the
//! words of chat completions.

use serde_json::json;

use super::ways::is_name;
use crate::{
    catalog::{Catalog, Entry},
    chat::ChatRequest,
    name::short,
    refusal::Refusal,
};

/// The labels of servers, each with the names of those that it means.
type Labels<'a> = &'a [(String, Vec<String>)];

/// Says of the first turn which of the tools of `catalog` it has to call, if `request` names a server:
/// by one of `labels`, or, where there are none, by its name. One tool is named as a function; of several
/// one is `required`, or, beside others, one of `allowed_tools`.
///
/// # Errors
/// There is no such server or tool in the request.
pub(crate) fn say(
    request: &mut ChatRequest,
    labels: Labels<'_>,
    catalog: &Catalog,
) -> Result<(), Refusal> {
    let Some(choice) = request.choice_of_server() else {
        return Ok(());
    };
    let fault = |member: &str, fault: &str| {
        Refusal::invalid_option(&format!("tool_choice.{member}"), fault)
    };
    let label = choice.label;
    let label = label.ok_or_else(|| fault("server_label", "must be given, as a string"))?;
    let is_of_label = |tool: &&Entry| is_labelled(labels, tool.server.name.as_str(), &label);
    let of_server: Vec<&Entry> = catalog.entries().filter(is_of_label).collect();
    if of_server.is_empty() {
        let which = format!(
            "names {:?}, of which the request has no tool",
            short(&label)
        );
        return Err(fault("server_label", &which));
    }
    let is_named = |tool: &&Entry| {
        let name = choice.name.as_deref();
        name.is_none_or(|name| is_name(name, tool.offer()))
    };
    let tools: Vec<&Entry> = of_server.into_iter().filter(is_named).collect();
    let function =
        |tool: &Entry| json!({"type": "function", "function": {"name": tool.offer().name}});
    let has_others = !request.tools.is_empty() || catalog.entries().count() > tools.len();
    let value = match &tools[..] {
        [] => {
            let name = choice.name.unwrap_or_default();
            let which = format!("names {:?}, which is no tool of it here", short(&name));
            return Err(fault("name", &which));
        }
        [tool] => function(tool),
        _ if !has_others => json!("required"),
        tools => {
            let tools: Vec<_> = tools.iter().map(|tool| function(tool)).collect();
            let allowed = json!({"mode": "required", "tools": tools});
            json!({"type": "allowed_tools", "allowed_tools": allowed})
        }
    };
    request.choose(value.to_string());
    Ok(())
}

fn is_labelled(labels: Labels<'_>, server: &str, label: &str) -> bool {
    if labels.is_empty() {
        return server == label;
    }
    let mut labels = labels.iter().filter(|(of, _)| of == label);
    labels.any(|(_, servers)| servers.iter().any(|name| name == server))
}
