//! One exchange as a timeline: turns of the model and tool calls, with what they came to.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::extract::{Path, State, rejection::PathRejection};
use http::StatusCode;

use super::{
    super::{
        answer::Answer,
        clock::Clock,
        fault::Fault,
        hosts::Hosts,
        organization::OrganizationStore,
        traces::{Traces, steps},
    },
    page::{Frame, Section, page},
    selection::pretty,
    text::{Shown, sentence},
    title::title,
    traces::Figures,
    when::span,
};
use crate::{
    name::ServerName,
    trace::{CallOutcome, CallStep, GuardOutcome, Step, Trace, TurnStep},
    unseen::is_unseen,
};

/// The width of all of the time, as it is drawn.
const WIDTH: u128 = 1000;
/// Servers that are looked up for a link.
const LINKED: usize = 16;
/// The least width: what took no time is seen all the same.
const LEAST: u128 = 4;

#[derive(Template)]
#[template(path = "trace.html")]
struct Timeline {
    frame: Frame,
    id: String,
    title: String,
    heading: Shown,
    figures: Figures,
    refused: Option<Refused>,
    /// The servers that were named, and the names of those that there are.
    servers: Vec<(Shown, Option<ServerName>)>,
    bars: Vec<Bar>,
    /// Whether there are texts that the model was given.
    has_given: bool,
    has_guards: bool,
}

/// What the caller of a refused request got.
struct Refused {
    status: u16,
    code: Shown,
    message: Shown,
    param: Option<Shown>,
}

/// A step, as it is drawn and described.
struct Bar {
    kind: &'static str,
    /// Its kind in words, before its name.
    what: &'static str,
    name: Shown,
    x: u128,
    width: u128,
    start: String,
    took: Option<String>,
    badge: Option<(&'static str, String)>,
    facts: Vec<(&'static str, Shown)>,
    texts: Vec<(&'static str, Shown)>,
}

/// `GET /traces/{id}`
pub(super) async fn show(
    State(hosts): State<Arc<Hosts>>,
    State(traces): State<Traces>,
    State(clock): State<Clock>,
    State(store): State<OrganizationStore>,
    path: Result<Path<String>, PathRejection>,
) -> Answer {
    let trace = traces.get(path).await?;
    let steps = steps(&trace).await;
    let whole = whole(&trace, &steps);
    let model = trace.model.as_deref();
    let content = Timeline {
        frame: Frame::of(&hosts, Section::Traces),
        id: trace.id.to_string(),
        title: plain(&title(&trace)),
        heading: Shown::short(&title(&trace), 200),
        refused: steps.iter().find_map(refused),
        servers: servers(&store, &trace).await?,
        figures: Figures::of(&trace, clock.now()),
        has_given: steps
            .iter()
            .any(|step| matches!(step, Step::Prompt(_) | Step::Instructions(_))),
        has_guards: steps.iter().any(|step| matches!(step, Step::Guard(_))),
        bars: steps
            .iter()
            .map(|step| Bar::of(step, model, whole))
            .collect(),
    };
    page(StatusCode::OK, &content)
}

/// A text for the browser's own title, where nothing can be marked: what cannot be seen is replaced.
fn plain(text: &str) -> String {
    let seen = |letter| {
        if is_unseen(letter) {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(seen).take(200).collect()
}

fn refused(step: &Step) -> Option<Refused> {
    let Step::Refusal(refusal) = step else {
        return None;
    };
    Some(Refused {
        status: refusal.status,
        code: Shown::short(&refusal.code, 80),
        message: Shown::short(&sentence(&refusal.message), 2000),
        param: refusal
            .param
            .as_deref()
            .map(|param| Shown::short(param, 200)),
    })
}

/// The servers that a request named; some of them may not be there, or not any more.
async fn servers(
    store: &OrganizationStore,
    trace: &Trace,
) -> Result<Vec<(Shown, Option<ServerName>)>, Fault> {
    let mut servers = Vec::with_capacity(trace.servers.len());
    for (index, name) in trace.servers.iter().enumerate() {
        let known = name.parse().ok().filter(|_| index < LINKED);
        let is_there = match &known {
            Some(name) => store.get(name).await.is_ok(),
            None => false,
        };
        servers.push((Shown::short(name, 40), known.filter(|_| is_there)));
    }
    Ok(servers)
}

/// All of the time that is drawn.
fn whole(trace: &Trace, steps: &[Step]) -> Duration {
    let ends = steps.iter().map(|step| {
        let timing = step.timing();
        timing.start + timing.duration
    });
    ends.fold(trace.duration, Duration::max)
}

impl Bar {
    /// The bar of a step; `model` is the one that was asked for.
    fn of(step: &Step, model: Option<&str>, whole: Duration) -> Self {
        let (omitted, guarded);
        let (kind, what, name) = match step {
            Step::Turn(_) => ("turn", "Model call", model.unwrap_or_default()),
            Step::Prompt(_) => ("given", "Prompt", ""),
            Step::Call(call) => ("call", "Tool", &*call.name),
            Step::Guard(guard) => {
                guarded = format!("{} · {}", guard.guard, guard.tool);
                ("guard", "Guard", &*guarded)
            }
            Step::Listing(listing) => ("listing", "Tool list", &*listing.server),
            Step::Instructions(given) => ("given", "Instructions", &*given.server),
            Step::Omission(omission) => {
                omitted = format!("{} calls beyond those of a turn", omission.calls);
                ("listing", "", &*omitted)
            }
            Step::Refusal(_) => ("listing", "Refusal", ""),
        };
        let is_run = !matches!(step, Step::Call(call) if call.outcome == CallOutcome::NotExecuted);
        let timing = step.timing();
        let whole = whole.as_micros().max(1);
        let x = (timing.start.as_micros() * WIDTH / whole).min(WIDTH - LEAST);
        let width = (timing.duration.as_micros() * WIDTH / whole).clamp(LEAST, WIDTH - x);
        Self {
            kind: if is_run { kind } else { "unrun" },
            what,
            name: Shown::short(name, 120),
            x,
            width,
            start: span(timing.start),
            took: is_run.then(|| span(timing.duration)),
            badge: badge(step),
            facts: facts(step),
            texts: texts(step),
        }
    }
}

fn badge(step: &Step) -> Option<(&'static str, String)> {
    let outcome = match step {
        Step::Guard(guard) => {
            let tone = match guard.outcome {
                GuardOutcome::Allow => return None,
                GuardOutcome::Rewrite => "",
                GuardOutcome::Ask => "warn",
                _ => "bad",
            };
            return Some((tone, decided(guard.outcome).to_owned()));
        }
        Step::Call(call) => Some(call.outcome),
        _ => None,
    };
    match (outcome, error(step)) {
        (Some(CallOutcome::NotExecuted), _) => Some(("", "not executed here".to_owned())),
        (Some(CallOutcome::Cancelled), _) => Some(("warn", "cancelled".to_owned())),
        (_, Some(error)) => Some(("bad", error.replace('_', " "))),
        (Some(CallOutcome::Error), None) => Some(("bad", "error".to_owned())),
        _ => None,
    }
}

/// What a guard decided, in words.
fn decided(outcome: GuardOutcome) -> &'static str {
    match outcome {
        GuardOutcome::Allow => "allowed",
        GuardOutcome::Rewrite => "rewritten",
        GuardOutcome::Ask => "asks first",
        GuardOutcome::Deny => "denied",
        GuardOutcome::Unfit => "denied: the rewrite does not fit the schema",
        GuardOutcome::FailedOpen => "failed, let pass",
        GuardOutcome::FailedClosed => "failed, denied",
    }
}

/// The kind of error that a step ended with, in one word.
fn error(step: &Step) -> Option<String> {
    match step {
        Step::Turn(turn) => {
            let status = turn.error_status().map(|status| status.to_string());
            status.or_else(|| Some(turn.failure?.to_string()))
        }
        Step::Call(call) => call.error.as_deref().map(str::to_owned),
        Step::Listing(listing) => listing.error.as_ref().map(|_| "server_inactive".to_owned()),
        // What a guard decided says it.
        Step::Prompt(_) | Step::Instructions(_) | Step::Guard(_) => None,
        Step::Omission(_) => Some("turn_call_limit".to_owned()),
        Step::Refusal(refusal) => Some(refusal.code.to_string()),
    }
}

/// Facts of a step, in a few words each.
fn facts(step: &Step) -> Vec<(&'static str, Shown)> {
    let mut facts = match step {
        Step::Turn(turn) => of_turn(turn),
        Step::Call(call) => of_call(call),
        Step::Guard(guard) => vec![
            ("Decided", Some(decided(guard.outcome).to_owned())),
            ("Stage", Some(guard.stage.to_string())),
            ("Tool", Some(guard.tool.clone())),
            ("Call", Some(guard.call.clone())),
            ("Reason", guard.reason.clone()),
        ],
        Step::Listing(listing) => vec![
            ("Server", Some(listing.server.clone())),
            ("Reason", listing.error.clone()),
        ],
        Step::Instructions(given) => vec![
            ("Server", Some(given.server.clone())),
            (
                "Given to the model, in bytes",
                Some(given.bytes.to_string()),
            ),
        ],
        Step::Prompt(prompt) => vec![("Messages, in bytes", Some(prompt.bytes.to_string()))],
        Step::Omission(omission) => vec![("Round", Some(omission.round.to_string()))],
        Step::Refusal(refusal) => vec![
            ("Message", Some(refusal.message.clone())),
            ("Member", refusal.param.clone()),
            ("HTTP status", Some(refusal.status.to_string())),
        ],
    };
    facts.push(("Error", error(step)));
    let known = facts.into_iter();
    known
        .filter_map(|(label, value)| Some((label, Shown::short(&value?, 400))))
        .collect()
}

/// A label, and what there is to say.
type Fact = (&'static str, Option<String>);

fn of_turn(turn: &TurnStep) -> Vec<Fact> {
    vec![
        ("Turn", Some(turn.number.to_string())),
        ("Answered by", turn.model.clone()),
        ("Input tokens", number(turn.input_tokens)),
        ("Output tokens", number(turn.output_tokens)),
        ("Finish reason", turn.finish_reason.clone()),
        ("HTTP status", turn.status.map(|status| status.to_string())),
    ]
}

fn of_call(call: &CallStep) -> Vec<Fact> {
    let truncated = call.result_bytes.map(|_| match call.truncated {
        true => "yes".to_owned(),
        false => "no".to_owned(),
    });
    vec![
        ("Round", number(call.round)),
        ("Server", call.server.clone()),
        ("Tool", call.tool.clone()),
        ("Call", Some(call.id.clone())),
        ("Result, in bytes", number(call.result_bytes)),
        ("Truncated", truncated),
    ]
}

fn number(number: Option<u64>) -> Option<String> {
    number.map(|number| number.to_string())
}

/// The texts that were given to a tool or a model, and that it gave.
fn texts(step: &Step) -> Vec<(&'static str, Shown)> {
    let texts = match step {
        Step::Turn(turn) => vec![("Answer", &turn.answer)],
        Step::Prompt(prompt) => vec![("Messages", &prompt.text)],
        Step::Call(call) => vec![("Arguments", &call.arguments), ("Result", &call.result)],
        Step::Instructions(given) => vec![("Instructions", &given.text)],
        _ => Vec::new(),
    };
    let known = texts.into_iter();
    known
        .filter_map(|(label, text)| Some((label, Shown::of(&pretty(text.as_deref()?)))))
        .collect()
}
