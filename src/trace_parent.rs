//! W3C Trace Context: the trace that a request belongs to.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest state; longer ones are dropped, as Trace Context allows beyond 512 characters.
const STATE_LEN: usize = 512;

/// A `traceparent` with its `tracestate` (W3C Trace Context, section 3).
///
/// The layer reads it from a request, and sends a child of it to the servers that may know the
/// trace. Return one from the function of
/// [`McpLayer::with_trace_context`](crate::McpLayer::with_trace_context) to continue an exporter's
/// trace instead. As JSON it is an object with the members `traceparent` and, if there is one,
/// `tracestate`, as in a tool call's `_meta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TraceParent {
    traceparent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

impl TraceParent {
    /// Returns the trace that a request belongs to, if its headers name one and are valid.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let traceparent = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let states = headers.get_all(TRACESTATE).iter();
        let states: Result<Vec<_>, _> = states.map(HeaderValue::to_str).collect();
        Self::parse(traceparent, &states.unwrap_or_default().join(","))
    }

    /// Parses these two values; `None` if they are invalid. A state that is empty, too long or not
    /// a header value is dropped.
    ///
    /// ```
    /// use mcp_layer::TraceParent;
    ///
    /// let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// assert!(TraceParent::parse(parent, "vendor=1").is_some());
    /// assert_eq!(TraceParent::parse("a trace", ""), None);
    /// ```
    pub fn parse(traceparent: &str, tracestate: &str) -> Option<Self> {
        let is_state = (1..=STATE_LEN).contains(&tracestate.len())
            && HeaderValue::from_str(tracestate).is_ok_and(|state| state.to_str().is_ok());
        is_valid(traceparent).then(|| Self {
            // Of a later version, only the known part is passed on.
            traceparent: format!("00{}", &traceparent[2..55]),
            tracestate: is_state.then(|| tracestate.to_owned()),
        })
    }

    /// Returns this trace with a span of our own as the parent.
    pub(crate) fn child(&self) -> Self {
        let mut span = [0; 8];
        // Without random numbers the caller's span remains the parent, which is still correct.
        let random = getrandom::fill(&mut span).is_ok() && span != [0; 8];
        let mut child = self.clone();
        if random {
            let id = format!("{:016x}", u64::from_be_bytes(span));
            child.traceparent.replace_range(36..52, &id);
        }
        child
    }

    /// Sets the two headers.
    pub(crate) fn insert_into(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.traceparent) {
            headers.insert(TRACEPARENT, value);
        }
        let state = self.tracestate.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(value)) = state {
            headers.insert(TRACESTATE, value);
        }
    }
}

/// Returns true for `00-{32 hex}-{16 hex}-{2 hex}` with no id all zeros; later versions may have
/// more at the end.
fn is_valid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |range: std::ops::Range<usize>| {
        let digits = &bytes[range];
        digits
            .iter()
            .all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
            .then_some(digits)
    };
    let is_id = |range| hex(range).is_some_and(|id| id.iter().any(|b| *b != b'0'));
    bytes.len() >= 55
        && bytes.is_ascii()
        && [2, 35, 52].iter().all(|dash| bytes[*dash] == b'-')
        && hex(0..2).is_some_and(|version| version != b"ff")
        && (&bytes[..2] != b"00" || bytes.len() == 55)
        && bytes.get(55).is_none_or(|b| *b == b'-')
        && is_id(3..35)
        && is_id(36..52)
        && hex(53..55).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(traceparent: &str, tracestate: &str) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, traceparent.parse().unwrap());
        headers.insert(TRACESTATE, tracestate.parse().unwrap());
        TraceParent::of(&headers)
    }

    #[test]
    fn a_trace_is_continued_with_a_span_of_our_own() {
        let child = of(PARENT, "a=1,b=2").unwrap().child();
        let mut headers = HeaderMap::new();
        child.insert_into(&mut headers);
        let parent = headers["traceparent"].to_str().unwrap();
        assert!(is_valid(parent) && parent[..36] == PARENT[..36] && parent[52..] == PARENT[52..]);
        assert_ne!(parent[36..52], PARENT[36..52]);
        assert_eq!(headers["tracestate"], "a=1,b=2");
    }

    #[test]
    fn a_state_that_no_header_has_is_none() {
        for state in ["vendor=\u{e9}", "a=1\n", &"x".repeat(513)] {
            let trace = TraceParent::parse(PARENT, state).unwrap();
            assert_eq!(trace.tracestate, None, "{state:?}");
        }
    }

    #[test]
    fn what_is_no_trace_is_not_passed_on() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(of(text, "a=1"), None, "{text}");
        }
        let later = of(&format!("cc{}-more", &PARENT[2..]), "").unwrap();
        assert_eq!(
            (later.traceparent.as_str(), later.tracestate),
            (PARENT, None)
        );
    }
}
