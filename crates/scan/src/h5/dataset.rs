//! Datasets: type, shape, where the elements lie and what was done to them on the way.
//!
//! Format: HDF5 File Format Specification 3.0, sections IV.A.2.f, IV.A.2.i and IV.A.2.l.

use super::bytes::{Cursor, H5Error, H5Result, bad};
use super::chunks::{self, Chunk, Index};
use super::file::File;
use super::header::{Message, kind};
use super::types::{Space, Type};
use super::value::{MAX_ELEMENTS, Value};
use crate::h5::filters::{Filter, Pipeline};

/// Where the elements lie.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Inside the object header.
    Compact(Vec<u8>),
    /// One piece at an absolute offset; `None` where nothing was ever written.
    Contiguous(Option<u64>),
    /// Pieces of `shape`, found through `index`.
    Chunked { shape: Vec<u64>, index: Index },
}

/// A dataset, described.
#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    pub(crate) data_type: Type,
    pub(crate) space: Space,
    pub(crate) place: Place,
    pub(crate) filters: Pipeline,
    /// One element for what was never written.
    pub(crate) fill: Vec<u8>,
}

/// The dataset of these header messages.
///
/// # Errors
/// [`H5Error::Missing`] when the object is not a dataset; sizes that do not fit the file are `Bad`.
pub(crate) fn dataset(file: &File, list: &[Message]) -> H5Result<Dataset> {
    let get = |kind: u16| list.iter().find(|m| m.kind == kind).map(|m| m.data.as_slice());
    let (Some(type_data), Some(space_data), Some(layout)) =
        (get(kind::DATATYPE), get(kind::DATASPACE), get(kind::LAYOUT))
    else {
        return Err(H5Error::Missing("a dataset".into()));
    };
    let data_type = Type::parse(type_data)?;
    let space = Space::parse(file, space_data)?;
    let filters = get(kind::FILTERS).map_or_else(|| Ok(Pipeline::default()), parse_filters)?;
    let fill = fill_value(get(kind::FILL), get(kind::FILL_OLD), data_type.size())?;
    let bytes = space.elements()?.checked_mul(data_type.size() as u64);
    let Some(bytes) = bytes else { return bad("a dataset of impossible size") };
    if get(kind::EXTERNAL_FILES).is_some() {
        return Err(H5Error::Unsupported("data in external raw files".into()));
    }
    let place = parse_layout(file, layout, &space, data_type, bytes, &filters)?;
    Ok(Dataset { data_type, space, place, filters, fill })
}

impl Dataset {
    /// The whole of a small dataset.
    pub(crate) fn value(&self, file: &File) -> H5Result<Value> {
        let count = self.space.elements()?;
        let size = self.data_type.size() as u64;
        if count > MAX_ELEMENTS || count.saturating_mul(size) > 64 << 20 {
            return Ok(Value::Other);
        }
        let bytes = (count * size) as usize;
        let data = match &self.place {
            Place::Compact(data) => data.clone(),
            Place::Contiguous(Some(offset)) => {
                let mut data = vec![0; bytes];
                file.read_raw(*offset, &mut data).map_err(H5Error::Io)?;
                data
            }
            Place::Contiguous(None) => self.filled(bytes),
            Place::Chunked { shape, index } => self.gather(file, shape, index, bytes)?,
        };
        Value::decode(file, self.data_type, &self.space, &data)
    }

    fn filled(&self, bytes: usize) -> Vec<u8> {
        self.fill.iter().copied().cycle().take(bytes).collect()
    }

    /// Elements of a small chunked dataset, any rank, in order.
    fn gather(&self, file: &File, shape: &[u64], index: &Index, bytes: usize) -> H5Result<Vec<u8>> {
        let mut out = self.filled(bytes);
        let size = self.data_type.size();
        let chunk_bytes = shape.iter().product::<u64>() as usize * size;
        if chunk_bytes > 256 << 20 {
            return bad("a small value in an impossibly large chunk");
        }
        let dims = &self.space.dims;
        for chunk in chunks::list(file, index, shape, &self.space, chunk_bytes as u64)? {
            let mut stored = vec![0; chunk.size as usize];
            file.read_raw(chunk.offset, &mut stored).map_err(H5Error::Io)?;
            let data = self.filters.decode(stored, chunk.mask, chunk_bytes)?;
            for (i, element) in data.chunks_exact(size).enumerate() {
                if let Some(at) = element_index(i as u64, shape, &chunk, dims) {
                    out[at * size..(at + 1) * size].copy_from_slice(element);
                }
            }
        }
        Ok(out)
    }
}

/// Index in the dataset of element `i` of a chunk; `None` in the part that sticks out.
fn element_index(i: u64, shape: &[u64], chunk: &Chunk, dims: &[u64]) -> Option<usize> {
    let (mut rest, mut at, mut stride) = (i, 0u64, 1u64);
    for d in (0..shape.len()).rev() {
        let position = chunk.start[d] + rest % shape[d];
        rest /= shape[d];
        if position >= dims[d] {
            return None;
        }
        at += position * stride;
        stride *= dims[d];
    }
    usize::try_from(at).ok()
}

fn parse_layout(
    file: &File,
    data: &[u8],
    space: &Space,
    data_type: Type,
    bytes: u64,
    filters: &Pipeline,
) -> H5Result<Place> {
    let mut c = Cursor::new(data, "data layout");
    let version = c.u8()?;
    let rank = space.dims.len();
    let class;
    let mut old_rank = 0;
    if version < 3 {
        old_rank = usize::from(c.u8()?);
        class = c.u8()?;
        c.skip(5)?;
    } else if version <= 5 {
        class = c.u8()?;
    } else {
        return bad(format!("a data layout of version {version}"));
    }
    match class {
        0 => {
            let len = if version < 3 {
                c.skip(4 * old_rank)?;
                c.u32()? as usize
            } else {
                usize::from(c.u16()?)
            };
            let data = c.bytes(len)?;
            if (len as u64) < bytes {
                return bad("a compact dataset is shorter than its shape");
            }
            Ok(Place::Compact(data.to_vec()))
        }
        1 => {
            let address = file.address(&mut c)?;
            if file.undefined(address) || bytes == 0 {
                return Ok(Place::Contiguous(None));
            }
            if version >= 3 {
                let stored = file.length(&mut c)?;
                if stored < bytes {
                    return bad(format!("a dataset of {bytes} bytes has room for {stored}"));
                }
            }
            Ok(Place::Contiguous(Some(file.locate(address, bytes, "a dataset")?)))
        }
        2 => {
            let (shape, index) = if version < 4 {
                let n = if version < 3 { old_rank } else { usize::from(c.u8()?) };
                let address = file.address(&mut c)?;
                let shape = (0..n).map(|_| c.u32().map(u64::from)).collect::<H5Result<Vec<u64>>>()?;
                (shape, Index::Tree1(address))
            } else {
                chunks::parse_index(file, &mut c, version, filters.is_empty())?
            };
            // The last number is the element size.
            if shape.len() != rank + 1 || shape.contains(&0) {
                return bad("chunks whose shape does not fit the dataset");
            }
            let shape = shape[..rank].to_vec();
            let chunk_bytes = shape.iter().try_fold(data_type.size() as u64, |n, &d| n.checked_mul(d));
            match chunk_bytes {
                Some(n) if n <= 1 << 36 => Ok(Place::Chunked { shape, index }),
                _ => bad("chunks of impossible size"),
            }
        }
        3 => Err(H5Error::Unsupported("a virtual dataset (assembled from other files)".into())),
        class => bad(format!("a data layout of class {class}")),
    }
}

fn parse_filters(data: &[u8]) -> H5Result<Pipeline> {
    let mut c = Cursor::new(data, "filter pipeline");
    let version = c.u8()?;
    let count = usize::from(c.u8()?);
    if version == 1 {
        c.skip(6)?;
    } else if version != 2 {
        return bad(format!("a filter pipeline of version {version}"));
    }
    if count > 32 {
        return bad(format!("{count} filters"));
    }
    let mut filters = Vec::with_capacity(count);
    for _ in 0..count {
        let id = c.u16()?;
        let name_len = if version == 1 || id >= 256 { usize::from(c.u16()?) } else { 0 };
        let flags = c.u16()?;
        let values = usize::from(c.u16()?);
        let padded = if version == 1 { name_len.div_ceil(8) * 8 } else { name_len };
        c.skip(padded)?;
        let parameters = (0..values).map(|_| c.u32()).collect::<H5Result<Vec<u32>>>()?;
        if version == 1 && !values.is_multiple_of(2) {
            c.skip(4)?;
        }
        filters.push(Filter { id, optional: flags & 1 != 0, parameters });
    }
    Ok(Pipeline(filters))
}

fn fill_value(new: Option<&[u8]>, old: Option<&[u8]>, size: usize) -> H5Result<Vec<u8>> {
    if size > 1 << 20 {
        return Ok(Vec::new());
    }
    let zeros = vec![0; size];
    let value = if let Some(data) = new {
        let mut c = Cursor::new(data, "fill value");
        let defined = match c.u8()? {
            1 | 2 => {
                c.skip(2)?;
                c.u8()? != 0
            }
            3 => c.u8()? & 0x20 != 0,
            v => return bad(format!("a fill value of version {v}")),
        };
        if !defined || c.remaining() < 4 {
            return Ok(zeros);
        }
        let len = c.u32()? as usize;
        c.bytes(len)?
    } else if let Some(data) = old {
        let mut c = Cursor::new(data, "fill value");
        let len = c.u32()? as usize;
        c.bytes(len)?
    } else {
        return Ok(zeros);
    };
    Ok(if value.len() == size { value.to_vec() } else { zeros })
}
