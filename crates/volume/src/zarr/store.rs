//! One level on disk: voxels to chunk files and back.
//!
//! `zarrs` parses the metadata, names the files, decodes, and encodes what is not LZ4. Writing goes around
//! its storage and its sharding encoder for three reasons: a file must appear whole, with its size and digest;
//! a chunk is cut out of the caller's slices without a copy, where the library wants a whole shard in one
//! piece; and a shard's bytes may not depend on the number of threads. A shard is simple to put together:
//! encoded chunks in C order, then their offsets and lengths, encoded by the index codecs (Zarr v3,
//! `sharding_indexed`).
//!
//! A *tile* is a chunk's worth of one slab, the unit of parallel work. While its voxels are in the cache
//! they are encoded, hashed block by block, and averaged into the level above.

use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use serde_json::Value;
use zarrs::array::{
    Array, ArrayBytes, ArrayMetadata, ArraySubset, ArrayToBytesCodecTraits, CodecChain, CodecOptions,
    FillValue, data_type,
};
use zarrs::filesystem::FilesystemStore;

use super::blosc::{self, Lz4};
use super::digest::Digest;
use super::levels::{CHUNK_SIDE, LevelGeometry, halve_lines};
use super::{Compression, OmeVersion, metadata};
use crate::error::{Error, Result};
use crate::fs::{self, FileRecord};
use crate::queue::Sink;
use crate::spec::DataType;
use crate::voxels::{Voxel, Voxels};

/// Shards of a slab that are in memory at once: sixteen chunks each keep as many threads busy.
const SHARDS_AT_ONCE: usize = 2;
/// Marks a chunk of a shard as absent, in both offset and length.
const ABSENT: u64 = u64::MAX;
/// Lines that are brought to the cache together.
const AHEAD: usize = 16;
/// A line of a chunk beyond the edge of the level.
const ZEROS: [u8; CHUNK_SIDE * 4] = [0; CHUNK_SIDE * 4];

/// A level: its geometry and the library's idea of it.
#[derive(Debug)]
pub(super) struct LevelStore {
    pub(super) geometry: LevelGeometry,
    index: usize,
    /// Voxels in a file along z, y, x: a chunk, or a shard.
    file: [usize; 3],
    sharded: bool,
    voxel_bytes: usize,
    encoder: Encoder,
    array: Array<FilesystemStore>,
    /// Codecs of a shard's index.
    index_codecs: CodecChain,
    /// Chunk buffers to use again: fresh memory costs more than the copy into it.
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// What makes a chunk's bytes of its voxels.
#[derive(Debug)]
enum Encoder {
    /// Nothing: the bytes are the voxels.
    Raw,
    Lz4(Lz4),
    /// The library.
    Codecs(CodecChain),
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
            encoder: match compression {
                Compression::None => Encoder::Raw,
                Compression::Lz4 { level } => Encoder::Lz4(Lz4::new(dtype.bytes(), level)),
                Compression::Zstd { .. } => {
                    Encoder::Codecs(chain(metadata::inner_codecs(dtype, compression))?)
                }
            },
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

    /// Bytes that one chunk takes at most when encoded.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.geometry.chunk().iter().product::<usize>() * self.voxel_bytes + blosc::HEADER
    }

    /// Writes a slab, given as its slices, into `folder` of the results folder `root`; the records come in C
    /// order. Where `above` is given (planes, y, x of the level above), the slab's share of it is filled.
    pub(super) fn write<T: Voxel>(
        &self,
        (root, folder): (&Path, &str),
        slab: usize,
        slices: &[&[T]],
        above: Option<&mut [T]>,
        sink: &dyn Sink,
    ) -> Result<Vec<FileRecord>> {
        let [ny, nx] = self.files();
        for y in (0..ny).filter(|_| !sink.discards()) {
            if let Some(parent) = root.join(folder).join(self.key(slab, y, 0)).parent() {
                fs::create_folder(parent)?;
            }
        }
        let path = |i: usize| format!("{folder}/{}", self.key(slab, i / nx, i % nx));
        if self.sharded {
            let mut records = Vec::with_capacity(ny * nx);
            for start in (0..ny * nx).step_by(SHARDS_AT_ONCE) {
                let shards = start..(start + SHARDS_AT_ONCE).min(ny * nx);
                let write = |i: usize| self.write_shard(root, &path(i), slices, [i / nx, i % nx], sink);
                records.extend(shards.into_par_iter().map(write).collect::<Result<Vec<_>>>()?);
            }
            if let Some(above) = above {
                self.halve(slices, above, sink);
            }
            return Ok(records);
        }
        let mut shares = above.map_or_else(Vec::new, |above| self.shares(above));
        shares.resize_with(ny * nx, Vec::new);
        shares
            .into_par_iter()
            .enumerate()
            .map(|(i, mut share)| {
                let mut pages = sink.pages();
                sink.spent().time(|| {
                    let window = self.window([i / nx * self.file[1], i % nx * self.file[2]]);
                    let mut digest = Digest::new(0);
                    let size = self.encode(slices, &window, &mut pages, Some(&mut digest), &mut |z| {
                        halve_lines(slices, self.geometry.shape, z, &window, &mut share);
                    })?;
                    let digest = digest.finish(&pages[..size]);
                    sink.put(path(i), Arc::new(pages), size, digest)
                })
            })
            .collect()
    }

    /// Fills the share of a slab in the level above, without writing anything.
    pub(super) fn halve<T: Voxel>(&self, slices: &[&[T]], above: &mut [T], sink: &dyn Sink) {
        let [_, cy, cx] = self.geometry.chunk();
        let tiles = self.geometry.shape[2].div_ceil(cx);
        self.shares(above).into_par_iter().enumerate().for_each(|(i, mut share)| {
            sink.spent().time(|| {
                let window = self.window([i / tiles * cy, i % tiles * cx]);
                for z in 0..slices.len() {
                    halve_lines(slices, self.geometry.shape, z, &window, &mut share);
                }
            });
        });
    }

    /// Cuts planes of the level above into what each tile of this level fills: lines in the order z, y.
    fn shares<'a, T: Voxel>(&self, above: &'a mut [T]) -> Vec<Vec<&'a mut [T]>> {
        let [_, cy, cx] = self.geometry.chunk();
        let [_, ny, nx] = self.geometry.shape;
        let (ty, tx) = (ny.div_ceil(cy), nx.div_ceil(cx));
        let (oy, ox, hy, hx) = (ny.div_ceil(2), nx.div_ceil(2), cy.div_ceil(2), cx.div_ceil(2));
        let mut shares: Vec<Vec<&mut [T]>> = Vec::new();
        shares.resize_with(ty * tx, || Vec::with_capacity(hy * above.len() / (oy * ox).max(1)));
        for plane in above.chunks_exact_mut(oy * ox) {
            for (y, line) in plane.chunks_exact_mut(ox).enumerate() {
                for (x, part) in line.chunks_mut(hx).enumerate() {
                    shares[y / hy * tx + x].push(part);
                }
            }
        }
        shares
    }

    /// The chunk that begins at (y, x), clipped at the edge of the level.
    fn window(&self, [y, x]: [usize; 2]) -> Window {
        let [_, cy, cx] = self.geometry.chunk();
        let [_, ny, nx] = self.geometry.shape;
        (y.min(ny)..(y + cy).min(ny), x.min(nx)..(x + cx).min(nx))
    }

    /// Encodes one chunk into `out` and returns its length. `plane` is called once with each slice index, when
    /// the chunk's part of it has just been read. What a digest has not yet seen then is left to its end.
    fn encode<T: Voxel>(
        &self,
        slices: &[&[T]],
        window: &Window,
        out: &mut [u8],
        digest: Option<&mut Digest>,
        plane: &mut dyn FnMut(usize),
    ) -> Result<usize> {
        let bytes = self.chunk_bytes() - blosc::HEADER;
        match &self.encoder {
            Encoder::Raw => {
                self.gather(slices, window, out, plane);
                Ok(bytes)
            }
            Encoder::Lz4(lz4) => {
                let mut first = true;
                Ok(lz4.encode(bytes, out, digest, &mut |take| {
                    let mut nothing = |_| {};
                    self.lines(slices, window, take, if first { &mut *plane } else { &mut nothing });
                    first = false;
                }))
            }
            Encoder::Codecs(codecs) => {
                let mut chunk = self.take_buffer();
                chunk.resize(bytes, 0);
                self.gather(slices, window, &mut chunk, plane);
                let shape =
                    self.geometry.chunk().map(|n| NonZeroU64::new(n as u64).unwrap_or(NonZeroU64::MIN));
                let encoded = codecs
                    .encode(
                        ArrayBytes::new_flen(chunk.as_slice()),
                        &shape,
                        self.array.data_type(),
                        self.array.fill_value(),
                        &one_thread(),
                    )
                    .map_err(|e| Error::parameter("chunk", self.index, format!("cannot be encoded: {e}")))
                    .map(|encoded| {
                        out[..encoded.len()].copy_from_slice(&encoded);
                        encoded.len()
                    });
                self.give_buffer(chunk);
                encoded
            }
        }
    }

    /// A chunk's bytes as they are.
    fn gather<T: Voxel>(
        &self,
        slices: &[&[T]],
        window: &Window,
        out: &mut [u8],
        plane: &mut dyn FnMut(usize),
    ) {
        let mut at = 0;
        let mut copy = |line: &[u8]| {
            out[at..at + line.len()].copy_from_slice(line);
            at += line.len();
        };
        self.lines(slices, window, &mut copy, plane);
    }

    /// Calls `take` with the lines of a chunk in order. Beyond the edge a chunk is filled with 0.
    fn lines<T: Voxel>(
        &self,
        slices: &[&[T]],
        (y, x): &Window,
        take: &mut blosc::Take<'_>,
        plane: &mut dyn FnMut(usize),
    ) {
        let [cz, cy, cx] = self.geometry.chunk();
        let nx = self.geometry.shape[2];
        let (whole, rest) = (&ZEROS[..cx * self.voxel_bytes], &ZEROS[..(cx - x.len()) * self.voxel_bytes]);
        for z in 0..cz {
            for row in y.start..y.start + cy {
                if let Some(slice) = slices.get(z)
                    && (row - y.start).is_multiple_of(AHEAD)
                {
                    touch(slice, nx, row..(row + AHEAD).min(y.end), x);
                }
                match slices.get(z) {
                    Some(slice) if row < y.end => {
                        take(bytemuck::cast_slice(&slice[row * nx + x.start..row * nx + x.end]));
                        take(rest);
                    }
                    _ => take(whole),
                }
            }
            if z < slices.len() {
                plane(z);
            }
        }
    }

    /// Encodes the chunks of a shard in parallel, then writes them with their index.
    fn write_shard<T: Voxel>(
        &self,
        root: &Path,
        path: &str,
        slices: &[&[T]],
        [y, x]: [usize; 2],
        sink: &dyn Sink,
    ) -> Result<FileRecord> {
        let [_, cy, cx] = self.geometry.chunk();
        let (my, mx) = (self.file[1] / cy, self.file[2] / cx);
        let chunks: Vec<Option<(Vec<u8>, usize)>> = (0..my * mx)
            .into_par_iter()
            .map(|i| {
                let window = self.window([y * self.file[1] + i / mx * cy, x * self.file[2] + i % mx * cx]);
                // A chunk that lies wholly beyond the edge does not exist.
                let exists = !window.0.is_empty() && !window.1.is_empty();
                exists
                    .then(|| {
                        let mut buffer = self.take_buffer();
                        buffer.resize(self.chunk_bytes(), 0);
                        let size = sink
                            .spent()
                            .time(|| self.encode(slices, &window, &mut buffer, None, &mut |_| {}))?;
                        Ok((buffer, size))
                    })
                    .transpose()
            })
            .collect::<Result<_>>()?;
        let mut offset = 0u64;
        let mut index = Vec::with_capacity(2 * chunks.len());
        for chunk in &chunks {
            match chunk {
                Some((_, size)) => {
                    index.extend([offset, *size as u64]);
                    offset += *size as u64;
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
        let pieces: Vec<&[u8]> =
            chunks.iter().flatten().map(|(buffer, size)| &buffer[..*size]).chain([index.as_ref()]).collect();
        let written = sink.spent().time(|| {
            if sink.discards() { Ok(fs::record(path, &pieces)) } else { fs::write_file(root, path, &pieces) }
        });
        for (buffer, _) in chunks.into_iter().flatten() {
            self.give_buffer(buffer);
        }
        written
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
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_buffer(&self, buffer: Vec<u8>) {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// Reads a word of each cache line in a window of a slice. These lines lie a slice's width apart, where the
/// processor expects nothing; asked for at once, they come at once and not one after the other.
fn touch<T: Voxel>(slice: &[T], nx: usize, rows: Range<usize>, x: &Range<usize>) {
    let mut sum = T::default();
    for row in rows {
        for voxel in slice[row * nx + x.start..row * nx + x.end].iter().step_by(64 / size_of::<T>()) {
            sum = if *voxel == T::default() { sum } else { *voxel };
        }
    }
    std::hint::black_box(sum);
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
