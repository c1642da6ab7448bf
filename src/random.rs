//! Random numbers from the operating system, for keys, nonces and names of leases.

/// Fills `bytes` with random ones.
///
/// # Panics
/// If the system has no random numbers: nothing here is safe without them.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).unwrap_or_else(|error| panic!("no random numbers: {error}"));
}
