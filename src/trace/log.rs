//! The log of an exchange in progress, in plain facts.
//!
//! It is written while a request is being served, so nothing is built, masked or formatted here:
//! `steps.rs` does that when the record is read. All texts share one buffer: by the time a record
//! is dropped it has left every cache, and each allocation then takes a while to free.
//!
//! So a record in memory is not masked yet, and nothing but its steps is ever shown, `Debug`
//! included. They are made when the memory store shows an exchange, or in the task that writes to a
//! database. Payloads are cut when they are logged, with enough left behind the cut to recognise a
//! secret there.

use super::{
    outcome::{CallOutcome, Outcome},
    payload::Payloads,
    step::{Step, Timing, is_error},
};

/// The most facts of one record; a model may request any number of calls.
const FACTS: usize = 1000;

/// The most that a record has of arguments and results, in bytes; later ones are left out.
const PAYLOADS: usize = 1 << 20;

/// Room for most exchanges, in bytes of text and in facts.
const TEXTS: usize = 1024;
const FEW: usize = 4;

/// The facts of an exchange. Its texts are as they came, and so it has no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct TraceLog {
    pub(super) payloads: Payloads,
    /// How much is kept of answers.
    pub(super) content: Payloads,
    texts: String,
    facts: Vec<Fact<TextRange>>,
    /// The part of the texts that is arguments and results, in bytes.
    payload_bytes: usize,
}

/// The place of a text among the others.
#[derive(Clone, Copy)]
struct TextRange {
    start: u32,
    end: u32,
}

/// One fact, with texts of type `T`: a step before it is masked.
#[derive(Clone)]
pub(super) enum Fact<T> {
    Turn(TurnFact<T>),
    Call(CallFact<T>),
    /// A rare step, built at once.
    Built(Box<Step>),
}

/// A turn of the model; the fields are those of [`TurnStep`](super::TurnStep).
#[derive(Clone, Copy)]
pub(crate) struct TurnFact<T> {
    pub(crate) timing: Timing,
    pub(crate) number: u64,
    pub(crate) model: Option<T>,
    pub(crate) finish_reason: Option<T>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) status: Option<u16>,
    pub(crate) failure: Option<Outcome>,
    pub(crate) answer: Option<Payload<T>>,
}

/// A tool call; the fields are those of [`CallStep`](super::CallStep).
#[derive(Clone, Copy)]
pub(crate) struct CallFact<T> {
    pub(crate) timing: Timing,
    pub(crate) id: T,
    pub(crate) name: T,
    /// The server, and the tool's own name; `None` for a tool that none of the servers offers.
    pub(crate) tool: Option<[T; 2]>,
    pub(crate) arguments: Option<Payload<T>>,
    pub(crate) round: Option<u64>,
    pub(crate) outcome: CallOutcome,
    pub(crate) error: Option<&'static str>,
    pub(crate) result: Option<Payload<T>>,
    pub(crate) result_bytes: Option<u64>,
    pub(crate) truncated: bool,
}

/// Arguments or a result, or the beginning of it.
#[derive(Clone, Copy)]
pub(crate) struct Payload<T> {
    pub(super) text: T,
    /// The length of the whole.
    pub(super) whole: usize,
}

impl<'a> From<&'a str> for Payload<&'a str> {
    fn from(text: &'a str) -> Self {
        let whole = text.len();
        Self { text, whole }
    }
}

impl TraceLog {
    /// Creates a log with this much of arguments and results, and of answers.
    pub(crate) fn new(payloads: Payloads, content: Payloads) -> Self {
        Self {
            payloads,
            content,
            texts: String::with_capacity(TEXTS),
            facts: Vec::with_capacity(FEW),
            payload_bytes: 0,
        }
    }

    pub(crate) fn add_turn(&mut self, mut turn: TurnFact<&str>) {
        if self.has_room() {
            turn.answer = self.payload(turn.answer, self.content);
            let turn = turn.map(|text| self.text(text));
            self.facts.push(Fact::Turn(turn));
        }
    }

    pub(crate) fn add_call(&mut self, mut call: CallFact<&str>) {
        if self.has_room() {
            call.arguments = self.payload(call.arguments, self.payloads);
            call.result = self.payload(call.result, self.payloads);
            let call = call.map(|text| self.text(text));
            self.facts.push(Fact::Call(call));
        }
    }

    /// Adds a step that is rare.
    pub(crate) fn add_step(&mut self, step: Step) {
        if self.has_room() {
            self.facts.push(Fact::Built(Box::new(step)));
        }
    }

    /// Returns `true` if there is room for another fact.
    pub(crate) fn has_room(&self) -> bool {
        self.facts.len() < FACTS
    }

    /// The facts with their texts.
    pub(super) fn facts(&self) -> impl Iterator<Item = Fact<&str>> {
        let text = |text: TextRange| {
            let range = text.start as usize..text.end as usize;
            self.texts.get(range).unwrap_or_default()
        };
        self.facts.iter().map(move |fact| match fact {
            Fact::Turn(turn) => Fact::Turn(turn.map(text)),
            Fact::Call(call) => Fact::Call(call.map(text)),
            Fact::Built(step) => Fact::Built(step.clone()),
        })
    }

    /// The steps that were built at once.
    pub(super) fn built(&self) -> impl Iterator<Item = &Step> {
        self.facts.iter().filter_map(|fact| match fact {
            Fact::Built(step) => Some(&**step),
            Fact::Turn(_) | Fact::Call(_) => None,
        })
    }

    /// The approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let built = self.facts.iter().map(|fact| match fact {
            Fact::Built(step) => step.size(),
            Fact::Turn(_) | Fact::Call(_) => 0,
        });
        let facts = self.facts.capacity() * size_of::<Fact<TextRange>>();
        self.texts.capacity() + facts + built.sum::<usize>()
    }

    fn text(&mut self, text: &str) -> TextRange {
        // All of them together are a few MiB at the most.
        let length = |texts: &String| u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let start = length(&self.texts);
        self.texts.push_str(text);
        let end = length(&self.texts);
        TextRange { start, end }
    }

    /// The part of a payload that is logged, as long as there is room.
    fn payload<'a>(
        &mut self,
        payload: Option<Payload<&'a str>>,
        kept: Payloads,
    ) -> Option<Payload<&'a str>> {
        let mut payload = payload.filter(|_| self.payload_bytes < PAYLOADS)?;
        payload.text = kept.logged(payload.text)?;
        self.payload_bytes += payload.text.len();
        Some(payload)
    }
}

impl<T: Copy> TurnFact<T> {
    /// The HTTP status, if it is not a success.
    pub(crate) fn error_status(&self) -> Option<u16> {
        self.status.filter(is_error)
    }

    fn map<U>(self, mut text: impl FnMut(T) -> U) -> TurnFact<U> {
        TurnFact {
            timing: self.timing,
            number: self.number,
            model: self.model.map(&mut text),
            finish_reason: self.finish_reason.map(&mut text),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            status: self.status,
            failure: self.failure,
            answer: self.answer.map(|answer| answer.map(&mut text)),
        }
    }
}

impl<T: Copy> CallFact<T> {
    fn map<U>(self, mut text: impl FnMut(T) -> U) -> CallFact<U> {
        CallFact {
            timing: self.timing,
            id: text(self.id),
            name: text(self.name),
            tool: self.tool.map(|tool| tool.map(&mut text)),
            arguments: self.arguments.map(|payload| payload.map(&mut text)),
            round: self.round,
            outcome: self.outcome,
            error: self.error,
            result: self.result.map(|payload| payload.map(&mut text)),
            result_bytes: self.result_bytes,
            truncated: self.truncated,
        }
    }
}

impl<T> Payload<T> {
    fn map<U>(self, mut text: impl FnMut(T) -> U) -> Payload<U> {
        Payload {
            text: text(self.text),
            whole: self.whole,
        }
    }
}
