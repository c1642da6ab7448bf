//! Events: what a caller is told of tool calls while they run, where it asked for that
//! (`mcp.events`).
//!
//! ```text
//!   the batch ──▶ CallEvents ──▶ queue ──▶ EventReader ──▶ the caller's stream
//!   (execute)     (one call)     (bounded)                 (before and between turns)
//! ```
//!
//! Whoever runs a call never waits for whoever reads of it: what is told goes into a queue, in which
//! newer progress of a call takes the place of older. Once nobody reads any more, as behind a caller
//! who hung up, nothing is kept.

mod call;
mod event;
mod queue;

use std::sync::Arc;

pub(crate) use self::call::CallEvents;
use self::{event::Head, queue::Queue};
use crate::{name::short, scrub::Scrubber, unseen::cleaned};

/// The side of those who run calls.
#[derive(Clone)]
pub(crate) struct Events {
    queue: Arc<Queue>,
    /// Arguments, results and texts of progress are told as well.
    payloads: bool,
}

/// The caller's side: once it is dropped, nothing is told any more.
pub(crate) struct EventReader {
    queue: Arc<Queue>,
    /// The model that the request names.
    model: Option<Arc<str>>,
}

/// The events of one round.
pub(crate) struct RoundEvents {
    events: Events,
    round: u64,
}

impl Events {
    /// Events of a request for this model, and who reads them.
    pub(crate) fn new(model: Option<&str>, payloads: bool) -> (Self, EventReader) {
        let queue = Arc::<Queue>::default();
        let reader = EventReader {
            queue: queue.clone(),
            model: model.map(Into::into),
        };
        (Self { queue, payloads }, reader)
    }

    /// Those of a round with this number in the receipt.
    pub(crate) fn of_round(&self, round: u64) -> RoundEvents {
        let events = self.clone();
        RoundEvents { events, round }
    }

    /// Notes that a part of what earlier requests left is gone.
    pub(crate) fn tell_incomplete(&self) {
        self.queue.tell_incomplete();
    }
}

impl RoundEvents {
    /// Tells that the call `id` of a server's tool begins, which has this title for people, with these
    /// arguments. Its texts are told without the `credentials`.
    pub(crate) fn begin(
        &self,
        id: &str,
        (server, tool): (Option<String>, String),
        title: Option<String>,
        arguments: Option<&str>,
        credentials: impl FnOnce() -> Arc<Scrubber>,
    ) -> CallEvents {
        let head = Head {
            round: self.round,
            id: id.to_owned(),
            server,
            tool,
        };
        let title = title.map(|title| short(&cleaned(&title)));
        let payloads = self.events.payloads.then(credentials);
        let call = CallEvents::new(self.events.queue.clone(), head, payloads);
        call.start(title.filter(|title| !title.trim().is_empty()), arguments);
        call
    }
}

impl EventReader {
    /// Waits for events, and takes those that there are, as JSON.
    ///
    /// # Cancellation
    /// None is lost.
    pub(crate) async fn next(&self) -> Vec<String> {
        written(&self.queue.next().await)
    }

    /// Takes all events until now.
    pub(crate) fn rest(&self) -> Vec<String> {
        written(&self.queue.take_all())
    }

    pub(crate) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Returns `true` if a part of what earlier requests left is gone.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.queue.is_incomplete()
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn written(events: &[event::Event]) -> Vec<String> {
    events.iter().filter_map(event::Event::written).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::{
        mcp::{OnProgress, Progress},
        tool_loop::call_result::CallResult,
    };

    /// A call that has begun, and was told.
    async fn begun(payloads: bool) -> (CallEvents, EventReader) {
        let (events, reader) = Events::new(Some("m"), payloads);
        let call = begin(&events, "a");
        assert_eq!(next(&reader).await.len(), 1);
        (call, reader)
    }

    fn begin(events: &Events, id: &str) -> CallEvents {
        let named = (Some("s".into()), "t".into());
        let credentials = || Arc::new(Scrubber::new([b"Bearer s3cret-of-the-caller".as_slice()]));
        events
            .of_round(1)
            .begin(id, named, None, Some("{}"), credentials)
    }

    async fn next(reader: &EventReader) -> Vec<Value> {
        parsed(&reader.next().await)
    }

    fn parsed(events: &[String]) -> Vec<Value> {
        let parsed = |event: &String| serde_json::from_str(event).unwrap();
        events.iter().map(parsed).collect()
    }

    fn tell(on_progress: &OnProgress, progress: f64, total: Option<f64>, message: Option<&str>) {
        on_progress(&Progress {
            progress,
            total,
            message: message.map(Into::into),
        });
    }

    fn result() -> CallResult {
        CallResult {
            media: Vec::new(),
            id: "a".into(),
            server: Some("s".into()),
            tool: "t".into(),
            duration: Duration::from_millis(7),
            is_error: false,
            result_bytes: 4,
            truncated: false,
            is_cleaned: false,
            is_denied: false,
            message: "{}".into(),
            is_search: false,
            is_beyond: false,
            limit: None,
            cost: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_is_told_as_it_comes_and_its_text_only_where_that_is_allowed() {
        for payloads in [false, true] {
            let (call, reader) = begun(payloads).await;
            let on_progress = call.on_progress(true);
            tell(
                &on_progress,
                1.0,
                Some(4.5),
                Some("token=hunter2hunter2 s3cret-of-the-caller"),
            );
            let [event] = &next(&reader).await[..] else {
                panic!("one event")
            };
            let mut expected = json!({
                "event": "call_progress", "round": 1, "id": "a", "server": "s", "tool": "t",
                "progress": 1, "total": 4.5,
            });
            if payloads {
                expected["message"] = "token=[redacted] [redacted:credential]".into();
            }
            assert_eq!(*event, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_that_floods_is_told_ten_times_a_second() {
        let (call, reader) = begun(false).await;
        let on_progress = call.on_progress(true);
        let floods = async {
            for step in 0..10_000 {
                tell(&on_progress, f64::from(step), None, None);
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        };
        let mut told = Vec::new();
        let reads = async {
            loop {
                told.extend(next(&reader).await);
            }
        };
        let began = Instant::now();
        tokio::select! {
            () = floods => {}
            () = reads => {}
        }
        let seconds = began.elapsed().as_secs_f64();
        let most = (seconds * 10.0) as usize + 1;
        assert!(
            (5..=most).contains(&told.len()),
            "{} in {seconds} s",
            told.len()
        );
        let steps: Vec<_> = told
            .iter()
            .map(|event| event["progress"].as_u64())
            .collect();
        assert!(steps.is_sorted());
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_progress_waits_for_a_slow_reader_and_the_end_stands_behind_it() {
        let (call, reader) = begun(true).await;
        let on_progress = call.on_progress(true);
        for step in 0..100_000 {
            tell(&on_progress, f64::from(step), None, Some("working"));
        }
        call.finish(&result(), "done");
        // Nothing is told of a call that is over.
        tell(&on_progress, 1e6, None, None);
        let events = next(&reader).await;
        let [progress, finished] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(progress["progress"], 99_999);
        assert_eq!(
            (&finished["event"], &finished["result"]),
            (&json!("call_finished"), &json!("done"))
        );
        assert_eq!(
            (&finished["duration_ms"], &finished["result_bytes"]),
            (&json!(7), &json!(4))
        );
        let more = timeout(Duration::from_secs(60), reader.next()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn progress_that_goes_back_or_is_no_number_is_not_told() {
        let (call, reader) = begun(false).await;
        let on_progress = call.on_progress(true);
        for (progress, total) in [
            (5.0, None),
            (4.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            tell(&on_progress, progress, total, None);
        }
        assert_eq!(next(&reader).await[0]["progress"], 5);
        tell(&on_progress, 3.0, None, None);
        tell(&on_progress, 5.5, Some(f64::INFINITY), None);
        let events = next(&reader).await;
        assert_eq!((events.len(), &events[0]["progress"]), (1, &json!(5.5)));
        assert_eq!(events[0].get("total"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_call_does_not_wait_for_the_time_of_progress() {
        let (events, reader) = Events::new(None, false);
        let (one, other) = (begin(&events, "a"), begin(&events, "b"));
        assert_eq!(next(&reader).await.len(), 2);
        tell(&one.on_progress(true), 1.0, None, None);
        assert_eq!(next(&reader).await.len(), 1);
        let began = Instant::now();
        tell(&one.on_progress(true), 2.0, None, None);
        other.finish(&result(), "done");
        assert_eq!(next(&reader).await.len(), 2);
        assert_eq!(began.elapsed(), Duration::ZERO);
        tell(&one.on_progress(true), 3.0, None, None);
        assert_eq!(next(&reader).await[0]["progress"], 3);
        assert_eq!(began.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn texts_that_wait_are_bounded_and_events_go_on_without_them() {
        let (events, reader) = Events::new(None, true);
        let long = "x".repeat(100_000);
        for number in 0..200 {
            let call = begin(&events, &number.to_string());
            call.finish(&result(), &long);
        }
        let told = next(&reader).await;
        assert_eq!(told.len(), 400);
        let with_text = told.iter().filter(|event| event.get("result").is_some());
        assert!((50..60).contains(&with_text.count()));
        assert!(json!(told).to_string().len() < (1 << 20));
        // There is room again.
        begin(&events, "more").finish(&result(), &long);
        assert!(next(&reader).await[1].get("result").is_some());
    }

    #[test]
    fn nothing_is_kept_for_a_reader_who_is_gone() {
        let (events, reader) = Events::new(None, true);
        let call = begin(&events, "a");
        let queue = reader.queue.clone();
        drop(reader);
        tell(&call.on_progress(true), 1.0, None, Some("working"));
        call.finish(&result(), "done");
        begin(&events, "b");
        assert!(queue.take_all().is_empty());
    }

    #[test]
    fn a_title_is_text_for_people() {
        let (events, reader) = Events::new(None, false);
        for title in ["Search\u{200b} issues", &"é".repeat(300), " ", ""] {
            let named = (None, "t".into());
            events
                .of_round(1)
                .begin("a", named, Some(title.into()), None, Arc::default);
        }
        let titles: Vec<_> = parsed(&reader.rest())
            .iter()
            .map(|event| event["title"].clone())
            .collect();
        assert_eq!(titles[0], "Search issues");
        assert_eq!(titles[1].as_str().unwrap().chars().count(), 81);
        assert_eq!(titles[2..], [Value::Null, Value::Null]);
    }
}
