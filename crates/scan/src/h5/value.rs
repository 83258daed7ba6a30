//! Small values: attributes and metadata datasets, as numbers or text.

use super::btree2;
use super::bytes::{Cursor, H5Result, bad, text_until_nul};
use super::file::File;
use super::header::{Message, fetch_shared, kind};
use super::heap::{FractalHeap, global_object};
use super::types::{Space, Type};

/// Elements that a value may have to be read as metadata.
pub(crate) const MAX_ELEMENTS: u64 = 1 << 22;

/// A small array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Numbers(Vec<f64>),
    Texts(Vec<String>),
    /// Present, of a type or size that is not metadata.
    Other,
}

impl Value {
    /// Decodes `data`, the elements of `space` one after the other.
    pub(crate) fn decode(file: &File, data_type: Type, space: &Space, data: &[u8]) -> H5Result<Self> {
        let count = space.elements()?;
        let size = data_type.size();
        if count > MAX_ELEMENTS || size > 1 << 20 {
            return Ok(Self::Other);
        }
        let count = count as usize;
        let Some(data) = count.checked_mul(size).and_then(|n| data.get(..n)) else {
            return bad("a value is shorter than its type says");
        };
        let elements = data.chunks_exact(size);
        Ok(match data_type {
            Type::Text { .. } => Self::Texts(elements.map(text_until_nul).collect()),
            Type::VarText { .. } if count <= 1 << 16 => {
                Self::Texts(elements.map(|e| var_text(file, e)).collect::<H5Result<_>>()?)
            }
            t if t.is_number() => Self::Numbers(elements.map(|e| t.number(e)).collect()),
            _ => Self::Other,
        })
    }

    pub(crate) fn numbers(&self) -> &[f64] {
        if let Self::Numbers(v) = self { v } else { &[] }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Texts(v) = self { v.first().map(String::as_str) } else { None }
    }
}

fn var_text(file: &File, element: &[u8]) -> H5Result<String> {
    let mut c = Cursor::new(element, "variable-length text");
    let len = c.u32()?;
    let collection = file.address(&mut c)?;
    let index = c.u32()?;
    if len == 0 || collection == 0 || file.undefined(collection) {
        return Ok(String::new());
    }
    let object = global_object(file, collection, index)?;
    match object.get(..len as usize) {
        Some(text) => Ok(text_until_nul(text)),
        None => bad("a text is shorter than its length"),
    }
}

/// Attributes of an object, from its header messages. One that cannot be decoded becomes
/// [`Value::Other`], so that a strange attribute does not hide the others.
pub(crate) fn attributes(file: &File, messages: &[Message]) -> H5Result<Vec<(String, Value)>> {
    let mut out = Vec::new();
    for message in messages {
        match message.kind {
            kind::ATTRIBUTE => out.extend(attribute(file, &message.data)?),
            kind::ATTRIBUTE_INFO => {
                let mut c = Cursor::new(&message.data, "attribute info");
                c.skip(1)?;
                if c.u8()? & 1 != 0 {
                    c.skip(2)?;
                }
                let heap = file.address(&mut c)?;
                let tree = file.address(&mut c)?;
                if !file.undefined(heap) && !file.undefined(tree) {
                    let heap = FractalHeap::load(file, heap)?;
                    btree2::visit(file, tree, &mut |record| {
                        if let Ok(object) =
                            record.get(..8).map_or_else(|| bad("short record"), |id| heap.object(id))
                        {
                            out.extend(attribute(file, &object)?);
                        }
                        Ok(())
                    })?;
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

fn attribute(file: &File, data: &[u8]) -> H5Result<Option<(String, Value)>> {
    let mut c = Cursor::new(data, "attribute");
    let version = c.u8()?;
    let flags = c.u8()?;
    if !(1..=3).contains(&version) {
        return Ok(None);
    }
    let (name_len, type_len, space_len) =
        (usize::from(c.u16()?), usize::from(c.u16()?), usize::from(c.u16()?));
    if version == 3 {
        c.skip(1)?;
    }
    let mut part = |len: usize| -> H5Result<&[u8]> {
        let bytes = c.bytes(len)?;
        if version == 1 {
            c.skip(len.div_ceil(8) * 8 - len)?;
        }
        Ok(bytes)
    };
    let name = text_until_nul(part(name_len)?);
    let mut type_data = part(type_len)?.to_vec();
    let mut space_data = part(space_len)?.to_vec();
    if version > 1 && flags & 1 != 0 {
        type_data = fetch_shared(file, kind::DATATYPE, &type_data)?;
    }
    if version > 1 && flags & 2 != 0 {
        space_data = fetch_shared(file, kind::DATASPACE, &space_data)?;
    }
    let decoded =
        (|| Value::decode(file, Type::parse(&type_data)?, &Space::parse(file, &space_data)?, c.rest()))();
    Ok(Some((name, decoded.unwrap_or(Value::Other))))
}
