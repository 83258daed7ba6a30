//! Blosc's container around LZ4, made line by line from where the voxels are into memory that is used
//! again.
//!
//! The library takes a chunk in one piece and gives a fresh vector, so a chunk is copied, shuffled from
//! memory and written to new pages. Here each line of a chunk is shuffled straight from the slice it lies
//! in, and compressed while it is in the cache. The bytes are those of c-blosc 1.21, with the same LZ4,
//! which a test holds this to; format: <https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst>.

use lz4::block::{CompressionMode, compress_to_buffer};
use pulp::Arch;

use super::digest::Digest;

/// Bytes before the table of blocks; also what a container is larger than its content at most.
pub(super) const HEADER: usize = 16;
/// Version of the container, and of LZ4 in it.
const VERSIONS: [u8; 2] = [2, 1];
/// Flag: bytes are shuffled.
const SHUFFLED: u8 = 1;
/// Flag: the content is stored as it is.
const STORED: u8 = 2;
/// Flag: blocks are one stream, not one for each byte of a voxel.
const UNSPLIT: u8 = 16;
/// Flag: the streams are LZ4.
const LZ4: u8 = 1 << 5;
/// Streams shorter than this are not split, contents shorter than this not compressed.
const SHORTEST: usize = 128;
/// The library's idea of a first-level cache.
const L1: usize = 32 << 10;

/// Takes a chunk's bytes, whole voxels at a time.
pub(super) type Take<'a> = dyn FnMut(&[u8]) + 'a;

/// How chunks of one kind are encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lz4 {
    /// Bytes of a voxel: 1, 2 or 4.
    voxel: usize,
    /// 1 (fast) to 9 (small).
    level: u8,
    arch: Arch,
}

impl Lz4 {
    pub(super) fn new(voxel: usize, level: u8) -> Self {
        Self { voxel, level, arch: Arch::new() }
    }

    /// The library's choice of block size.
    fn block(&self, bytes: usize) -> usize {
        let mut block = bytes;
        if bytes >= L1 {
            block = match self.level {
                0 | 1 => L1 / 2,
                2 => L1,
                3 => 2 * L1,
                4 | 5 => 4 * L1,
                _ => 8 * L1,
            };
        }
        if block / self.voxel >= SHORTEST {
            block = (block.min(1 << 18) * self.voxel).clamp(1 << 16, 1 << 20);
        }
        let block = block.min(bytes);
        if block > self.voxel { block / self.voxel * self.voxel } else { block }
    }

    /// Encodes a chunk of `bytes` into `out`, which takes [`HEADER`] bytes more, and returns the length.
    /// `lines` calls what it is given with the chunk's bytes in order, in pieces of whole voxels; it is called
    /// twice where they turn out incompressible. What has been encoded is hashed at once, where a digest is
    /// wanted; it begins anew.
    pub(super) fn encode(
        &self,
        bytes: usize,
        out: &mut [u8],
        mut digest: Option<&mut Digest>,
        lines: &mut dyn FnMut(&mut Take<'_>),
    ) -> usize {
        let out = &mut out[..bytes + HEADER];
        let block = self.block(bytes).max(1);
        let unsplit = block / self.voxel < SHORTEST;
        let flags = LZ4 | if self.voxel > 1 { SHUFFLED } else { 0 } | if unsplit { UNSPLIT } else { 0 };
        out[..2].copy_from_slice(&VERSIONS);
        out[3] = self.voxel as u8;
        out[4..8].copy_from_slice(&(bytes as u32).to_le_bytes());
        out[8..12].copy_from_slice(&(block as u32).to_le_bytes());
        let mut end = None;
        if bytes >= SHORTEST {
            out[2] = flags;
            let at = HEADER + 4 * bytes.div_ceil(block);
            if let Some(digest) = &mut digest {
                **digest = Digest::new(at);
            }
            let mut stream = Stream {
                options: self,
                unsplit,
                planes: vec![0; block],
                left: bytes,
                filled: 0,
                blocks: 0,
                at,
                fits: at <= out.len(),
                out: &mut *out,
                digest: digest.as_deref_mut(),
            };
            lines(&mut |line| stream.push(line));
            end = stream.fits.then_some(stream.at);
        }
        let end = end.unwrap_or_else(|| {
            out[2] = flags | STORED;
            let mut at = HEADER;
            if let Some(digest) = &mut digest {
                **digest = Digest::new(at);
            }
            lines(&mut |line| {
                out[at..at + line.len()].copy_from_slice(line);
                at += line.len();
                if let Some(digest) = &mut digest {
                    digest.advance(out, at);
                }
            });
            at
        });
        out[12..16].copy_from_slice(&(end as u32).to_le_bytes());
        end
    }
}

/// A container being filled.
struct Stream<'a> {
    options: &'a Lz4,
    unsplit: bool,
    out: &'a mut [u8],
    /// One block, byte planes one after the other.
    planes: Vec<u8>,
    /// Bytes of the content that are not in a finished block.
    left: usize,
    /// Bytes in `planes`.
    filled: usize,
    blocks: usize,
    /// Where the next stream goes.
    at: usize,
    /// Whether everything so far is smaller than the content.
    fits: bool,
    digest: Option<&'a mut Digest>,
}

impl Stream<'_> {
    /// Takes the next bytes, whole voxels.
    #[inline(always)]
    fn push(&mut self, mut line: &[u8]) {
        while !line.is_empty() && self.fits && self.left > 0 {
            let block = self.left.min(self.planes.len());
            let (now, later) = line.split_at(line.len().min(block - self.filled));
            let (voxel, planes) = (self.options.voxel, &mut self.planes[..block]);
            self.options.arch.dispatch(Shuffle { line: now, voxel, planes, at: self.filled / voxel });
            self.filled += now.len();
            line = later;
            if self.filled == block {
                self.finish_block(block);
            }
        }
    }

    /// Compresses the planes that are full.
    #[inline(never)]
    fn finish_block(&mut self, block: usize) {
        let entry = HEADER + 4 * self.blocks;
        self.out[entry..entry + 4].copy_from_slice(&(self.at as u32).to_le_bytes());
        // The last, shorter block is never split.
        let streams = if self.unsplit || block < self.planes.len() { 1 } else { self.options.voxel };
        let mode = CompressionMode::FAST(10 - i32::from(self.options.level.min(9)));
        for plane in self.planes[..block].chunks_exact(block / streams) {
            let begin = self.at + 4;
            let room = plane.len().min(self.out.len().saturating_sub(begin));
            if room == 0 {
                self.fits = false;
                return;
            }
            let target = &mut self.out[begin..begin + room];
            let mut size = compress_to_buffer(plane, Some(mode), false, target).unwrap_or(0);
            if size == 0 || size == plane.len() {
                if room < plane.len() {
                    self.fits = false;
                    return;
                }
                target.copy_from_slice(plane);
                size = plane.len();
            }
            self.out[begin - 4..begin].copy_from_slice(&(size as u32).to_le_bytes());
            self.at = begin + size;
        }
        if let Some(digest) = &mut self.digest {
            digest.advance(self.out, self.at);
        }
        self.left -= block;
        self.filled = 0;
        self.blocks += 1;
    }
}

/// [`shuffle`] on the instructions that this machine has.
struct Shuffle<'a> {
    line: &'a [u8],
    voxel: usize,
    planes: &'a mut [u8],
    at: usize,
}

impl pulp::NullaryFnOnce for Shuffle<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        shuffle(self.line, self.voxel, self.planes, self.at);
    }
}

/// Distributes the bytes of `line` to the planes of a block, from voxel `at` on.
#[inline(always)]
fn shuffle(line: &[u8], voxel: usize, planes: &mut [u8], at: usize) {
    let (plane, count) = (planes.len() / voxel, line.len() / voxel);
    match voxel {
        4 => {
            let (low, high) = planes.split_at_mut(2 * plane);
            let ((a, b), (c, d)) = (low.split_at_mut(plane), high.split_at_mut(plane));
            let (a, b) = (&mut a[at..at + count], &mut b[at..at + count]);
            let (c, d) = (&mut c[at..at + count], &mut d[at..at + count]);
            let (words, _) = line.as_chunks::<4>();
            for (i, word) in words.iter().enumerate().take(count) {
                let word = u32::from_le_bytes(*word);
                a[i] = word as u8;
                b[i] = (word >> 8) as u8;
                c[i] = (word >> 16) as u8;
                d[i] = (word >> 24) as u8;
            }
        }
        2 => {
            let (a, b) = planes.split_at_mut(plane);
            let (a, b) = (&mut a[at..at + count], &mut b[at..at + count]);
            let (words, _) = line.as_chunks::<2>();
            for (i, word) in words.iter().enumerate().take(count) {
                [a[i], b[i]] = *word;
            }
        }
        _ => planes[at..at + count].copy_from_slice(line),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::DataType;
    use crate::zarr::{Compression, metadata};
    use zarrs::array::{
        ArrayBytes, ArrayToBytesCodecTraits, CodecChain, CodecOptions, DataType as Type, FillValue, data_type,
    };

    fn types(dtype: DataType) -> (Type, FillValue) {
        match dtype {
            DataType::F32 => (data_type::float32(), FillValue::from(0f32)),
            DataType::U16 => (data_type::uint16(), FillValue::from(0u16)),
            DataType::U8 => (data_type::uint8(), FillValue::from(0u8)),
        }
    }

    /// Bytes that compress not at all (0), in their high bytes (1), or well (2 and more).
    fn content(kind: usize, bytes: usize, voxel: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9u32;
        (0..bytes)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match kind {
                    0 => (state >> 24) as u8,
                    1 if i % voxel < voxel.div_ceil(2) => (state >> 24) as u8,
                    1 => (i / 4000) as u8,
                    _ => (i / 100 * kind) as u8,
                }
            })
            .collect()
    }

    #[test]
    fn the_bytes_are_those_of_the_library() {
        for dtype in [DataType::F32, DataType::U16, DataType::U8] {
            let (size, (zarr_type, fill)) = (dtype.bytes(), types(dtype));
            for (voxels, level) in [
                (1, 1),
                (31, 1),
                (32, 1),
                (127, 3),
                (128, 1),
                (5_000, 1),
                (8_191, 9),
                (8_192, 1),
                (40_000, 2),
                (70_001, 1),
                (123_457, 5),
                (600_000, 9),
                (32 * 256 * 256, 1),
            ] {
                let codecs = metadata::inner_codecs(dtype, Compression::Lz4 { level });
                let codecs =
                    CodecChain::from_metadata(&serde_json::from_value::<Vec<_>>(codecs).unwrap()).unwrap();
                let shape = [NonZeroU64::new(voxels as u64).unwrap()];
                let options = CodecOptions::default().with_concurrent_target(1);
                for kind in 0..3 {
                    let bytes = content(kind, voxels * size, size);
                    let expected = codecs
                        .encode(ArrayBytes::new_flen(bytes.as_slice()), &shape, &zarr_type, &fill, &options)
                        .unwrap();
                    let mut out = vec![0xaa; bytes.len() + HEADER + 7];
                    let mut digest = Digest::new(0);
                    let end =
                        Lz4::new(size, level).encode(bytes.len(), &mut out, Some(&mut digest), &mut |take| {
                            // Lines of odd length, so that they cross the borders of blocks.
                            bytes.chunks(size * 997).for_each(&mut *take);
                        });
                    let what = format!("{dtype} x {voxels}, level {level}, content {kind}");
                    assert!(out[..end] == *expected, "{what}: {end} and {} bytes", expected.len());
                    assert_eq!(digest.finish(&out[..end]), blake3::hash(&expected), "{what}");
                }
            }
        }
    }
}
