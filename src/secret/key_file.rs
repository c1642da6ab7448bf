//! Key files, changed without ever losing a key.

use std::{
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    error::{KeyError, KeyFault},
    key_id::KeyId,
    key_ring::{KeyRing, id_in},
    private_file::{self, FileFault},
    replacement::{Replacement, create, sync_directory, write},
    source::{KeySource, TEXT_LEN},
};

const HEADER: &str = "\
# Sealing keys, one in a line, the newest last.
# Without them nothing that they seal can be read: keep a copy, and not beside the database.
";

/// A file with keys as [`KeyRing::parse`] reads them.
///
/// It must be a regular file (or a link to one) of at most 64 KiB that, on Unix, only its owner may
/// read or write; on Linux a group of this process may read it, too, as with secrets that Kubernetes
/// mounts for an `fsGroup`. A change is written to `FILE.new`, which then replaces the file, so that there is
/// a complete one at any time, even after a crash. While `FILE.new` exists, other changes are
/// refused: two at once could lose a key, and all that it seals. A crash leaves `FILE.new` behind,
/// and the next error names it.
///
/// The methods block on the file system. Errors read like
/// `key file /etc/proxy.keys: line 2: a key has 32 bytes, this has 16`.
///
/// ```
/// use mcp_layer::secret::{KeyFile, KeySource};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let directory = std::env::temp_dir().join(format!("key-file-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let file = KeyFile::new(directory.join("proxy.keys"));
/// let old = file.generate()?;
/// let new = file.add()?;
/// assert!(file.load().await?.ids().eq([old, new]));
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// Refers to the file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Creates the file with one random key, readable only by its owner (mode 0600).
    ///
    /// # Errors
    /// [`KeyFault::Exists`] if the path already exists, and [`KeyFault::Write`].
    pub fn generate(&self) -> Result<KeyId, KeyError> {
        self.named(|| {
            let ring = KeyRing::generate();
            let mut file = create(&self.0).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => KeyFault::Exists,
                _ => KeyFault::Write { source: error },
            })?;
            let written = write(&mut file, &[HEADER, &ring.newest_text(), "\n"])
                .and_then(|()| sync_directory(&self.0));
            if let Err(source) = written {
                // Half a file of ours would block the next attempt.
                let _ = fs::remove_file(&self.0);
                return Err(KeyFault::Write { source }.into());
            }
            Ok(ring.newest())
        })
    }

    /// Adds a random key, which becomes the newest; comments, owner and mode are kept.
    ///
    /// # Errors
    /// Those of loading the file, [`KeyFault::TooMany`], [`KeyFault::Busy`] and
    /// [`KeyFault::Write`]. The file is then unchanged, unless only making the change durable
    /// failed.
    pub fn add(&self) -> Result<KeyId, KeyError> {
        self.change(|ring, text| {
            let id = ring.add()?;
            let end = if text.ends_with('\n') { "" } else { "\n" };
            let key = ring.newest_text();
            Ok((id, Zeroizing::new([text, end, &key, "\n"].concat())))
        })
    }

    /// Removes the line of a key that seals nothing any more; see [`KeyRing::remove`].
    ///
    /// # Errors
    /// Those of [`KeyRing::remove`] and of [`add`](Self::add).
    pub fn remove(&self, id: KeyId, sealed_records: u64) -> Result<(), KeyError> {
        self.change(|ring, text| {
            ring.remove(id, sealed_records)?;
            let mut rest = Zeroizing::new(String::with_capacity(text.len()));
            text.split_inclusive('\n')
                .filter(|line| id_in(line) != Some(id))
                .for_each(|line| rest.push_str(line));
            Ok(((), rest))
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut KeyRing, &str) -> Result<(T, Zeroizing<String>), KeyError>,
    ) -> Result<T, KeyError> {
        self.named(|| {
            // A link is kept: the file behind it is replaced.
            let path = fs::canonicalize(&self.0).map_err(|source| KeyFault::Read { source })?;
            // Taken before reading, so that no other change comes in between.
            let replacement = Replacement::begin(&path)?;
            let (text, metadata) = read(&path)?;
            let mut ring = KeyRing::parse(&text)?;
            let (result, text) = change(&mut ring, &text)?;
            if text.len() > TEXT_LEN {
                return Err(KeyFault::TooLarge { limit: TEXT_LEN }.into());
            }
            replacement
                .finish(&text, &metadata)
                .map_err(|source| KeyFault::Write { source })?;
            Ok(result)
        })
    }

    fn named<T>(&self, act: impl FnOnce() -> Result<T, KeyError>) -> Result<T, KeyError> {
        act().map_err(|error| error.with_whence(format!("key file {}", self.0.display())))
    }
}

impl KeySource for KeyFile {
    /// Blocks on the file system: the file is small, and is read at the start.
    async fn load(&self) -> Result<KeyRing, KeyError> {
        self.named(|| KeyRing::parse(&read(&self.0)?.0))
    }
}

fn read(path: &Path) -> Result<(Zeroizing<String>, Metadata), KeyFault> {
    Ok(private_file::read(path, TEXT_LEN)?)
}

impl From<FileFault> for KeyFault {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::Read { source } => Self::Read { source },
            FileFault::NotAFile => Self::NotAFile,
            FileFault::Permissions { mode } => Self::Permissions { mode },
            FileFault::TooLarge { limit } => Self::TooLarge { limit },
            FileFault::NotText => Self::NotText,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::{env, process};

    use super::*;

    /// A directory that is gone with its test.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("mcp-layer-keys-{}-{count}", process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> KeyFile {
            KeyFile::new(self.0.join(name))
        }

        /// A file with this text and mode.
        fn with(&self, text: impl AsRef<[u8]>, mode: u32) -> KeyFile {
            let file = self.file("keys");
            fs::write(&file.0, text).unwrap();
            fs::set_permissions(&file.0, fs::Permissions::from_mode(mode)).unwrap();
            file
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn key() -> String {
        KeyRing::generate().newest_text().to_string()
    }

    fn mode(file: &KeyFile) -> u32 {
        fs::metadata(&file.0).unwrap().permissions().mode() & 0o7777
    }

    /// The error of loading, without the file's name.
    async fn fault(file: &KeyFile) -> String {
        let error = file.load().await.unwrap_err().to_string();
        let whence = format!("key file {}: ", file.0.display());
        error.strip_prefix(&whence).unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_generated_file_is_for_its_owner_alone_and_loads() {
        let directory = Directory::new();
        let file = directory.file("keys");
        let id = file.generate().unwrap();
        assert_eq!(mode(&file), 0o600);
        assert!(file.load().await.unwrap().ids().eq([id]));
    }

    #[test]
    fn a_file_that_is_there_is_never_overwritten() {
        let directory = Directory::new();
        let file = directory.with("precious", 0o600);
        assert!(matches!(
            file.generate().unwrap_err().fault(),
            KeyFault::Exists
        ));
        assert_eq!(fs::read_to_string(&file.0).unwrap(), "precious");

        let dangling = directory.file("link");
        symlink(directory.0.join("nowhere"), &dangling.0).unwrap();
        assert!(matches!(
            dangling.generate().unwrap_err().fault(),
            KeyFault::Exists
        ));
        assert_eq!(directory.names(), ["keys", "link"]);
    }

    #[tokio::test]
    async fn an_added_key_is_the_newest_and_the_old_keys_comments_and_mode_stay() {
        let directory = Directory::new();
        // Without a line break at the end.
        let text = format!("# of May\n{}", key());
        let file = directory.with(&text, 0o400);
        let old = file.load().await.unwrap().newest();
        let new = file.add().unwrap();
        let ring = file.load().await.unwrap();
        assert!(ring.ids().eq([old, new]));
        assert!(fs::read_to_string(&file.0).unwrap().starts_with(&text));
        assert_eq!(mode(&file), 0o400);
        assert_eq!(directory.names(), ["keys"]);
    }

    #[tokio::test]
    async fn only_a_key_that_seals_nothing_is_removed() {
        let directory = Directory::new();
        let file = directory.file("keys");
        let old = file.generate().unwrap();
        assert!(file.remove(old, 0).is_err(), "the last");
        let new = file.add().unwrap();
        assert!(file.remove(old, 1).is_err(), "still seals");
        assert!(file.remove(new, 0).is_err(), "the newest");
        assert!(file.load().await.unwrap().ids().eq([old, new]));
        file.remove(old, 0).unwrap();
        assert!(file.load().await.unwrap().ids().eq([new]));
        assert!(fs::read_to_string(&file.0).unwrap().starts_with(HEADER));
        assert_eq!(directory.names(), ["keys"]);
    }

    #[tokio::test]
    async fn of_two_changes_at_once_one_is_refused() {
        let directory = Directory::new();
        let file = directory.file("keys");
        file.generate().unwrap();
        let other = Replacement::begin(&file.0).unwrap();
        let error = file.add().unwrap_err();
        assert!(matches!(error.fault(), KeyFault::Busy { .. }));
        assert!(error.to_string().contains("keys.new"), "{error}");
        assert_eq!(file.load().await.unwrap().ids().count(), 1);
        drop(other);
        file.add().unwrap();
    }

    #[tokio::test]
    async fn a_file_that_others_may_touch_is_refused() {
        let directory = Directory::new();
        for mode in [0o644, 0o660, 0o620, 0o650, 0o601, 0o606, 0o777] {
            let file = directory.with(key(), mode);
            let shown =
                format!("its mode {mode:04o} gives others access to the keys; run chmod 600 on it");
            assert_eq!(fault(&file).await, shown);
            assert!(file.add().is_err());
        }
        assert_eq!(directory.names(), ["keys"]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_file_that_a_group_of_the_process_may_read_loads_and_no_other_groups() {
        use std::os::unix::fs::{MetadataExt, chown};

        let directory = Directory::new();
        for mode in [0o640, 0o440] {
            let file = directory.with(key(), mode);
            assert!(file.load().await.is_ok(), "{mode:o}");
            let own = fs::metadata(&file.0).unwrap().gid();
            // Only the superuser may give a file to a group that is not its own.
            if chown(&file.0, None, Some(own + 54_321)).is_ok() {
                assert!(fault(&file).await.starts_with("its mode 0"), "{mode:o}");
            }
            fs::remove_file(&file.0).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_no_file_of_keys_is_refused_in_one_line() {
        let directory = Directory::new();
        assert!(
            fault(&directory.file("none"))
                .await
                .starts_with("cannot be read: ")
        );
        assert_eq!(fault(&directory.file("")).await, "not a regular file");
        for (text, shown) in [
            ("", "there is no key in it"),
            ("# nothing", "there is no key in it"),
            ("s3cret", "line 1: not base64 (standard alphabet, padded)"),
            ("\nczNjcmV0", "line 2: a key has 32 bytes, this has 6"),
        ] {
            assert_eq!(fault(&directory.with(text, 0o600)).await, shown);
        }
        let bytes = directory.with([0xff; 40], 0o600);
        assert_eq!(fault(&bytes).await, "not UTF-8");
        let long = directory.with(format!("{}\n#{}", key(), "x".repeat(70_000)), 0o600);
        assert_eq!(fault(&long).await, "larger than 65536 bytes");
    }

    #[tokio::test]
    async fn a_link_is_followed_and_stays_one() {
        let directory = Directory::new();
        let file = directory.file("keys");
        let old = file.generate().unwrap();
        let link = directory.file("link");
        symlink(&file.0, &link.0).unwrap();
        let new = link.add().unwrap();
        assert!(fs::symlink_metadata(&link.0).unwrap().is_symlink());
        assert!(file.load().await.unwrap().ids().eq([old, new]));
        assert!(link.load().await.unwrap().ids().eq([old, new]));
    }

    #[tokio::test]
    async fn a_change_that_would_not_load_again_is_not_made() {
        let directory = Directory::new();
        let full: String = (0..100).map(|_| key() + "\n").collect();
        let long = format!("{}\n#{}\n", key(), "x".repeat(65_480));
        for text in [full, long] {
            let file = directory.with(&text, 0o600);
            assert!(file.load().await.is_ok());
            assert!(file.add().is_err());
            assert_eq!(fs::read_to_string(&file.0).unwrap(), text);
        }
        assert_eq!(directory.names(), ["keys"]);
    }
}
