//! The mark that takes a secret's place, and a count of the work of finding it.

/// The text that replaces a secret.
pub(super) const REDACTED: &str = "[redacted]";

#[cfg(test)]
thread_local! {
    pub(super) static VISITED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts bytes that were looked at one by one, so that a test can tell how many times that was.
pub(super) fn visited(_bytes: usize) {
    #[cfg(test)]
    VISITED.with(|visited| visited.set(visited.get() + _bytes));
}
