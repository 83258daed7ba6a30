//! The digest of the raw scan, for provenance.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::progress::Stop;
use crate::{Error, Result};

/// BLAKE3 of a file in hexadecimal, read once from beginning to end. For a NeXus scan with external links
/// this is the file that was named, not those that it links to.
pub fn file(path: &Path, stop: &Stop) -> Result<String> {
    let mut file = File::open(path).map_err(|source| Error::io("cannot open", path, source))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        stop.check()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().to_hex().to_string()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::io("cannot read", path, source)),
        };
    }
}
