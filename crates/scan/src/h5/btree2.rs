//! Version 2 B-trees: visits every record.
//!
//! Format: HDF5 File Format Specification 3.0, section III.A.2.

use super::bytes::{Cursor, H5Result, bad, bytes_for, checked};
use super::file::File;

struct Tree<'f> {
    file: &'f File,
    node_size: usize,
    record_size: usize,
    count_bytes: usize,
    /// Bytes of the "records below" number of a pointer to a node of that depth.
    total_bytes: Vec<usize>,
}

/// Calls `visit` with every record of the tree at `address`, in order.
pub(crate) fn visit(file: &File, address: u64, visit: &mut dyn FnMut(&[u8]) -> H5Result<()>) -> H5Result<()> {
    let size = 4 + 2 + 4 + 2 + 2 + 2 + file.offset_size + 2 + file.length_size + 4;
    let head = file.block(address, size, "B-tree")?;
    let mut c = Cursor::new(&head, "B-tree");
    c.signature(b"BTHD")?;
    checked(&head, "B-tree")?;
    c.skip(2)?;
    let node_size = c.u32()? as usize;
    let record_size = usize::from(c.u16()?);
    let depth = usize::from(c.u16()?);
    c.skip(2)?;
    let root = file.address(&mut c)?;
    let records = usize::from(c.u16()?);
    if file.undefined(root) || records == 0 {
        return Ok(());
    }
    if depth > 16 || record_size == 0 || node_size < 16 + record_size {
        return bad("a B-tree of impossible shape");
    }
    let leaf = ((node_size - 10) / record_size) as u64;
    let count_bytes = bytes_for(leaf);
    let (mut total_bytes, mut below) = (vec![0], leaf);
    for d in 1..=depth {
        let pointer = file.offset_size + count_bytes + total_bytes[d - 1];
        let own = (node_size.saturating_sub(10 + pointer) / (record_size + pointer)) as u64;
        below = (own + 1).saturating_mul(below).saturating_add(own);
        total_bytes.push(bytes_for(below));
    }
    let tree = Tree { file, node_size, record_size, count_bytes, total_bytes };
    tree.node(root, records, depth, visit)
}

impl Tree<'_> {
    fn node(
        &self,
        address: u64,
        records: usize,
        depth: usize,
        visit: &mut dyn FnMut(&[u8]) -> H5Result<()>,
    ) -> H5Result<()> {
        let block = self.file.block(address, self.node_size, "B-tree node")?;
        let mut c = Cursor::new(&block, "B-tree node");
        c.signature(if depth == 0 { b"BTLF" } else { b"BTIN" })?;
        c.skip(2)?;
        let own = c.bytes(records.saturating_mul(self.record_size))?;
        let mut own = own.chunks_exact(self.record_size);
        if depth > 0 {
            let total = self.total_bytes[depth - 1];
            for _ in 0..=records {
                let child = self.file.address(&mut c)?;
                let count = c.uint(self.count_bytes)? as usize;
                c.skip(total)?;
                self.node(child, count, depth - 1, visit)?;
                if let Some(record) = own.next() {
                    visit(record)?;
                }
            }
        } else {
            own.try_for_each(visit)?;
        }
        let used = c.position();
        match block.get(..used + 4) {
            Some(part) => checked(part, "B-tree node").map(|_| ()),
            None => bad("a B-tree node without a checksum"),
        }
    }
}
