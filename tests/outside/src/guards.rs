//! A guard.

use mcp_layer::{
    guard::{Decision, Error, GuardedCall, GuardedResult, ToolGuard, Verdict},
    registry::BoxFuture,
};

/// A [`ToolGuard`] that lets nothing through that names one word.
pub struct Word(pub &'static str);

impl ToolGuard for Word {
    fn before<'a>(&'a self, call: &'a GuardedCall<'a>) -> BoxFuture<'a, Result<Decision, Error>> {
        Box::pin(async move {
            if self.0.is_empty() {
                return Err(Error::new("there is no word"));
            }
            Ok(match call.arguments.get().contains(self.0) {
                true => Decision::Deny(format!("{} is not to be named", self.0)),
                false => Decision::Allow,
            })
        })
    }

    fn after<'a>(
        &'a self,
        _: &'a GuardedCall<'a>,
        result: &'a GuardedResult<'a>,
    ) -> BoxFuture<'a, Result<Verdict, Error>> {
        Box::pin(async move {
            Ok(match result.text.contains(self.0) {
                true => Verdict::Rewrite(result.text.replace(self.0, "…")),
                false => Verdict::Allow,
            })
        })
    }
}
