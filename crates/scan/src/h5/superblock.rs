//! The superblock, versions 0 to 3: where an HDF5 file starts, ends and keeps its root.
//!
//! Format: HDF5 File Format Specification 3.0, section II.A.

use super::bytes::{Cursor, lookup3};

/// First bytes of every superblock.
pub(crate) const SIGNATURE: [u8; 8] = [0x89, b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n'];

/// What the superblock holds, or why it cannot be believed.
#[derive(Debug, Clone)]
pub(crate) struct Superblock {
    /// 0 to 3.
    pub(crate) version: u8,
    /// Bytes of an address.
    pub(crate) offset_size: usize,
    /// Bytes of a length.
    pub(crate) length_size: usize,
    /// Zero of all addresses in the file: where the superblock is.
    pub(crate) base: u64,
    /// First byte after the file's contents.
    pub(crate) end_of_file: u64,
    /// Object header of the root group, relative to `base`.
    pub(crate) root: u64,
    /// Bit 0: open for writing; bit 2: single-writer multiple-reader. Versions 2 and 3 only.
    pub(crate) flags: u8,
}

/// Offset of the signature: 0 or 512 × 2^k. `read(offset, len)` gives fewer bytes at the end of file.
pub(crate) fn find(
    size: u64,
    read: &dyn Fn(u64, usize) -> std::io::Result<Vec<u8>>,
) -> std::io::Result<Option<u64>> {
    let mut offset = 0u64;
    while offset < size {
        if read(offset, 8)? == SIGNATURE {
            return Ok(Some(offset));
        }
        offset = if offset == 0 { 512 } else { offset * 2 };
    }
    Ok(None)
}

/// Decodes the superblock that starts at `user_block`; `block` holds at least its first 96 bytes, or
/// all bytes to the end of a shorter file.
pub(crate) fn parse(block: &[u8], user_block: u64) -> Result<Superblock, String> {
    parse_inner(block, user_block).map_err(|e| e.to_string())
}

fn parse_inner(block: &[u8], user_block: u64) -> super::bytes::H5Result<Superblock> {
    use super::bytes::bad;
    let mut c = Cursor::new(block, "superblock");
    c.skip(8)?;
    let version = c.u8()?;
    let mut flags = 0;
    let (offset_size, length_size);
    match version {
        0 | 1 => {
            c.skip(4)?;
            offset_size = usize::from(c.u8()?);
            length_size = usize::from(c.u8()?);
            c.skip(1 + 2 + 2 + 4)?;
            if version == 1 {
                c.skip(4)?;
            }
        }
        2 | 3 => {
            offset_size = usize::from(c.u8()?);
            length_size = usize::from(c.u8()?);
            flags = c.u8()?;
        }
        _ => return bad(format!("superblock version {version} is unknown (0 to 3 are known)")),
    }
    if !matches!(offset_size, 2 | 4 | 8) || !matches!(length_size, 2 | 4 | 8) {
        return bad(format!("addresses of {offset_size} and lengths of {length_size} bytes"));
    }
    let stored_base = c.uint(offset_size)?;
    let root;
    let stored_end;
    if version < 2 {
        c.skip(offset_size)?; // free space index
        stored_end = c.uint(offset_size)?;
        c.skip(offset_size)?; // driver information
        c.skip(offset_size)?; // root entry: name
        root = c.uint(offset_size)?;
    } else {
        c.skip(offset_size)?; // superblock extension
        stored_end = c.uint(offset_size)?;
        root = c.uint(offset_size)?;
        let body = c.position();
        let stored = c.u32()?;
        if stored != lookup3(&block[..body]) {
            return bad("superblock checksum does not match");
        }
    }
    // A block put in front of a finished file moves everything; the end is stored as an absolute offset.
    let end_of_file = stored_end.wrapping_sub(stored_base).saturating_add(user_block);
    Ok(Superblock { version, offset_size, length_size, base: user_block, end_of_file, root, flags })
}
