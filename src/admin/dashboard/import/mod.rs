//! Importing servers from a file: what would be done is shown first, then the drafts are made.
//!
//! Between the two, the page itself carries the text, sealed: it may have secrets, and another
//! replica may answer next.

mod pages;
pub(super) mod upload;

pub(super) use self::pages::{ask, confirm, preview};

/// Returns `true` for the path whose form sends a file.
pub(in super::super) fn takes_files(path: &str) -> bool {
    path == "/import"
}
