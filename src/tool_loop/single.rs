//! One call of a tool without a model: what an operator tries. It goes through the checks of a call in
//! the loop, and is recorded as an exchange of its own.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    execute::{Approval, Batch},
    gateway::Gateway,
    journal::hang_up,
    media::{MediaRoom, Takes},
    record::{Ending, Record},
    resolve,
    wanted::Wanted,
};
use crate::{
    caller::Caller,
    catalog::{Catalog, Entry, Owner},
    chat::{Arguments, ToolCall},
    name::{ServerName, short},
    project::Project,
    refusal::{Kind, Refusal},
    registry::{Fingerprint, ToolPolicy},
    trace::TraceId,
};

/// The id of the call, in the place of one that a model makes up.
const ID: &str = "operator";

/// A call that an operator makes.
#[derive(Debug)]
pub(crate) struct SingleCall {
    pub(crate) server: ServerName,
    /// The tool's own name.
    pub(crate) tool: String,
    /// The text of a JSON object.
    pub(crate) arguments: String,
    /// The definition that was seen, for a call that asks first: by its tool, or by a guard.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// What the call came to.
#[derive(Debug)]
pub(crate) struct SingleResult {
    /// The text that a model would get.
    pub(crate) text: String,
    pub(crate) is_error: bool,
    pub(crate) duration: Duration,
    pub(crate) result_bytes: usize,
    pub(crate) truncated: bool,
    /// The record of it; `None` where nobody listens.
    pub(crate) trace: Option<TraceId>,
}

/// Calls a tool as `caller`, under all checks of a request of its project.
///
/// # Errors
/// The refusal that a request for this server would get; of `tool`, if it is not offered; of
/// `fingerprint`, if the tool asks first and that is not what is offered now.
pub(crate) async fn call(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    call: SingleCall,
) -> Result<SingleResult, Refusal> {
    let project = gateway.project_of(caller)?;
    let whose = (&project, &caller.tokens);
    let record = Record::begin(
        gateway,
        whose,
        caller.recorded_as,
        None,
        [call.server.as_str()],
    );
    let refused = |refusal: Refusal| {
        record.refuse(&refusal);
        refusal
    };
    let wanted = [Wanted {
        name: call.server.to_string(),
        param: "server".to_owned(),
    }];
    let active = resolve::active(gateway, whose, &wanted, None, Some(&record)).await;
    let catalog = active.and_then(|active| resolve::selected(&active, &project, &[], None));
    let catalog = Arc::new(catalog.map_err(refused)?);
    record.offers(&catalog);
    let entry = offered(&catalog, &call).map_err(refused)?;
    let called = (&project, entry);
    // Whoever names the definition has read it.
    let approval = match call.fingerprint {
        Some(_) => Approval::Given,
        None => Approval::NeedsFingerprint,
    };
    Ok(run(gateway, caller, called, (call.arguments, approval), &record).await)
}

/// The tool that is called, if it may be.
fn offered<'a>(catalog: &'a Catalog, call: &SingleCall) -> Result<&'a Entry, Refusal> {
    let mut entries = catalog.entries();
    let Some(entry) = entries.find(|entry| entry.offer().tool == call.tool) else {
        let mut withheld = catalog.left_out();
        let reason = match withheld.find(|(_, tool)| tool.tool() == call.tool) {
            Some((_, withheld)) => format!("{}; accept it first", withheld.reason()),
            None => {
                "the server does not list it, it is not selected, or the project is not granted it"
                    .to_owned()
            }
        };
        let message = format!("{:?} is not offered: {reason}", short(&call.tool));
        return Err(Refusal::new(Kind::InvalidMcpOptions, message).at("tool"));
    };
    let now = entry.offer().listed.fingerprint();
    match (entry.policy, call.fingerprint) {
        (_, Some(seen)) if seen != now => Err(Refusal::invalid_option(
            "fingerprint",
            "is not that of the tool as it is now; read its definition again",
        )),
        (ToolPolicy::AskFirst, None) => Err(Refusal::invalid_option(
            "fingerprint",
            "is required: this tool asks first, so read its definition in GET .../servers/{name}/tools, and send the fingerprint that is there",
        )),
        _ => Ok(entry),
    }
}

async fn run(
    gateway: &Gateway,
    caller: &Caller,
    (project, entry): (&Project, &Entry),
    (arguments, approval): (String, Approval),
    record: &Record,
) -> SingleResult {
    let call = ToolCall {
        id: ID.to_owned(),
        function: Some(entry.offer().name.clone()),
        arguments: Arguments::Text(arguments),
        through: None,
    };
    let limits = &gateway.settings.limits;
    let sessions = gateway.connections.exchange();
    let media = MediaRoom::new(Takes::default(), limits, &[]);
    let (waits, hang_up) = hang_up::waits(None);
    let round = record.round();
    let batch = Batch {
        gateway,
        project,
        caller,
        sessions: &sessions,
        ends: Instant::now() + limits.deadline,
        allowed: 1,
        parallel: false,
        approval,
        is_searched: false,
        cleared: &[],
        media: &media,
        hang_up: &hang_up,
        record,
        round,
        events: None,
    };
    let calls = [(&call, Owner::Ours(entry))];
    let results = waits.here(batch.run(&calls)).await;
    record.end(Ending::Called);
    let trace = record.id();
    // There is one for each call, as long as its caller waits.
    match results.into_iter().flatten().next() {
        Some(result) => SingleResult {
            text: text(&result.message),
            is_error: result.is_error,
            duration: result.duration,
            result_bytes: result.result_bytes,
            truncated: result.truncated,
            trace,
        },
        None => SingleResult {
            text: "the call was cancelled".to_owned(),
            is_error: true,
            duration: Duration::ZERO,
            result_bytes: 0,
            truncated: false,
            trace,
        },
    }
}

/// The text of a `tool` message.
fn text(message: &[u8]) -> String {
    let message: Option<Value> = serde_json::from_slice(message).ok();
    let content = message
        .as_ref()
        .and_then(|message| message["content"].as_str());
    content.unwrap_or_default().to_owned()
}
