//! Atomic replacement of a key file: a crash leaves the old or the new one, never a mix.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::KeyFault;

/// The file that will replace a key file. While it exists nobody else changes the key file; it is
/// deleted if dropped unfinished.
pub(super) struct Replacement<'a> {
    path: &'a Path,
    beside: PathBuf,
    file: File,
    finished: bool,
}

impl<'a> Replacement<'a> {
    pub(super) fn begin(path: &'a Path) -> Result<Self, KeyFault> {
        let mut beside = OsString::from(path);
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let file = create(&beside).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyFault::Busy {
                file: beside.display().to_string(),
            },
            _ => KeyFault::Write { source: error },
        })?;
        Ok(Self {
            path,
            beside,
            file,
            finished: false,
        })
    }

    /// Replaces the key file, keeping its owner and mode.
    pub(super) fn finish(mut self, text: &str, metadata: &Metadata) -> io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};

            let ours = self.file.metadata()?;
            if (ours.uid(), ours.gid()) != (metadata.uid(), metadata.gid()) {
                fchown(&self.file, Some(metadata.uid()), Some(metadata.gid()))?;
            }
        }
        self.file.set_permissions(metadata.permissions())?;
        write(&mut self.file, &[text])?;
        fs::rename(&self.beside, self.path)?;
        self.finished = true;
        sync_directory(self.path)
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Creates a new file, accessible only to its owner from the first moment.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        options.mode(0o600);
    }
    options.open(path)
}

pub(super) fn write(file: &mut File, parts: &[&str]) -> io::Result<()> {
    for part in parts {
        file.write_all(part.as_bytes())?;
    }
    file.sync_all()
}

/// Makes the entry of `path` in its directory durable; only Unix offers a way.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
