//! The types of bodies.

/// Bodies of programs, and nearly all answers to them.
pub(super) const JSON: &str = "application/json";
/// A body that changes parts (RFC 7396).
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
/// What is exported as a configuration file.
pub(super) const TOML: &str = "application/toml";
/// Forms of pages.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// Forms of pages that send a file (RFC 7578).
pub(super) const UPLOAD: &str = "multipart/form-data";
