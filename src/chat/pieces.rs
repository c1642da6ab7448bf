//! Tool calls, put together from the pieces of a stream.
//!
//! A piece belongs to a call by its index, by its id, or by what only makes sense: what has no name
//! begins no call, and another id or name behind a whole call begins one.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{merge::merge, tool_call::CALLS_READ};
use crate::json::{Object, is_object, tree_or_text};

/// The calls so far.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    calls: Vec<Call>,
    /// The place of the last call of each index: a stream may have very many.
    places: HashMap<u64, usize>,
    /// The place of the last call of each id.
    ids: HashMap<String, usize>,
    /// `true` if a client could not have put the calls together to what they are here.
    irregular: bool,
}

#[derive(Debug)]
struct Call {
    members: Map<String, Value>,
    /// The place in the arguments where their newest piece begins.
    newest: usize,
    /// Each piece of the arguments began with the piece before it.
    is_cumulative: bool,
    /// How often its arguments were read to see whether they are whole.
    judged: u16,
}

/// The most times that the arguments of one call are read while it grows: for each piece would be
/// too often, and only what comes without an id and whole needs it more than once.
const JUDGED: u16 = 256;

impl Pieces {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Returns `true` if a client could put the calls together from their pieces as they came.
    pub(super) fn is_regular(&self) -> bool {
        !self.irregular && self.calls.iter().all(|call| !call.id().is_empty())
    }

    /// The calls as a list of JSON; of a turn that may be half of one just as they came.
    pub(super) fn finish(&mut self, is_cut: bool) -> String {
        for call in &mut self.calls {
            self.irregular |= !is_cut && call.takes_newest();
        }
        let calls = self.calls.iter().map(|call| json(&call.members));
        format!("[{}]", calls.collect::<Vec<_>>().join(","))
    }

    /// Adds a piece: an element of a delta's `tool_calls`.
    pub(super) fn add(&mut self, text: &str) {
        let Value::Object(mut members) = tree_or_text(text) else {
            return;
        };
        self.irregular |= write_arguments(text, &mut members);
        let index = members.remove("index").as_ref().and_then(number);
        let known = self.known(index, &members);
        self.irregular |= index.is_none();
        if let Some(place) = known {
            let call = &mut self.calls[place];
            let id = id_of(&members);
            self.irregular |= !id.is_empty() && !call.id().is_empty() && id != call.id();
            self.irregular |= index.is_some_and(|index| self.places.get(&index) != Some(&place));
            let had_id = !call.id().is_empty();
            call.add(members);
            if !had_id {
                self.note_id(place);
            }
        } else if self.calls.len() < CALLS_READ {
            if let Some(index) = index {
                self.irregular |= index != self.calls.len() as u64;
                self.places.insert(index, self.calls.len());
            }
            let mut call = Call {
                members: Map::new(),
                newest: 0,
                is_cumulative: true,
                judged: 0,
            };
            call.add(members);
            self.calls.push(call);
            self.note_id(self.calls.len() - 1);
        }
    }

    fn note_id(&mut self, place: usize) {
        let id = self.calls[place].id();
        if !id.is_empty() {
            self.ids.insert(id.to_owned(), place);
        }
    }

    /// The place of the call that a piece with these members goes on with; `None` if it begins one.
    fn known(&mut self, index: Option<u64>, members: &Map<String, Value>) -> Option<usize> {
        let last = self.calls.len().checked_sub(1)?;
        let place = match index {
            Some(index) => self.places.get(&index).copied(),
            None => Some(self.with_id(id_of(members)).unwrap_or(last)),
        };
        match place {
            None => self.without_its_index(members),
            Some(place) if self.calls[place].is_followed_by(members, index.is_none()) => None,
            place => place,
        }
    }

    /// The place of the call that a piece under a new index goes on with all the same.
    fn without_its_index(&mut self, members: &Map<String, Value>) -> Option<usize> {
        let [name, arguments] = ["name", "arguments"].map(|member| function(members, member));
        if let Some(place) = self.with_id(id_of(members)) {
            // One call under several indexes (mudler/LocalAI#9722).
            let call = &self.calls[place];
            let is_begun = function(&call.members, "name") == name && !call.has_arguments();
            return (is_begun || !is_named(members)).then_some(place);
        }
        // Some count the pieces (dirac-run/dirac#215): what has no name begins no call, as long as
        // the last one is not whole.
        let place = self.calls.len().checked_sub(1)?;
        let is_rest = id_of(members).is_empty() && !is_named(members) && !arguments.is_empty();
        (is_rest && !self.calls[place].is_whole()).then_some(place)
    }

    /// The place of the last call with this id, if it has one.
    fn with_id(&self, id: &str) -> Option<usize> {
        self.ids.get(id).copied()
    }
}

impl Call {
    fn id(&self) -> &str {
        id_of(&self.members)
    }

    fn add(&mut self, members: Map<String, Value>) {
        let more = function(&members, "arguments");
        if !more.is_empty() {
            let before = function(&self.members, "arguments");
            let newest = before.get(self.newest..).unwrap_or_default();
            self.is_cumulative &= before.is_empty() || more.starts_with(newest);
            self.newest = before.len();
        }
        merge(&mut self.members, members);
    }

    fn has_arguments(&self) -> bool {
        !function(&self.members, "arguments").is_empty()
    }

    fn has_half(&mut self) -> bool {
        self.has_arguments() && !self.is_whole()
    }

    /// Returns `true` if its arguments are an object.
    fn is_whole(&mut self) -> bool {
        let arguments = function(&self.members, "arguments");
        if !ends(arguments) || self.judged == JUDGED {
            return false;
        }
        self.judged += 1;
        is_object(arguments)
    }

    /// Returns `true` if a piece with these members, which has its place or none, can only belong to
    /// another call. A model that sends no index either sends each call in one piece, even one
    /// without arguments.
    fn is_followed_by(&mut self, members: &Map<String, Value>, is_one_piece: bool) -> bool {
        // Without a name it goes on with this one, whatever its id is: some give each piece another
        // (poolsideai/pool#9, vllm-project/vllm#23522).
        if !is_named(members) {
            return false;
        }
        let [name, arguments] = ["name", "arguments"].map(|member| function(members, member));
        let known = function(&self.members, "name");
        let (is_other, is_first) = (name != known, known.is_empty());
        let is_begun = || is_other || !arguments.is_empty();
        match (id_of(members), self.id()) {
            ("", "") => is_begun() && self.is_over(is_one_piece && !is_first),
            ("", _) => is_one_piece && is_begun() && self.is_over(!is_first),
            (_, "") => !is_first && is_other && self.is_whole(),
            // One id for several calls, told apart by their names (skye-harris/hass_local_openai_llm#92).
            (id, known_id) if id == known_id => is_other && self.is_whole(),
            // Another id is another call (ollama/ollama#15457), unless it brings the rest of this one.
            _ => is_other || !is_rest(arguments) || !self.has_half(),
        }
    }

    /// Returns `true` if nothing is missing of its arguments; `are_optional` says whether it may
    /// have none.
    fn is_over(&mut self, are_optional: bool) -> bool {
        match self.has_arguments() {
            true => self.is_whole(),
            false => are_optional,
        }
    }

    /// Takes the newest piece of the arguments for all of them, where only that makes sense: it is
    /// an object and repeats what came before it, as of providers that send all that they have so
    /// far (NousResearch/hermes-agent#35718, anomalyco/opencode#12425). Returns `true` if it did.
    fn takes_newest(&mut self) -> bool {
        let text = function(&self.members, "arguments");
        let (before, newest) = text.split_at_checked(self.newest).unwrap_or_default();
        // The rest of an object is none: nothing is looked for in pieces as they should be.
        if before.is_empty() || !newest.starts_with('{') || is_object(text) {
            return false;
        }
        let repeats = self.is_cumulative || newest.starts_with(before);
        let newest = (repeats && is_object(newest)).then(|| newest.to_owned());
        let function = self.members.get_mut("function");
        match (newest, function.and_then(|f| f.get_mut("arguments"))) {
            (Some(newest), Some(arguments)) => {
                *arguments = newest.into();
                true
            }
            _ => false,
        }
    }
}

/// The most blanks behind arguments that are looked through, for each piece anew.
const BLANKS: usize = 64;

/// Returns `true` if these arguments end like an object.
fn ends(arguments: &str) -> bool {
    let end = arguments.bytes().rev().take(BLANKS);
    let mut end = end.skip_while(u8::is_ascii_whitespace);
    end.next() == Some(b'}')
}

fn id_of(members: &Map<String, Value>) -> &str {
    let id = members.get("id").and_then(Value::as_str);
    id.unwrap_or_default()
}

/// The index of a call; some send it as text.
fn number(index: &Value) -> Option<u64> {
    let text = || index.as_str()?.parse().ok();
    index.as_u64().or_else(text)
}

/// Returns `true` if these members name what is called, a function or anything else.
fn is_named(members: &Map<String, Value>) -> bool {
    let name = |value: &Value| {
        value
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|n| !n.is_empty())
    };
    members.values().any(name)
}

/// Returns `true` if these arguments can be what is missing of others.
fn is_rest(arguments: &str) -> bool {
    !arguments.is_empty() && !arguments.starts_with('{')
}

/// Writes arguments that came as an object as the text that they are in `call`, and returns `true`
/// if they did.
fn write_arguments(call: &str, members: &mut Map<String, Value>) -> bool {
    let function = members.get_mut("function");
    let Some(arguments) = function
        .and_then(|f| f.get_mut("arguments"))
        .filter(|a| a.is_object())
    else {
        return false;
    };
    let call = Object::parse(call).ok();
    let function = call.and_then(|call| Object::parse(call.present("function")?).ok());
    if let Some(text) = function.and_then(|function| function.present("arguments")) {
        *arguments = text.into();
    }
    true
}

fn json(members: &Map<String, Value>) -> String {
    // Writing JSON values with string keys does not fail.
    serde_json::to_string(members).unwrap_or_default()
}

/// A text of the function in a call with these members.
fn function<'a>(members: &'a Map<String, Value>, name: &str) -> &'a str {
    let text = members.get("function").and_then(|f| f.get(name)?.as_str());
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(pieces: impl Iterator<Item = String>) -> std::time::Duration {
        let mut all = Pieces::default();
        let began = std::time::Instant::now();
        pieces.for_each(|piece| all.add(&piece));
        began.elapsed()
    }

    #[test]
    fn blanks_behind_arguments_are_not_read_for_each_piece() {
        let blanks = " ".repeat(1 << 20);
        let first = (0..4).map(|i| match i {
            0 => format!(r#"{{"id":"a","function":{{"name":"f","arguments":"{{{blanks}"}}}}"#),
            _ => format!(r#"{{"function":{{"arguments":"{blanks}"}}}}"#),
        });
        let rest = (0..2000)
            .map(|i| format!(r#"{{"id":"b{i}","function":{{"name":"f","arguments":" "}}}}"#));
        let took = timed(first.chain(rest));
        assert!(took.as_millis() < 4_000, "{took:?}");
    }

    #[test]
    fn many_calls_without_an_index_take_no_longer_than_their_number() {
        let pieces = (0..16384)
            .map(|i| format!(r#"{{"id":"c{i}","function":{{"name":"f","arguments":"{{}}"}}}}"#));
        let more =
            (0..40_000).map(|i| format!(r#"{{"id":"d{i}","function":{{"arguments":"x"}}}}"#));
        let took = timed(pieces.chain(more));
        assert!(took.as_millis() < 4_000, "{took:?}");
    }
}
