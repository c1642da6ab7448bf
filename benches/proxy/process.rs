//! A program under measurement, as a process of its own.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A program that serves; it ends with this.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

/// The processor time of each thread so far.
pub struct Cpu(HashMap<String, Duration>);

impl Process {
    /// Starts a program that prints its address first. What it logs goes to a file.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let log_file = File::create(log).unwrap();
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn();
        let mut child = started.unwrap();
        let mut line = String::new();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        printed.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://");
        let Some(address) = address.and_then(|(_, address)| address.parse().ok()) else {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("{command:?} does not serve: {line}{log}");
        };
        // It may go on printing.
        std::thread::spawn(move || std::io::copy(&mut printed, &mut std::io::sink()));
        Self { child, address }
    }

    /// Starts a program that will serve at an address, and waits until it does.
    pub fn start_at(command: &mut Command, log: &Path, address: SocketAddr) -> Self {
        let output = File::create(log).unwrap();
        let errors = output.try_clone().unwrap();
        let started = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        let mut child = started.unwrap();
        while TcpStream::connect(address).is_err() {
            if child.try_wait().unwrap().is_some() {
                let log = fs::read_to_string(log).unwrap_or_default();
                panic!("{command:?} has ended: {log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Self { child, address }
    }

    pub fn cpu(&self) -> Cpu {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let time = |thread: std::io::Result<fs::DirEntry>| {
            let path = thread.ok()?.path();
            // Threads may end at any time.
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            let nanoseconds = text.split(' ').next()?.parse().ok()?;
            let name = path.to_string_lossy().into_owned();
            Some((name, Duration::from_nanos(nanoseconds)))
        };
        Cpu(threads.filter_map(time).collect())
    }

    /// The most memory that it has had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The memory that it has, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.unwrap().parse().unwrap()
    }
}

impl Cpu {
    /// The time since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Duration {
        let spent = |(thread, time): (&String, &Duration)| {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            time.saturating_sub(before)
        };
        self.0.iter().map(spent).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
