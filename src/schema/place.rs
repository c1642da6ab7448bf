//! `Place`: where arguments are checked.

/// The place where arguments are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "validate"),
    expect(dead_code, reason = "nothing is checked here")
)]
pub(crate) enum Place {
    /// At the server, which checks them anyway: here it would take more work than arguments are worth.
    AtTheServer,
    /// On this thread, at once.
    Here,
    /// On a thread that serves no requests.
    Apart,
}
