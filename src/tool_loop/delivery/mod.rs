//! Delivery to the caller: one answer at the end of the loop, or a stream while it runs.
//!
//! The loop is written once, over this trait. What it hands over is plain: turns, and texts of
//! JSON.

pub(crate) mod caller_stream;
pub(crate) mod left_out;
pub(crate) mod relay;
pub(crate) mod reply;
pub(crate) mod sink;

use std::future::Future;

use http::{Response, response};

use super::{
    failure::Failure,
    headers::is_plain,
    receipt::{Closing, WrittenReceipt},
};
use crate::{
    body::{self, McpBody, Read},
    chat::{Asked, Completion, ToolCall, Turn},
    held::Held,
    inner::InnerBody,
    refusal::Refusal,
};

/// The caller's answer.
pub(crate) type Reply = Response<McpBody<InnerBody>>;

/// The way to tell one caller of the loop.
pub(crate) trait Delivery: Send {
    /// Waits for `future`; meanwhile a stream that has begun is kept alive, and one whose caller wants
    /// events tells them.
    fn alive<T: Send>(
        &mut self,
        future: impl Future<Output = T> + Send,
    ) -> impl Future<Output = T> + Send;

    /// Returns `true` if the caller has received a part of the answer, so that it can no longer be
    /// replaced.
    fn has_begun(&self) -> bool;

    /// Reads the model's answer, and tells of it what needs no verdict.
    fn read(
        &mut self,
        response: Response<InnerBody>,
        reading: Reading,
    ) -> impl Future<Output = Result<Turn, NoTurn>> + Send;

    /// Sends the rest of a turn whose tools are executed.
    fn go_on(&mut self) -> impl Future<Output = ()> + Send;

    /// Sends the rest of a turn that ends the loop, and whose calls are handed back: as it came, or
    /// as it is to be `shown`.
    fn finish(
        &mut self,
        calls: &[ToolCall],
        shown: Option<Shown>,
        closing: Closing,
    ) -> impl Future<Output = Reply> + Send;

    /// Refuses the request, though what was open in its history may have run already.
    fn refuse(&mut self, refusal: &Refusal) -> impl Future<Output = Reply> + Send;

    /// Reports that there will be no answer, after tools have run or a stream has begun.
    fn fail(
        &mut self,
        failure: Failure,
        tools_ran: bool,
        receipt: WrittenReceipt,
    ) -> impl Future<Output = Reply> + Send;
}

/// The last turn as the caller gets it, where that is not how it came.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The assistant's message, with the calls that go to the caller and no others.
    pub(crate) message: String,
    /// The text that was added to it: of a stream, the rest has been sent.
    pub(crate) note: Option<&'static str>,
    /// As JSON text.
    pub(crate) finish_reason: &'static str,
}

/// Terms on which an answer is read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The most bytes that are read.
    pub(crate) limit: usize,
    /// The room that they take.
    pub(crate) room: Held,
    /// The caller must learn what was done, so an error is no answer.
    pub(crate) tools_ran: bool,
    /// What the caller asked for.
    pub(crate) asked: Asked,
}

/// An answer that is no turn to go on with.
pub(crate) enum NoTurn {
    /// A whole one: an error, or something else.
    Whole(response::Parts, Read<InnerBody>),
    /// A stream that failed; the caller has seen it begin.
    Stream(Failure),
}

/// Reads a whole answer.
pub(crate) async fn read_whole(body: InnerBody, reading: Reading) -> Read<InnerBody> {
    body::read(body, reading.limit, reading.room).await
}

/// The completion that an answer to what was asked is.
pub(crate) fn answering(
    asked: Asked,
    parts: &response::Parts,
    read: &Read<InnerBody>,
) -> Option<Completion> {
    is_readable(parts, read).then(|| Completion::answering(&read.bytes(), asked))?
}

/// The completion that a successful answer streams, if it can be read.
pub(crate) fn unstreamed(
    asked: Asked,
    parts: &response::Parts,
    read: &Read<InnerBody>,
) -> Option<Completion> {
    let may_be = parts.status.is_success() && is_readable(parts, read);
    may_be.then(|| Completion::of_stream(&read.bytes(), asked))?
}

/// Returns `true` if all of an answer is there, as it was meant.
pub(crate) fn is_readable(parts: &response::Parts, read: &Read<InnerBody>) -> bool {
    read.is_complete() && is_plain(&parts.headers)
}
