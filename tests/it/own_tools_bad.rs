//! Histories that are not as they were.
