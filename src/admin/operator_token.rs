//! The check of operators' tokens, over REST and on pages alike.

use http::Extensions;

use super::{
    clock::Clock,
    operators::{Operator, Roster},
    throttle::{ClientAddress, Throttle, Wrong},
};

/// The tokens that open this side, and the count of who gives wrong ones.
#[derive(Clone)]
pub(super) struct OperatorToken {
    operators: Roster,
    throttle: Throttle,
    clock: Clock,
}

impl OperatorToken {
    pub(super) fn new(operators: Roster, throttle: Throttle, clock: Clock) -> Self {
        Self {
            operators,
            throttle,
            clock,
        }
    }

    /// The operator whose token this is.
    pub(super) fn holder(&self, given: &[u8]) -> Option<Operator> {
        self.operators.with_token(given)
    }

    /// Counts a wrong token, and tells the log of the first.
    pub(super) fn wrong(&self, request: &Extensions) -> Wrong {
        let from = request.get::<ClientAddress>().copied();
        let wrong = self.throttle.wrong(from, self.clock.now());
        if wrong.times == 1 {
            let address = from.map_or("unknown".into(), |from| from.0.to_string());
            tracing::warn!(
                address,
                "a wrong admin token; more from this address within a minute are not logged"
            );
        }
        wrong
    }
}
