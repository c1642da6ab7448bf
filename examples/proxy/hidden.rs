//! Protection of the process's memory and environment.

/// Hides the environment and memory of this process from other programs of the same user, and from
/// core dumps. Call it before any secret is read. The superuser can look all the same.
#[cfg(target_os = "linux")]
pub fn hide() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // For child processes, and for kernels that consider only this limit.
    if let Err(error) = undumpable.and(setrlimit(Resource::Core, nothing)) {
        eprintln!(
            "warning: other programs can read the memory and environment of this process: {error}"
        );
    }
}

/// Core dumps are left to the system.
#[cfg(not(target_os = "linux"))]
pub fn hide() {}
