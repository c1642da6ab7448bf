//! One text of an object, sought in its frames, which are read no further.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::{memchr2, memmem::Finder};

use super::text::string;

/// The longest name or text that is looked at, in bytes as they are written, with quotes.
const LONGEST: usize = 2048;

/// The text of the (first) member `name` of the object in `frames`; `None` if it has none, or if that
/// is no text of up to 2 KiB.
///
/// Nothing is checked on the way: of what is not JSON the answer says nothing.
pub(crate) fn sought_text<'a>(
    frames: impl Iterator<Item = &'a Bytes>,
    name: &str,
) -> Option<String> {
    let mut seeker = Seeker {
        name,
        depth: 0,
        is_sought: false,
        is_value: false,
        string: None,
    };
    frames
        .map(|frame| seeker.read(frame))
        .find(|found| !matches!(found, Found::Nothing))?
        .text()
}

/// The most members of a name that a glance looks at: inner objects seldom have as many.
const GLANCED: usize = 4;

/// Returns `true` if a glance shows that [`sought_text`] finds no text that `fits`, and not nothing
/// where that does (as `""`). `member` finds the name with its quotes, which the frames have to have
/// without escapes.
///
/// That is a search for the name, where to read is to look at each string before it.
pub(crate) fn is_ruled_out<'a>(
    mut frames: impl Iterator<Item = &'a Bytes>,
    member: &Finder<'_>,
    fits: impl Fn(&str) -> bool,
) -> bool {
    let (Some(frame), None) = (frames.next(), frames.next()) else {
        return false;
    };
    let behind = |at: usize| &frame[at + member.needle().len()..];
    let mut all = member.find_iter(frame);
    let does_not_fit = |at: usize| match glanced(behind(at)) {
        Glanced::NoText => true,
        Glanced::Text(text) => !fits(text),
        Glanced::Unread => false,
    };
    all.by_ref().take(GLANCED).all(does_not_fit) && all.next().is_none() && !fits("")
}

/// The value behind a name, or behind bytes that only look like one.
enum Glanced<'a> {
    /// No colon, or no text behind it.
    NoText,
    Text(&'a str),
    /// A text that has to be read: it is long, or has escapes.
    Unread,
}

fn glanced(behind: &[u8]) -> Glanced<'_> {
    let value = behind.trim_ascii_start().strip_prefix(b":");
    let value = value.map(<[u8]>::trim_ascii_start);
    let Some(text) = value.and_then(|value| value.strip_prefix(b"\"")) else {
        return Glanced::NoText;
    };
    let text = &text[..text.len().min(LONGEST)];
    match memchr2(b'"', b'\\', text) {
        Some(end) if text[end] == b'"' => {
            std::str::from_utf8(&text[..end]).map_or(Glanced::Unread, Glanced::Text)
        }
        _ => Glanced::Unread,
    }
}

/// What a frame has.
enum Found {
    /// Not yet.
    Nothing,
    Text(String),
    /// It is not there, or no text.
    No,
}

impl Found {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing | Self::No => None,
        }
    }
}

/// A place in the frames, outside or inside of a string.
struct Seeker<'a> {
    name: &'a str,
    depth: usize,
    /// The member that has begun is the one that is sought.
    is_sought: bool,
    /// A value comes next, and no name.
    is_value: bool,
    string: Option<Begun>,
}

/// A string that has begun.
struct Begun {
    /// What earlier frames have of it.
    before: Vec<u8>,
    /// Somebody wants to know it.
    is_of_interest: bool,
    /// The next byte is behind a backslash.
    is_escaped: bool,
}

impl Seeker<'_> {
    fn read(&mut self, frame: &[u8]) -> Found {
        let mut rest = frame;
        while let Some(first) = rest.first() {
            let begins = self.string.is_none();
            if begins && *first != b'"' {
                rest = &rest[1..];
                match self.step(*first) {
                    true => continue,
                    false => return Found::No,
                }
            }
            if self.depth == 0 {
                return Found::No;
            }
            let is_of_interest = self.depth == 1 && self.is_value == self.is_sought;
            let mut begun = self.string.take().unwrap_or(Begun {
                before: Vec::new(),
                is_of_interest,
                is_escaped: false,
            });
            let opening = usize::from(begins);
            let Some(end) = begun.end(&rest[opening..]) else {
                begun.keep(rest);
                self.string = Some(begun);
                return Found::Nothing;
            };
            let (text, behind) = rest.split_at(opening + end);
            rest = behind;
            if begun.is_of_interest
                && let Some(found) = self.end_string(&begun.with(text))
            {
                return found;
            }
        }
        Found::Nothing
    }

    /// Reads a byte outside of strings; returns false where the search is over.
    fn step(&mut self, byte: u8) -> bool {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => return true,
            // A value that is no text, or too long a one.
            _ if self.is_sought && byte != b':' => return false,
            b'{' => self.depth += 1,
            b'[' if self.depth > 0 => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if self.depth == 1 => self.is_value = true,
            b',' if self.depth == 1 => self.is_value = false,
            _ => {}
        }
        self.depth > 0
    }

    /// Judges a string at the top level, with its quotes: a name, or the text that is sought.
    fn end_string(&mut self, text: &[u8]) -> Option<Found> {
        let short = Some(text).filter(|text| text.len() <= LONGEST);
        let text = short.and_then(|text| string(std::str::from_utf8(text).ok()?));
        if self.is_sought {
            return Some(text.map_or(Found::No, |text| Found::Text(text.into_owned())));
        }
        self.is_sought = text.is_some_and(|text| text == self.name);
        None
    }
}

impl Begun {
    /// The position behind the closing quote, if that is in `text`.
    fn end(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if self.is_escaped {
                text.get(at)?;
                self.is_escaped = false;
                at += 1;
            }
            at += memchr2(b'"', b'\\', &text[at..])? + 1;
            if text[at - 1] == b'"' {
                return Some(at);
            }
            self.is_escaped = true;
        }
    }

    fn keep(&mut self, text: &[u8]) {
        self.is_of_interest &= self.before.len() + text.len() <= LONGEST;
        if self.is_of_interest {
            self.before.extend_from_slice(text);
        }
    }

    /// All of it, once this is its end.
    fn with(self, text: &[u8]) -> Cow<'_, [u8]> {
        match self.before.is_empty() {
            true => text.into(),
            false => [&self.before, text].concat().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::{Object, quoted};

    fn sought(text: &str) -> Option<String> {
        sought_text([Bytes::from(text.to_owned())].iter(), "model")
    }

    #[test]
    fn the_text_of_the_member_at_the_top_is_found_wherever_it_stands() {
        for text in [
            r#"{"model":"m"}"#,
            r#" { "messages" : [ {"model":"x","a":["]}\"{"]} ] , "model" : "m" , "#,
            r#"{"a":"model","b":{"model":"x"},"c":[1,-2.5e3,true,null,["model"]],"model":"m"}"#,
            r#"{"m\u006fdel":"\u006d"}"#,
            r#"{"a":"\\","b":"\\\"","model":"m","model":"second"}"#,
        ] {
            assert_eq!(sought(text).as_deref(), Some("m"), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_at_the_top_is_not_found() {
        for text in [
            "",
            "{}",
            r#"["model","m"]"#,
            r#""model""#,
            r#"{"model":1,"model":"m"}"#,
            r#"{"model":["m"]}"#,
            r#"{"model":null,"a":"m"}"#,
            r#"{"model":{"model":"m"}}"#,
            r#"{"a":{"model":"m"}}"#,
            r#"{"a":"model","b":"m"}"#,
            r#"{"a":1}{"model":"m"}"#,
            r#"{"model":"m"#,
        ] {
            assert_eq!(sought(text), None, "{text}");
        }
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(LONGEST));
        assert_eq!(sought(&long), None);
        let behind = format!(r#"{{"{}":0,"model":"m"}}"#, "n".repeat(3 * LONGEST));
        assert_eq!(sought(&behind).as_deref(), Some("m"));
    }

    #[test]
    fn a_glance_rules_out_what_no_member_of_the_name_has() {
        let finder = Finder::new("\"model\"");
        let is_out = |text: &str, model: &str| {
            is_ruled_out([Bytes::from(text.to_owned())].iter(), &finder, |of| {
                of == model
            })
        };
        for text in [
            "{}",
            r#"{"messages":[{"content":"\"model\":\"m\""}],"model":"n"}"#,
            r#"{"model" : "n", "a":{"model":1}, "b":"model"}"#,
            r#"{"model":null}"#,
        ] {
            assert!(is_out(text, "m"), "{text}");
        }
        for text in [
            r#"{"model":"m"}"#,
            r#"{"model":"n","a":{"model":"m"}}"#,
            r#"{"model":"\u006d"}"#,
            r#"{"model":"n","a":[{"model":1},{"model":1},{"model":1},{"model":1}]}"#,
            r#"{"model":"m"#,
        ] {
            assert!(!is_out(text, "m"), "{text}");
        }
        // One that has none is one for "".
        assert!(!is_out(r#"{"a":{"model":"m"}}"#, ""));
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(LONGEST));
        assert!(!is_out(&long, "m"));
        let frames = [r#"{"mo"#, r#"del":"m"}"#].map(Bytes::from);
        assert!(!is_ruled_out(frames.iter(), &finder, |of| of == "m"));
    }

    proptest! {
        #[test]
        fn it_is_found_as_the_whole_object_has_it_however_that_is_cut(
            members in prop::collection::vec(("model|a|é\"", "[a\"\\\\{},é]{0,6}", any::<bool>()), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let member = |(name, value, is_text): &(String, String, bool)| match is_text {
                true => format!("{}: {}", quoted(name), quoted(value)),
                false => format!("{}:[{},{{\"model\":0}}]", quoted(name), quoted(value)),
            };
            let members = members.iter().map(member).collect::<Vec<_>>().join(" ,");
            let text = format!("{{{members}}}");
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let frames = cuts.windows(2).map(|cut| Bytes::copy_from_slice(&text.as_bytes()[cut[0]..cut[1]]));
            let frames: Vec<Bytes> = frames.collect();
            let whole = Object::parse(&text).unwrap();
            let expected = whole.string("model").map(Cow::into_owned);
            let sought = sought_text(frames.iter(), "model");
            prop_assert_eq!(&sought, &expected);
            let finder = Finder::new("\"model\"");
            let text = sought.unwrap_or_default();
            prop_assert!(!is_ruled_out([Bytes::from(whole.text().to_owned())].iter(), &finder, |model| model == text));
        }
    }
}
