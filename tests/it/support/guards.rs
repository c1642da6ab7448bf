//! A guard that does what it is told, and notes what it is asked.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use mcp_layer::{
    guard::{Decision, Error, GuardedCall, GuardedResult, ToolGuard, Verdict},
    registry::BoxFuture,
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::time::Instant;

/// What the guard does when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    Allow,
    Rewrite(Value),
    Deny(&'static str),
    Ask,
    Fail,
    Panic,
    Hang,
}

type Tells = dyn Fn(&Value) -> Does + Send + Sync;

/// The guard; clones note together.
#[derive(Clone)]
pub struct Sentry {
    does: Arc<Tells>,
    asked: Arc<Mutex<Vec<(Instant, Value)>>>,
}

impl Sentry {
    /// A guard that does what this makes of a question.
    pub fn new(does: impl Fn(&Value) -> Does + Send + Sync + 'static) -> Self {
        Self {
            does: Arc::new(does),
            asked: Arc::default(),
        }
    }

    /// A guard that does this before each call.
    pub fn before(does: Does) -> Self {
        Self::new(move |asked| match asked["stage"] == "before" {
            true => does.clone(),
            false => Does::Allow,
        })
    }

    /// A guard that does this with each result.
    pub fn after(does: Does) -> Self {
        Self::new(move |asked| match asked["stage"] == "after" {
            true => does.clone(),
            false => Does::Allow,
        })
    }

    /// All that it was asked.
    pub fn asked(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(_, asked)| asked.clone()).collect()
    }

    /// What it was asked at this stage: the tools' own names.
    pub fn tools(&self, stage: &str) -> Vec<String> {
        let asked = self.asked();
        let asked = asked.iter().filter(|asked| asked["stage"] == stage);
        let tools = asked.map(|asked| asked["tool"].as_str().unwrap().to_owned());
        tools.collect()
    }

    /// When it was first asked.
    pub fn began(&self) -> Instant {
        self.asked.lock().unwrap()[0].0
    }

    async fn decides(&self, asked: Value) -> Result<Does, Error> {
        let does = (self.does)(&asked);
        self.asked.lock().unwrap().push((Instant::now(), asked));
        match does {
            Does::Fail => Err(Error::new("the guard's own fault")),
            Does::Panic => panic!("as a guard might"),
            Does::Hang => pending().await,
            does => Ok(does),
        }
    }
}

fn question(stage: &str, call: &GuardedCall<'_>) -> Value {
    let parsed =
        |text: &serde_json::value::RawValue| -> Value { serde_json::from_str(text.get()).unwrap() };
    json!({
        "stage": stage, "project": call.project.name(), "server": call.server.as_str(),
        "tool": call.tool, "offered_name": call.offered_name,
        "arguments": parsed(call.arguments), "annotations": call.annotations.map(parsed),
        "trace": call.trace,
    })
}

impl ToolGuard for Sentry {
    fn before<'a>(&'a self, call: &'a GuardedCall<'a>) -> BoxFuture<'a, Result<Decision, Error>> {
        Box::pin(async move {
            Ok(match self.decides(question("before", call)).await? {
                Does::Rewrite(arguments) => Decision::Rewrite(to_raw_value(&arguments).unwrap()),
                Does::Deny(reason) => Decision::Deny(reason.into()),
                Does::Ask => Decision::Ask,
                _ => Decision::Allow,
            })
        })
    }

    fn after<'a>(
        &'a self,
        call: &'a GuardedCall<'a>,
        result: &'a GuardedResult<'a>,
    ) -> BoxFuture<'a, Result<Verdict, Error>> {
        Box::pin(async move {
            let mut asked = question("after", call);
            asked["result"] = result.text.into();
            asked["is_error"] = result.is_error.into();
            Ok(match self.decides(asked).await? {
                Does::Rewrite(text) => Verdict::Rewrite(text.as_str().unwrap().into()),
                Does::Deny(reason) => Verdict::Deny(reason.into()),
                _ => Verdict::Allow,
            })
        })
    }
}
