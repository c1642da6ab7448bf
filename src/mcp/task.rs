//! Tool calls that run as tasks: the server answers at once, and is asked until the task ends.
//!
//! ```text
//!               2025-11-25, basic/utilities/tasks      2026-07-28, io.modelcontextprotocol/tasks
//! begins        the call asks for it (`task`)          the server answers `resultType: "task"`
//! goes on       tasks/get by the server's interval     the same
//! asks          input_required: tasks/result brings    input_required: tasks/get has the questions,
//!               the questions, which are refused       tasks/update declines them
//! ends          tasks/result has the result            tasks/get has it
//! is given up   tasks/cancel, if the server has that   tasks/cancel
//! ```
//!
//! An answer that says that the task goes on is a sign of life, so that a task may take as long as
//! the whole call, and what it says of its state (`statusMessage`) is told as progress. Asking runs nothing, so a poll that gets lost is made again.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::content::{self, CallToolResult};
use super::error::{Error, ErrorKind};
use super::handshake::TaskSupport;
use super::input::{MAX_DECLINES, MAX_QUESTIONS, NO_INPUT, Reply};
use super::line::{Answer, Line};
use super::param_headers::ParamHeaders;
use super::pulse::Pulse;
use super::request::Request;
use super::wire::{INVALID_PARAMS, RpcError};
use crate::trace_parent::TraceParent;

/// The shortest and the longest pause between two polls, whatever the server says: a task should
/// neither be asked for all the time nor be noticed late.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The longest id, in bytes: it goes in a header of each poll.
const MAX_ID: usize = 1024;

/// The time for `tasks/result` to bring the questions of a task that does not go on without.
const QUESTIONS: Duration = Duration::from_secs(5);

/// The limit of a cancellation, which nobody waits for.
const CANCEL: Duration = Duration::from_secs(5);

const MALFORMED: &str = "the server's answer about a task is malformed";
const ANOTHER: &str = "the server's answer is about another task";

/// Members that ask for a task (2025-11-25).
#[derive(Clone, Copy, Serialize)]
pub(super) struct Wanted {
    /// How long the server should keep it, in milliseconds.
    ttl: u64,
}

impl Wanted {
    /// A task that is of no use to us after this time.
    pub(super) fn within(time: Duration) -> Self {
        // Exact in every language.
        const MAX: u64 = (1 << 53) - 1;
        Self {
            ttl: u64::try_from(time.as_millis()).map_or(MAX, |ms| ms.min(MAX)),
        }
    }
}

/// A task that a server has begun, and that is cancelled if it is dropped before its end.
pub(super) struct Task<'a> {
    line: &'a Line,
    pulse: &'a Arc<Pulse>,
    trace: Option<&'a TraceParent>,
    id: String,
    tasks: TaskSupport,
    /// What it last said of its state.
    said: String,
    /// The pause before the next poll.
    pause: Duration,
    /// `true` while the server may be at work.
    is_open: bool,
}

/// What an answer says of a task.
struct Seen {
    status: Status,
    /// The questions that it waits with.
    questions: Vec<String>,
    result: Option<Box<RawValue>>,
    error: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

/// A task as a server describes it, in either revision.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    #[serde(borrow)]
    task_id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    status_message: Option<&'a RawValue>,
    poll_interval: Option<f64>,
    poll_interval_ms: Option<f64>,
    #[serde(default)]
    input_requests: BTreeMap<String, IgnoredAny>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<RpcError<'a>>,
}

/// The parameters of every request about a task.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct About<'a> {
    task_id: &'a str,
    #[serde(flatten)]
    reply: Option<&'a Reply>,
}

/// The task in the answer to a call, if that is no result yet; also one that the call did not ask
/// for, of a server that has tasks.
pub(super) fn begun(answer: &Answer) -> Result<Option<Box<RawValue>>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Begun<'a> {
        #[serde(borrow)]
        result_type: Option<Cow<'a, str>>,
        #[serde(borrow)]
        task: Option<&'a RawValue>,
        content: Option<IgnoredAny>,
    }
    let result = &answer.result;
    // Few results have the word in it, and those that do are seldom large.
    let has_tasks = answer.tasks != TaskSupport::None;
    if !has_tasks || memmem::find(result.get().as_bytes(), b"task").is_none() {
        return Ok(None);
    }
    let malformed = |_| Error::protocol(MALFORMED);
    let begun: Begun<'_> = serde_json::from_str(result.get()).map_err(malformed)?;
    Ok(match answer.tasks {
        TaskSupport::ByChoice => {
            (begun.result_type.as_deref() == Some("task")).then(|| result.clone())
        }
        // A call that asked for a task may also be answered like any other.
        _ => begun
            .task
            .filter(|_| begun.content.is_none())
            .map(ToOwned::to_owned),
    })
}

impl<'a> Task<'a> {
    /// Waits for the result of the task that `first` describes.
    ///
    /// # Cancellation
    ///
    /// The task is cancelled at the server, in the background; also after an error.
    pub(super) async fn follow(
        line: &'a Line,
        pulse: &'a Arc<Pulse>,
        trace: Option<&'a TraceParent>,
        tasks: TaskSupport,
        first: &RawValue,
    ) -> Result<CallToolResult, Error> {
        let described = described(first)?;
        if described.task_id.is_empty() || described.task_id.len() > MAX_ID {
            return Err(Error::protocol("the server's task has no usable id"));
        }
        let mut task = Self {
            line,
            pulse,
            trace,
            id: described.task_id.clone().into_owned(),
            tasks,
            said: String::new(),
            pause: SHORTEST,
            is_open: true,
        };
        let seen = task.read(described)?;
        task.run(seen).await
    }

    async fn run(mut self, mut seen: Seen) -> Result<CallToolResult, Error> {
        let mut declined = HashSet::new();
        let mut declines = 0;
        // What a task begins with has no result in it yet.
        let mut is_first = true;
        loop {
            match seen.status {
                Status::Working => {}
                Status::InputRequired => {
                    seen.questions.retain(|key| !declined.contains(key));
                    let is_new = !seen.questions.is_empty() || self.has_result_request();
                    declines += usize::from(is_new);
                    if declines > MAX_DECLINES || seen.questions.len() > MAX_QUESTIONS {
                        return Ok(content::failed(NO_INPUT));
                    }
                    if is_new && let Some(result) = self.decline(&seen.questions).await? {
                        return content::read_apart(result).await;
                    }
                    declined.extend(seen.questions);
                }
                _ if is_first && !self.has_result_request() => {}
                _ => return self.end(seen).await,
            }
            if matches!(seen.status, Status::Working | Status::InputRequired) {
                self.pulse.rest(self.pause).await;
            }
            is_first = false;
            seen = self.poll().await?;
        }
    }

    /// Returns `true` for tasks whose results are asked for (2025-11-25).
    fn has_result_request(&self) -> bool {
        self.tasks != TaskSupport::ByChoice
    }

    /// Asks how the task is. A poll that gets lost is made again, until the call's time is up: the
    /// server may be restarting.
    async fn poll(&mut self) -> Result<Seen, Error> {
        let result = self.ask("tasks/get", None).await?;
        let seen = self.read(described(&result)?)?;
        self.pulse.beat();
        Ok(seen)
    }

    async fn ask(
        &mut self,
        method: &'static str,
        reply: Option<&Reply>,
    ) -> Result<Box<RawValue>, Error> {
        loop {
            match self.line.request(self.about(method, reply)).await {
                Ok(answer) => return Ok(answer.result),
                Err(error) if is_passing(&error) => tokio::time::sleep(self.pause).await,
                Err(error) => {
                    // It does not know the task any more, so there is nothing to cancel.
                    self.is_open &= error.code() != Some(INVALID_PARAMS);
                    return Err(error);
                }
            }
        }
    }

    /// Declines the questions of the task; the result, if it comes meanwhile.
    async fn decline(&mut self, questions: &[String]) -> Result<Option<Box<RawValue>>, Error> {
        if self.has_result_request() {
            // The questions come with this answer, each a request of its own, which is refused.
            let result = timeout(QUESTIONS, self.ask("tasks/result", None));
            return result.await.map_or(Ok(None), |result| result.map(Some));
        }
        let reply = Reply::declining(questions.iter().cloned());
        let told = self.ask("tasks/update", Some(&reply));
        told.await.map(|_| None)
    }

    /// The result of a task that has ended.
    async fn end(mut self, seen: Seen) -> Result<CallToolResult, Error> {
        self.is_open = false;
        match (seen.status, seen.result, seen.error) {
            (Status::Cancelled, ..) => Ok(content::failed("the server cancelled the tool's task")),
            // Also of one that failed: it has the reason.
            _ if self.has_result_request() => {
                content::read_apart(self.ask("tasks/result", None).await?).await
            }
            (Status::Failed, _, Some(error)) => Err(error),
            (Status::Failed, ..) => Ok(content::failed("the tool's task failed")),
            (_, Some(result), _) => content::read_apart(result).await,
            (_, None, _) => Err(Error::protocol(MALFORMED)),
        }
    }

    /// Reads what a server says of this task.
    fn read(&mut self, described: Described<'_>) -> Result<Seen, Error> {
        if *described.task_id != *self.id {
            return Err(Error::protocol(ANOTHER));
        }
        let interval = described.poll_interval_ms.or(described.poll_interval);
        let interval = interval.map(|ms| Duration::from_millis(ms.max(0.0) as u64));
        self.pause = interval.unwrap_or(SHORTEST).clamp(SHORTEST, LONGEST);
        self.hear(described.status_message);
        let status = Status::of(&described.status);
        Ok(Seen {
            status: status.ok_or_else(|| Error::protocol(MALFORMED))?,
            questions: described.input_requests.into_keys().collect(),
            result: described.result.map(ToOwned::to_owned),
            error: described.error.map(RpcError::into_error),
        })
    }

    /// Takes what the server says of the task's state, for people, if it is something new.
    fn hear(&mut self, message: Option<&RawValue>) {
        let said = message.and_then(|text| serde_json::from_str::<String>(text.get()).ok());
        if let Some(said) = said.filter(|said| *said != self.said) {
            self.pulse.says(&said);
            self.said = said;
        }
    }

    fn about<'r>(
        &'r self,
        method: &'static str,
        reply: Option<&'r Reply>,
    ) -> Request<'r, About<'r>> {
        Request {
            trace: self.trace,
            pulse: Some(self.pulse),
            ..request(method, &self.id, reply)
        }
    }

    /// Cancels the task in the background, over the connection that there is.
    fn cancel(&self) {
        let workers = self.line.dialer().outbound.workers();
        // Without a runtime, the process ends.
        let can_run = workers.elsewhere().is_some() || Handle::try_current().is_ok();
        let can_cancel = self.tasks != TaskSupport::OnRequest { can_cancel: false };
        let Some(link) = self.line.present().filter(|_| can_run && can_cancel) else {
            return;
        };
        let (number, id) = (self.line.dialer().ids.next(), self.id.clone());
        workers.spawn(async move {
            let cancelled = link
                .connection
                .request(number, request("tasks/cancel", &id, None));
            if let Ok(Err(failure)) = timeout(CANCEL, cancelled).await {
                tracing::debug!(error = %failure.error, "a task was not cancelled");
            }
        });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.cancel();
        }
    }
}

impl Status {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "working" => Self::Working,
            "input_required" => Self::InputRequired,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }
}

/// A request about a task; its id is repeated in a header, so that gateways find the server that
/// runs it.
fn request<'r>(
    method: &'static str,
    task_id: &'r str,
    reply: Option<&'r Reply>,
) -> Request<'r, About<'r>> {
    let name = ParamHeaders {
        name: task_id,
        arguments: RawValue::NULL,
        plan: None,
    };
    Request {
        param_headers: Some(name),
        ..Request::new(method, About { task_id, reply }, task_id.len())
    }
}

fn described(task: &RawValue) -> Result<Described<'_>, Error> {
    serde_json::from_str(task.get()).map_err(|_| Error::protocol(MALFORMED))
}

/// Returns `true` for failures that the next poll may not meet, a status 5xx without an answer to the
/// request among them: the task goes on whatever a poll meets, and the call's silence ends it. An
/// access token may expire while the task runs; that is never an error of the call, which would be
/// made again with another.
fn is_passing(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::RateLimited => true,
        ErrorKind::Status => error.is_server_error(),
        _ => error.is_transport(),
    }
}
