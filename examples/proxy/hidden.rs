//! Keeps what is in the process to itself.

/// Has the kernel show nobody else what is in this process: neither its environment, where secrets
/// may be, nor its memory, to other programs of the same user or in a core dump. To be called
/// before any secret is read. The superuser can look all the same.
#[cfg(target_os = "linux")]
pub fn hide() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // For what is started from here, and for kernels that write cores by this alone.
    if let Err(error) = undumpable.and(setrlimit(Resource::Core, nothing)) {
        eprintln!("warning: memory and environment of this process can be read by others: {error}");
    }
}

/// Core dumps are left to the system.
#[cfg(not(target_os = "linux"))]
pub fn hide() {}
