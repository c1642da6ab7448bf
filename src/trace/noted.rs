//! What happened in an exchange, in plain facts.
//!
//! They are noted on the way of a request, so nothing is built, masked or formatted: that is done
//! in `spans.rs`, when somebody reads them. All texts are in one buffer, since a record goes long
//! after it has left every cache, where each piece of memory costs a while to give back.

use std::{sync::Arc, time::Duration};

use super::{Payloads, Span};

/// Facts of one record; a model may ask for any number of calls.
const FACTS: usize = 1000;

/// What a record has of arguments and results, all together; those that come later are left out.
const PAYLOADS: usize = 1 << 20;

/// What most exchanges have.
const TEXTS: usize = 1024;
const FEW: usize = 4;

/// The facts of an exchange. Its texts are as they came, and so it has no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Noted {
    pub(super) payloads: Payloads,
    /// The model that was asked for.
    pub(super) model: Option<Arc<str>>,
    texts: String,
    pub(super) facts: Vec<Fact<Text>>,
    /// What arguments and results take of the texts.
    paid: usize,
}

/// Where a text is among the others.
#[derive(Clone, Copy)]
pub(super) struct Text {
    start: u32,
    end: u32,
}

/// One fact, with texts of type `T`.
#[derive(Clone)]
pub(super) enum Fact<T> {
    Turn(Turn<T>),
    Call(Call<T>),
    /// What is rare is built at once.
    Span(Box<Span>),
}

/// When something began, since the exchange did, and how long it took.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) start: Duration,
    pub(crate) duration: Duration,
}

/// A turn of the model.
#[derive(Clone, Copy)]
pub(crate) struct Turn<T> {
    pub(crate) time: Time,
    /// From 1 on.
    pub(crate) number: u64,
    /// The model that answered.
    pub(crate) model: Option<T>,
    pub(crate) finish_reason: Option<T>,
    /// Input and output.
    pub(crate) tokens: [Option<u64>; 2],
    pub(crate) status: Option<u16>,
    /// One word, where the exchange ended with it.
    pub(crate) error: Option<&'static str>,
}

/// A tool call.
#[derive(Clone, Copy)]
pub(crate) struct Call<T> {
    pub(crate) time: Time,
    pub(crate) id: T,
    /// As the model calls the tool.
    pub(crate) name: T,
    /// The server, and the tool's own name; `None` for a tool that nobody has.
    pub(crate) tool: Option<[T; 2]>,
    pub(crate) arguments: Option<Payload<T>>,
    pub(crate) round: Option<u64>,
    pub(crate) outcome: &'static str,
    /// One word; `None` if it succeeded.
    pub(crate) error: Option<&'static str>,
    pub(crate) result: Option<Payload<T>>,
    /// The size of the result before it was cut, and whether the model gets a part of it.
    pub(crate) size: Option<(usize, bool)>,
}

/// Arguments or a result, or the beginning of it.
#[derive(Clone, Copy)]
pub(crate) struct Payload<T> {
    pub(super) text: T,
    /// How long the whole is.
    pub(super) whole: usize,
}

impl<'a> From<&'a str> for Payload<&'a str> {
    fn from(text: &'a str) -> Self {
        let whole = text.len();
        Self { text, whole }
    }
}

impl Noted {
    pub(crate) fn new(payloads: Payloads, model: Option<Arc<str>>) -> Self {
        Self {
            payloads,
            model,
            texts: String::with_capacity(TEXTS),
            facts: Vec::with_capacity(FEW),
            paid: 0,
        }
    }

    pub(crate) fn turn(&mut self, turn: Turn<&str>) {
        if self.has_room() {
            let turn = turn.map(|text| self.text(text));
            self.facts.push(Fact::Turn(turn));
        }
    }

    pub(crate) fn call(&mut self, mut call: Call<&str>) {
        if self.has_room() {
            call.arguments = self.payload(call.arguments);
            call.result = self.payload(call.result);
            let call = call.map(|text| self.text(text));
            self.facts.push(Fact::Call(call));
        }
    }

    pub(crate) fn span(&mut self, span: Span) {
        if self.has_room() {
            self.facts.push(Fact::Span(Box::new(span)));
        }
    }

    /// Whether one more fact is noted.
    pub(crate) fn has_room(&self) -> bool {
        self.facts.len() < FACTS
    }

    /// The facts with their texts.
    pub(super) fn read(&self) -> impl Iterator<Item = Fact<&str>> {
        let text = |text: Text| {
            let range = text.start as usize..text.end as usize;
            self.texts.get(range).unwrap_or_default()
        };
        self.facts.iter().map(move |fact| match fact {
            Fact::Turn(turn) => Fact::Turn(turn.map(text)),
            Fact::Call(call) => Fact::Call(call.map(text)),
            Fact::Span(span) => Fact::Span(span.clone()),
        })
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let spans = self.facts.iter().map(|fact| match fact {
            Fact::Span(span) => span.size(),
            Fact::Turn(_) | Fact::Call(_) => 0,
        });
        let facts = self.facts.capacity() * size_of::<Fact<Text>>();
        self.texts.capacity() + facts + spans.sum::<usize>()
    }

    fn text(&mut self, text: &str) -> Text {
        // All of them together are a few MiB at the most.
        let length = |texts: &String| u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let start = length(&self.texts);
        self.texts.push_str(text);
        let end = length(&self.texts);
        Text { start, end }
    }

    /// What is noted of a payload, as long as there is room.
    fn payload<'a>(&mut self, payload: Option<Payload<&'a str>>) -> Option<Payload<&'a str>> {
        let mut payload = payload.filter(|_| self.paid < PAYLOADS)?;
        payload.text = self.payloads.noted(payload.text)?;
        self.paid += payload.text.len();
        Some(payload)
    }
}

impl<T: Copy> Turn<T> {
    /// A status that is no success.
    pub(crate) fn failed_with(&self) -> Option<u16> {
        self.status.filter(|status| !(200..300).contains(status))
    }

    fn map<U>(self, mut text: impl FnMut(T) -> U) -> Turn<U> {
        Turn {
            time: self.time,
            number: self.number,
            model: self.model.map(&mut text),
            finish_reason: self.finish_reason.map(&mut text),
            tokens: self.tokens,
            status: self.status,
            error: self.error,
        }
    }
}

impl<T: Copy> Call<T> {
    fn map<U>(self, mut text: impl FnMut(T) -> U) -> Call<U> {
        Call {
            time: self.time,
            id: text(self.id),
            name: text(self.name),
            tool: self.tool.map(|tool| tool.map(&mut text)),
            arguments: self.arguments.map(|payload| payload.map(&mut text)),
            round: self.round,
            outcome: self.outcome,
            error: self.error,
            result: self.result.map(|payload| payload.map(&mut text)),
            size: self.size,
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
