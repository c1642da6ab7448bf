//! A PostgreSQL of one's own, in a temporary directory; it ends when dropped.
//!
//! It refuses to run as root: then it runs as the user `postgres`.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::directory::Directory;

/// How long it may take to start, after a crash too.
const START: Duration = Duration::from_secs(30);

pub struct Postgres {
    directory: Directory,
    programs: PathBuf,
    port: u16,
    running: Option<Child>,
}

impl Postgres {
    pub fn start() -> Self {
        let mut postgres = Self::unborn();
        let directory = &postgres.directory.0;
        // An order of text that is not by bytes, as databases of others may have it.
        let mut initdb = postgres.program("initdb");
        initdb
            .arg("-D")
            .arg(directory.join("data"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--locale-provider=icu"])
            .arg("--icu-locale=en-US");
        done(&mut initdb);
        postgres.restart();
        postgres
    }

    /// A directory for it, and a port.
    fn unborn() -> Self {
        let postgres = Self {
            directory: Directory::new(),
            programs: programs(),
            port: free_port(),
            running: None,
        };
        if is_root() {
            let mut chown = Command::new("chown");
            done(chown.arg("postgres").arg(&postgres.directory.0));
        }
        postgres
    }

    /// A standby of it, which follows until it is promoted.
    pub fn standby(&self) -> Self {
        let standby = Self::unborn();
        let mut copy = self.program("pg_basebackup");
        self.to_server(&mut copy);
        copy.arg("-D").arg(standby.directory.0.join("data"));
        done(copy.args(["-R", "-c", "fast"]));
        let mut standby = standby;
        standby.restart();
        standby
    }

    /// Makes a primary of a standby, and waits until it is one.
    pub fn promote(&self) {
        self.run("postgres", "SELECT pg_promote()");
    }

    /// The URL of a database that is there.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://postgres:s3cret@127.0.0.1:{}/{name}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a new database.
    pub fn database(&self, name: &str) -> String {
        let mut createdb = self.program("createdb");
        done(self.to_server(&mut createdb).arg(name));
        self.url(name)
    }

    /// Runs statements in a database.
    pub fn run(&self, database: &str, statements: &str) {
        let mut psql = self.program("psql");
        self.to_server(&mut psql);
        done(psql.args([
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
            "-c",
            statements,
        ]));
    }

    /// Starts it again, and waits until it answers.
    pub fn restart(&mut self) {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let running = match &mut self.running {
                Some(running) => running.try_wait().unwrap().is_none(),
                None => false,
            };
            if !running {
                // After a crash the first attempts find what is left of the last one.
                self.running = Some(self.server().spawn().unwrap());
            }
            let is_open = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            let mut ready = self.program("pg_isready");
            let ready = self.to_server(&mut ready).arg("-q").status().unwrap();
            if is_open && ready.success() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("PostgreSQL does not start");
    }

    /// Ends it in an orderly way, and closes all connections.
    pub fn stop(&mut self) {
        self.signal("INT");
        self.running.take().unwrap().wait().unwrap();
    }

    /// Ends it as a power cut would, its processes with it.
    pub fn kill(&mut self) {
        self.signal_all("KILL");
        self.running.take().unwrap().wait().unwrap();
    }

    /// Sends a signal to it and to everything that it has started.
    pub fn signal_all(&self, signal: &str) {
        let postmaster = self.running.as_ref().unwrap().id().to_string();
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &postmaster])
            .output()
            .unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        // A connection may have ended since.
        let mut kill = Command::new("kill");
        kill.arg("-s").arg(signal).arg(postmaster);
        let _ = kill
            .args(children.split_whitespace())
            .stderr(Stdio::null())
            .status();
    }

    fn signal(&self, signal: &str) {
        let postmaster = self.running.as_ref().unwrap().id().to_string();
        done(Command::new("kill").args(["-s", signal, &postmaster]));
    }

    fn server(&self) -> Command {
        let mut server = self.program("postgres");
        server
            .arg("-D")
            .arg(self.directory.0.join("data"))
            .arg("-k")
            .arg(&self.directory.0)
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        server
    }

    fn to_server<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let port = self.port.to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"])
    }

    /// One of PostgreSQL's programs, as a user who may run it.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.directory.0);
        if is_root() {
            command.uid(id("-u", "postgres")).gid(id("-g", "postgres"));
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
    }
}

/// Where the newest version has its programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let versions = versions.filter_map(|version| {
        let path = version.unwrap().path().join("bin");
        let number: u32 = path.parent()?.file_name()?.to_str()?.parse().ok()?;
        path.join("initdb").is_file().then_some((number, path))
    });
    let newest = versions.max().map(|(_, path)| path);
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .or_else(|| std::env::split_paths(&path).find(|path| path.join("initdb").is_file()))
        .expect("no initdb: install PostgreSQL 15 or newer (Debian: postgresql)")
}

pub fn is_root() -> bool {
    id("-u", "") == 0
}

/// The number of a user, or of ours.
pub fn id(of: &str, user: &str) -> u32 {
    let mut id = Command::new("id");
    id.arg(of).args((!user.is_empty()).then_some(user));
    let output = id.output().unwrap();
    assert!(output.status.success(), "there is no user {user}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
