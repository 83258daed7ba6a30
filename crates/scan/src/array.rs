//! Frames in a file: reads row ranges of them at known offsets, without any lock.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::h5::bytes::{H5Error, H5Result, bad};
use crate::h5::chunks;
use crate::h5::dataset::{Dataset, Place};
use crate::h5::file::File;
use crate::h5::filters::{Pipeline, Scratch};
use crate::h5::types::Type;
use crate::{DataType, Storage};

/// A stored chunk.
#[derive(Debug, Clone, Copy)]
struct Stored {
    offset: u64,
    size: u64,
    mask: u32,
}

#[derive(Debug)]
enum Body {
    Contiguous(u64),
    Compact(Vec<u8>),
    Chunked { shape: [usize; 3], grid: [u64; 3], stored: HashMap<u64, Stored> },
    Empty,
}

/// A stack of frames, (frames, rows, columns), or one frame.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) file: Arc<File>,
    /// Path inside the file that was opened.
    pub(crate) path: String,
    pub(crate) data_type: Type,
    pub(crate) frames: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    body: Body,
    filters: Pipeline,
    fill: Vec<u8>,
}

/// The type that reads of such data deliver; `None` when it holds no plain numbers.
pub(crate) fn delivered(data_type: Type) -> Option<DataType> {
    match data_type {
        Type::Uint { bytes: 1, .. } => Some(DataType::U8),
        Type::Uint { bytes: 2, .. } => Some(DataType::U16),
        t if t.is_number() => Some(DataType::F32),
        _ => None,
    }
}

/// True when the bytes in the file are those in memory.
fn native(data_type: Type) -> bool {
    let here = cfg!(target_endian = "big");
    match data_type {
        Type::Uint { bytes: 1, .. } => true,
        Type::Uint { bytes: 2, big } | Type::Float { bytes: 4, big } => big == here,
        _ => false,
    }
}

/// Stored elements to samples in memory order. Lengths match by construction; a longer side is ignored.
fn convert(data_type: Type, raw: &[u8], out: &mut [u8]) {
    let size = data_type.size();
    if let Type::Uint { bytes: 2, .. } = data_type {
        for (o, r) in out.chunks_exact_mut(2).zip(raw.chunks_exact(2)) {
            o.copy_from_slice(&[r[1], r[0]]);
        }
        return;
    }
    for (o, r) in out.chunks_exact_mut(4).zip(raw.chunks_exact(size)) {
        o.copy_from_slice(&(data_type.number(r) as f32).to_ne_bytes());
    }
}

impl Array {
    /// Frames of a dataset of 3 axes, or one frame of 2.
    ///
    /// # Errors
    /// `Bad` for other ranks, empty axes and sizes beyond reason; `Unsupported` for filters and types.
    pub(crate) fn new(file: Arc<File>, path: String, dataset: Dataset) -> H5Result<Self> {
        let dims = &dataset.space.dims;
        let text = || dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
        let [frames, rows, columns] = match dims[..] {
            [f, r, c] => [f, r, c],
            [r, c] => [1, r, c],
            _ => {
                return bad(format!(
                    "has {} axes ({}), 3 are needed: projections, rows, columns",
                    dims.len(),
                    text()
                ));
            }
        };
        if frames == 0 || rows == 0 || columns == 0 {
            return bad(format!("is empty ({})", text()));
        }
        // Far beyond any detector and any series; what a damaged header claims must not take the memory.
        if rows > 1 << 17 || columns > 1 << 17 || rows * columns > 1 << 28 || frames > 1 << 22 {
            return bad(format!("has an impossible shape ({})", text()));
        }
        if delivered(dataset.data_type).is_none() {
            return Err(H5Error::Unsupported(dataset.data_type.to_string()));
        }
        dataset.filters.check()?;
        let body = match &dataset.place {
            Place::Contiguous(Some(offset)) => Body::Contiguous(*offset),
            Place::Contiguous(None) => Body::Empty,
            Place::Compact(data) => Body::Compact(data.clone()),
            Place::Chunked { shape, index } => {
                let element = dataset.data_type.size() as u64;
                let bytes = shape.iter().product::<u64>() * element;
                let list = chunks::list(&file, index, shape, &dataset.space, bytes)?;
                let mut chunk = [1; 3];
                let mut grid = [1u64; 3];
                for (i, (&s, &d)) in shape.iter().zip(dims).enumerate() {
                    let axis = i + 3 - dims.len();
                    chunk[axis] = s as usize;
                    grid[axis] = d.div_ceil(s);
                }
                let mut stored = HashMap::with_capacity(list.len());
                for c in list {
                    if dataset.filters.is_empty() && c.size < bytes {
                        return bad(format!("has a chunk of {} bytes instead of {bytes}", c.size));
                    }
                    let at = |axis: usize| match (axis + dims.len()).checked_sub(3) {
                        Some(i) => c.start[i] / shape[i],
                        None => 0,
                    };
                    let key = (at(0) * grid[1] + at(1)) * grid[2] + at(2);
                    stored.insert(key, Stored { offset: c.offset, size: c.size, mask: c.mask });
                }
                Body::Chunked { shape: chunk, grid, stored }
            }
        };
        Ok(Self {
            file,
            path,
            data_type: dataset.data_type,
            frames: frames as usize,
            rows: rows as usize,
            columns: columns as usize,
            body,
            filters: dataset.filters,
            fill: dataset.fill,
        })
    }

    /// The type that reads deliver.
    pub(crate) fn delivers(&self) -> DataType {
        delivered(self.data_type).unwrap_or(DataType::F32)
    }

    pub(crate) fn storage(&self) -> Storage {
        match &self.body {
            Body::Chunked { shape, .. } => Storage::Chunked { shape: *shape, filters: self.filters.names() },
            _ => Storage::Contiguous,
        }
    }

    /// Frames that share chunks: reads of a whole group decode each chunk once.
    pub(crate) fn depth(&self) -> usize {
        if let Body::Chunked { shape, .. } = &self.body { shape[0] } else { 1 }
    }

    /// Rows of a filtered chunk; 0 when single rows can be read.
    pub(crate) fn locked_rows(&self) -> usize {
        match &self.body {
            Body::Chunked { shape, .. } if !self.filters.is_empty() => shape[1].min(self.rows),
            _ => 0,
        }
    }

    /// Bytes that decoding takes on each thread.
    pub(crate) fn scratch_bytes(&self, rows: usize) -> u64 {
        let convert =
            if native(self.data_type) { 0 } else { (rows * self.columns * self.data_type.size()) as u64 };
        match &self.body {
            Body::Chunked { shape, stored, .. } => {
                let chunk = (shape.iter().product::<usize>() * self.data_type.size()) as u64;
                let largest = stored.values().map(|s| s.size).max().unwrap_or(0);
                let band = if convert > 0 { convert * shape[0] as u64 } else { 0 };
                if self.filters.is_empty() { chunk + band } else { 2 * chunk.max(largest) + band }
            }
            _ => convert,
        }
    }

    /// True where a part of the frame was never written.
    pub(crate) fn frame_missing(&self, frame: usize) -> bool {
        match &self.body {
            Body::Empty => true,
            Body::Chunked { shape, grid, stored } => {
                let per_band = grid[1] * grid[2];
                let first = (frame / shape[0]) as u64 * per_band;
                (stored.len() as u64) < grid[0] * per_band
                    && (first..first + per_band).any(|k| !stored.contains_key(&k))
            }
            _ => false,
        }
    }

    /// Bytes stored in the file for a chunk of frames, to tell sound from absurd compression.
    pub(crate) fn is_plausible(&self) -> bool {
        match &self.body {
            Body::Chunked { stored, grid, .. } => grid
                .iter()
                .try_fold(1u64, |n, &g| n.checked_mul(g))
                .is_some_and(|n| n <= 2 * stored.len() as u64 + 1_000_000),
            _ => true,
        }
    }

    /// Reads `rows` of consecutive frames that lie in one chunk group ([`Array::depth`]) into `out`,
    /// samples of [`Array::delivers`] in memory order.
    pub(crate) fn read(
        &self,
        frames: Range<usize>,
        rows: Range<usize>,
        out: &mut [u8],
        scratch: &mut Buffers,
    ) -> H5Result<()> {
        if native(self.data_type) {
            return self.read_stored(frames, rows, out, &mut scratch.chunk);
        }
        let mut raw = std::mem::take(&mut scratch.raw);
        raw.resize(frames.len() * rows.len() * self.columns * self.data_type.size(), 0);
        let done = self.read_stored(frames, rows, &mut raw, &mut scratch.chunk);
        if done.is_ok() {
            convert(self.data_type, &raw, out);
        }
        scratch.raw = raw;
        done
    }

    fn read_stored(
        &self,
        frames: Range<usize>,
        rows: Range<usize>,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> H5Result<()> {
        let size = self.data_type.size();
        let row = self.columns * size;
        let part = rows.len() * row;
        let whole = self.rows * row;
        match &self.body {
            Body::Empty => self.fill(out),
            Body::Compact(data) => {
                for (i, f) in frames.enumerate() {
                    let from = f * whole + rows.start * row;
                    match data.get(from..from + part) {
                        Some(bytes) => out[i * part..(i + 1) * part].copy_from_slice(bytes),
                        None => return bad("is shorter than its shape"),
                    }
                }
            }
            Body::Contiguous(offset) => {
                if rows.len() == self.rows {
                    let at = offset + frames.start as u64 * whole as u64;
                    self.file.read_raw(at, out).map_err(H5Error::Io)?;
                } else {
                    for (f, bytes) in frames.zip(out.chunks_exact_mut(part)) {
                        let at = offset + f as u64 * whole as u64 + (rows.start * row) as u64;
                        self.file.read_raw(at, bytes).map_err(H5Error::Io)?;
                    }
                }
            }
            Body::Chunked { shape, grid, stored } => {
                let band = (frames.start / shape[0]) as u64;
                let first_frame = frames.start % shape[0];
                for r in rows.start / shape[1]..=(rows.end - 1) / shape[1] {
                    let top = (r * shape[1]).max(rows.start);
                    let bottom = ((r + 1) * shape[1]).min(rows.end);
                    for c in 0..grid[2] as usize {
                        let left = c * shape[2];
                        let width = shape[2].min(self.columns - left) * size;
                        let place = Placement {
                            frames: first_frame..first_frame + frames.len(),
                            rows: top - r * shape[1]..bottom - r * shape[1],
                            width,
                            out_at: (top - rows.start) * row + left * size,
                            out_row: row,
                            out_frame: part,
                            chunk_row: shape[2] * size,
                            chunk_frame: shape[1] * shape[2] * size,
                        };
                        let key = (band * grid[1] + r as u64) * grid[2] + c as u64;
                        self.place(stored.get(&key), &place, out, scratch)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts one chunk's part into `out`.
    fn place(
        &self,
        chunk: Option<&Stored>,
        p: &Placement,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> H5Result<()> {
        let Some(chunk) = chunk else {
            for f in 0..p.frames.len() {
                for r in 0..p.rows.len() {
                    let at = p.out_at + f * p.out_frame + r * p.out_row;
                    self.fill(&mut out[at..at + p.width]);
                }
            }
            return Ok(());
        };
        if self.filters.is_empty() && p.chunk_row == p.out_row {
            // Rows lie one after the other in chunk and output: one read a frame.
            let len = p.rows.len() * p.out_row;
            for (i, f) in p.frames.clone().enumerate() {
                let from = chunk.offset + (f * p.chunk_frame + p.rows.start * p.chunk_row) as u64;
                let at = p.out_at + i * p.out_frame;
                self.file.read_raw(from, &mut out[at..at + len]).map_err(H5Error::Io)?;
            }
            return Ok(());
        }
        let Body::Chunked { shape, .. } = &self.body else { return Ok(()) };
        let bytes = shape.iter().product::<usize>() * self.data_type.size();
        scratch.data.clear();
        scratch.data.resize(usize::try_from(chunk.size).unwrap_or(usize::MAX), 0);
        self.file.read_raw(chunk.offset, &mut scratch.data).map_err(H5Error::Io)?;
        if self.filters.is_empty() {
            scratch.data.truncate(bytes);
        }
        self.filters.decode_in(scratch, chunk.mask, bytes)?;
        for (i, f) in p.frames.clone().enumerate() {
            for (j, r) in p.rows.clone().enumerate() {
                let from = f * p.chunk_frame + r * p.chunk_row;
                let at = p.out_at + i * p.out_frame + j * p.out_row;
                out[at..at + p.width].copy_from_slice(&scratch.data[from..from + p.width]);
            }
        }
        Ok(())
    }

    fn fill(&self, out: &mut [u8]) {
        if self.fill.iter().all(|&b| b == 0) {
            out.fill(0);
        } else {
            for element in out.chunks_exact_mut(self.fill.len()) {
                element.copy_from_slice(&self.fill);
            }
        }
    }

    /// The file that holds the data (another one than was opened, for external links).
    pub(crate) fn file_path(&self) -> PathBuf {
        self.file.path.clone()
    }
}

/// Where a part of a chunk goes: byte counts and ranges inside the chunk.
struct Placement {
    frames: Range<usize>,
    rows: Range<usize>,
    width: usize,
    out_at: usize,
    out_row: usize,
    out_frame: usize,
    chunk_row: usize,
    chunk_frame: usize,
}

/// What one thread reuses from read to read.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    chunk: Scratch,
    raw: Vec<u8>,
}
