//! Object headers, versions 1 and 2: the list of messages that makes a group or a dataset.
//!
//! Format: HDF5 File Format Specification 3.0, section IV.A.

use super::bytes::{Cursor, H5Result, bad, checked};
use super::file::File;

/// Message types used here.
pub(crate) mod kind {
    pub(crate) const DATASPACE: u16 = 0x01;
    pub(crate) const LINK_INFO: u16 = 0x02;
    pub(crate) const DATATYPE: u16 = 0x03;
    pub(crate) const FILL_OLD: u16 = 0x04;
    pub(crate) const FILL: u16 = 0x05;
    pub(crate) const LINK: u16 = 0x06;
    pub(crate) const EXTERNAL_FILES: u16 = 0x07;
    pub(crate) const LAYOUT: u16 = 0x08;
    pub(crate) const FILTERS: u16 = 0x0b;
    pub(crate) const ATTRIBUTE: u16 = 0x0c;
    pub(crate) const CONTINUATION: u16 = 0x10;
    pub(crate) const SYMBOL_TABLE: u16 = 0x11;
    pub(crate) const ATTRIBUTE_INFO: u16 = 0x15;
}

/// Bytes of continuation blocks that one object may have.
const MAX_HEADER: u64 = 64 << 20;

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) data: Vec<u8>,
}

/// All messages of the object at `address`, continuations followed, shared ones fetched.
pub(crate) fn messages(file: &File, address: u64) -> H5Result<Vec<Message>> {
    let raw = raw_messages(file, address)?;
    let mut out = Vec::with_capacity(raw.len());
    for (kind, flags, data) in raw {
        let shared = flags & 0x02 != 0;
        out.push(Message { kind, data: if shared { fetch_shared(file, kind, &data)? } else { data } });
    }
    Ok(out)
}

/// The data of a message that is stored in another object (a committed datatype).
pub(crate) fn fetch_shared(file: &File, kind: u16, data: &[u8]) -> H5Result<Vec<u8>> {
    let mut c = Cursor::new(data, "shared message");
    let version = c.u8()?;
    let place = c.u8()?;
    match version {
        1 => c.skip(6)?,
        2 | 3 => {}
        v => return bad(format!("shared message version {v}")),
    }
    if version == 3 && place == 1 {
        return bad("a message in a shared-message heap, which this reader does not know");
    }
    let address = file.address(&mut c)?;
    for (k, flags, data) in raw_messages(file, address)? {
        if k == kind && flags & 0x02 == 0 {
            return Ok(data);
        }
    }
    bad("a shared message refers to an object without it")
}

type Raw = (u16, u8, Vec<u8>);

fn raw_messages(file: &File, address: u64) -> H5Result<Vec<Raw>> {
    let start = file.block_up_to(address, 512, 16, "object header")?;
    if start.starts_with(b"OHDR") {
        version_2(file, address, &start)
    } else {
        version_1(file, address, &start)
    }
}

fn version_1(file: &File, address: u64, start: &[u8]) -> H5Result<Vec<Raw>> {
    let mut c = Cursor::new(start, "object header");
    let version = c.u8()?;
    if version != 1 {
        return bad(format!("an object header at byte {address} has version {version}"));
    }
    c.skip(1)?;
    let count = usize::from(c.u16()?);
    c.skip(4)?;
    let size = c.u32()? as usize;
    let body = body_of(file, address, 16, size, start)?;
    let mut out = Vec::new();
    let mut pending = vec![body];
    let mut total = 0u64;
    while let Some(block) = pending.pop() {
        let mut c = Cursor::new(&block, "object header");
        while c.remaining() >= 8 && out.len() < count {
            let kind = c.u16()?;
            let size = usize::from(c.u16()?);
            let flags = c.u8()?;
            c.skip(3)?;
            let data = c.bytes(size)?.to_vec();
            if kind == kind::CONTINUATION {
                let mut d = Cursor::new(&data, "header continuation");
                let at = file.address(&mut d)?;
                let len = file.length(&mut d)?;
                total = within(total, len)?;
                pending.push(file.block(at, len as usize, "header continuation")?);
            }
            out.push((kind, flags, data));
        }
    }
    Ok(out)
}

fn version_2(file: &File, address: u64, start: &[u8]) -> H5Result<Vec<Raw>> {
    let mut c = Cursor::new(start, "object header");
    c.signature(b"OHDR")?;
    let version = c.u8()?;
    if version != 2 {
        return bad(format!("an object header at byte {address} has version {version}"));
    }
    let flags = c.u8()?;
    if flags & 0x20 != 0 {
        c.skip(16)?;
    }
    if flags & 0x10 != 0 {
        c.skip(4)?;
    }
    let size = c.uint(1 << (flags & 3))?;
    let prefix = c.position();
    within(0, size)?;
    let whole = body_of(file, address, 0, prefix + size as usize + 4, start)?;
    let body = checked(&whole, "object header")?[prefix..].to_vec();
    let mut out = Vec::new();
    let mut pending = vec![body];
    let mut total = 0u64;
    while let Some(block) = pending.pop() {
        let mut c = Cursor::new(&block, "object header");
        let head = if flags & 0x04 != 0 { 6 } else { 4 };
        while c.remaining() >= head {
            let kind = u16::from(c.u8()?);
            let size = usize::from(c.u16()?);
            let message_flags = c.u8()?;
            c.skip(head - 4)?;
            let data = c.bytes(size)?.to_vec();
            if kind == kind::CONTINUATION {
                let mut d = Cursor::new(&data, "header continuation");
                let at = file.address(&mut d)?;
                let len = file.length(&mut d)?;
                total = within(total, len)?;
                let next = file.block(at, len as usize, "header continuation")?;
                if !next.starts_with(b"OCHK") {
                    return bad("a header continuation without its signature");
                }
                pending.push(checked(&next, "header continuation")?[4..].to_vec());
            }
            out.push((kind, message_flags, data));
        }
    }
    Ok(out)
}

/// `size` bytes that begin `skip` bytes after `address`, from `start` where it holds them all.
fn body_of(file: &File, address: u64, skip: usize, size: usize, start: &[u8]) -> H5Result<Vec<u8>> {
    within(0, size as u64)?;
    match start.get(skip..skip + size) {
        Some(body) => Ok(body.to_vec()),
        None => file.block(address + skip as u64, size, "object header"),
    }
}

fn within(total: u64, more: u64) -> H5Result<u64> {
    match total.checked_add(more) {
        Some(sum) if sum <= MAX_HEADER => Ok(sum),
        _ => bad("an object header is impossibly large"),
    }
}
