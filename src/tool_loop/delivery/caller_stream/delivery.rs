//! The stream as the delivery of the loop.

use std::future::Future;

use http::Response;

use super::{
    ending::TurnEnd,
    stream::{CallerStream, HeldChunks},
};
use crate::{
    chat::{ToolCall, Turn},
    inner::InnerBody,
    refusal::Refusal,
    tool_loop::{
        delivery::{
            Delivery, NoTurn, Reading, Reply, Shown, answering, read_whole, reply::refused,
            unstreamed,
        },
        failure::Failure,
        headers::is_stream,
        receipt::{Closing, WrittenReceipt},
    },
};

impl Delivery for CallerStream {
    fn alive<T: Send>(
        &mut self,
        future: impl Future<Output = T> + Send,
    ) -> impl Future<Output = T> + Send {
        self.telling(future)
    }

    fn has_begun(&self) -> bool {
        self.sink.has_begun()
    }

    async fn read(
        &mut self,
        response: Response<InnerBody>,
        reading: Reading,
    ) -> Result<Turn, NoTurn> {
        self.held = HeldChunks::default();
        self.is_shown = false;
        let asked = reading.asked;
        let is_success = response.status().is_success();
        let (parts, body) = response.into_parts();
        if is_success && is_stream(&parts.headers) {
            self.begin(parts);
            return self
                .read_stream(body, reading)
                .await
                .map_err(NoTurn::Stream);
        }
        let read = self.alive(read_whole(body, reading)).await;
        let answer = answering(asked, &parts, &read).or_else(|| unstreamed(asked, &parts, &read));
        match answer.filter(|answer| is_success && answer.has_message()) {
            Some(answer) => {
                self.begin(parts);
                let turn = self.read_chunks(answer.chunks()).await;
                turn.map_err(NoTurn::Stream)
            }
            None => Err(NoTurn::Whole(parts, read)),
        }
    }

    async fn go_on(&mut self) {
        self.let_go().await;
    }

    async fn finish(
        &mut self,
        calls: &[ToolCall],
        shown: Option<Shown>,
        closing: Closing,
    ) -> Reply {
        let mut end = match shown {
            Some(shown) => TurnEnd::shown(&shown),
            None => TurnEnd::as_it_came(calls, self.held.calls_delta.take()),
        };
        if let Some(handed_back) = &closing.handed_back {
            end.is_replaced = true;
            end.deltas = vec![format!(r#"{{"tool_calls":{}}}"#, handed_back.delta)];
        }
        let usage = closing.usage.as_deref().filter(|_| self.include_usage);
        let receipt = closing.receipt.member.as_deref();
        // A client that asks for no chunk without choices may read the first of each.
        self.release(end, receipt.filter(|_| usage.is_none())).await;
        let receipt = receipt.map(|receipt| ("mcp", receipt));
        let members: Vec<_> = match usage {
            Some(usage) => [("usage", usage)].into_iter().chain(receipt).collect(),
            None => Vec::new(),
        };
        self.end(&members).await;
        self.streamed().await
    }

    async fn refuse(&mut self, refusal: &Refusal) -> Reply {
        if !self.has_begun() {
            return refused(refusal);
        }
        self.event(&refusal.body()).await;
        self.streamed().await
    }

    async fn fail(&mut self, failure: Failure, tools_ran: bool, receipt: WrittenReceipt) -> Reply {
        let event = failure.event(tools_ran, receipt.member.as_deref());
        self.event(&event).await;
        self.streamed().await
    }
}
