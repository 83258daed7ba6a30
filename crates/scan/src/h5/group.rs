//! Groups: names and what they lead to, in every form that HDF5 has had.
//!
//! Format: HDF5 File Format Specification 3.0, sections III.A.1, III.B and IV.A.2.g.

use std::sync::Arc;

use super::btree2;
use super::bytes::{Cursor, H5Error, H5Result, bad, text_until_nul};
use super::file::File;
use super::header::{kind, messages};
use super::heap::{FractalHeap, LocalHeap};

/// Links that one group may have.
const MAX_LINKS: usize = 1_000_000;

/// What a name leads to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// Object header address.
    Hard(u64),
    /// Path in the same file.
    Soft(String),
    /// Path in another file.
    External { file: String, path: String },
}

/// A name in a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) target: Target,
}

/// The links of the group at `address`, remembered for the life of the file.
///
/// # Errors
/// [`H5Error::Missing`] when the object is not a group.
pub(crate) fn links(file: &File, address: u64) -> H5Result<Arc<Vec<Link>>> {
    if let Some(known) = file.links.lock().ok().and_then(|map| map.get(&address).cloned()) {
        return Ok(known);
    }
    let found = Arc::new(load(file, address)?);
    if let Ok(mut map) = file.links.lock() {
        map.insert(address, found.clone());
    }
    Ok(found)
}

fn load(file: &File, address: u64) -> H5Result<Vec<Link>> {
    let mut out = Vec::new();
    let mut is_group = false;
    for message in messages(file, address)? {
        let mut c = Cursor::new(&message.data, "group message");
        match message.kind {
            kind::SYMBOL_TABLE => {
                is_group = true;
                let tree = file.address(&mut c)?;
                let heap = LocalHeap::load(file, file.address(&mut c)?)?;
                symbol_tree(file, tree, None, &heap, &mut out)?;
            }
            kind::LINK => {
                is_group = true;
                out.push(link(file, &message.data)?);
            }
            kind::LINK_INFO => {
                is_group = true;
                c.skip(1)?;
                if c.u8()? & 1 != 0 {
                    c.skip(8)?;
                }
                let heap = file.address(&mut c)?;
                let tree = file.address(&mut c)?;
                if !file.undefined(heap) && !file.undefined(tree) {
                    let heap = FractalHeap::load(file, heap)?;
                    btree2::visit(file, tree, &mut |record| match record.get(4..) {
                        Some(id) if out.len() < MAX_LINKS => {
                            out.push(link(file, &heap.object(id)?)?);
                            Ok(())
                        }
                        _ => bad("a group has too many links"),
                    })?;
                }
            }
            _ => {}
        }
    }
    if is_group { Ok(out) } else { Err(H5Error::Missing("a group".into())) }
}

fn symbol_tree(
    file: &File,
    address: u64,
    expected: Option<u8>,
    heap: &LocalHeap,
    out: &mut Vec<Link>,
) -> H5Result<()> {
    let start = file.block(address, 8, "group B-tree")?;
    let mut c = Cursor::new(&start, "group B-tree");
    c.signature(b"TREE")?;
    let node_type = c.u8()?;
    let level = c.u8()?;
    if node_type != 0 || expected.is_some_and(|e| e != level) || level > 32 {
        return bad("a group B-tree of impossible shape");
    }
    let entries = usize::from(c.u16()?);
    let size = 8 + 2 * file.offset_size + entries * (file.length_size + file.offset_size);
    let block = file.block(address, size, "group B-tree")?;
    let mut c = Cursor::new(&block, "group B-tree");
    c.skip(8 + 2 * file.offset_size)?;
    for _ in 0..entries {
        file.length(&mut c)?;
        let child = file.address(&mut c)?;
        if level > 0 {
            symbol_tree(file, child, Some(level - 1), heap, out)?;
        } else {
            symbol_node(file, child, heap, out)?;
        }
    }
    Ok(())
}

fn symbol_node(file: &File, address: u64, heap: &LocalHeap, out: &mut Vec<Link>) -> H5Result<()> {
    let start = file.block(address, 8, "symbol table")?;
    let mut c = Cursor::new(&start, "symbol table");
    c.signature(b"SNOD")?;
    c.skip(2)?;
    let count = usize::from(c.u16()?);
    let block = file.block(address + 8, count * (2 * file.offset_size + 24), "symbol table")?;
    let mut c = Cursor::new(&block, "symbol table");
    for _ in 0..count {
        if out.len() >= MAX_LINKS {
            return bad("a group has too many links");
        }
        let name = heap.text(file.address(&mut c)?)?;
        let header = file.address(&mut c)?;
        let cache = c.u32()?;
        c.skip(4)?;
        let mut scratch = Cursor::new(c.bytes(16)?, "symbol table");
        let target = if cache == 2 {
            Target::Soft(heap.text(u64::from(scratch.u32()?))?)
        } else {
            Target::Hard(header)
        };
        out.push(Link { name, target });
    }
    Ok(())
}

fn link(file: &File, data: &[u8]) -> H5Result<Link> {
    let mut c = Cursor::new(data, "link");
    let version = c.u8()?;
    if version != 1 {
        return bad(format!("a link of version {version}"));
    }
    let flags = c.u8()?;
    let link_type = if flags & 0x08 != 0 { c.u8()? } else { 0 };
    if flags & 0x04 != 0 {
        c.skip(8)?;
    }
    if flags & 0x10 != 0 {
        c.skip(1)?;
    }
    let len = c.uint(1 << (flags & 3))?;
    let name = c.bytes(usize::try_from(len).unwrap_or(usize::MAX))?;
    let name = String::from_utf8_lossy(name).into_owned();
    let target = match link_type {
        0 => Target::Hard(file.address(&mut c)?),
        1 => {
            let len = usize::from(c.u16()?);
            Target::Soft(text_until_nul(c.bytes(len)?))
        }
        64 => {
            c.skip(3)?;
            Target::External { file: c.c_string()?, path: c.c_string()? }
        }
        t => return Err(H5Error::Unsupported(format!("a link of type {t}"))),
    };
    Ok(Link { name, target })
}
