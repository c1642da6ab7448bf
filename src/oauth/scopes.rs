//! What a token is good for.

pub use crate::scopes::Scopes;
