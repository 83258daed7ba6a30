//! One level on disk: voxels to chunk files and back.
//!
//! `zarrs` parses the metadata, names the files, encodes and decodes. Writing goes around its storage and
//! its sharding encoder for three reasons: a file must appear whole, with its size and digest; a chunk is
//! cut out of the caller's slab with a single copy, where the library wants a whole shard in one piece; and
//! a shard's bytes may not depend on the number of threads. A shard is simple to put together: encoded
//! chunks in C order, then their offsets and lengths, encoded by the index codecs (Zarr v3, `sharding_indexed`).

use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use serde_json::Value;
use zarrs::array::{
    Array, ArrayBytes, ArrayMetadata, ArraySubset, ArrayToBytesCodecTraits, CodecChain, CodecOptions,
    FillValue, data_type,
};
use zarrs::filesystem::FilesystemStore;

use super::levels::{CHUNK_ROWS, LevelGeometry};
use super::{Compression, OmeVersion, metadata};
use crate::error::{Error, Result};
use crate::fs::{self, FileRecord};
use crate::spec::DataType;
use crate::voxels::Voxels;

/// Shards of a slab that are in memory at once; more would help only machines with very many cores.
const SHARDS_AT_ONCE: usize = 4;
/// Marks a chunk of a shard as absent, in both offset and length.
const ABSENT: u64 = u64::MAX;

/// A level: its geometry and the library's idea of it.
#[derive(Debug)]
pub(super) struct LevelStore {
    pub(super) geometry: LevelGeometry,
    index: usize,
    /// Voxels in a file along z, y, x: a chunk, or a shard.
    file: [usize; 3],
    sharded: bool,
    voxel_bytes: usize,
    array: Array<FilesystemStore>,
    /// Codecs of one chunk.
    codecs: CodecChain,
    /// Codecs of a shard's index.
    index_codecs: CodecChain,
    /// Chunk buffers to use again: fresh memory costs more than the copy into it.
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// A window of one slab in voxels: y and x ranges, clipped at the level's edge.
type Window = (Range<usize>, Range<usize>);

impl LevelStore {
    pub(super) fn new(
        path: &Path,
        index: usize,
        geometry: LevelGeometry,
        dtype: DataType,
        version: OmeVersion,
        compression: Compression,
    ) -> Result<Self> {
        let fail =
            |e: String| Error::format(path, format!("the metadata of level {index} cannot be made: {e}"));
        let json = metadata::array(&geometry, dtype, version, compression);
        let metadata: ArrayMetadata = serde_json::from_value(json).map_err(|e| fail(e.to_string()))?;
        let store = FilesystemStore::new(path).map_err(|e| fail(e.to_string()))?;
        let array = Array::new_with_metadata(Arc::new(store), &format!("/{index}"), metadata)
            .map_err(|e| fail(e.to_string()))?;
        let chain = |codecs: Value| {
            let codecs: Vec<_> = serde_json::from_value(codecs).map_err(|e| fail(e.to_string()))?;
            CodecChain::from_metadata(&codecs).map_err(|e| fail(e.to_string()))
        };
        Ok(Self {
            file: metadata::file_shape(&geometry, version),
            sharded: version == OmeVersion::V05,
            index,
            voxel_bytes: dtype.bytes(),
            codecs: chain(metadata::inner_codecs(dtype, compression))?,
            index_codecs: chain(metadata::index_codecs())?,
            array,
            geometry,
            buffers: Mutex::default(),
        })
    }

    /// Files of a slab along y and x.
    fn files(&self) -> [usize; 2] {
        [self.geometry.shape[1].div_ceil(self.file[1]), self.geometry.shape[2].div_ceil(self.file[2])]
    }

    /// Name of a file within the `.zarr` folder.
    fn key(&self, slab: usize, y: usize, x: usize) -> String {
        self.array.chunk_key(&[slab as u64, y as u64, x as u64]).as_str().trim_start_matches('/').to_owned()
    }

    /// Names of all files of a slab, in C order.
    pub(super) fn keys(&self, slab: usize) -> Vec<String> {
        let [ny, nx] = self.files();
        (0..ny * nx).map(|i| self.key(slab, i / nx, i % nx)).collect()
    }

    /// Writes a slab (rows, y, x), given as bytes of the right length; the records come in C order.
    pub(super) fn write(
        &self,
        root: &Path,
        folder: &str,
        slab: usize,
        rows: &[u8],
    ) -> Result<Vec<FileRecord>> {
        let [ny, nx] = self.files();
        for y in 0..ny {
            if let Some(parent) = root.join(folder).join(self.key(slab, y, 0)).parent() {
                fs::create_folder(parent)?;
            }
        }
        let write = |i: usize| {
            let (y, x) = (i / nx, i % nx);
            let path = format!("{folder}/{}", self.key(slab, y, x));
            if self.sharded {
                self.write_shard(root, &path, rows, y, x)
            } else {
                let window = self.window([y * self.file[1], x * self.file[2]]);
                self.encode(rows, window, |bytes| fs::write_file(root, &path, &[bytes]))
            }
        };
        if !self.sharded {
            return (0..ny * nx).into_par_iter().map(write).collect();
        }
        let mut records = Vec::with_capacity(ny * nx);
        for start in (0..ny * nx).step_by(SHARDS_AT_ONCE) {
            let end = (start + SHARDS_AT_ONCE).min(ny * nx);
            records.extend((start..end).into_par_iter().map(write).collect::<Result<Vec<_>>>()?);
        }
        Ok(records)
    }

    /// The chunk that begins at (y, x), clipped at the edge of the level.
    fn window(&self, [y, x]: [usize; 2]) -> Window {
        let [_, cy, cx] = self.geometry.chunk();
        let [_, ny, nx] = self.geometry.shape;
        (y.min(ny)..(y + cy).min(ny), x.min(nx)..(x + cx).min(nx))
    }

    /// Encodes one chunk and hands its bytes to `use_bytes`. Beyond the edge a chunk is filled with 0.
    fn encode<R>(
        &self,
        rows: &[u8],
        (y, x): Window,
        use_bytes: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let chunk = self.geometry.chunk();
        let [_, ny, nx] = self.geometry.shape;
        let size = self.voxel_bytes;
        let count = rows.len() / (ny * nx * size);
        let mut buffer = self.take_buffer();
        let whole = chunk.iter().product::<usize>() * size;
        if count != chunk[0] || y.len() != chunk[1] || x.len() != chunk[2] {
            buffer.clear();
        }
        buffer.resize(whole, 0);
        for z in 0..count {
            for row in y.clone() {
                let from = ((z * ny + row) * nx + x.start) * size;
                let to = ((z * chunk[1] + row - y.start) * chunk[2]) * size;
                let bytes = x.len() * size;
                buffer[to..to + bytes].copy_from_slice(&rows[from..from + bytes]);
            }
        }
        let shape = chunk.map(|n| NonZeroU64::new(n as u64).unwrap_or(NonZeroU64::MIN));
        let result = self
            .codecs
            .encode(
                ArrayBytes::new_flen(buffer.as_slice()),
                &shape,
                self.array.data_type(),
                self.array.fill_value(),
                &one_thread(),
            )
            .map_err(|e| Error::parameter("chunk", self.index, format!("cannot be encoded: {e}")))
            .and_then(|encoded| use_bytes(&encoded));
        self.give_buffer(buffer);
        result
    }

    /// Encodes the chunks of a shard in parallel, then writes them with their index.
    fn write_shard(&self, root: &Path, path: &str, rows: &[u8], y: usize, x: usize) -> Result<FileRecord> {
        let [_, cy, cx] = self.geometry.chunk();
        let (my, mx) = (self.file[1] / cy, self.file[2] / cx);
        let chunks: Vec<Option<Vec<u8>>> = (0..my * mx)
            .into_par_iter()
            .map(|i| {
                let window = self.window([y * self.file[1] + i / mx * cy, x * self.file[2] + i % mx * cx]);
                // A chunk that lies wholly beyond the edge does not exist.
                let exists = !window.0.is_empty() && !window.1.is_empty();
                exists.then(|| self.encode(rows, window, |bytes| Ok(bytes.to_vec()))).transpose()
            })
            .collect::<Result<_>>()?;
        let mut offset = 0u64;
        let mut index = Vec::with_capacity(2 * chunks.len());
        for chunk in &chunks {
            match chunk {
                Some(bytes) => {
                    index.extend([offset, bytes.len() as u64]);
                    offset += bytes.len() as u64;
                }
                None => index.extend([ABSENT, ABSENT]),
            }
        }
        let shape = [1, my as u64, mx as u64, 2].map(|n| NonZeroU64::new(n).unwrap_or(NonZeroU64::MIN));
        let index = self
            .index_codecs
            .encode(
                ArrayBytes::new_flen(bytemuck::cast_slice::<u64, u8>(&index)),
                &shape,
                &data_type::uint64(),
                &FillValue::from(ABSENT),
                &one_thread(),
            )
            .map_err(|e| Error::parameter("shard index", self.index, format!("cannot be encoded: {e}")))?;
        let pieces: Vec<&[u8]> = chunks.iter().flatten().map(Vec::as_slice).chain([index.as_ref()]).collect();
        fs::write_file(root, path, &pieces)
    }

    /// Reads a slab back: (rows, y, x). A file that is missing is an error, not a fill value.
    pub(super) fn read(&self, folder: &Path, slab: usize, dtype: DataType) -> Result<Voxels> {
        for key in self.keys(slab) {
            let path = folder.join(key);
            if !path.is_file() {
                return Err(Error::Incomplete { path });
            }
        }
        let [_, ny, nx] = self.geometry.shape;
        let rows = self.geometry.slab_rows(slab);
        let subset =
            ArraySubset::new_with_ranges(&[rows.start as u64..rows.end as u64, 0..ny as u64, 0..nx as u64]);
        let path = folder.join(self.index.to_string());
        read_subset(&self.array, &subset, dtype, &path)
    }

    fn take_buffer(&self) -> Vec<u8> {
        // A poisoned lock only means that another thread panicked; the buffers are still plain memory.
        self.buffers.lock().unwrap_or_else(|e| e.into_inner()).pop().unwrap_or_default()
    }

    fn give_buffer(&self, buffer: Vec<u8>) {
        self.buffers.lock().unwrap_or_else(|e| e.into_inner()).push(buffer);
    }

    /// Memory of writing a slab beyond the voxels themselves.
    pub(super) fn write_memory_bytes(&self, threads: usize) -> u64 {
        let bytes = |shape: [usize; 3]| (shape.iter().product::<usize>() * self.voxel_bytes) as u64;
        let chunk = bytes([
            CHUNK_ROWS.min(self.geometry.shape[0]),
            self.geometry.chunk()[1],
            self.geometry.chunk()[2],
        ]);
        // A chunk's copy and its encoded form for each thread; encoded shards wait until they are whole.
        let shards = if self.sharded { SHARDS_AT_ONCE as u64 * bytes(self.file) } else { 0 };
        2 * chunk * threads as u64 + shards
    }
}

/// Reads part of an array in its own type.
pub(crate) fn read_subset(
    array: &Array<FilesystemStore>,
    subset: &ArraySubset,
    dtype: DataType,
    path: &Path,
) -> Result<Voxels> {
    let fail = |e: zarrs::array::ArrayError| Error::format(path, format!("the voxels cannot be read: {e}"));
    Ok(match dtype {
        DataType::F32 => Voxels::F32(array.retrieve_array_subset(subset).map_err(fail)?),
        DataType::U16 => Voxels::U16(array.retrieve_array_subset(subset).map_err(fail)?),
        DataType::U8 => Voxels::U8(array.retrieve_array_subset(subset).map_err(fail)?),
    })
}

/// Codec options of one chunk: see the module's note on determinism.
fn one_thread() -> CodecOptions {
    CodecOptions::default().with_concurrent_target(1)
}
