//! The id of a request: in each line of its log, in the answer, and in what the upstream gets.

use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::answer::Answer;

const NAME: HeaderName = HeaderName::from_static("x-request-id");
/// The id where the answer has an `x-request-id` of the upstream's.
const BESIDE: HeaderName = HeaderName::from_static("x-mcp-request-id");
/// The longest id that is taken from a caller.
const LONGEST: usize = 128;

/// The id of a request.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Takes the id that a request came with, if it is a plain word; makes one otherwise, and gives it
    /// to the request.
    pub fn of(headers: &mut HeaderMap) -> Self {
        let mut given = headers.get_all(NAME).iter();
        if let (Some(id), None) = (given.next(), given.next())
            && is_plain(id.as_bytes())
        {
            return Self(id.clone());
        }
        let made = made();
        headers.insert(NAME, made.clone());
        Self(made)
    }

    /// Sends the id back. An id of the upstream's stays where it is: its operators know it by that.
    pub fn mark(&self, answer: &mut Answer) {
        let headers = answer.headers_mut();
        match headers.get(NAME) {
            Some(id) if *id == self.0 => {}
            Some(_) => drop(headers.insert(BESIDE, self.0.clone())),
            None => drop(headers.insert(NAME, self.0.clone())),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is plain.
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// Nothing that would have to be quoted in a log, or that somebody could take for more than a word.
fn is_plain(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+' | b'/' | b'=')
    };
    (1..=LONGEST).contains(&id.len()) && id.iter().all(is_plain)
}

/// Makes an id that no other process makes: a random number of this one, and a count.
fn made() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| {
        let mut bits = [0; 8];
        // An id is no secret: without random numbers, which nothing here runs without, it is a count.
        let _ = getrandom::fill(&mut bits);
        u64::from_be_bytes(bits)
    });
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = format!("{:016x}{count:08x}", *PROCESS);
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_word_is_taken_and_anything_else_replaced() {
        for (given, is_taken) in [
            ("req-1", true),
            ("1-67891233-abcdef012345678912345678", true),
            ("", false),
            ("two words", false),
            ("a\"b", false),
            (&*"x".repeat(128), true),
            (&*"x".repeat(129), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(NAME, given.parse().unwrap());
            let id = RequestId::of(&mut headers);
            assert_eq!(id.to_string() == given, is_taken, "{given}");
            assert_eq!(headers[NAME], id.0, "the upstream gets it");
        }
        let mut headers = HeaderMap::new();
        headers.append(NAME, "a".parse().unwrap());
        headers.append(NAME, "b".parse().unwrap());
        let id = RequestId::of(&mut headers).to_string();
        assert_eq!(id.len(), 24);
        assert_ne!(id, RequestId::of(&mut HeaderMap::new()).to_string());
    }
}
