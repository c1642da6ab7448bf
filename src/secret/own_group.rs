//! The groups of this process.

/// Returns `true` if this process belongs to the group, by its own or by one of its further groups.
///
/// The kernel says it in a text file, so nothing foreign is called.
#[cfg(target_os = "linux")]
pub(super) fn is(group: u32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return false;
    };
    status
        .lines()
        .filter_map(|line| {
            line.strip_prefix("Gid:")
                .or_else(|| line.strip_prefix("Groups:"))
        })
        .flat_map(str::split_ascii_whitespace)
        .any(|own| own.parse() == Ok(group))
}

/// Elsewhere nobody tells without a call into the system: only the owner counts.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn is(_: u32) -> bool {
    false
}
