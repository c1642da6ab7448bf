//! The title of an exchange: what happened, in a few words.

use crate::trace::{Outcome, StoppedBy, Trace};

/// Servers that a title names.
const NAMED: usize = 3;
/// Tools of a trace that are known by name; there may have been more.
const KNOWN: usize = 32;

/// What was done: `3 tools on github, deepwiki`, or why nothing was.
pub(super) fn subject(trace: &Trace) -> String {
    if let Some(message) = &trace.refusal {
        return format!("Refused: {}", clause(message));
    }
    match &*trace.tools {
        // An unknown tool fails; what succeeds without a server is a search.
        [] if trace.calls > trace.failed_calls => "Only searched for tools".to_owned(),
        [] if trace.calls > 0 => "Tools that no server offers".to_owned(),
        [] if trace.outcome == Outcome::Refused => "Refused".to_owned(),
        [] => "No tool called".to_owned(),
        [tool] => format!("{tool} on {}", servers(&trace.called)),
        tools => {
            let more = match tools.len() {
                KNOWN => "+",
                _ => "",
            };
            format!("{}{more} tools on {}", tools.len(), servers(&trace.called))
        }
    }
}

/// What was done and how it ended: `3 tools on github, deepwiki · answered`.
pub(super) fn title(trace: &Trace) -> String {
    let ending = match (trace.outcome, trace.stopped_by) {
        (Outcome::Refused, _) => return subject(trace),
        (Outcome::Ok, Some(StoppedBy::CallerTools)) => "handed back for the caller's own tools",
        (Outcome::Ok, Some(StoppedBy::AskFirst)) => "handed back for approval",
        (Outcome::Ok, Some(StoppedBy::MaxRounds)) => "out of rounds",
        (Outcome::Ok, Some(StoppedBy::Deadline)) => "out of time",
        (Outcome::Ok, _) => "answered",
        (Outcome::UpstreamError, _) => "the model's service answered with an error",
        (Outcome::UpstreamFailed, _) => "the model's service failed",
        (Outcome::Cancelled, _) => "the caller hung up",
    };
    format!("{} · {ending}", subject(trace))
}

fn servers(called: &[String]) -> String {
    let named = called.iter().take(NAMED).map(String::as_str);
    let named = named.collect::<Vec<_>>().join(", ");
    match called.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The first clause of a message: what is wrong, without why and what to do. Of a server that cannot be
/// used, why: that is what is wrong.
fn clause(message: &str) -> &str {
    const UNUSABLE: &str = " cannot be used: ";
    let begin = message.find(UNUSABLE).map_or(0, |at| at + UNUSABLE.len());
    let mut open = 0_usize;
    let end = message.char_indices().find(|(at, letter)| {
        match letter {
            '(' => open += 1,
            ')' => open = open.saturating_sub(1),
            _ => {}
        }
        let ends = [": ", "; "]
            .iter()
            .any(|end| message[*at..].starts_with(end));
        open == 0 && *at >= begin && ends
    });
    &message[..end.map_or(message.len(), |(at, _)| at)]
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::trace::TraceId;

    fn trace(tools: &[&str], called: &[&str], outcome: Outcome) -> Trace {
        let now = SystemTime::now();
        let mut trace = Trace::new(TraceId::new(now), "default", "web", now, outcome);
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        (trace.tools, trace.called) = (owned(tools), owned(called));
        trace
    }

    #[test]
    fn a_title_says_what_happened() {
        let mut refused = trace(&[], &[], Outcome::Refused);
        let message = "the server github is inactive: it is unreachable: refused; try again later";
        refused.refusal = Some(message.to_owned());
        let mut handed_back = trace(&["drop"], &["db"], Outcome::Ok);
        handed_back.stopped_by = Some(StoppedBy::AskFirst);
        let refused_for = |message: &str| {
            let mut refused = trace(&[], &[], Outcome::Refused);
            refused.refusal = Some(message.to_owned());
            refused
        };
        let crowded = refused_for(
            "300 tools are too many, at most 128 fit (the request's own: 0, s: 300); choose some",
        );
        let unusable = refused_for("the server ex cannot be used: it wants a token; send one");
        let mut unknown = trace(&[], &[], Outcome::Ok);
        (unknown.calls, unknown.failed_calls) = (1, 1);
        let mut searched = trace(&[], &[], Outcome::Ok);
        searched.calls = 1;
        for (trace, expected) in [
            (
                trace(&["a", "b", "c"], &["github", "deepwiki"], Outcome::Ok),
                "3 tools on github, deepwiki · answered",
            ),
            (refused, "Refused: the server github is inactive"),
            (handed_back, "drop on db · handed back for approval"),
            (
                crowded,
                "Refused: 300 tools are too many, at most 128 fit (the request's own: 0, s: 300)",
            ),
            (
                unusable,
                "Refused: the server ex cannot be used: it wants a token",
            ),
            (searched, "Only searched for tools · answered"),
            (unknown, "Tools that no server offers · answered"),
            (
                trace(&[], &[], Outcome::Cancelled),
                "No tool called · the caller hung up",
            ),
            (
                trace(&["a"; 32], &["a", "b", "c", "d"], Outcome::UpstreamFailed),
                "32+ tools on a, b, c and 1 more · the model's service failed",
            ),
        ] {
            assert_eq!(title(&trace), expected);
        }
    }
}
