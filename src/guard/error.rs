//! The error of a guard that cannot say.

use std::{error::Error as StdError, fmt};

/// The reason why a guard has no decision: for the operator, in the log and in the trace. Models and
/// callers see nothing of it.
///
/// ```
/// use mcp_layer::guard::Error;
///
/// let error = Error::new("the list of words is not loaded yet");
/// assert_eq!(error.to_string(), "the list of words is not loaded yet");
/// let parsed: Result<u8, Error> = "x".parse::<u8>().map_err(Error::new);
/// assert!(parsed.is_err());
/// ```
#[derive(Debug)]
pub struct Error(Box<dyn StdError + Send + Sync>);

impl Error {
    /// Creates an error from another one, or from a text.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
