//! SQLite: a file on this machine.

use std::{
    error::Error as StdError,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, ready};
use sqlx::{
    AnyConnection, Connection, Executor, Row,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use tokio::time::sleep;
use url::Url;

use super::{
    database::{Database, Dialect, LOOK, Location},
    error::{SqlError, SqlFault},
};
use crate::registry::error::Error;

/// The connections that read; more than there are cores are of no use.
const READERS: u32 = 4;
/// The time that a request waits for a connection, and a start for a file that is locked.
const ACQUIRE: Duration = Duration::from_secs(5);

const DIALECT: Dialect = Dialect {
    // Takes the write lock at once: a transaction that reads first, and then finds somebody else
    // writing, could only fail.
    begin: "BEGIN IMMEDIATE",
    is_read_only: None,
    is_pooled: false,
    has_schema: "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'mcp_schema'",
    lock_schema: None,
    // A strict table takes no value of another type, which would make a row unreadable. One without
    // row ids has its rows in the order of its key, so that those of an organization are together.
    words: &[
        ("BYTEA", "BLOB"),
        (" COLLATE \"C\"", ""),
        ("BIGINT", "INTEGER"),
        ("\n);", "\n) STRICT;"),
        (
            "\n) /* in the order of its key */;",
            "\n) STRICT, WITHOUT ROWID;",
        ),
    ],
    clock: None,
    texts: "json_each($2)",
    // One writes at a time.
    skip_locked: "",
    notify: None,
};

/// Opens the database of the URL `sqlite://PATH`, and creates it if there is none.
pub(super) async fn open(path: &str) -> Result<Database, SqlError> {
    let fault = |fault| SqlError::new(path, fault);
    let (url, file) = prepare(path).map_err(fault)?;
    connect(url, file).await.map_err(fault)
}

async fn connect(url: AnyConnectOptions, file: File) -> Result<Database, SqlFault> {
    probe(&url).await?;
    // Local connections do not go stale.
    let pool = || {
        AnyPoolOptions::new()
            .acquire_timeout(ACQUIRE)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    let write = pool()
        .max_connections(1)
        .after_connect(|connection, _| Box::pin(prepare_writer(connection)))
        .after_release(|connection, _| {
            Box::pin(async move {
                // A full disk ends a transaction by itself, and sqlx then goes on counting it: the
                // connection would refuse every further write. The ping waits until a rollback has
                // been tried.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        });
    let read = pool()
        .max_connections(READERS)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("PRAGMA query_only = ON").await?;
                // In KiB: 10,000 servers, which a filtered list looks through.
                connection.execute("PRAGMA cache_size = -16384").await?;
                Ok(())
            })
        });
    Ok(Database::new(
        read.connect_lazy_with(url.clone()),
        write.connect_lazy_with(url),
        &DIALECT,
        Arc::default(),
        Arc::new(file),
    ))
}

/// Opens the file once, which makes it a database with write-ahead logging.
///
/// Not from a pool, which tries again until its time is over, and then says no more than that.
async fn probe(url: &AnyConnectOptions) -> Result<(), SqlFault> {
    let begun = Instant::now();
    loop {
        let opened = async {
            let mut connection = AnyConnection::connect_with(url).await?;
            prepare_writer(&mut connection).await?;
            connection.close().await
        };
        match opened.await.map_err(judge) {
            // Whoever changes the mode finds the file locked at once if another process does so
            // too: SQLite waits for other locks, and not for this one.
            Err(SqlFault::Locked) if begun.elapsed() < ACQUIRE => sleep(LOOK).await,
            done => return done,
        }
    }
}

/// Sets a connection up to write: readers do not wait for it, and what is committed is on the disk.
async fn prepare_writer(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let mode = connection.fetch_one("PRAGMA journal_mode = WAL").await?;
    if mode.try_get::<&str, _>(0)? != "wal" {
        let reason = "the file system does not support write-ahead logging";
        return Err(sqlx::Error::Configuration(reason.into()));
    }
    connection.execute("PRAGMA synchronous = FULL").await?;
    // Replaced content is overwritten, where that costs no further page.
    connection.execute("PRAGMA secure_delete = FAST").await?;
    Ok(())
}

/// Checks the path, and creates an empty file that only its owner may read: SQLite's own are
/// readable by others.
fn prepare(path: &str) -> Result<(AnyConnectOptions, File), SqlFault> {
    let path = literal(path)?;
    match existing(&path) {
        Ok(()) => {}
        Err(SqlFault::Storage { source }) if is_absent(&*source) => {}
        Err(fault) => return Err(fault),
    }
    create(&path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => SqlFault::ReadOnly,
        _ => SqlFault::storage(error),
    })?;
    let url = options(&path, "")?;
    let identity = identity(&path).map_err(SqlFault::storage)?;
    Ok((url, File { path, identity }))
}

/// The whole path of a URL `sqlite://PATH`, which is taken literally.
pub(super) fn literal(path: &str) -> Result<PathBuf, SqlFault> {
    if path.is_empty() || path == ":memory:" || path.contains(['?', '\0']) {
        return Err(SqlFault::url(
            "sqlite:// takes the path of a file and no parameters",
        ));
    }
    std::path::absolute(path).map_err(SqlFault::storage)
}

/// Checks a file that is there already.
pub(super) fn existing(path: &Path) -> Result<(), SqlFault> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(SqlFault::Directory),
        Ok(found) if !found.is_file() => Err(SqlFault::NotAFile),
        Ok(_) => check(path),
        Err(error) => Err(SqlFault::storage(error)),
    }
}

fn is_absent(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What sqlx connects with to this file; `parameters` are those of its URLs, such as `?mode=ro`.
pub(super) fn options(path: &Path, parameters: &str) -> Result<AnyConnectOptions, SqlFault> {
    let url = Url::from_file_path(path)
        .map_err(|()| SqlFault::url("sqlite:// takes the path of a file"))?;
    let url = format!("sqlite:{}{parameters}", &url.as_str()["file:".len()..]);
    url.parse().map_err(SqlFault::from)
}

/// Refuses a file that others than its owner may read or write: it has the arguments and results of
/// tools in clear. The files that SQLite keeps beside it are checked too; the directory is not.
#[cfg(unix)]
fn check(path: &Path) -> Result<(), SqlFault> {
    use std::os::unix::fs::PermissionsExt;

    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let Ok(metadata) = fs::metadata(file) else {
            // It does not exist, or opening it says what is wrong.
            continue;
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SqlFault::Permissions { mode, suffix });
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn check(_: &Path) -> Result<(), SqlFault> {
    Ok(())
}

/// The file that was opened; another one may be at its path later.
struct File {
    path: PathBuf,
    identity: (u64, u64),
}

impl Location for File {
    fn is_lost(&self) -> Option<&'static str> {
        // What is written into a file without a name is gone when the last process closes it, and
        // connections that are opened later would have another file.
        let is_there = identity(&self.path).is_ok_and(|identity| identity == self.identity);
        (!is_there).then_some(
            "its file was removed or replaced while it was in use; \
             put it back, or start again with the one that is there",
        )
    }

    fn why(&self) -> BoxFuture<'_, Error> {
        let reason = "it has been locked for too long, by another process such as a backup or by \
                      other changes: one writes at a time";
        Box::pin(ready(Error::unavailable(reason)))
    }
}

/// The device and inode of the file.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Checks that there is a file; there are no inodes.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|_| (0, 0))
}

/// Opens the file for writing, or creates it.
fn create(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Turns a failure to open into one for operators. The codes: <https://sqlite.org/rescode.html>.
pub(super) fn judge(error: sqlx::Error) -> SqlFault {
    let code = error.as_database_error().and_then(|error| error.code());
    let code: Option<u32> = code.and_then(|code| code.parse().ok());
    // The lower byte is the primary code.
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => SqlFault::Locked,
        Some(8) => SqlFault::ReadOnly,
        Some(26) => SqlFault::NotADatabase,
        _ => SqlFault::from(error),
    }
}
