//! The check of the operator's token, over REST and on pages alike.

use http::Extensions;

use super::{
    clock::Clock,
    throttle::{ClientAddress, Throttle, Wrong},
    token::Token,
};

/// The token that opens this side, and the count of who gives wrong ones.
#[derive(Clone)]
pub(super) struct OperatorToken {
    token: Token,
    throttle: Throttle,
    clock: Clock,
}

impl OperatorToken {
    pub(super) fn new(token: Token, throttle: Throttle, clock: Clock) -> Self {
        Self {
            token,
            throttle,
            clock,
        }
    }

    /// Returns `true` for the operator's token.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.token.is(given)
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
