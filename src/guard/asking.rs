//! One question to a guard: within its time, and whatever it does.

use std::{error::Error as _, fmt, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;

use super::{error::Error, rule::GuardRule, tool_guard::ToolGuard};
use crate::{registry::BoxFuture, within::within};

/// The reason why a guard has said nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    Failed(Error),
    Panicked,
    Late(Duration),
}

impl GuardRule {
    /// Asks the guard, for as long as it may take and there is `left`.
    pub(crate) async fn ask<'g, T>(
        &'g self,
        left: Duration,
        question: impl FnOnce(&'g dyn ToolGuard) -> BoxFuture<'g, Result<T, Error>>,
    ) -> Result<T, Fault> {
        let limit = self.timeout.min(left);
        // What a guard keeps between two questions is its own matter, as it is behind a mutex.
        let asked = AssertUnwindSafe(async { question(&*self.guard).await });
        match within(limit, asked.catch_unwind()).await {
            Ok(Ok(said)) => said.map_err(Fault::Failed),
            Ok(Err(_)) => Err(Fault::Panicked),
            Err(_) => Err(Fault::Late(limit)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => {
                write!(f, "it failed: {error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::Panicked => f.write_str("it panicked"),
            Self::Late(limit) => write!(f, "it has not answered within {} ms", limit.as_millis()),
        }
    }
}
