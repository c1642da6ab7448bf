//! *Destructive asks first*.

use std::future::ready;

use super::{call::GuardedCall, decision::Decision, error::Error, tool_guard::ToolGuard};
use crate::registry::BoxFuture;

/// Asks the caller before a tool runs that may destroy something, by its annotations (MCP,
/// `ToolAnnotations`): one that says neither `readOnlyHint: true` nor `destructiveHint: false`. A tool
/// without annotations may.
///
/// # Security
/// Annotations are the server's own word. Where tools are pinned, they are those that an operator
/// accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Destructive;

impl ToolGuard for Destructive {
    fn before<'a>(&'a self, call: &'a GuardedCall<'a>) -> BoxFuture<'a, Result<Decision, Error>> {
        Box::pin(ready(Ok(match call.is_destructive() {
            true => Decision::Ask,
            false => Decision::Allow,
        })))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::value::RawValue;

    use super::*;
    use crate::project::Project;

    #[test]
    fn a_tool_asks_unless_it_says_that_it_destroys_nothing() {
        for (annotations, asks) in [
            (None, true),
            (Some("{}"), true),
            (Some("[]"), true),
            (Some(r#"{"readOnlyHint":false}"#), true),
            (Some(r#"{"readOnlyHint":"true"}"#), true),
            (Some(r#"{"readOnlyHint":false,"readOnlyHint":true}"#), true),
            (Some(r#"{"destructiveHint":true}"#), true),
            (Some(r#"{"destructiveHint":null}"#), true),
            (Some(r#"{"destructiveHint":false}"#), false),
            (Some(r#"{"readOnlyHint":true}"#), false),
            (
                Some(r#"{"readOnlyHint":true,"destructiveHint":true}"#),
                false,
            ),
        ] {
            let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
            let (project, server) = (Project::default(), "s".parse().unwrap());
            let (arguments, annotations) = (raw("{}"), annotations.map(raw));
            let mut call = GuardedCall::new(&project, &server, "drop", "s__drop", &arguments);
            call.annotations = annotations.as_deref();
            let decision = Destructive.before(&call).now_or_never();
            let is_asked = matches!(decision, Some(Ok(Decision::Ask)));
            assert_eq!(is_asked, asks, "{annotations:?}");
        }
    }
}
