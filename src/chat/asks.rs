//! What a body asks the layer for in members that belong to others: entries of the type `mcp` in
//! `tools`, and `mcp_servers` in `metadata`. They are taken out of it as text; what they mean is not
//! known here.

use std::ops::Range;

use memchr::memmem;

use super::unread::Unread;
use crate::json::{Edit, Object, elements, string};

/// The most entries of one request: each names a server, and more servers than that have more tools
/// than any provider takes.
pub(crate) const ENTRIES: usize = 1024;

/// What was taken out of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asks {
    /// The entries of `tools` with the type `mcp`, each with its place there.
    pub(crate) entries: Vec<(usize, String)>,
    /// The value of `metadata.mcp_servers`.
    pub(crate) servers: Option<String>,
    /// `true` if `tools` had nothing but such entries, and went as a whole.
    pub(crate) no_tools: bool,
}

/// The members in which something may be asked for.
const MEMBERS: [&str; 2] = ["metadata", "tools"];
const SERVERS: &str = "mcp_servers";

/// Returns `true` if something is asked for in one of the members, however often it is given.
pub(super) fn is_asked(request: &Object<'_>) -> bool {
    let mut members = request.iter().filter(|(name, _)| MEMBERS.contains(name));
    members.any(|(name, value)| match name {
        "tools" => elements(value).any(is_entry),
        _ => Object::parse(value).is_ok_and(|metadata| metadata.count(SERVERS) > 0),
    })
}

impl Asks {
    /// Reads what `request` asks for, and the edits that take it out: with nothing else, but for a list
    /// or an object that is empty then.
    ///
    /// # Errors
    /// Too many entries, or two values for one member.
    pub(super) fn of(request: &Object<'_>) -> Result<(Self, Vec<Edit>), Unread> {
        let mut asks = Self::default();
        let (mut edits, mut no_metadata) = (Vec::new(), false);
        if let Some(metadata) = request.get("metadata").filter(|text| may_ask(text))
            && let Ok(object) = Object::parse(metadata)
            && let Some(servers) = object.get(SERVERS)
        {
            if object.count(SERVERS) > 1 {
                return Err(Unread::Doubled(format!("metadata.{SERVERS}")));
            }
            asks.servers = Some(servers.to_owned());
            no_metadata = object.iter().count() == 1;
            if !no_metadata {
                let gone = object.removable([SERVERS]).edits([true]);
                edits.extend(request.within(metadata, gone));
            }
        }
        if let Some(tools) = request.get("tools").filter(|text| may_ask(text)) {
            let cuts = asks.take_entries(tools)?;
            if !asks.no_tools {
                let cuts = cuts.into_iter().map(Edit::remove).collect();
                edits.extend(request.within(tools, cuts));
            }
        }
        let members = request.removable(MEMBERS);
        edits.extend(members.edits([no_metadata, asks.no_tools]));
        Ok((asks, edits))
    }

    /// Takes the entries of the list `tools`; returns where they stand, each with one comma.
    fn take_entries(&mut self, tools: &str) -> Result<Vec<Range<usize>>, Unread> {
        let (mut cuts, mut has_others) = (Vec::new(), false);
        let mut before = 1;
        for (place, element) in elements(tools).enumerate() {
            let start = element.as_ptr() as usize - tools.as_ptr() as usize;
            let end = start + element.len();
            if is_entry(element) {
                if self.entries.len() == ENTRIES {
                    return Err(Unread::TooManyEntries);
                }
                self.entries.push((place, element.to_owned()));
                if has_others {
                    cuts.push(before..end);
                }
            } else if !std::mem::replace(&mut has_others, true) && place > 0 {
                // Those that the list begins with go with the commas behind them.
                cuts.push(1..start);
            }
            before = end;
        }
        self.no_tools = !self.entries.is_empty() && !has_others;
        Ok(cuts)
    }

    /// The values of the entries' `authorization`: tokens of the caller's own, as text.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        let entries = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.contains("authorization"));
        entries.filter_map(|(_, entry)| Object::parse(entry).ok()?.present("authorization"))
    }

    /// Returns `true` if something is asked for.
    pub(crate) fn is_any(&self) -> bool {
        !self.entries.is_empty() || self.servers.is_some()
    }

    /// The place in `tools`, as they came, of the element that is at `left` of those that are left.
    pub(super) fn place_before(&self, left: usize) -> usize {
        let taken = self.entries.iter().map(|(place, _)| *place);
        taken.fold(left, |at, taken| at + usize::from(taken <= at))
    }
}

/// Returns `true` if `text` may have a string that begins with `mcp`; `false` is certain.
fn may_ask(text: &str) -> bool {
    let text = text.as_bytes();
    memmem::find(text, b"\"mcp").is_some() || memmem::find(text, b"\\u00").is_some()
}

/// Returns `true` if an element of `tools` has the type `mcp`.
fn is_entry(element: &str) -> bool {
    let is_type = |(name, value): (&str, &str)| {
        name == "type" && string(value).is_some_and(|kind| kind == "mcp")
    };
    may_ask(element) && Object::parse(element).is_ok_and(|entry| entry.iter().any(is_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ChatRequest;

    fn read(body: &str) -> Result<(Asks, String), Unread> {
        let request = ChatRequest::parse(body.to_owned().into())?;
        let rest = String::from_utf8(request.bytes().to_vec()).unwrap();
        Ok((request.asks, rest))
    }

    #[test]
    fn entries_are_taken_out_wherever_they_stand_and_the_rest_stays_byte_for_byte() {
        let entry = r#"{"type":"mcp", "server_label":"s"}"#;
        for (tools, left) in [
            ("[X, {\"a\": 1.0} ]", Some("[{\"a\": 1.0} ]")),
            ("[ {} , X , 1 ]", Some("[ {} , 1 ]")),
            ("[X,X,{},X,X,2,X ]", Some("[{},2 ]")),
            ("[{}, X]", Some("[{}]")),
            ("[ X ]", None),
            ("[X,X]", None),
            (
                "[{\"type\":\"function\",\"name\":\"mcp\"}]",
                Some("[{\"type\":\"function\",\"name\":\"mcp\"}]"),
            ),
        ] {
            let body = format!(r#"{{"tools": {} , "x":"mcp"}}"#, tools.replace('X', entry));
            let (asks, rest) = read(&body).unwrap();
            let expected = match left {
                Some(left) => format!(r#"{{"tools": {left} , "x":"mcp"}}"#),
                None => r#"{ "x":"mcp"}"#.to_owned(),
            };
            assert_eq!(rest, expected, "{tools}");
            let places = tools
                .split([',', '[', ']'])
                .filter(|text| !text.trim().is_empty());
            let places = places.enumerate().filter(|(_, text)| text.trim() == "X");
            let places: Vec<_> = places.map(|(place, _)| (place, entry.to_owned())).collect();
            assert_eq!(
                (asks.entries, asks.no_tools),
                (places, left.is_none()),
                "{tools}"
            );
        }
    }

    #[test]
    fn servers_are_taken_out_of_metadata_which_goes_when_it_is_empty() {
        for (metadata, left) in [
            (r#"{"mcp_servers":"a"}"#, None),
            (r#"{ "\u006dcp_servers" : "a" }"#, None),
            (r#"{"mcp_servers":"a", "b":"c"}"#, Some(r#"{ "b":"c"}"#)),
            (r#"{"b":"c" , "mcp_servers":"a"}"#, Some(r#"{"b":"c"}"#)),
        ] {
            let (asks, rest) = read(&format!(
                r#"{{"n":1, "metadata": {metadata},"tools":[{{"type":"mcp"}}]}}"#
            ))
            .unwrap();
            assert_eq!(asks.servers.as_deref(), Some("\"a\""));
            let expected = left.map_or(r#"{"n":1}"#.to_owned(), |left| {
                format!(r#"{{"n":1, "metadata": {left}}}"#)
            });
            assert_eq!(rest, expected);
        }
        assert_eq!(
            read(r#"{"metadata":{"a":{"mcp_servers":"b"}}}"#).unwrap().0,
            Asks::default()
        );
    }

    #[test]
    fn what_is_given_twice_or_too_often_is_not_read() {
        for (body, name) in [
            (
                r#"{"metadata":{"mcp_servers":"a","mcp_servers":"b"}}"#,
                "metadata.mcp_servers",
            ),
            (
                r#"{"metadata":{},"metadata":{"mcp_servers":"b"}}"#,
                "metadata",
            ),
            (r#"{"tools":[],"tools":[{"type":"mcp"}]}"#, "tools"),
        ] {
            assert_eq!(read(body), Err(Unread::Doubled(name.into())), "{body}");
        }
        assert_eq!(
            read(r#"{"tools":[],"tools":[],"x":"mcp"}"#),
            Err(Unread::NotOurs)
        );
        let many = vec![r#"{"type":"mcp"}"#; ENTRIES + 1].join(",");
        let body = format!(r#"{{"tools":[{many}]}}"#);
        assert_eq!(read(&body), Err(Unread::TooManyEntries));
    }

    #[test]
    fn the_callers_tools_are_named_by_the_places_that_they_came_in() {
        let own = r#"{"type":"function","function":{"name":"f"}}"#;
        let entry = r#"{"type":"mcp"}"#;
        let body = format!(r#"{{"tools":[{entry},{own},{entry},{entry},{own}]}}"#);
        let mut request = ChatRequest::parse(body.into()).unwrap();
        assert!(request.read_tools(9));
        let places: Vec<_> = request.tools.iter().map(|tool| &*tool.param).collect();
        assert_eq!(places, ["tools[1].function.name", "tools[4].function.name"]);
    }
}
