//! Standard error as the log writes it: whole lines, by many threads at once.
//!
//! The standard library holds a lock while it writes, and under load most waits between the threads
//! of the proxy were for that lock. The system needs none: it writes a line that fits into a pipe's
//! atomic write (`PIPE_BUF`, 4096 bytes on Linux, at least 512 anywhere) in one piece.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{PoisonError, RwLock},
};

use tracing_subscriber::fmt::MakeWriter;

/// The longest line that no other is written into.
const ATOMIC: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Standard error; threads write lines to it at the same time.
#[derive(Debug)]
pub struct Lines {
    file: File,
    /// Shared by short lines; a long one has it alone, since it may be written in pieces.
    turn: RwLock<()>,
}

impl Lines {
    /// Standard error, which stays open beside this.
    pub fn of_stderr() -> io::Result<Self> {
        let file = io::stderr().as_fd().try_clone_to_owned()?.into();
        let turn = RwLock::default();
        Ok(Self { file, turn })
    }

    fn add(&self, line: &[u8]) -> io::Result<()> {
        let turn = &self.turn;
        let (_shared, _alone);
        match line.len() > ATOMIC {
            true => _alone = turn.write().unwrap_or_else(PoisonError::into_inner),
            false => _shared = turn.read().unwrap_or_else(PoisonError::into_inner),
        }
        (&self.file).write_all(line)
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Lines {
    /// Writes all of `line`: the log hands over each line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
