//! A client with tools of its own: what it sends, how it loses patience, and what it makes of
//! answers.

use std::{fmt::Write, future::Future, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use mcp_layer::McpLayer;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};

use super::{
    clock::Events,
    history::{Item, OwnCall, Text, Turn, expected, rendered},
    judge::Judge,
    provider::{ATTEMPT, Ask, Provider, Said, place},
};
use crate::support::{counting::Counting, dice::Dice, events::assembled};

/// A request is tried so often with failures; then it is to succeed.
const HARD_TRIES: u64 = 4;

/// After this time a connection is known to be lost; nobody reads from it since a repeat was sent.
const LOST: Duration = Duration::from_secs(3);

pub struct Client {
    name: &'static str,
    replicas: [McpLayer; 2],
    provider: Provider,
    events: Events,
    dice: Dice,
    judge: Judge,
    items: Vec<Item>,
    marks: usize,
    groups: usize,
    pub hang_ups: usize,
    pub requests: usize,
    began: Instant,
    /// What it did, for whoever looks for a fault.
    pub script: String,
}

/// How the client says that it repeats a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    Plainly,
    WithCount,
    WithKey,
}

/// When a client goes away.
#[derive(Clone, Copy, Debug)]
enum Patience {
    Endless,
    /// After so many events.
    Until(u64),
    /// It sends the request once more after so many events, and goes away after as many again.
    Overlap(u64),
}

/// One request, with all its attempts.
struct Wanted {
    group: String,
    body: String,
    repeats: Repeats,
    with_mcp: bool,
    stream: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
struct Reply {
    content: Option<String>,
    /// Id, name and arguments.
    calls: Vec<[String; 3]>,
    finish_reason: String,
}

impl Reply {
    /// Whether it is that answer, told once more: a stream of it has no texts of the turns before.
    fn is_same(&self, first: &Self) -> bool {
        let texts = (self.content.as_deref(), first.content.as_deref());
        let is_same_text = match texts {
            (Some(again), Some(first)) => first.ends_with(again),
            (again, first) => again == first,
        };
        is_same_text && self.calls == first.calls && self.finish_reason == first.finish_reason
    }
}

enum Ended {
    Answered(Reply),
    /// With what was said.
    Failed(StatusCode, String),
    HungUp,
}

impl Client {
    pub fn new(
        name: &'static str,
        case: u64,
        replicas: [McpLayer; 2],
        provider: Provider,
        tools: Counting,
        events: Events,
    ) -> Self {
        Self {
            name,
            replicas,
            provider,
            events,
            // Both callers do the same, as long as they get the same.
            dice: Dice(case),
            judge: Judge::new(tools),
            items: Vec::new(),
            marks: 0,
            groups: 0,
            hang_ups: 0,
            requests: 0,
            began: Instant::now(),
            script: String::new(),
        }
    }

    /// Some requests, each with what it makes of the answer before it.
    pub async fn converse(&mut self) {
        self.ask();
        for _ in 0..3 + self.dice.roll(6) {
            match self.request().await {
                true => self.go_on(),
                false => self.ask(),
            }
            if self.is_faulty() {
                return;
            }
        }
    }

    fn log(&mut self, line: std::fmt::Arguments<'_>) {
        let at = self.began.elapsed().as_secs_f32();
        writeln!(self.script, "{} {at:6.2}: {line}", self.name).unwrap();
    }

    fn fault(&self, fault: impl Into<String>) {
        let fault = format!("{}: {}", self.name, fault.into());
        self.provider.state().faults.push(fault);
    }

    fn is_faulty(&self) -> bool {
        !self.provider.state().faults.is_empty()
    }

    fn mark(&mut self) -> String {
        self.marks += 1;
        format!("[[m{}]]", self.marks)
    }

    /// The user says something.
    fn ask(&mut self) {
        let content = format!("{} do \u{e9} \"mcp_000\"", self.mark());
        let message = json!({"role": "user", "content": content});
        self.items.push(Item::User(message.to_string()));
    }

    /// Answers calls, lets the user speak, or goes back and takes another way.
    fn go_on(&mut self) {
        if self.items.len() > 2 && self.dice.roll(8) == 0 {
            return self.fork();
        }
        match self.items.last() {
            Some(Item::Turn(_)) => self.answer(false),
            _ => self.ask(),
        }
    }

    fn fork(&mut self) {
        let at = self.dice.roll(self.items.len() as u64 - 1);
        self.items.truncate(1 + usize::try_from(at).unwrap());
        self.log(format_args!("goes back to message {at}"));
        match self.items.last() {
            Some(Item::Turn(_)) => self.answer(true),
            _ => self.ask(),
        }
    }

    /// Answers the calls of the last turn: all, or some where nobody minds.
    fn answer(&mut self, anew: bool) {
        let mark = if anew { self.mark() } else { String::new() };
        let way = self.dice.roll(8);
        let Some(Item::Turn(turn)) = self.items.last_mut() else {
            return;
        };
        let count = turn.calls.len();
        let skipped = match way {
            0 if turn.is_kept => count,
            1 if turn.is_kept => 1,
            _ => 0,
        };
        for (number, call) in turn.calls.iter_mut().enumerate() {
            let is_skipped = number < skipped;
            call.answer = (!is_skipped).then(|| format!("answer to {number} {mark}"));
        }
        // Somebody has to say something.
        if !turn.is_answered() {
            self.ask();
        }
    }

    /// Sends a request until it is answered; `false` if the client gives it up.
    async fn request(&mut self) -> bool {
        // What was left open may be answered by now.
        if self.dice.roll(3) == 0 {
            for item in &mut self.items {
                if let Item::Turn(turn) = item
                    && turn.is_answered()
                {
                    for call in &mut turn.calls {
                        call.answer
                            .get_or_insert_with(|| "a late answer".to_owned());
                    }
                }
            }
        }
        let mut wanted = self.wanted();
        let Some(mut reply) = self.insist(&wanted).await else {
            return false;
        };
        match wanted.repeats {
            Repeats::WithKey if wanted.with_mcp && self.dice.roll(3) == 0 => {
                self.ask_for(&wanted, &reply).await
            }
            Repeats::Plainly | Repeats::WithCount if self.dice.roll(6) == 0 => {
                // Another answer to the same question.
                self.anew(&mut wanted);
                match self.insist(&wanted).await {
                    Some(other) => reply = other,
                    None => return false,
                }
            }
            _ => {}
        }
        self.take(&wanted, &reply);
        true
    }

    /// Sends a request that was answered once more with its key: the same answer, and nothing is
    /// done.
    async fn ask_for(&mut self, wanted: &Wanted, reply: &Reply) {
        let asked = self.asks(wanted).len();
        self.log(format_args!("{} once more", wanted.group));
        match self.send(wanted, 99).await {
            Ended::Answered(again) if again.is_same(reply) => {}
            Ended::Answered(again) => self.fault(format!("{again:?}\n  and before {reply:?}")),
            Ended::Failed(status, said) => {
                self.fault(format!("{} again: {status} {said}", wanted.group));
            }
            Ended::HungUp => {}
        }
        if self.asks(wanted).len() > asked {
            self.fault(format!("{} asked the model again", wanted.group));
        }
    }

    /// Makes another request of the same body, and lets the model say something else.
    fn anew(&mut self, wanted: &mut Wanted) {
        let asks = self.asks(wanted);
        if let Some(ask) = asks.last() {
            let (mark, _) = place(&ask.view);
            let mut state = self.provider.state();
            *state
                .epochs
                .entry((self.name.to_owned(), mark))
                .or_default() += 1;
        }
        self.groups += 1;
        wanted.group = format!("{}{}", self.name, self.groups);
        self.log(format_args!("{} is the same anew", wanted.group));
    }

    fn has_kept_turn(&self) -> bool {
        let is_kept = |item: &Item| matches!(item, Item::Turn(turn) if turn.is_kept);
        self.items.iter().any(is_kept)
    }

    fn wanted(&mut self) -> Wanted {
        self.groups += 1;
        let with_mcp = !self.has_kept_turn() || self.dice.roll(8) > 0;
        let stream = self.dice.roll(2) == 0;
        let mut body =
            json!({"model": "m", "tools": [{"type": "function", "function": {"name": "lookup"}}]});
        if stream {
            body["stream"] = true.into();
        }
        if with_mcp {
            body["mcp"] = json!({"enabled": true, "servers": ["s"], "auto_execute_tools": true});
        }
        let messages = rendered(&self.items, &mut self.dice).join(", ");
        let body = body.to_string();
        let body = format!("{}, \"messages\": [{messages}]}}", &body[..body.len() - 1]);
        let wanted = Wanted {
            group: format!("{}{}", self.name, self.groups),
            body,
            repeats: *self
                .dice
                .of(&[Repeats::Plainly, Repeats::WithCount, Repeats::WithKey]),
            with_mcp,
            stream,
        };
        self.log(format_args!(
            "{} {:?}: {}",
            wanted.group, wanted.repeats, wanted.body
        ));
        wanted
    }

    async fn insist(&mut self, wanted: &Wanted) -> Option<Reply> {
        let mut attempt = 0;
        loop {
            if attempt >= HARD_TRIES {
                self.provider.state().calm.insert(wanted.group.clone());
            }
            let ended = self.attempt(wanted, &mut attempt).await;
            self.check(wanted);
            if self.is_faulty() {
                return None;
            }
            match ended {
                Ended::Answered(reply) => return Some(reply),
                Ended::Failed(status, said) => self.blame(wanted, status, &said),
                Ended::HungUp if self.dice.roll(5) == 0 => return None,
                Ended::HungUp => {}
            }
            if attempt > 2 * HARD_TRIES {
                self.fault(format!("{} does not succeed", wanted.group));
                return None;
            }
            let pause = *self.dice.of(&[60, 600, 8000]);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn patience(&mut self, wanted: &Wanted, attempt: u64) -> Patience {
        let events = 1 + self.dice.roll(12);
        match self.dice.roll(10) {
            _ if attempt >= HARD_TRIES => Patience::Endless,
            0 if wanted.repeats != Repeats::Plainly => Patience::Overlap(events),
            0..3 => Patience::Until(events),
            _ => Patience::Endless,
        }
    }

    /// One attempt, or two that overlap.
    async fn attempt(&mut self, wanted: &Wanted, attempt: &mut u64) -> Ended {
        let patience = self.patience(wanted, *attempt);
        self.log(format_args!("{}.{attempt} {patience:?}", wanted.group));
        let events = self.events.clone();
        let first = self.send(wanted, *attempt);
        let mut first = Box::pin(first);
        *attempt += 1;
        let many = match patience {
            Patience::Endless => return first.await,
            Patience::Until(many) | Patience::Overlap(many) => many,
        };
        tokio::select! {
            biased;
            ended = &mut first => return ended,
            () = events.pass(many) => {}
        }
        self.hang_ups += 1;
        if let Patience::Until(_) = patience {
            drop(first);
            self.close(wanted, *attempt - 1);
            return Ended::HungUp;
        }
        // The connection of the first is not yet known to be lost.
        let second = self.send(wanted, *attempt);
        let mut second = Box::pin(second);
        *attempt += 1;
        let early = tokio::select! {
            biased;
            ended = &mut second => Some(ended),
            () = events.pass(many) => None,
            () = sleep(LOST) => None,
        };
        drop(first);
        self.close(wanted, *attempt - 2);
        match early {
            Some(ended) => ended,
            None => second.await,
        }
    }

    fn close(&self, wanted: &Wanted, attempt: u64) {
        let attempt = format!("{}.{attempt}", wanted.group);
        self.provider.state().closed.insert(attempt);
    }

    fn send(&mut self, wanted: &Wanted, attempt: u64) -> impl Future<Output = Ended> + use<> {
        self.requests += 1;
        let replica = usize::try_from(self.dice.roll(2)).unwrap();
        let service = self.replicas[replica].layer(self.provider.clone());
        let mut request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("authorization", self.name)
            .header(ATTEMPT, format!("{}.{attempt}", wanted.group));
        match wanted.repeats {
            Repeats::Plainly => {}
            Repeats::WithCount => request = request.header("x-stainless-retry-count", attempt),
            // Both callers have the same keys.
            Repeats::WithKey => request = request.header("idempotency-key", &wanted.group[1..]),
        }
        let request = request
            .body(Full::new(Bytes::from(wanted.body.clone())))
            .unwrap();
        let (events, provider, stream) =
            (self.events.clone(), self.provider.clone(), wanted.stream);
        let (name, other) = (self.name, if self.name == "A" { ".B." } else { ".A." });
        async move {
            let Ok(response) = service.oneshot(request).await else {
                return Ended::Failed(StatusCode::BAD_GATEWAY, String::new());
            };
            let (head, mut body) = response.into_parts();
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                events.happened();
                match frame {
                    Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
                    Err(_) => return Ended::Failed(StatusCode::BAD_GATEWAY, String::new()),
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            let mut faults = Vec::new();
            if text.contains(other) {
                faults.push("an answer to another caller");
            }
            if head.headers.contains_key("x-mcp-history") || text.contains("incomplete") {
                faults.push("a history is incomplete");
            }
            let faults = faults
                .iter()
                .map(|fault| format!("{name}: {fault}: {text}"));
            provider.state().faults.extend(faults);
            let kind = head.headers.get("content-type");
            let is_stream =
                kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
            if is_stream != stream && head.status == 200 && !text.starts_with("{\"error") {
                let fault = format!("{name}: the wrong kind of answer: {text}");
                provider.state().faults.push(fault);
            }
            read(head.status, &bytes, is_stream)
        }
    }

    /// A failure that is to be had: after tools have run, none that clients repeat by themselves.
    fn blame(&mut self, wanted: &Wanted, status: StatusCode, said: &str) {
        self.log(format_args!("{} failed: {status} {said}", wanted.group));
        let history = expected(&self.items).len();
        let asks = self.asks(wanted);
        let has_run = asks.last().is_some_and(|ask| ask.view.len() > history);
        let is_told = status == 400 || (wanted.stream && status == 200);
        let is_known = is_told || status == 429 || status.is_server_error() || status == 200;
        if !is_known || has_run && !is_told {
            self.fault(format!(
                "{} failed with {status} (tools have run: {has_run}): {said}",
                wanted.group
            ));
        }
    }

    fn asks(&self, wanted: &Wanted) -> Vec<Ask> {
        let state = self.provider.state();
        let asks = state.asks.iter().filter(|ask| ask.group == wanted.group);
        asks.cloned().collect()
    }

    /// What the model was asked in this request.
    fn check(&mut self, wanted: &Wanted) {
        let history = expected(&self.items);
        let asks = self.asks(wanted);
        for count in 1..=asks.len() {
            if let Err(fault) = self.judge.check(&asks[..count], &history) {
                let view = &asks[count - 1].view;
                return self.fault(format!(
                    "{}, question {count}: {fault}\nin {view:#?}",
                    wanted.group
                ));
            }
        }
    }

    /// Makes a part of the conversation of an answer.
    fn take(&mut self, wanted: &Wanted, reply: &Reply) {
        self.log(format_args!("{} got {reply:?}", wanted.group));
        let history = expected(&self.items).len();
        let asks = self.asks(wanted);
        let last = asks
            .iter()
            .rev()
            .find_map(|ask| Some((ask, ask.said.clone()?)));
        let Some((ask, said)) = last else {
            return self.fault("an answer that nobody gave");
        };
        let before = ask.view[history..].to_vec();
        if let Err(fault) = is_answer(reply, &said, wanted, !before.is_empty()) {
            return self.fault(format!("{}: {fault}: {reply:?}", wanted.group));
        }
        self.items.push(match reply.calls.is_empty() {
            true => Item::Text(Text {
                before,
                said,
                got: reply.content.clone().unwrap_or_default(),
                is_kept: self.has_kept_turn(),
            }),
            false => {
                let own = said
                    .say
                    .calls
                    .iter()
                    .enumerate()
                    .filter(|(_, call)| !call.is_ours);
                let calls = own
                    .zip(&reply.calls)
                    .map(|((place, _), [id, name, arguments])| OwnCall {
                        id: id.clone(),
                        place,
                        name: name.clone(),
                        arguments: arguments.clone(),
                        answer: None,
                    });
                let calls: Vec<_> = calls.collect();
                let is_kept = calls.iter().all(|call| call.id.starts_with("mcp_"));
                Item::Turn(Turn {
                    before,
                    said,
                    got: reply.content.clone(),
                    calls,
                    is_kept,
                })
            }
        });
    }
}

/// What a client makes of an answer.
fn read(status: StatusCode, body: &[u8], stream: bool) -> Ended {
    if stream {
        let told = assembled(body);
        if !told.errors.is_empty() || !told.is_done {
            let said = String::from_utf8_lossy(body).into_owned();
            return Ended::Failed(status, said);
        }
        return Ended::Answered(Reply {
            content: Some(told.content),
            calls: told.calls.iter().map(call).collect(),
            finish_reason: told.finish_reasons.concat(),
        });
    }
    let said = String::from_utf8_lossy(body);
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let choice = &body["choices"][0];
    if status != 200 || choice.is_null() {
        return Ended::Failed(status, said.into_owned());
    }
    let calls = choice["message"]["tool_calls"]
        .as_array()
        .into_iter()
        .flatten();
    Ended::Answered(Reply {
        content: choice["message"]["content"].as_str().map(str::to_owned),
        calls: calls.map(call).collect(),
        finish_reason: choice["finish_reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    })
}

fn call(call: &Value) -> [String; 3] {
    let function = &call["function"];
    let members = [&call["id"], &function["name"], &function["arguments"]];
    members.map(|member| member.as_str().unwrap_or_default().to_owned())
}

/// Whether a reply is what the caller is to get of this turn.
fn is_answer(reply: &Reply, said: &Said, wanted: &Wanted, has_run: bool) -> Result<(), String> {
    let say = &said.say;
    let own = || say.calls.iter().filter(|call| !call.is_ours);
    if !say.calls.is_empty() && own().next().is_none() {
        return Err("a turn without calls of the caller's went back".into());
    }
    let said = say.content.as_deref().unwrap_or_default();
    let got = reply.content.as_deref().unwrap_or_default();
    // A stream has the texts of all turns.
    if got != said && !(wanted.stream && got.ends_with(said)) {
        return Err(format!("the text is not {said:?}"));
    }
    let reason = if say.calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    if reply.finish_reason != reason {
        return Err("another reason".into());
    }
    let own_calls = own().map(|call| [call.name, &call.arguments]);
    if !reply
        .calls
        .iter()
        .map(|[_, name, arguments]| [&**name, arguments])
        .eq(own_calls)
    {
        return Err("other calls".into());
    }
    let ours = say.calls.len() > own().count();
    let kept = reply.calls.iter().filter(|[id, ..]| is_ours(id)).count();
    let is_as_it_came = reply
        .calls
        .iter()
        .zip(own())
        .all(|([id, ..], call)| *id == call.id);
    let must_be_kept = wanted.with_mcp && (ours || has_run);
    match kept == reply.calls.len() {
        true if reply.calls.is_empty() || wanted.with_mcp => Ok(()),
        false if is_as_it_came && !must_be_kept => Ok(()),
        _ => Err(format!("other ids; to be kept: {must_be_kept}")),
    }
}

fn is_ours(id: &str) -> bool {
    let tail = id.strip_prefix("mcp_").unwrap_or_default();
    tail.len() == 22 && tail.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
