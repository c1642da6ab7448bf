//! How much is taken for a secret.

/// What is taken for a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Finds {
    /// Whatever a name or a form gives away, rather too much than too little.
    All,
    /// What the form alone gives away, and hardly anything else has.
    Forms,
}
