//! What this process uses, under the names that Prometheus' own clients have for it.

/// Writes what the kernel says of this process; nothing of what it does not say.
#[cfg(target_os = "linux")]
pub fn write(text: &mut String) {
    use std::{fmt::Write, fs};

    let mut metric = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Writing into a string does not fail.
            let _ = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    metric(
        "process_cpu_seconds_total",
        "counter",
        "Processor time, of the program and of the system for it.",
        // Fields 14 and 15 of proc_pid_stat(5).
        field(&stat, 14)
            .zip(field(&stat, 15))
            .map(|(own, systems)| (own + systems) / TICKS),
    );
    metric(
        "process_resident_memory_bytes",
        "gauge",
        "Memory that is in use and not swapped out.",
        line(&status, "VmRSS:").map(|kib| kib * 1024.0),
    );
    metric(
        "process_open_fds",
        "gauge",
        "Open files, connections among them.",
        fs::read_dir("/proc/self/fd").ok().map(|files| {
            // Without the one that reads this.
            (files.count() as f64 - 1.0).max(0.0)
        }),
    );
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    metric(
        "process_max_fds",
        "gauge",
        "The limit of open files.",
        line(&limits, "Max open files"),
    );
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    metric(
        "process_start_time_seconds",
        "gauge",
        "When the process was started, in seconds since 1970.",
        line(&system, "btime")
            .zip(field(&stat, 22))
            .map(|(boot, ticks)| boot + ticks / TICKS),
    );
}

/// The ticks of a second in what the kernel tells programs, whatever its own are.
#[cfg(target_os = "linux")]
const TICKS: f64 = 100.0;

/// A field of `/proc/self/stat` by its number in the manual, behind the name, which may have blanks.
#[cfg(target_os = "linux")]
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

/// The first number in the line that begins so.
#[cfg(target_os = "linux")]
fn line(text: &str, begins: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(begins))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Elsewhere there is no such text.
#[cfg(not(target_os = "linux"))]
pub fn write(_: &mut String) {}
