//! What exchanges add up to.

use serde_json::Value;

use super::{
    histogram::{Histogram, bucket},
    pack,
};
use crate::{
    chat,
    trace::{Outcome, StoppedBy, Trace},
};

/// The most that one exchange adds to a sum: what a model's service says is not to be trusted with
/// more, and a sum of a million such is still a number.
const MOST: u64 = 1_000_000_000_000_000;
/// The parts of a unit of cost that are counted: a token is seldom cheaper than fifty of them.
const NANOS: f64 = 1e9;

/// What exchanges, or the calls of one tool, add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// The exchanges; 0 for a tool.
    pub exchanges: u64,
    /// Those that the model's service answered with an error status.
    pub upstream_errors: u64,
    /// Those that the model's service did not answer.
    pub upstream_failures: u64,
    /// Those that were refused before any model was called.
    pub refused: u64,
    /// Those whose caller hung up.
    pub cancelled: u64,
    /// Those that ended because no round was left.
    pub out_of_rounds: u64,
    /// Those that ended because no time was left.
    pub out_of_time: u64,
    /// The calls of tools that were run.
    pub calls: u64,
    /// Those of them that failed.
    pub failed_calls: u64,
    /// The tokens that models read.
    pub input_tokens: u64,
    /// The tokens that models wrote.
    pub output_tokens: u64,
    /// The cost, in billionths.
    pub cost_nanos: u64,
    /// The exchanges whose cost is known.
    pub priced: u64,
    /// The exchanges that took tokens, and whose cost is not known.
    pub unpriced: u64,
    /// The durations of the exchanges, or of the calls of a tool.
    pub durations: Histogram,
}

/// The number of counts in [`Figures`].
const COUNTS: usize = 14;

impl Figures {
    /// Returns `true` if nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.exchanges == 0 && self.calls == 0
    }

    /// The exchanges that failed: that the model's service did not answer properly, or that were
    /// refused. One whose caller hung up did not.
    pub fn errors(&self) -> u64 {
        let failed = [self.upstream_errors, self.upstream_failures, self.refused];
        failed.into_iter().fold(0, u64::saturating_add)
    }

    /// The cost, in the unit of the prices; `None` if none is known.
    pub fn cost(&self) -> Option<f64> {
        (self.priced > 0).then(|| self.cost_nanos as f64 / NANOS)
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.counts_mut().into_iter().zip(other.counts()) {
            *sum = sum.saturating_add(more);
        }
        self.durations.add_all(&other.durations);
    }

    /// Adds an exchange, without its calls.
    pub(super) fn add_exchange(&mut self, exchange: &Exchange) {
        self.exchanges += 1;
        match exchange.outcome {
            Outcome::Ok => {}
            Outcome::UpstreamError => self.upstream_errors += 1,
            Outcome::UpstreamFailed => self.upstream_failures += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Cancelled => self.cancelled += 1,
        }
        match exchange.stopped_by {
            Some(StoppedBy::MaxRounds) => self.out_of_rounds += 1,
            Some(StoppedBy::Deadline) => self.out_of_time += 1,
            _ => {}
        }
        let [input, output] = exchange.tokens;
        self.input_tokens = self.input_tokens.saturating_add(input);
        self.output_tokens = self.output_tokens.saturating_add(output);
        match exchange.cost_nanos {
            Some(cost) => {
                self.cost_nanos = self.cost_nanos.saturating_add(cost);
                self.priced += 1;
            }
            None if input > 0 || output > 0 => self.unpriced += 1,
            None => {}
        }
        self.durations.add_to(exchange.bucket, 1);
    }

    /// Adds calls of tools; how long they took is of interest to their tools alone.
    pub(super) fn add_calls(&mut self, calls: u64, failed: u64) {
        self.calls += calls;
        self.failed_calls += failed;
    }

    /// These as bytes, for a store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        self.pack(&mut bytes);
        bytes
    }

    /// The figures of [`to_bytes`](Self::to_bytes); `None` if these are no such bytes.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let read = Self::unpack(&mut bytes)?;
        bytes.is_empty().then_some(read)
    }

    pub(super) fn pack(&self, bytes: &mut Vec<u8>) {
        // How many, so that later versions can have more.
        pack::put(bytes, COUNTS as u64);
        for count in self.counts() {
            pack::put(bytes, count);
        }
        self.durations.pack(bytes);
    }

    pub(super) fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let mut read = Self::default();
        let mut places = read.counts_mut().into_iter();
        for _ in 0..pack::take(bytes)? {
            let count = pack::take(bytes)?;
            if let Some(place) = places.next() {
                *place = count;
            }
        }
        drop(places);
        read.durations = Histogram::unpack(bytes)?;
        Some(read)
    }

    fn counts(&self) -> [u64; COUNTS] {
        [
            self.exchanges,
            self.upstream_errors,
            self.upstream_failures,
            self.refused,
            self.cancelled,
            self.out_of_rounds,
            self.out_of_time,
            self.calls,
            self.failed_calls,
            self.input_tokens,
            self.output_tokens,
            self.cost_nanos,
            self.priced,
            self.unpriced,
        ]
    }

    fn counts_mut(&mut self) -> [&mut u64; COUNTS] {
        [
            &mut self.exchanges,
            &mut self.upstream_errors,
            &mut self.upstream_failures,
            &mut self.refused,
            &mut self.cancelled,
            &mut self.out_of_rounds,
            &mut self.out_of_time,
            &mut self.calls,
            &mut self.failed_calls,
            &mut self.input_tokens,
            &mut self.output_tokens,
            &mut self.cost_nanos,
            &mut self.priced,
            &mut self.unpriced,
        ]
    }
}

/// What one exchange adds to figures, read off its record once.
pub(super) struct Exchange {
    outcome: Outcome,
    stopped_by: Option<StoppedBy>,
    tokens: [u64; 2],
    cost_nanos: Option<u64>,
    /// The bucket of its duration.
    bucket: u8,
}

impl Exchange {
    pub(super) fn of(trace: &Trace) -> Self {
        let usage = |name| trace.usage.as_ref().and_then(|usage| usage.get(name));
        let tokens = ["prompt_tokens", "completion_tokens"].map(|name| {
            let tokens = usage(name).and_then(chat::tokens);
            tokens.unwrap_or_default().min(MOST)
        });
        let cost = usage("cost").and_then(Value::as_f64);
        let cost = cost.filter(|cost| *cost >= 0.0);
        Self {
            outcome: trace.outcome,
            stopped_by: trace.stopped_by,
            tokens,
            // Saturates.
            cost_nanos: cost.map(|cost| ((cost * NANOS).round() as u64).min(MOST)),
            bucket: bucket(trace.duration),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;

    use super::*;
    use crate::trace::TraceId;

    fn figures(outcome: Outcome, usage: Value) -> Figures {
        let now = SystemTime::now();
        let mut trace = Trace::new(TraceId::new(now), "default", "web", now, outcome);
        trace.usage = usage.as_object().cloned();
        trace.duration = Duration::from_millis(40);
        let mut figures = Figures::default();
        figures.add_exchange(&Exchange::of(&trace));
        figures
    }

    #[test]
    fn an_exchange_adds_what_its_record_has() {
        let usage = json!({"prompt_tokens": 30, "completion_tokens": 4, "cost": 0.000_000_05});
        let mut sum = figures(Outcome::Ok, usage);
        sum.add(&figures(Outcome::Refused, json!({})));
        sum.add(&figures(Outcome::Cancelled, json!({"prompt_tokens": 1})));
        assert_eq!((sum.exchanges, sum.errors(), sum.cancelled), (3, 1, 1));
        assert_eq!((sum.input_tokens, sum.output_tokens), (31, 4));
        assert_eq!((sum.priced, sum.unpriced), (1, 1));
        assert_eq!(sum.cost(), Some(0.000_000_05));
        assert_eq!(sum.durations.count(), 3);
        assert_eq!(Figures::default().cost(), None);
    }

    #[test]
    fn what_a_models_service_makes_up_breaks_no_sum() {
        let most = json!({"prompt_tokens": u64::MAX, "completion_tokens": 1, "cost": 1e300});
        let mut sum = figures(Outcome::Ok, most);
        assert_eq!((sum.input_tokens, sum.cost_nanos), (MOST, MOST));
        for _ in 0..20 {
            let again = sum.clone();
            sum.add(&again);
        }
        assert!(sum.cost().unwrap().is_finite());
        for odd in [
            json!({"cost": -1}),
            json!({"cost": "1"}),
            json!({"prompt_tokens": -1.5}),
        ] {
            let sum = figures(Outcome::Ok, odd);
            assert_eq!((sum.priced, sum.input_tokens), (0, 0));
        }
    }

    #[test]
    fn figures_come_back_from_their_bytes_and_those_of_other_versions() {
        let mut figures = Figures::default();
        for (place, number) in figures.counts_mut().into_iter().zip(1..) {
            *place = number * 100;
        }
        figures.durations.add(Duration::from_millis(7));
        let bytes = figures.to_bytes();
        assert_eq!(Figures::from_bytes(&bytes).as_ref(), Some(&figures));
        for cut in 0..bytes.len() {
            assert_eq!(Figures::from_bytes(&bytes[..cut]), None);
        }
        // One count, and one more than are known here.
        assert_eq!(Figures::from_bytes(&[1, 9, 0]).unwrap().exchanges, 9);
        let more = [&[15][..], &[0; 14], &[7, 0]].concat();
        assert_eq!(Figures::from_bytes(&more), Some(Figures::default()));
        assert_eq!(Figures::from_bytes(&[&*bytes, &[0]].concat()), None);
    }
}
