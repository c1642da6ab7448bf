//! SQLite: a file of this machine.

use std::{fs, io, path::Path, time::Duration};

use sqlx::{
    AnyConnection, Connection, Executor, Row,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use url::Url;

use super::{
    database::{Database, Dialect},
    error::{SqlError, SqlFault},
};

/// Connections that read: more than cores are of no use.
const READERS: u32 = 4;
/// How long a request waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);

const DIALECT: Dialect = Dialect {
    // At once the one who writes: a transaction that reads first, and finds somebody else writing
    // when it wants to, could only fail.
    begin: "BEGIN IMMEDIATE",
    has_schema: "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'mcp_schema'",
    lock_schema: None,
    // A strict table takes no value of another type, by which a row could not be read any more.
    words: &[
        ("BYTEA", "BLOB"),
        (" COLLATE \"C\"", ""),
        ("BIGINT", "INTEGER"),
        ("\n);", "\n) STRICT;"),
    ],
    clock: None,
    texts: "json_each($2)",
    notify: None,
};

/// Opens the database of the URL `sqlite://PATH`, and makes it if there is none.
pub(super) async fn open(path: &str) -> Result<Database, SqlError> {
    let fault = |fault| SqlError::new(path, fault);
    let url = prepare(path).map_err(fault)?;
    let database = connect(url).await;
    database.map_err(|error| fault(judge(error)))
}

async fn connect(url: AnyConnectOptions) -> Result<Database, sqlx::Error> {
    // Not from a pool, which tries again until its time is over, and then says no more than that.
    let mut probe = AnyConnection::connect_with(&url).await?;
    prepare_writer(&mut probe).await?;
    probe.close().await?;
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
                // A full disk ends a transaction by itself, and sqlx then goes on counting it.
                // The ping waits until a rollback has been tried.
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
    ))
}

/// Readers do not wait for the writer, and what is committed is on the disk.
async fn prepare_writer(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let mode = connection.fetch_one("PRAGMA journal_mode = WAL").await?;
    if mode.try_get::<&str, _>(0)? != "wal" {
        let reason = "the file system does not support write-ahead logging";
        return Err(sqlx::Error::Configuration(reason.into()));
    }
    connection.execute("PRAGMA synchronous = FULL").await?;
    Ok(())
}

/// Checks the path, and makes an empty file that only its owner may read: SQLite itself makes
/// files that others can.
fn prepare(path: &str) -> Result<AnyConnectOptions, SqlFault> {
    if path.is_empty() || path == ":memory:" || path.contains(['?', '\0']) {
        return Err(SqlFault::url(
            "sqlite:// takes the path of a file and no parameters",
        ));
    }
    let path = std::path::absolute(path).map_err(SqlFault::storage)?;
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => return Err(SqlFault::Directory),
        Ok(found) if !found.is_file() => return Err(SqlFault::NotAFile),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(SqlFault::storage(error)),
    }
    create(&path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => SqlFault::ReadOnly,
        _ => SqlFault::storage(error),
    })?;
    let url = Url::from_file_path(&path)
        .map_err(|()| SqlFault::url("sqlite:// takes the path of a file"))?;
    let url = format!("sqlite:{}", &url.as_str()["file:".len()..]);
    url.parse().map_err(SqlFault::from)
}

/// Opens for writing what is there, or makes it.
fn create(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// What a failure to open means to an operator. The codes: <https://sqlite.org/rescode.html>.
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
