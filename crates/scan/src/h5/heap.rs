//! The three heaps: local (names of old groups), global (variable-length text), fractal (names and
//! attributes of large new groups).
//!
//! Format: HDF5 File Format Specification 3.0, sections III.D, III.E and III.G.

use super::bytes::{Cursor, H5Error, H5Result, bad, bytes_for, checked};
use super::file::File;

/// Local heap, loaded whole.
pub(crate) struct LocalHeap(Vec<u8>);

impl LocalHeap {
    pub(crate) fn load(file: &File, address: u64) -> H5Result<Self> {
        let head = file.block(address, 8 + 2 * file.length_size + file.offset_size, "local heap")?;
        let mut c = Cursor::new(&head, "local heap");
        c.signature(b"HEAP")?;
        c.skip(4)?;
        let size = file.length(&mut c)?;
        file.length(&mut c)?;
        let data = file.address(&mut c)?;
        Ok(Self(file.block(data, usize::try_from(size).unwrap_or(usize::MAX), "local heap data")?))
    }

    pub(crate) fn text(&self, offset: u64) -> H5Result<String> {
        match usize::try_from(offset).ok().and_then(|o| self.0.get(o..)) {
            Some(rest) => Cursor::new(rest, "local heap text").c_string(),
            None => bad("a name lies outside its heap"),
        }
    }
}

/// One object of a global heap collection.
pub(crate) fn global_object(file: &File, collection: u64, index: u32) -> H5Result<Vec<u8>> {
    let head = file.block(collection, 8 + file.length_size, "global heap")?;
    let mut c = Cursor::new(&head, "global heap");
    c.signature(b"GCOL")?;
    c.skip(4)?;
    let size = file.length(&mut c)?;
    let block = file.block(collection, usize::try_from(size).unwrap_or(usize::MAX), "global heap")?;
    let mut c = Cursor::new(&block, "global heap");
    c.skip(head.len())?;
    while c.remaining() >= 8 + file.length_size {
        let found = u32::from(c.u16()?);
        c.skip(6)?;
        let len = file.length(&mut c)?;
        if found == 0 {
            break;
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let data = c.bytes(len)?;
        if found == index {
            return Ok(data.to_vec());
        }
        c.skip(len.div_ceil(8) * 8 - len)?;
    }
    bad("a text refers to an absent object of a global heap")
}

/// Fractal heap: objects by identifier.
pub(crate) struct FractalHeap<'f> {
    file: &'f File,
    offset_bytes: usize,
    length_bytes: usize,
    width: u64,
    start_size: u64,
    max_direct: u64,
    root: u64,
    root_rows: u64,
}

impl<'f> FractalHeap<'f> {
    pub(crate) fn load(file: &'f File, address: u64) -> H5Result<Self> {
        let size = 4 + 1 + 2 + 2 + 1 + 4 + 12 * file.length_size + 3 * file.offset_size + 2 + 2 + 2 + 2 + 4;
        let head = file.block(address, size, "fractal heap")?;
        let mut c = Cursor::new(&head, "fractal heap");
        c.signature(b"FRHP")?;
        c.skip(1 + 2)?;
        if c.u16()? != 0 {
            return Err(H5Error::Unsupported("a compressed fractal heap".into()));
        }
        checked(&head, "fractal heap")?;
        c.skip(1)?;
        let max_managed = u64::from(c.u32()?);
        c.skip(file.length_size + 2 * file.offset_size + file.length_size + 8 * file.length_size)?;
        let width = u64::from(c.u16()?);
        let start_size = file.length(&mut c)?;
        let max_direct = file.length(&mut c)?;
        let max_bits = u64::from(c.u16()?);
        c.skip(2)?;
        let root = file.address(&mut c)?;
        let root_rows = u64::from(c.u16()?);
        let powers = [width, start_size, max_direct].iter().all(|n| n.is_power_of_two());
        if !powers || max_direct < start_size || max_direct > 1 << 32 || max_bits > 64 || root_rows > 64 {
            return bad("a fractal heap of impossible shape");
        }
        let offset_bytes = max_bits.div_ceil(8) as usize;
        let length_bytes =
            (u64::from(max_direct.ilog2()).div_ceil(8) as usize).min(bytes_for(max_managed)).max(1);
        Ok(Self { file, offset_bytes, length_bytes, width, start_size, max_direct, root, root_rows })
    }

    /// The object of a heap identifier.
    pub(crate) fn object(&self, id: &[u8]) -> H5Result<Vec<u8>> {
        let mut c = Cursor::new(id, "heap identifier");
        let first = c.u8()?;
        match first >> 4 & 3 {
            0 => {
                let offset = c.uint(self.offset_bytes)?;
                let len = c.uint(self.length_bytes)?;
                self.managed(offset, usize::try_from(len).unwrap_or(usize::MAX))
            }
            2 => Ok(c.bytes(usize::from(first & 0x0f) + 1)?.to_vec()),
            _ => Err(H5Error::Unsupported("a huge object of a fractal heap".into())),
        }
    }

    fn row_size(&self, row: u64) -> u64 {
        self.start_size << row.saturating_sub(1).min(40)
    }

    fn managed(&self, offset: u64, len: usize) -> H5Result<Vec<u8>> {
        let (mut block, mut rows, mut base) = (self.root, self.root_rows, 0u64);
        let direct_rows = u64::from(self.max_direct.ilog2() - self.start_size.ilog2()) + 2;
        while rows > 0 {
            // Row r starts at width × start × 2^(r−1), row 0 at 0.
            let within = offset.wrapping_sub(base);
            let span = self.width * self.start_size;
            let row = if within < span { 0 } else { u64::from((within / span).ilog2()) + 1 };
            if row >= rows || within > 1 << 50 {
                return bad("a heap identifier points outside its heap");
            }
            let row_start = if row == 0 { 0 } else { span << (row - 1) };
            let size = self.row_size(row);
            let column = (within - row_start) / size;
            let entry = row * self.width + column;
            let prefix = 5 + self.file.offset_size + self.offset_bytes;
            let head = self.file.block(block, prefix, "indirect heap block")?;
            Cursor::new(&head, "indirect heap block").signature(b"FHIB")?;
            let at = block + prefix as u64 + entry * self.file.offset_size as u64;
            let bytes = self.file.block(at, self.file.offset_size, "indirect heap block")?;
            block = self.file.address(&mut Cursor::new(&bytes, "indirect heap block"))?;
            base += row_start + column * size;
            rows = if row < direct_rows { 0 } else { u64::from((size / span).max(1).ilog2()) + 1 };
        }
        let within = offset.checked_sub(base).unwrap_or(u64::MAX);
        let Some(at) = block.checked_add(within) else {
            return bad("a heap identifier points outside its heap");
        };
        self.file.block(at, len, "heap object")
    }
}
