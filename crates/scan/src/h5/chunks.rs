//! Chunk indexes: which chunk lies where. All six kinds that HDF5 writes.
//!
//! Format: HDF5 File Format Specification 3.0, sections III.A.1, III.C, III.H, VII and VIII.

use super::btree2;
use super::bytes::{Cursor, H5Result, bad, checked};
use super::file::File;
use super::types::Space;

/// Chunks that one dataset may have.
const MAX_CHUNKS: u64 = 1 << 26;

/// How chunks are found.
#[derive(Debug, Clone)]
pub(crate) enum Index {
    /// Version 1 B-tree.
    Tree1(u64),
    /// The only chunk: address, stored size and filter mask (if filtered).
    Single { address: u64, filtered: Option<(u64, u32)> },
    /// All chunks one after the other.
    Implicit(u64),
    /// Fixed array.
    Fixed { address: u64, entry: Entry },
    /// Extensible array.
    Extensible { address: u64, entry: Entry },
    /// Version 2 B-tree.
    Tree2 { address: u64, entry: Entry },
}

/// How an entry of an array is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Bytes of the stored size; 0 without filters.
    size_bytes: usize,
}

/// A stored chunk.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// First element along each axis.
    pub(crate) start: Vec<u64>,
    /// Absolute offset in the file.
    pub(crate) offset: u64,
    /// Bytes stored.
    pub(crate) size: u64,
    /// Bit i set: filter i was skipped.
    pub(crate) mask: u32,
}

/// Decodes the version 4 or 5 chunked layout after its class: chunk shape (with the element size as the
/// last number) and index.
pub(crate) fn parse_index(
    file: &File,
    c: &mut Cursor<'_>,
    version: u8,
    unfiltered: bool,
) -> H5Result<(Vec<u64>, Index)> {
    let flags = c.u8()?;
    let rank = usize::from(c.u8()?);
    let width = usize::from(c.u8()?);
    let shape = (0..rank).map(|_| c.uint(width)).collect::<H5Result<Vec<u64>>>()?;
    let bytes = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).unwrap_or(u64::MAX).max(1);
    let size_bytes = if unfiltered {
        0
    } else if version >= 5 {
        file.length_size
    } else {
        (1 + (bytes.ilog2() as usize + 8) / 8).min(8)
    };
    let entry = Entry { size_bytes };
    let kind = c.u8()?;
    let index = match kind {
        1 => {
            let filtered = if flags & 2 != 0 { Some((file.length(c)?, c.u32()?)) } else { None };
            Index::Single { address: file.address(c)?, filtered }
        }
        2 => Index::Implicit(file.address(c)?),
        3 => {
            c.skip(1)?;
            Index::Fixed { address: file.address(c)?, entry }
        }
        4 => {
            c.skip(5)?;
            Index::Extensible { address: file.address(c)?, entry }
        }
        5 => {
            c.skip(6)?;
            Index::Tree2 { address: file.address(c)?, entry }
        }
        k => return bad(format!("a chunk index of type {k}")),
    };
    Ok((shape, index))
}

struct Lister<'f> {
    file: &'f File,
    shape: &'f [u64],
    space: &'f Space,
    /// Bytes of an unfiltered chunk.
    bytes: u64,
    out: Vec<Chunk>,
}

/// All stored chunks that touch the dataset, in the order of the index. `bytes` is the size of a whole
/// chunk before filters.
pub(crate) fn list(
    file: &File,
    index: &Index,
    shape: &[u64],
    space: &Space,
    bytes: u64,
) -> H5Result<Vec<Chunk>> {
    let mut lister = Lister { file, shape, space, bytes, out: Vec::new() };
    match *index {
        Index::Tree1(address) => {
            if !file.undefined(address) {
                lister.tree1(address, None)?;
            }
        }
        Index::Single { address, filtered } => {
            let (size, mask) = filtered.unwrap_or((bytes, 0));
            lister.push(vec![0; shape.len()], address, size, mask)?;
        }
        Index::Implicit(address) => {
            if !file.undefined(address) {
                let count = lister.grid().iter().try_fold(1u64, |n, &g| n.checked_mul(g)).unwrap_or(u64::MAX);
                file.locate(address, count.saturating_mul(bytes), "a dataset")?;
                for i in 0..count {
                    let at = i.checked_mul(bytes).and_then(|o| address.checked_add(o)).unwrap_or(u64::MAX);
                    lister.indexed(i, None, at, bytes, 0)?;
                }
            }
        }
        Index::Fixed { address, entry } => lister.fixed(address, entry)?,
        Index::Extensible { address, entry } => lister.extensible(address, entry)?,
        Index::Tree2 { address, entry } => {
            if !file.undefined(address) {
                btree2::visit(file, address, &mut |record| {
                    let mut c = Cursor::new(record, "chunk record");
                    let (at, size, mask) = lister.entry(&mut c, entry)?;
                    let mut start = Vec::with_capacity(lister.shape.len());
                    for &d in lister.shape {
                        start.push(c.uint(8)?.saturating_mul(d));
                    }
                    lister.push(start, at, size, mask)
                })?;
            }
        }
    }
    Ok(lister.out)
}

impl Lister<'_> {
    fn push(&mut self, start: Vec<u64>, address: u64, size: u64, mask: u32) -> H5Result<()> {
        if self.file.undefined(address) || size == 0 {
            return Ok(());
        }
        if start.iter().zip(&self.space.dims).any(|(s, d)| s >= d) {
            return Ok(());
        }
        if start.iter().zip(self.shape).any(|(s, d)| s % d != 0) {
            return bad("a chunk that does not start on the chunk grid");
        }
        if self.out.len() as u64 >= MAX_CHUNKS || size > 1 << 36 {
            return bad("too many or too large chunks");
        }
        let offset = self.file.locate(address, size, "a chunk")?;
        self.out.push(Chunk { start, offset, size, mask });
        Ok(())
    }

    /// Chunks along each axis, by the largest size (that is what array indexes count).
    fn grid(&self) -> Vec<u64> {
        let axis = |d: usize| {
            let limit = if self.space.max[d] == u64::MAX { self.space.dims[d] } else { self.space.max[d] };
            limit.div_ceil(self.shape[d]).max(1)
        };
        (0..self.shape.len()).map(axis).collect()
    }

    /// Pushes the chunk with that number in an array index. `unlimited` is the axis that varies slowest.
    fn indexed(
        &mut self,
        i: u64,
        unlimited: Option<usize>,
        address: u64,
        size: u64,
        mask: u32,
    ) -> H5Result<()> {
        let grid = self.grid();
        let mut order: Vec<usize> = (0..grid.len()).collect();
        if let Some(axis) = unlimited {
            order.remove(axis);
            order.insert(0, axis);
        }
        let mut start = vec![0; grid.len()];
        let mut rest = i;
        for (place, &axis) in order.iter().enumerate().rev() {
            let along = if place == 0 { u64::MAX } else { grid[axis] };
            start[axis] = (rest % along).saturating_mul(self.shape[axis]);
            rest /= along;
        }
        self.push(start, address, size, mask)
    }

    /// Address, size and mask of an array element or tree record.
    fn entry(&self, c: &mut Cursor<'_>, entry: Entry) -> H5Result<(u64, u64, u32)> {
        let address = self.file.address(c)?;
        if entry.size_bytes == 0 {
            Ok((address, self.bytes, 0))
        } else {
            Ok((address, c.uint(entry.size_bytes)?, c.u32()?))
        }
    }

    fn tree1(&mut self, address: u64, expected: Option<u8>) -> H5Result<()> {
        let start = self.file.block(address, 8, "chunk B-tree")?;
        let mut c = Cursor::new(&start, "chunk B-tree");
        c.signature(b"TREE")?;
        let node_type = c.u8()?;
        let level = c.u8()?;
        if node_type != 1 || expected.is_some_and(|e| e != level) || level > 32 {
            return bad("a chunk B-tree of impossible shape");
        }
        let entries = usize::from(c.u16()?);
        let rank = self.shape.len();
        let prefix = 8 + 2 * self.file.offset_size;
        let size = prefix + entries * (8 + 8 * (rank + 1) + self.file.offset_size);
        let block = self.file.block(address, size, "chunk B-tree")?;
        let mut c = Cursor::new(&block, "chunk B-tree");
        c.skip(prefix)?;
        for _ in 0..entries {
            let size = u64::from(c.u32()?);
            let mask = c.u32()?;
            let start = (0..rank).map(|_| c.uint(8)).collect::<H5Result<Vec<u64>>>()?;
            c.skip(8)?;
            let child = self.file.address(&mut c)?;
            if level > 0 {
                self.tree1(child, Some(level - 1))?;
            } else {
                self.push(start, child, size, mask)?;
            }
        }
        Ok(())
    }

    fn fixed(&mut self, address: u64, entry: Entry) -> H5Result<()> {
        let file = self.file;
        if file.undefined(address) {
            return Ok(());
        }
        let head = file.block(address, 4 + 4 + file.length_size + file.offset_size + 4, "fixed array")?;
        let mut c = Cursor::new(&head, "fixed array");
        c.signature(b"FAHD")?;
        checked(&head, "fixed array")?;
        c.skip(2)?;
        let width = u64::from(c.u8()?);
        let page_bits = u32::from(c.u8()?);
        let count = file.length(&mut c)?;
        let block = file.address(&mut c)?;
        if file.undefined(block) {
            return Ok(());
        }
        if page_bits > 30 || count > MAX_CHUNKS || width == 0 {
            return bad("a fixed array of impossible shape");
        }
        let page = 1u64 << page_bits;
        let prefix = 6 + file.offset_size;
        if count <= page {
            let len = prefix + (count * width) as usize + 4;
            let bytes = file.block(block, len, "fixed array block")?;
            let body = &checked(&bytes, "fixed array block")?[prefix..];
            return self.elements(body, 0, width as usize, entry, None);
        }
        let pages = count.div_ceil(page);
        let bitmap_len = pages.div_ceil(8) as usize;
        let head = file.block(block, prefix + bitmap_len + 4, "fixed array block")?;
        Cursor::new(&head, "fixed array block").signature(b"FADB")?;
        let bitmap = &checked(&head, "fixed array block")?[prefix..];
        let mut at = block + head.len() as u64;
        for p in 0..pages {
            let in_page = page.min(count - p * page);
            let len = (in_page * width) as usize + 4;
            if bitmap[(p / 8) as usize] & (0x80 >> (p % 8)) != 0 {
                let bytes = file.block(at, len, "fixed array page")?;
                self.elements(checked(&bytes, "fixed array page")?, p * page, width as usize, entry, None)?;
            }
            at += (page * width) + 4;
        }
        Ok(())
    }

    fn elements(
        &mut self,
        body: &[u8],
        first: u64,
        width: usize,
        entry: Entry,
        unlimited: Option<usize>,
    ) -> H5Result<()> {
        for (i, bytes) in body.chunks_exact(width).enumerate() {
            let (at, size, mask) = self.entry(&mut Cursor::new(bytes, "chunk entry"), entry)?;
            self.indexed(first + i as u64, unlimited, at, size, mask)?;
        }
        Ok(())
    }

    fn extensible(&mut self, address: u64, entry: Entry) -> H5Result<()> {
        let file = self.file;
        if file.undefined(address) {
            return Ok(());
        }
        let head =
            file.block(address, 12 + 6 * file.length_size + file.offset_size + 4, "extensible array")?;
        let mut c = Cursor::new(&head, "extensible array");
        c.signature(b"EAHD")?;
        checked(&head, "extensible array")?;
        c.skip(2)?;
        let width = usize::from(c.u8()?);
        let max_bits = u32::from(c.u8()?);
        let in_index = usize::from(c.u8()?);
        let min_elements = u64::from(c.u8()?);
        let min_pointers = u64::from(c.u8()?);
        let page_bits = u32::from(c.u8()?);
        c.skip(4 * file.length_size)?;
        let set = file.length(&mut c)?;
        c.skip(file.length_size)?;
        let index_block = file.address(&mut c)?;
        if file.undefined(index_block) {
            return Ok(());
        }
        let powers = min_elements.is_power_of_two() && min_pointers.is_power_of_two();
        if !powers || max_bits > 64 || page_bits > 30 || max_bits < min_elements.ilog2() || width == 0 {
            return bad("an extensible array of impossible shape");
        }
        let unlimited = self.space.max.iter().position(|&m| m == u64::MAX);
        let super_blocks = 1 + max_bits - min_elements.ilog2();
        let direct_blocks = 2 * min_pointers.ilog2();
        let pointers = 2 * (min_pointers as usize - 1);
        let prefix = 6 + file.offset_size;
        let indirect = super_blocks.saturating_sub(direct_blocks) as usize;
        let len = prefix + in_index * width + (pointers + indirect) * file.offset_size + 4;
        let bytes = file.block(index_block, len, "extensible array index")?;
        let mut c = Cursor::new(checked(&bytes, "extensible array index")?, "extensible array index");
        c.signature(b"EAIB")?;
        c.skip(prefix - 4)?;
        self.elements(c.bytes(in_index * width)?, 0, width, entry, unlimited)?;
        let shape =
            Blocks { width, entry, unlimited, offset_bytes: max_bits.div_ceil(8) as usize, page_bits };
        let mut first = in_index as u64;
        for block in 0..super_blocks {
            let data_blocks = 1u64 << (block / 2).min(40);
            let elements = min_elements << block.div_ceil(2).min(40);
            let total = data_blocks.saturating_mul(elements);
            if block < direct_blocks {
                for i in 0..data_blocks {
                    let at = file.address(&mut c)?;
                    self.data_block(at, first + i * elements, elements, &shape, None)?;
                }
            } else {
                let at = file.address(&mut c)?;
                if first < set && !file.undefined(at) {
                    self.super_block(at, first, data_blocks, elements, &shape)?;
                }
            }
            first = first.saturating_add(total);
        }
        Ok(())
    }

    fn super_block(
        &mut self,
        address: u64,
        first: u64,
        blocks: u64,
        elements: u64,
        shape: &Blocks,
    ) -> H5Result<()> {
        let file = self.file;
        let page = 1u64 << shape.page_bits;
        let bitmap = if elements > page { (elements / page).div_ceil(8) } else { 0 };
        let prefix = 6 + file.offset_size + shape.offset_bytes;
        let len = blocks.saturating_mul(bitmap + file.offset_size as u64).saturating_add(prefix as u64 + 4);
        let bytes =
            file.block(address, usize::try_from(len).unwrap_or(usize::MAX), "extensible array block")?;
        let mut c = Cursor::new(checked(&bytes, "extensible array block")?, "extensible array block");
        c.signature(b"EASB")?;
        c.skip(prefix - 4)?;
        let maps = c.bytes((blocks * bitmap) as usize)?.to_vec();
        for i in 0..blocks {
            let at = file.address(&mut c)?;
            let map = maps.get((i * bitmap) as usize..((i + 1) * bitmap) as usize).unwrap_or(&[]);
            self.data_block(at, first + i * elements, elements, shape, Some(map))?;
        }
        Ok(())
    }

    fn data_block(
        &mut self,
        address: u64,
        first: u64,
        elements: u64,
        shape: &Blocks,
        map: Option<&[u8]>,
    ) -> H5Result<()> {
        let file = self.file;
        if file.undefined(address) {
            return Ok(());
        }
        let prefix = 6 + file.offset_size + shape.offset_bytes;
        let page = 1u64 << shape.page_bits;
        if elements <= page {
            let len = prefix + (elements as usize).saturating_mul(shape.width) + 4;
            let bytes = file.block(address, len, "extensible array data")?;
            let body = checked(&bytes, "extensible array data")?;
            Cursor::new(body, "extensible array data").signature(b"EADB")?;
            return self.elements(&body[prefix..], first, shape.width, shape.entry, shape.unlimited);
        }
        let page_bytes = page as usize * shape.width + 4;
        for p in 0..elements / page {
            let written =
                map.and_then(|m| m.get((p / 8) as usize)).is_some_and(|b| b & (0x80 >> (p % 8)) != 0);
            if written {
                let at = address + (prefix + 4) as u64 + p * page_bytes as u64;
                let bytes = file.block(at, page_bytes, "extensible array page")?;
                let body = checked(&bytes, "extensible array page")?;
                self.elements(body, first + p * page, shape.width, shape.entry, shape.unlimited)?;
            }
        }
        Ok(())
    }
}

/// What all blocks of an extensible array share.
struct Blocks {
    width: usize,
    entry: Entry,
    unlimited: Option<usize>,
    offset_bytes: usize,
    page_bits: u32,
}
