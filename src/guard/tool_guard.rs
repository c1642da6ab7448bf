//! The trait.

use std::{future::ready, sync::Arc};

use super::{
    call::{GuardedCall, GuardedResult},
    decision::{Decision, Verdict},
    error::Error,
};
use crate::registry::BoxFuture;

/// Sees tool calls before they run and results before the model does, and decides on them.
///
/// Both methods allow everything unless they are implemented. They must not block: a guard that
/// computes for long hands that to another thread.
///
/// # Errors
/// An error is a guard that cannot say: its [rule](super::GuardRule::with_fail) decides what follows. So is a
/// panic.
///
/// # Cancellation
/// A future is dropped when the guard's time is up, and when the caller hangs up. The call then does
/// not run, unless the rule fails open.
pub trait ToolGuard: Send + Sync + 'static {
    /// Decides whether a call runs, and with which arguments.
    fn before<'a>(&'a self, call: &'a GuardedCall<'a>) -> BoxFuture<'a, Result<Decision, Error>> {
        let _ = call;
        Box::pin(ready(Ok(Decision::Allow)))
    }

    /// Decides whether the model gets a result, and with which text.
    fn after<'a>(
        &'a self,
        call: &'a GuardedCall<'a>,
        result: &'a GuardedResult<'a>,
    ) -> BoxFuture<'a, Result<Verdict, Error>> {
        let _ = (call, result);
        Box::pin(ready(Ok(Verdict::Allow)))
    }
}

impl<G: ToolGuard + ?Sized> ToolGuard for Arc<G> {
    fn before<'a>(&'a self, call: &'a GuardedCall<'a>) -> BoxFuture<'a, Result<Decision, Error>> {
        (**self).before(call)
    }

    fn after<'a>(
        &'a self,
        call: &'a GuardedCall<'a>,
        result: &'a GuardedResult<'a>,
    ) -> BoxFuture<'a, Result<Verdict, Error>> {
        (**self).after(call, result)
    }
}
