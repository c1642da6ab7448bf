//! The limit of open files, connections among them.

/// Raises the limit of open files to `wanted`, or as far as allowed; returns the limit, if there is
/// one.
#[cfg(unix)]
pub fn allow(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let now = limit.current?;
    let wanted = limit.maximum.map_or(wanted, |most| wanted.min(most));
    if now >= wanted {
        return Some(now);
    }
    let raised = Rlimit {
        current: Some(wanted),
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(wanted),
        // Some systems allow less than they report; then the limit stays.
        Err(_) => Some(now),
    }
}

#[cfg(not(unix))]
pub fn allow(_: u64) -> Option<u64> {
    None
}
