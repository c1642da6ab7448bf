//! Looking for a document at several places of one origin.
//!
//! What is not there is passed over, and so is what answers and is no good: a login page, a broken
//! proxy, a document of another issuer. Whoever can cause that chooses between places of one origin
//! and nothing more, and each document has to name what it was asked for. A second place that does
//! not answer at all ends the search: the others are on the same host, and each may take its whole
//! time. Something broken is never taken for absent: where no place is good, it is the error.

use serde::de::DeserializeOwned;
use url::Url;

use super::{
    error::{Error, ErrorKind},
    http::{Absent, Http},
    said,
};

/// Asks the places in turn, and returns the first document that `accept` takes.
///
/// # Errors
/// That of the first place which has something that is no good.
pub(super) async fn first<T: DeserializeOwned, U>(
    http: &Http,
    what: &'static str,
    places: &[Url],
    accept: impl Fn(T) -> Result<U, Error>,
) -> Result<Result<U, Absent>, Error> {
    let mut fault: Option<Error> = None;
    let mut answers: Vec<String> = Vec::new();
    let mut was_silent = false;
    for place in places {
        let found = match http.document(what, place).await {
            Ok(Ok(document)) => accept(document).map(Ok),
            Ok(Err(absent)) => Ok(Err(absent)),
            Err(error) => Err(error),
        };
        let answer = match found {
            Ok(Ok(found)) => return Ok(Ok(found)),
            Ok(Err(Absent(answer))) => answer,
            Err(error) => {
                let is_silent = error.said().is_none();
                if is_silent && (error.kind() != ErrorKind::Unreachable || was_silent) {
                    return Err(error);
                }
                was_silent |= is_silent;
                let answer = error
                    .said()
                    .map_or_else(|| error.to_string(), str::to_owned);
                fault.get_or_insert(error);
                answer
            }
        };
        answers.push(format!("{}: {answer}", said::place(place)));
    }
    let answers = answers.join("; ");
    match fault {
        Some(fault) => Err(fault.saying(answers)),
        None => Ok(Err(Absent(answers))),
    }
}
