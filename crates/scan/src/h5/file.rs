//! An HDF5 file open for positional reads.

use std::collections::HashMap;
use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::bytes::{Cursor, H5Error, H5Result, bad};
use super::group::Link;
use super::superblock::Superblock;

/// Metadata blocks that one file may cost. Sound scans take 10 to 100,000; a damaged one that points
/// in circles is stopped here, well under ten seconds.
const BLOCK_BUDGET: u64 = 2_000_000;

/// Largest single metadata block.
const MAX_BLOCK: usize = 256 << 20;

/// An open file. All addresses are relative to its base. Reads take `&self`, from any thread.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) offset_size: usize,
    pub(crate) length_size: usize,
    pub(crate) root: u64,
    pub(crate) base: u64,
    file: StdFile,
    blocks: AtomicU64,
    pub(crate) links: Mutex<HashMap<u64, Arc<Vec<Link>>>>,
}

impl File {
    /// A file whose superblock was found sound.
    pub(crate) fn new(file: StdFile, path: &Path, size: u64, superblock: &Superblock) -> Self {
        Self {
            path: path.to_path_buf(),
            size,
            offset_size: superblock.offset_size,
            length_size: superblock.length_size,
            root: superblock.root,
            base: superblock.base,
            file,
            blocks: AtomicU64::new(0),
            links: Mutex::new(HashMap::new()),
        }
    }

    /// An address that means "nothing here".
    pub(crate) fn undefined(&self, address: u64) -> bool {
        address == u64::MAX >> (64 - 8 * self.offset_size)
    }

    /// Reads an address.
    pub(crate) fn address(&self, c: &mut Cursor<'_>) -> H5Result<u64> {
        c.uint(self.offset_size)
    }

    /// Reads a length.
    pub(crate) fn length(&self, c: &mut Cursor<'_>) -> H5Result<u64> {
        c.uint(self.length_size)
    }

    /// Absolute offset of a piece of the file, if all of it exists.
    pub(crate) fn locate(&self, address: u64, len: u64, what: &str) -> H5Result<u64> {
        let start = self.base.checked_add(address);
        match start.and_then(|s| s.checked_add(len)) {
            Some(end) if end <= self.size && !self.undefined(address) => Ok(end - len),
            _ => bad(format!(
                "{what} is said to lie at byte {address} and take {len} bytes, the file has {}",
                self.size
            )),
        }
    }

    /// A metadata block of exactly `len` bytes.
    pub(crate) fn block(&self, address: u64, len: usize, what: &str) -> H5Result<Vec<u8>> {
        if len > MAX_BLOCK {
            return bad(format!("{what} is said to take {len} bytes"));
        }
        let offset = self.locate(address, len as u64, what)?;
        self.spend()?;
        let mut block = vec![0; len];
        self.file.read_exact_at(&mut block, offset).map_err(H5Error::Io)?;
        Ok(block)
    }

    /// Up to `len` bytes, fewer at the end of the file, at least `least`.
    pub(crate) fn block_up_to(
        &self,
        address: u64,
        len: usize,
        least: usize,
        what: &str,
    ) -> H5Result<Vec<u8>> {
        let offset = self.locate(address, least as u64, what)?;
        let len = len.min(usize::try_from(self.size - offset).unwrap_or(len)).max(least);
        self.block(address, len, what)
    }

    /// Raw data at an absolute offset.
    pub(crate) fn read_raw(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    fn spend(&self) -> H5Result<()> {
        if self.blocks.fetch_add(1, Ordering::Relaxed) >= BLOCK_BUDGET {
            return bad("its structure refers to itself in circles");
        }
        Ok(())
    }
}
