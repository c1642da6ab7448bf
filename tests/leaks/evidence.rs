//! What the leak scan (`tests/leaks/run`) looks at, written down by the tests while they run:
//! everything that leaves us, and the secrets that must not be in it.
//!
//! ```text
//! $MCP_LAYER_LEAKS/
//!   left/output/   what the test binaries print; the script writes it
//!   left/log/      every event and span of this process, at TRACE
//!   left/caller/   the answers that callers get
//!   left/model/    the requests that models get
//!   left/proxy/    what a proxy of tests/proxy logs and prints
//!   left/database/ the files of SQLite databases
//!   left/trace/    the records of exchanges
//!   secrets/       kind, and the secret in hex: a line for each
//! ```
//!
//! Nothing is written unless the variable is set. What a double of an MCP or an authorization
//! server was sent is not: that is where credentials belong.

use std::{
    collections::HashMap,
    env,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{Mutex, Once, OnceLock, PoisonError},
};

/// The ways by which something leaves. In each of them a secret is planted by a test, so that a
/// way that is no longer looked at fails the scan.
pub const CHANNELS: [&str; 7] = [
    "output", "log", "caller", "model", "proxy", "database", "trace",
];

/// What the kind of a planted secret begins with; the channel follows.
pub const PLANTED: &str = "planted in ";

/// A credential that a model repeats, as it can where its caller has told it: the model is told so
/// again, and it must not leave by any other way.
pub const REPEATED: &str = "token that a model repeats";

/// Shorter ones are in every text, as are pieces of that length of longer ones.
const SHORTEST: usize = 12;

pub fn folder() -> Option<&'static PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER
        .get_or_init(|| env::var_os("MCP_LAYER_LEAKS").map(PathBuf::from))
        .as_ref()
}

/// Writes every event down from now on.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(log) = file("left/log") else {
            return;
        };
        tracing_subscriber::fmt()
            // The SDK's server is one of the doubles, and logs what it is sent.
            .with_env_filter("trace,rmcp=off")
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::NEW)
            .with_ansi(false)
            .with_writer(Mutex::new(log))
            .init();
    });
}

/// Notes a secret that must not leave. Without a kind it is none.
pub fn secret(kind: &str, value: impl AsRef<[u8]>) {
    let value = value.as_ref();
    if folder().is_none() || kind.is_empty() || value.len() < SHORTEST {
        return;
    }
    let mut line = format!("{kind}\t");
    for byte in value {
        let _ = write!(line, "{byte:02x}");
    }
    line.push('\n');
    append("secrets", line.as_bytes());
}

/// A secret that a test is to let out by this channel.
pub fn planted(channel: &str) -> String {
    let value = format!("planted-{channel}-{:x}", std::process::id());
    secret(&format!("{PLANTED}{channel}"), &value);
    value
}

/// Writes down something that left.
pub fn left(channel: &str, bytes: impl AsRef<[u8]>) {
    if folder().is_some() {
        append(&format!("left/{channel}"), bytes.as_ref());
        append(&format!("left/{channel}"), b"\n");
    }
}

/// Header values as they go over the wire: `Debug` hides those that are marked as sensitive.
pub fn headers(headers: &http::HeaderMap) -> String {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {} ", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

/// A file of this process in a folder of the evidence.
pub fn file(folder: &str) -> Option<File> {
    static COUNT: Mutex<u32> = Mutex::new(0);
    let folder = self::folder()?.join(folder);
    fs::create_dir_all(&folder).unwrap();
    let mut count = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    *count += 1;
    let name = format!("{}-{count}", std::process::id());
    let options = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join(name));
    Some(options.unwrap())
}

fn append(folder: &str, bytes: &[u8]) {
    static FILES: Mutex<Option<HashMap<String, File>>> = Mutex::new(None);
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let files = files.get_or_insert_default();
    if !files.contains_key(folder) {
        let Some(new) = file(folder) else { return };
        files.insert(folder.to_owned(), new);
    }
    files.get_mut(folder).unwrap().write_all(bytes).unwrap();
}
