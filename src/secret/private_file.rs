//! Files that only their owner may read, or a group of this process.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::Path,
};

use zeroize::Zeroizing;

#[cfg(unix)]
use super::own_group;

/// A reason not to read such a file.
#[derive(Debug)]
pub(super) enum FileFault {
    Read { source: io::Error },
    NotAFile,
    Permissions { mode: u32 },
    TooLarge { limit: usize },
    NotText,
}

/// Reads the text of a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: usize) -> Result<(Zeroizing<String>, Metadata), FileFault> {
    let failed = |source| FileFault::Read { source };
    // Checked before opening, which would block on a pipe, and again on the opened file.
    check(&fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check(&metadata)?;

    // Allocated in full: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 2));
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > limit {
        return Err(FileFault::TooLarge { limit });
    }
    let text = str::from_utf8(&bytes).map_err(|_| FileFault::NotText)?;
    Ok((Zeroizing::new(text.to_owned()), metadata))
}

fn check(metadata: &Metadata) -> Result<(), FileFault> {
    if !metadata.is_file() {
        return Err(FileFault::NotAFile);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};

        let mode = metadata.permissions().mode() & 0o7777;
        // Files of mounted secrets belong to the superuser and to a group of the process, which may read
        // them. Where they have an ACL, as credentials of systemd, its mask is shown as what the group
        // may do; the group is then the superuser's, in which there is nobody else.
        let is_of_root = (metadata.uid(), metadata.gid()) == (0, 0);
        let is_shared = || is_of_root || own_group::is(metadata.gid());
        let is_ours = mode & 0o077 == 0 || mode & 0o037 == 0 && is_shared();
        if !is_ours {
            return Err(FileFault::Permissions { mode });
        }
    }
    Ok(())
}
