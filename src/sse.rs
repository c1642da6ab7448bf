//! A parser of server-sent events, from bytes that arrive in any pieces.
//!
//! It follows the [event stream format] of the HTML standard. Memory is bounded: the current line
//! and the event being collected share one limit, comments included.
//!
//! [event stream format]: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

use std::time::Duration;

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr2};

/// One event with data.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Event {
    /// The `event` field; empty means `message`.
    pub(crate) name: Vec<u8>,
    /// The `data` lines, joined by line feeds.
    pub(crate) data: Vec<u8>,
}

/// The error of an event that is larger than allowed.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct TooLarge;

/// The longest id in bytes; longer ones are ignored, since ids are sent back to the server in a
/// header.
const MAX_ID: usize = 1024;

/// Tells by the first bytes of an event whether it is of another kind.
type IsOther = fn(&[u8]) -> bool;

/// The field of nearly all lines.
const DATA: &[u8] = b"data:";

/// A line beyond this is not copied whole.
const LARGE: usize = 256 * 1024;

/// Adds to something that arrives in pieces. What is large grows by eighths, not to twice its size.
pub(crate) fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    if to.len() > LARGE && to.capacity() - to.len() < bytes.len() {
        to.reserve_exact(bytes.len().max(to.len() / 8));
    }
    to.extend_from_slice(bytes);
}

#[derive(Debug)]
pub(crate) struct Parser {
    max: usize,
    /// The limit of events of another kind, and what tells them by their beginning.
    other: Option<(usize, IsOther)>,
    /// The current event is of that kind.
    is_other: bool,
    /// A line whose end has not arrived.
    line: Vec<u8>,
    event: Event,
    /// `true` once a field of the current event has been seen.
    begun: bool,
    id: Option<Vec<u8>>,
    last_id: Option<Vec<u8>>,
    retry: Option<Duration>,
    /// `true` if a line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    first_line: bool,
}

impl Parser {
    /// Creates a parser that refuses events of more than `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            other: None,
            is_other: false,
            line: Vec::new(),
            event: Event::default(),
            begun: false,
            id: None,
            last_id: None,
            retry: None,
            after_cr: false,
            first_line: true,
        }
    }

    /// The same, which allows `max` bytes for events whose first bytes, as many as are allowed
    /// otherwise, are of another kind.
    pub(crate) fn with_other(mut self, max: usize, is_other: IsOther) -> Self {
        self.other = Some((max, is_other));
        self
    }

    /// Consumes bytes up to the end of the next event that has data, or all of them.
    pub(crate) fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Event>, TooLarge> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes.advance(1);
                continue;
            }
            let Some(end) = memchr2(b'\r', b'\n', bytes) else {
                self.fits(bytes)?;
                append(&mut self.line, bytes);
                bytes.clear();
                break;
            };
            self.fits(&bytes[..end])?;
            self.after_cr = bytes[end] == b'\r';
            let event = self.end_line(&bytes[..end]);
            bytes.advance(end + 1);
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Returns true if an event has begun and not ended.
    pub(crate) fn is_inside_event(&self) -> bool {
        self.begun || !self.line.is_empty()
    }

    /// Returns the limit of the current event.
    pub(crate) fn limit(&self) -> usize {
        let other = self.other.filter(|_| self.is_other);
        other.map_or(self.max, |(max, _)| max)
    }

    /// Returns the id to resume after, once an event with one has ended.
    pub(crate) fn last_id(&self) -> Option<&[u8]> {
        self.last_id.as_deref()
    }

    /// Returns the time that the server asks to wait before a reconnect.
    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn fits(&mut self, more: &[u8]) -> Result<(), TooLarge> {
        let size = self.event.data.len() + self.event.name.len() + self.line.len() + more.len();
        if size <= self.max || self.is_allowed(size, more) {
            Ok(())
        } else {
            Err(TooLarge)
        }
    }

    /// Returns `true` if so many bytes are allowed for what has begun.
    fn is_allowed(&mut self, size: usize, more: &[u8]) -> bool {
        let Some((_, is_other)) = self.other.filter(|(max, _)| size <= *max) else {
            return false;
        };
        // Looked at once.
        if !self.is_other {
            let begun = [&self.event.data[..], &self.line, more];
            self.is_other = begun.into_iter().any(is_other);
        }
        self.is_other
    }

    /// Consumes the rest of a line; returns the event if the line ends one.
    fn end_line(&mut self, rest: &[u8]) -> Option<Event> {
        if self.line.is_empty() {
            // The usual case: the line is in one piece and need not be copied.
            return self.whole_line(rest);
        }
        append(&mut self.line, rest);
        let mut line = std::mem::take(&mut self.line);
        if line.len() > LARGE && self.event.data.is_empty() && line.starts_with(DATA) {
            // Moved, since it may be the largest thing that there is in memory.
            let blank = usize::from(line.get(DATA.len()) == Some(&b' '));
            line.drain(..DATA.len() + blank);
            line.push(b'\n');
            self.event.data = line;
            (self.begun, self.first_line) = (true, false);
            return None;
        }
        let event = self.whole_line(&line);
        line.clear();
        self.line = line;
        event
    }

    fn whole_line(&mut self, mut line: &[u8]) -> Option<Event> {
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let (name, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        self.field(name, value.strip_prefix(b" ").unwrap_or(value));
        None
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"data" => {
                // Allocated once, with the line feed: nearly all data is one line.
                self.event.data.reserve(value.len() + 1);
                self.event.data.extend_from_slice(value);
                self.event.data.push(b'\n');
            }
            b"event" => value.clone_into(&mut self.event.name),
            b"id" if value.len() <= MAX_ID && !value.contains(&0) => self.id = Some(value.to_vec()),
            b"retry" => {
                let millis = std::str::from_utf8(value).ok().filter(|v| is_number(v));
                if let Some(millis) = millis.and_then(|v| v.parse().ok()) {
                    self.retry = Some(Duration::from_millis(millis));
                }
            }
            // Comments have an empty name; unknown fields are ignored.
            _ => return,
        }
        self.begun = true;
    }

    fn end_event(&mut self) -> Option<Event> {
        self.begun = false;
        self.is_other = false;
        if let Some(id) = self.id.take() {
            // An empty id resets the last one.
            self.last_id = Some(id).filter(|id| !id.is_empty());
        }
        let mut event = std::mem::take(&mut self.event);
        // The last line feed was added here. Without data there is no event, only perhaps an id.
        event.data.pop()?;
        Some(event)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (Vec<(String, String)>, Option<Vec<u8>>, Option<Duration>);

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
        let mut parser = Parser::new(1 << 20);
        let mut events = Vec::new();
        for piece in pieces {
            let mut bytes = Bytes::copy_from_slice(piece);
            while let Some(event) = parser.next(&mut bytes).expect("small") {
                events.push((
                    String::from_utf8_lossy(&event.name).into_owned(),
                    String::from_utf8_lossy(&event.data).into_owned(),
                ));
            }
        }
        let last_id = parser.last_id().map(<[u8]>::to_vec);
        (events, last_id, parser.retry())
    }

    fn data(stream: &str) -> Vec<String> {
        let (events, ..) = read([stream.as_bytes()]);
        events.into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn every_line_end_ends_a_line() {
        for stream in [
            "data: a\n\ndata: b\n\n",
            "data: a\r\rdata: b\r\r",
            "data: a\r\n\r\ndata: b\r\n\r\n",
        ] {
            assert_eq!(data(stream), ["a", "b"]);
        }
    }

    #[test]
    fn data_lines_are_joined_and_one_space_is_dropped() {
        assert_eq!(data("data: a\ndata:b\ndata\ndata:  c\n\n"), ["a\nb\n\n c"]);
    }

    #[test]
    fn comments_unknown_fields_and_a_byte_order_mark_are_ignored() {
        assert_eq!(data("\u{feff}data: a\n: ping\nfoo: bar\n\n:\n\n"), ["a"]);
    }

    #[test]
    fn an_event_without_its_blank_line_is_none() {
        assert!(data("data: a\n").is_empty());
    }

    #[test]
    fn an_event_without_data_leaves_its_id_and_retry() {
        let (events, id, retry) = read([&b"id: 7\nretry: 500\ndata\n\nid: 8\n\n"[..]]);
        assert_eq!(events, [(String::new(), String::new())]);
        assert_eq!(id.as_deref(), Some(&b"8"[..]));
        assert_eq!(retry, Some(Duration::from_millis(500)));
    }

    #[test]
    fn an_id_counts_only_when_its_event_has_ended() {
        let (_, id, _) = read([&b"id: 1\ndata: a\n\nid: 2\ndata: b\n"[..]]);
        assert_eq!(id.as_deref(), Some(&b"1"[..]));
    }

    #[test]
    fn names_are_kept() {
        let (events, ..) = read([&b"event: endpoint\ndata: /x\n\n"[..]]);
        assert_eq!(events, [("endpoint".to_owned(), "/x".to_owned())]);
    }

    #[test]
    fn an_endless_line_or_event_is_refused() {
        let mut parser = Parser::new(100);
        assert_eq!(
            parser.next(&mut Bytes::from(vec![b'x'; 101])),
            Err(TooLarge)
        );
        let mut parser = Parser::new(100);
        let lines = "data: 0123456789\n".repeat(11);
        assert_eq!(parser.next(&mut Bytes::from(lines)), Err(TooLarge));
        let mut parser = Parser::new(100);
        for _ in 0..100 {
            assert_eq!(
                parser.next(&mut Bytes::from_static(b": ping\n\n")),
                Ok(None)
            );
        }
    }

    #[test]
    fn an_event_of_another_kind_has_its_own_limit() {
        let event = |text: &str| Bytes::from(format!("data: {text}{}\n\n", "x".repeat(150)));
        let parser = || Parser::new(100).with_other(200, |begun| begun.contains(&b'!'));
        for chunk in [1, 7, 1000] {
            let read = |mut parser: Parser, bytes: &Bytes| {
                for chunk in bytes.chunks(chunk) {
                    let mut chunk = Bytes::copy_from_slice(chunk);
                    if let Some(event) = parser.next(&mut chunk)? {
                        return Ok((Some(event.data.len()), parser));
                    }
                }
                Ok((None, parser))
            };
            assert_eq!(read(parser(), &event("no")).err(), Some(TooLarge));
            let (read_one, after) = read(parser(), &event("yes!")).unwrap();
            assert_eq!(read_one, Some(154));
            // It is asked of each event anew.
            assert_eq!(read(after, &event("no")).err(), Some(TooLarge));
            let long = Bytes::from(format!("data: !{}\n\n", "x".repeat(200)));
            assert_eq!(read(parser(), &long).err(), Some(TooLarge));
        }
    }

    #[test]
    fn a_long_line_in_pieces_is_read_as_one_that_comes_whole() {
        let text = "x".repeat(LARGE + 1);
        for stream in [
            format!("data: {text}\ndata: b\n\n"),
            format!("data:{text}\n\ndata: c\n\n"),
            format!("event: e\ndata:  {text}\n\n"),
            format!("data: a\ndata: {text}\n\n"),
            format!("\u{feff}data: {text}\n\n"),
        ] {
            let whole = read([stream.as_bytes()]);
            assert!(
                whole == read(stream.as_bytes().chunks(100_000)),
                "{}",
                &stream[..20]
            );
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_events(
            stream in "(data|id|event|retry|x)?(:| |: )?[0-9a-c\u{feff}]{0,4}(\r\n|\n|\r|\n\n|\r\n\r\n|\r\r|)".prop_map(String::into_bytes),
            more in prop::collection::vec("(data: [a-c:]{0,3}|id:[0-9]?|event:e|retry: ?[0-9]|:c|)(\r\n|\n|\r)", 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let stream = [stream, more.concat().into_bytes()].concat();
            let mut cuts: Vec<_> = cuts.iter().map(|c| c.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&stream[from..cut]);
                from = cut;
            }
            pieces.push(&stream[from..]);
            prop_assert_eq!(read(pieces), read([&stream[..]]));
        }
    }
}
