//! This program once more, as a process that may be ended.

use std::process::{Command, Stdio};

/// What the child is to do; a test of that name does it, and nothing in its absence.
const ROLE: &str = "MCP_LAYER_CRASH_ROLE";

/// A command that plays `role`, which is the name of a test; what it prints comes in a pipe.
pub fn play(role: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    arguments(&mut child, role);
    child.env(ROLE, role).stdout(Stdio::piped());
    child
}

/// The same by way of a shell, which first does `prepare`.
pub fn play_after(prepare: &str, role: &str) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("{prepare}\nexec \"$0\" \"$@\"");
    shell.arg("-c").arg(script);
    shell.arg(std::env::current_exe().unwrap());
    arguments(&mut shell, role);
    shell.env(ROLE, role).stdout(Stdio::piped());
    shell
}

fn arguments(command: &mut Command, role: &str) {
    command.args(["--exact", role, "--nocapture", "--test-threads=1"]);
}

/// Whether this process is a child that plays `role`.
pub fn plays(role: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|played| played == role)
}

/// What the parent says.
pub fn told(name: &str) -> String {
    std::env::var(name).unwrap()
}
