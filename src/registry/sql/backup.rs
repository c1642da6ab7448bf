//! Copies of a database that is in use.

use std::path::Path;

use super::{
    error::{SqlError, SqlFault},
    registry::SqlRegistry,
};

impl SqlRegistry {
    /// Copies the SQLite database of `url` to a new file, while others read and write it, and returns
    /// the size of the copy in bytes.
    ///
    /// The copy has everything that was committed before this call, and nothing that is committed
    /// after it has begun: all at one moment. It is one file, readable by its owner alone (mode 0600),
    /// checked and synced when this returns, and is opened like any other database, with the same keys,
    /// which are not in it. Writers go on meanwhile; the write-ahead log grows by what they write.
    ///
    /// The database is opened for reading, and no registry is needed: a process of its own may do it.
    ///
    /// # Errors
    /// [`SqlError`]: [`SqlFault::Exists`] if there is something at `to`; [`SqlFault::Url`] for
    /// PostgreSQL, which `pg_dump` copies; faults of either file. Nothing is left behind at `to`.
    ///
    /// # Cancellation
    /// A part of the copy may be left at `to`.
    pub async fn back_up(url: &str, to: impl AsRef<Path>) -> Result<u64, SqlError> {
        let to = to.as_ref();
        #[cfg(feature = "sqlite")]
        if let Some(path) = url.strip_prefix("sqlite://") {
            return of_file::copy(path, to).await;
        }
        let _ = to;
        let reason = match url.starts_with("postgres") {
            true => "a PostgreSQL database is backed up with pg_dump, and restored with pg_restore",
            false => "only a database sqlite://PATH can be backed up here",
        };
        Err(SqlError::new("URL", SqlFault::url(reason)))
    }
}

#[cfg(feature = "sqlite")]
mod of_file {
    use std::{
        fs::{self, File, OpenOptions},
        io,
        path::Path,
    };

    use sqlx::{AnyConnection, Connection, Row};
    use tokio::task::spawn_blocking;

    use crate::registry::sql::{
        database::sql,
        error::{SqlError, SqlFault},
        registry::install_drivers,
        sqlite,
    };

    pub(super) async fn copy(from: &str, to: &Path) -> Result<u64, SqlError> {
        install_drivers();
        let of_source = |fault| SqlError::new(from, fault);
        let of_copy = |fault| SqlError::new(to.to_string_lossy(), fault);
        let source = sqlite::literal(from).map_err(of_source)?;
        sqlite::existing(&source).map_err(of_source)?;
        let to = std::path::absolute(to).map_err(|error| of_copy(SqlFault::storage(error)))?;
        let Some(target) = to.to_str() else {
            let fault = SqlFault::url("the path of a backup is not UTF-8");
            return Err(of_copy(fault));
        };
        create(&to).map_err(of_copy)?;
        let copied = async {
            write(&source, target).await.map_err(of_source)?;
            verify(&to).await.map_err(of_copy)?;
            let to = to.clone();
            let synced = spawn_blocking(move || sync(&to)).await;
            let synced = synced.map_err(SqlFault::storage).map_err(of_copy)?;
            synced.map_err(|error| of_copy(SqlFault::storage(error)))
        };
        let copied = copied.await;
        if copied.is_err() {
            // It was made here, and is no backup.
            let _ = fs::remove_file(&to);
        }
        copied
    }

    /// Creates an empty file that only its owner may read: SQLite writes into it, and would create one
    /// that others can read.
    fn create(path: &Path) -> Result<(), SqlFault> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let created = options.open(path);
        created.map(drop).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SqlFault::Exists,
            _ => SqlFault::storage(error),
        })
    }

    /// Writes all that is committed into an empty file, in one transaction that reads.
    async fn write(source: &Path, target: &str) -> Result<(), SqlFault> {
        let mut connection = open(source).await?;
        let written = sql("VACUUM INTO $1").bind(target);
        let written = written.execute(&mut connection).await;
        written.map_err(sqlite::judge)?;
        connection.close().await.map_err(sqlite::judge)
    }

    /// Looks over the copy, as far as that costs one reading of it.
    async fn verify(copy: &Path) -> Result<(), SqlFault> {
        let mut connection = open(copy).await?;
        let found = sql("PRAGMA quick_check(1)").fetch_one(&mut connection);
        let found = found.await.map_err(sqlite::judge)?;
        match found.try_get::<&str, _>(0)? {
            "ok" => connection.close().await.map_err(sqlite::judge),
            _ => Err(SqlFault::storage(
                "the copy is damaged, perhaps like the database itself",
            )),
        }
    }

    async fn open(path: &Path) -> Result<AnyConnection, SqlFault> {
        let options = sqlite::options(path, "?mode=ro")?;
        let connection = AnyConnection::connect_with(&options).await;
        connection.map_err(sqlite::judge)
    }

    /// Makes the copy durable, and returns its size.
    fn sync(path: &Path) -> io::Result<u64> {
        let file = File::open(path)?;
        file.sync_all()?;
        // Its name, too.
        #[cfg(unix)]
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(file.metadata()?.len())
    }
}
