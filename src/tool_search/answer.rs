//! The answers to searches and descriptions.

use std::{collections::HashMap, sync::Arc};

use super::tool::SearchTool;
use crate::{
    apart,
    chat::{ARE_NO_OBJECT, Arguments},
    json::{Object, array, string},
    name::short,
    offer::{Entry, Offered},
    search::rank,
};

/// The tools that a search gives: what fits into a model's view, as search engines have it.
const HITS: usize = 10;
/// Of these, those of one server as long as there are others: no server fills the page with its own,
/// whatever it writes into its descriptions.
const OF_ONE_SERVER: usize = 3;
/// The bytes of one line: a sentence.
const LINE: usize = 200;
/// The servers that are named where nothing fits.
const SERVERS: usize = 30;
/// The tools that are described at once: all that a search gives.
const DESCRIBED: usize = HITS;
/// The bytes of their definitions, about 8,000 tokens. The first is described however long it is.
const DESCRIBED_BYTES: usize = 32 << 10;
/// The largest lists, in bytes of definitions, that are indexed on a serving thread: some milliseconds.
const INDEXED_HERE: usize = 64 << 10;

const NO_QUERY: &str = "query must say in a few words what the tool is to do";
const NO_NAMES: &str = "names must be a list of names of tools, as mcp_search_tools gives them";
const NO_NAME: &str = "name must be the name of a tool, as mcp_search_tools gives it, and arguments those of that tool";
const BUSY: &str = "not searched: the gateway is busy; search again";

/// Answers a call of `tool` about the tools of these servers.
///
/// # Errors
/// The fault, in words that let a model repair its call.
///
/// # Cancellation
/// Lists that are being indexed are indexed to their end, for whoever searches next.
pub(crate) async fn answer(
    tool: SearchTool,
    arguments: &Arguments,
    servers: &[Arc<Offered>],
) -> Result<String, String> {
    let object = match arguments {
        Arguments::Text(text) => Object::parse(text).ok(),
        _ => None,
    };
    let object = object.ok_or(ARE_NO_OBJECT)?;
    match tool {
        SearchTool::Search => {
            let query = object.string("query");
            let query = query.filter(|query| !query.trim().is_empty());
            let query = query.ok_or(NO_QUERY)?.into_owned();
            index(servers).await?;
            Ok(found(servers, &query))
        }
        SearchTool::Describe => {
            let names = object.present("names").and_then(names).ok_or(NO_NAMES)?;
            Ok(described(servers, &names))
        }
        SearchTool::Call => Err(NO_NAME.into()),
    }
}

/// Indexes the lists that nobody has searched before: on another thread where they are long.
async fn index(servers: &[Arc<Offered>]) -> Result<(), String> {
    let lists = servers.iter().map(|offered| offered.searched());
    let new: Vec<_> = lists
        .filter(|list| list.unread_bytes() > 0)
        .cloned()
        .collect();
    let bytes: usize = new.iter().map(|list| list.unread_bytes()).sum();
    if bytes <= INDEXED_HERE {
        // When it is asked.
        return Ok(());
    }
    let all = move || {
        for list in new {
            list.index();
        }
    };
    apart::run(all).await.ok_or_else(|| BUSY.to_owned())
}

/// The tools that fit `query`, best first, one line each.
fn found(servers: &[Arc<Offered>], query: &str) -> String {
    let lists: Vec<_> = servers
        .iter()
        .map(|offered| offered.searched().index())
        .collect();
    let mut of_server: HashMap<usize, usize> = HashMap::new();
    let (mut lines, mut others) = (Vec::new(), Vec::new());
    for hit in rank(&lists, query) {
        let offered = &servers[hit.list];
        // The index has those, too, that this request is not offered.
        let Some(entry) = offered.entry(offered.searched().name(hit.document)) else {
            continue;
        };
        let count = of_server.entry(hit.list).or_default();
        *count += 1;
        match *count <= OF_ONE_SERVER {
            true => lines.push(line(entry)),
            false if others.len() < HITS => others.push(entry),
            false => {}
        }
        if lines.len() == HITS {
            break;
        }
    }
    let missing = HITS - lines.len();
    lines.extend(others.into_iter().take(missing).map(line));
    match lines.is_empty() {
        true => nothing(servers),
        false => lines.join("\n"),
    }
}

/// The name of a tool and the beginning of its description.
fn line(entry: &Entry) -> String {
    let offer = entry.offer();
    let text = offer.description.as_deref().unwrap_or_default();
    // More than fits, whatever blanks are between the words.
    let words = text.split_whitespace().take(LINE);
    let text = words.collect::<Vec<_>>().join(" ");
    let mut line = match text.is_empty() {
        true => offer.name.clone(),
        false => format!("{}: {text}", offer.name),
    };
    if line.len() > LINE {
        line.truncate(line.floor_char_boundary(LINE - "…".len()));
        line.push('…');
    }
    line
}

/// The answer to a search that finds nothing.
fn nothing(servers: &[Arc<Offered>]) -> String {
    let names = servers
        .iter()
        .filter(|offered| !offered.entries().is_empty());
    let named = names.clone().take(SERVERS);
    let named = named.map(|offered| offered.server().name.to_string());
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match names.count() > SERVERS {
        true => ", and of others",
        false => "",
    };
    format!(
        "No tool fits. Search with other words, or for what one of these servers is about: {named}{more}"
    )
}

/// The names of a list of them, or the only one.
fn names(value: &str) -> Option<Vec<String>> {
    if let Some(name) = string(value) {
        return Some(vec![name.into_owned()]);
    }
    let names = array(value, DESCRIBED + 1)?;
    let names = names.into_iter().map(|name| string(name).map(Into::into));
    names
        .collect::<Option<Vec<String>>>()
        .filter(|names| !names.is_empty())
}

/// The definitions of these tools, one a line, and what there is to say of the others.
fn described(servers: &[Arc<Offered>], names: &[String]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut left = DESCRIBED_BYTES;
    for (place, name) in names.iter().take(DESCRIBED).enumerate() {
        let entry = servers
            .iter()
            .find_map(|offered| offered.entry(name.trim()));
        let definition = entry.and_then(definition);
        lines.push(match definition {
            Some(text) if text.len() <= left || place == 0 => {
                left = left.saturating_sub(text.len());
                text
            }
            Some(_) => format!(
                "{}: too long beside the others; describe it alone",
                short(name)
            ),
            None => format!(
                "There is no tool named {:?}; search for one with mcp_search_tools.",
                short(name)
            ),
        });
    }
    if names.len() > DESCRIBED {
        lines.push(format!("At most {DESCRIBED} tools are described at once."));
    }
    lines.join("\n")
}

/// The definition that a model would have been offered, without what is the same for all.
fn definition(entry: &Entry) -> Option<String> {
    let element = std::str::from_utf8(&entry.offer().definition).ok()?;
    let element = Object::parse(element).ok()?;
    element.present("function").map(str::to_owned)
}
