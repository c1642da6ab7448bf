//! JSON of an operator, and what is wrong with it in REST's words.
//!
//! A body is read as text, not into types. Types cannot say `auth.headers[0].value`, take a member
//! that is given twice for one, and repeat in their messages what was sent, which may be a secret
//! in the wrong place.

use super::fault::{Code, Fault};
use crate::registry::members::{self, Tone, Tree, Words};

/// The whole body.
pub(super) fn tree(body: &[u8]) -> Result<Tree<'_>, Fault> {
    Tree::json(body).map_err(|error| Fault::new(Code::InvalidJson, format!("the body {error}")))
}

impl From<members::Fault> for Fault {
    fn from(fault: members::Fault) -> Self {
        let place = fault.place(&Words::JSON);
        let between = match fault.tone {
            Tone::Continues => " ",
            Tone::Unusable => " cannot be used: ",
            Tone::Sentence => ": ",
        };
        let whole = if place.is_empty() {
            "the body"
        } else {
            &*place
        };
        let message = format!("{whole}{between}{}", fault.reason);
        let told = Self::new(Code::InvalidServer, message).with_page(fault.page);
        match place.is_empty() {
            true => told,
            false => told.at(place),
        }
    }
}
