//! Keys in servers' URLs: detected, covered for display, and restored for sending.
//!
//! Some servers take a key as a parameter (`?api_key=…`), others as a part of the path. Nothing
//! tells which parameter is a key, so every parameter's value counts as one. Of the path, segments
//! that look random do: those with ten or more characters in pieces that are neither words nor
//! numbers. The origin, the words of the path and the names of parameters stay visible, since
//! operators tell servers apart by them.
//!
//! A URL with a key is sealed as a whole, in the record of the server's other secrets, and the
//! stored JSON has covers in its place. The two must agree, so nobody who can write to the database
//! can have a key sent elsewhere. Only stored keys are covered: a page that refuses a form shows
//! what was typed, like every other field.

#[cfg(any(feature = "oauth", feature = "postgres", feature = "sqlite"))]
mod cover;
mod key;
#[cfg(feature = "admin")]
mod shown;

#[cfg(any(feature = "oauth", feature = "postgres", feature = "sqlite"))]
pub(crate) use self::cover::covered;
pub(crate) use self::key::{in_path, may_be_key};
#[cfg(feature = "admin")]
pub(crate) use self::shown::{is_covered, shown, uncovered};
