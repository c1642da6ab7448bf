//! Keeps a finished answer, and gives it again.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use serde_json::value::RawValue;

use crate::{
    chat::{Asked, Turn},
    held::Held,
    inner::InnerBody,
    json::{Object, quoted},
    kept::KeptAnswer,
    refusal::{Kind, Refusal},
    tool_loop::{
        delivery::{Delivery, NoTurn, Reading, Reply, Shown, reply::refused},
        receipt::{Closing, WrittenReceipt},
    },
};

/// The prefix of our own headers.
const OURS: &str = "x-mcp-";

/// Tells the caller `answer` once more, as the same bytes or as a stream; `None` if it cannot be
/// read.
async fn told(
    answer: &KeptAnswer,
    delivery: &mut impl Delivery,
    reading: Reading,
) -> Option<Reply> {
    let object = Object::parse(answer.body.get()).ok()?;
    let text = |name| object.present(name).map(str::to_owned);
    let closing = Closing {
        usage: text("usage"),
        is_summed: true,
        receipt: WrittenReceipt::marked(text("mcp")),
        // It has these calls, and no others.
        handed_back: None,
    };
    // A stream says it once, at its end.
    let bare = object.edited(object.remove("mcp").into_iter().collect());
    let mut response = Response::new(body(bare));
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        response
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).ok()?);
    }
    let turn = match delivery.read(response, reading).await {
        Ok(turn) => turn,
        Err(NoTurn::Whole(..) | NoTurn::Stream(_)) => return None,
    };
    Some(delivery.finish(&turn.calls, None, closing).await)
}

/// Tells the caller `answer` once more, or that it cannot be read.
pub(crate) async fn reply(answer: &KeptAnswer, delivery: &mut impl Delivery, room: Held) -> Reply {
    let reading = Reading {
        limit: usize::MAX,
        room,
        tools_ran: false,
        asked: Asked::default(),
    };
    told(answer, delivery, reading).await.unwrap_or_else(|| {
        let message =
            "the answer that is kept for this request cannot be read; send it with another idempotency-key";
        refused(&Refusal::new(Kind::Registry, message))
    })
}

/// A whole answer that may be kept.
pub(crate) struct Whole {
    headers: HeaderMap,
    body: Vec<Bytes>,
}

impl Whole {
    /// That of `reply`; `None` if it is none.
    pub(crate) fn of(reply: &Reply) -> Option<Self> {
        Some(Self {
            body: reply.body().as_written()?,
            headers: reply.headers().clone(),
        })
    }

    /// The answer, to be kept; `None` if it is no JSON.
    pub(crate) fn kept(self) -> Option<KeptAnswer> {
        let body = String::from_utf8(self.body.concat()).ok()?;
        let kept = |(name, value): (&HeaderName, &HeaderValue)| {
            let is_kept = name.as_str().starts_with(OURS) || *name == http::header::CONTENT_TYPE;
            is_kept.then_some(())?;
            Some((name.to_string(), value.to_str().ok()?.to_owned()))
        };
        Some(KeptAnswer {
            headers: self.headers.iter().filter_map(kept).collect(),
            body: RawValue::from_string(body).ok()?,
        })
    }
}

/// The text of a turn, if it has any.
pub(crate) fn text(turn: &Turn) -> Option<String> {
    let message = std::str::from_utf8(turn.message.as_ref()?).ok()?;
    let object = Object::parse(message).ok()?;
    object.string("content").map(Into::into)
}

/// The answer that a stream told with this turn at its end, or as that was `shown`, behind the text
/// that it had `told` before.
pub(crate) fn streamed(
    told: &str,
    turn: &Turn,
    shown: Option<&Shown>,
    closing: &Closing,
) -> Option<KeptAnswer> {
    let message = match shown {
        Some(shown) => &*shown.message,
        None => std::str::from_utf8(turn.message.as_ref()?).ok()?,
    };
    let object = Object::parse(message).ok()?;
    let content = (!told.is_empty()).then(|| {
        let last = object.string("content");
        quoted(&[told, last.as_deref().unwrap_or_default()].concat())
    });
    let calls = closing.handed_back.as_ref().map(|calls| &calls.calls);
    let members = [("content", &content), ("tool_calls", &calls.cloned())];
    let members = members.into_iter();
    let members = members.filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let message = object.edited(object.set(&members.collect::<Vec<_>>()));
    let said = || quoted(turn.finish_reason.as_deref().unwrap_or("stop"));
    let reason = match (shown, turn.calls.is_empty()) {
        (Some(shown), _) => shown.finish_reason.to_owned(),
        (None, true) => said(),
        (None, false) => quoted("tool_calls"),
    };
    let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":{reason}}}"#);
    let identity = turn.identity.clone().unwrap_or_default();
    let members = [("usage", &closing.usage), ("mcp", &closing.receipt.member)];
    let members = members.into_iter();
    let members = members.filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let body = identity.completion(&choice, &members.collect::<Vec<_>>());
    Some(KeptAnswer {
        headers: vec![("content-type".into(), "application/json".into())],
        body: RawValue::from_string(body).ok()?,
    })
}

fn body(text: String) -> InnerBody {
    let body = Full::new(Bytes::from(text));
    body.map_err(|never| match never {}).boxed_unsync()
}
