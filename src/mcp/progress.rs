//! Progress of a tool call that runs (2026-07-28, basic/patterns/progress).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire;

/// The method of the notifications.
const METHOD: &str = "notifications/progress";

/// What a server says of a tool call that runs (`notifications/progress`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// How far the call is; grows with each notification.
    pub progress: f64,
    /// What `progress` grows to, where the server knows it.
    pub total: Option<f64>,
    /// A text for people, at most 1 KiB on one line, without invisible characters. It comes from the
    /// server: it is untrusted.
    pub message: Option<String>,
}

/// Takes the progress of one call, as it comes.
///
/// It is told at most every 100 ms, of the latest progress, and for the last time before the call
/// ends. The call waits for it, so it should return at once.
pub type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

/// A notification of progress: whose it is, and what it says.
pub(super) struct Notified {
    /// The token of the call.
    pub(super) token: u64,
    pub(super) progress: Progress,
}

impl Notified {
    /// Reads a notification; `None` if it is another one, or makes no sense. What is optional in it
    /// is left out where it is of another type.
    pub(super) fn read(method: &str, params: Option<&RawValue>) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            #[serde(borrow)]
            progress_token: &'a RawValue,
            progress: f64,
            #[serde(borrow)]
            total: Option<&'a RawValue>,
            #[serde(borrow)]
            message: Option<&'a RawValue>,
        }
        let params = params.filter(|_| method == METHOD)?;
        let params: Params<'_> = serde_json::from_str(params.get()).ok()?;
        let message = params.message.map(RawValue::get);
        let message = message.and_then(|text| serde_json::from_str::<String>(text).ok());
        Some(Self {
            token: wire::id_number(params.progress_token)?,
            progress: Progress {
                progress: params.progress,
                total: params.total.and_then(|total| total.get().parse().ok()),
                message: message.map(|message| wire::shown(&message)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(params: &Value) -> Option<(u64, f64, Option<f64>, Option<String>)> {
        let params = RawValue::from_string(params.to_string()).expect("JSON");
        let Notified { token, progress } = Notified::read(METHOD, Some(&params))?;
        Some((token, progress.progress, progress.total, progress.message))
    }

    #[test]
    fn tokens_come_back_in_several_spellings_and_optional_members_may_be_odd() {
        for token in [json!(7), json!(7.0), json!("7")] {
            let params = json!({"progressToken": token, "progress": 1, "total": 2.5, "message": "a\nb\u{1b}"});
            let expected = (7, 1.0, Some(2.5), Some("a b".to_owned()));
            assert_eq!(read(&params), Some(expected));
        }
        for odd in [json!(null), json!([]), json!({"a": 1})] {
            let params = json!({"progressToken": 7, "progress": 0, "total": odd, "message": odd});
            assert_eq!(read(&params), Some((7, 0.0, None, None)));
        }
    }

    #[test]
    fn what_has_no_token_or_no_number_is_no_progress() {
        for params in [
            json!({"progress": 1}),
            json!({"progressToken": "a", "progress": 1}),
            json!({"progressToken": 7}),
            json!({"progressToken": 7, "progress": "1"}),
            json!({"progressToken": 7, "progress": null}),
            json!([7, 1]),
        ] {
            assert_eq!(read(&params), None, "{params}");
        }
        assert!(Notified::read(METHOD, None).is_none());
        let params = RawValue::from_string(json!({"progressToken": 7, "progress": 1}).to_string());
        let params = params.expect("JSON");
        assert!(Notified::read("notifications/message", Some(&params)).is_none());
    }

    #[test]
    fn a_message_has_nothing_in_it_that_nobody_sees() {
        let hidden = "a\u{200b}b\u{202e}c\u{e0041}\u{2028}d";
        let params = json!({"progressToken": 7, "progress": 1, "message": hidden});
        let message = read(&params).and_then(|read| read.3);
        assert_eq!(message.as_deref(), Some("abc d"));
    }

    #[test]
    fn a_message_is_cut() {
        let params = json!({"progressToken": 7, "progress": 1, "message": "é".repeat(100_000)});
        let message = read(&params).and_then(|read| read.3).expect("a message");
        assert_eq!(message.len(), 1024);
    }
}
