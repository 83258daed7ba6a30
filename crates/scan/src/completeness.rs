//! Is the file whole? Answered from its first bytes, its lock and its size, without the HDF5 library.
//!
//! An HDF5 file says in its superblock where it ends, and (versions 2 and 3) whether a writer has it
//! open. Files of versions 0 and 1 carry no such flag; for those only the length and the writer's lock
//! speak, and [`crate::open`] adds the count of frames.

use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::h5::superblock::{self, Superblock};
use crate::{Error, Result};

/// Whether a file can be handed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// Closed by its writer and as long as it says.
    Complete,
    /// A writer holds it, or was cut off before it could close it.
    StillOpen(String),
    /// Shorter than it says.
    Truncated(String),
    /// No HDF5 signature.
    NotHdf5(String),
    /// HDF5 of a kind whose state cannot be told.
    Unknown(String),
}

/// What the superblock says about the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// The conclusion.
    pub verdict: Verdict,
    /// Bytes in the file.
    pub size: u64,
    /// Bytes that the file should have by its own account.
    pub end_of_file: Option<u64>,
    /// Superblock version (0 to 3).
    pub superblock_version: Option<u8>,
    /// Bytes before the superblock.
    pub user_block: u64,
}

/// Judges a file by superblock flags, end-of-file address and lock. Reads a few hundred bytes.
///
/// # Errors
/// Only when the file cannot be opened or read at all: absent, no permission, a folder, a device.
pub fn completeness(path: impl AsRef<Path>) -> Result<Completeness> {
    let path = path.as_ref();
    let (file, size) = open_file(path)?;
    Ok(judge(path, &file, size)?.0)
}

/// Opens a regular file for reading, with its size. Never blocks on a pipe.
pub(crate) fn open_file(path: &Path) -> Result<(StdFile, u64)> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    if meta.is_dir() {
        return Err(Error::io(path, "open", io::ErrorKind::IsADirectory.into()));
    }
    if !meta.is_file() {
        return Err(Error::NotHdf5 { path: path.to_path_buf(), reason: "it is no regular file".into() });
    }
    let file = StdFile::open(path).map_err(|e| Error::io(path, "open", e))?;
    let size = file.metadata().map_err(|e| Error::io(path, "open", e))?.len();
    Ok((file, size))
}

/// The verdict, and the superblock where there is a sound one.
pub(crate) fn judge(path: &Path, file: &StdFile, size: u64) -> Result<(Completeness, Option<Superblock>)> {
    let read = |offset: u64, len: usize| -> io::Result<Vec<u8>> {
        let len = len.min(usize::try_from(size.saturating_sub(offset)).unwrap_or(len));
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    };
    let fail = |e: io::Error| Error::io(path, "read the superblock", e);
    let mut answer = Completeness {
        verdict: Verdict::Complete,
        size,
        end_of_file: None,
        superblock_version: None,
        user_block: 0,
    };
    let Some(user_block) = superblock::find(size, &read).map_err(fail)? else {
        let start = read(0, 16).map_err(fail)?;
        answer.verdict = if start.len() < 8 && superblock::SIGNATURE.starts_with(&start) && size > 0 {
            Verdict::Truncated(format!("the file ends after {size} bytes, inside the HDF5 signature"))
        } else {
            Verdict::NotHdf5(describe(&start, size))
        };
        return Ok((answer, None));
    };
    answer.user_block = user_block;
    let block = read(user_block, 128).map_err(fail)?;
    let superblock = match superblock::parse(&block, user_block) {
        Ok(superblock) => superblock,
        Err(reason) if block.len() < 96 => {
            answer.verdict = Verdict::Truncated(format!("the file ends inside its superblock ({reason})"));
            return Ok((answer, None));
        }
        Err(reason) => {
            answer.verdict = Verdict::Unknown(reason);
            return Ok((answer, None));
        }
    };
    answer.end_of_file = Some(superblock.end_of_file);
    answer.superblock_version = Some(superblock.version);
    answer.verdict = if superblock.flags & 4 != 0 {
        Verdict::StillOpen("its single-writer multiple-reader flag is set".into())
    } else if superblock.flags & 1 != 0 {
        Verdict::StillOpen("its open-for-writing flag is set (h5clear -s removes a stale one)".into())
    } else if locked(file) {
        Verdict::StillOpen("another process has locked it for writing".into())
    } else if superblock.end_of_file > size {
        Verdict::Truncated(format!("the file should have {} bytes and has {size}", superblock.end_of_file))
    } else {
        Verdict::Complete
    };
    Ok((answer, Some(superblock)))
}

/// True when somebody holds the exclusive lock that HDF5 takes for writing. Where locks do not work
/// (some network file systems) or HDF5 was told not to use them, nothing can be said.
fn locked(file: &StdFile) -> bool {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = flock(file, FlockOperation::NonBlockingUnlock);
            false
        }
        Err(e) => e == rustix::io::Errno::WOULDBLOCK,
    }
}

/// What a file that is not HDF5 looks like.
fn describe(start: &[u8], size: u64) -> String {
    if size == 0 {
        return "it is empty".into();
    }
    if start.iter().all(|&b| b == 0) {
        return "it begins with zeros, as a transfer does that has only reserved the space".into();
    }
    for (magic, name) in [
        (&b"\x0e\x03\x13\x01"[..], "HDF4"),
        (b"CDF", "netCDF-3"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "gzip"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"\xd0\xcf\x11\xe0", "an OLE container (Zeiss .txrm?)"),
        (b"<", "XML or HTML"),
    ] {
        if start.starts_with(magic) {
            return format!("it is {name}");
        }
    }
    format!("it begins with {}", crate::h5::bytes::show(start))
}
