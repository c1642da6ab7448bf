//! The limit of open files, connections among them.

/// Lets the process open `wanted` files, or as many as it may; how many that are, where there is a
/// limit.
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
        // Some systems have a lower limit than they say; what there is remains.
        Err(_) => Some(now),
    }
}

#[cfg(not(unix))]
pub fn allow(_: u64) -> Option<u64> {
    None
}
