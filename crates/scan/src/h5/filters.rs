//! Filters that chunks went through when they were written, undone in reverse order.
//!
//! Decoded here: deflate (1), shuffle (2), Fletcher-32 (3), LZF (32000), Blosc 1 (32001), LZ4 (32004),
//! bitshuffle (32008, alone or with LZ4 or Zstandard) and Zstandard (32015). Identifiers are those of
//! the HDF Group's registry of filter plugins.

use super::bytes::{Cursor, H5Error, H5Result, bad};
use crate::decode;

/// One filter of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) id: u16,
    pub(crate) optional: bool,
    pub(crate) parameters: Vec<u32>,
}

/// Filters in the order in which they were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pipeline(pub(crate) Vec<Filter>);

/// Two buffers that a thread reuses for chunk after chunk. The stored bytes go into `data`; after
/// [`Pipeline::decode_in`] it holds the elements.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) data: Vec<u8>,
    spare: Vec<u8>,
}

const DEFLATE: u16 = 1;
const SHUFFLE: u16 = 2;
const FLETCHER32: u16 = 3;
const LZF: u16 = 32000;
const BLOSC: u16 = 32001;
const LZ4: u16 = 32004;
const BITSHUFFLE: u16 = 32008;
const ZSTD: u16 = 32015;

impl Pipeline {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names for people.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(name).collect()
    }

    /// Refuses filters that cannot be undone here.
    pub(crate) fn check(&self) -> H5Result<()> {
        match self.0.iter().find(|f| !known(f.id)) {
            Some(f) => Err(H5Error::Unsupported(format!("the filter {}", name(f)))),
            None => Ok(()),
        }
    }

    /// Undoes the filters on one chunk; the result has exactly `expected` bytes.
    pub(crate) fn decode(&self, stored: Vec<u8>, mask: u32, expected: usize) -> H5Result<Vec<u8>> {
        let mut scratch = Scratch { data: stored, spare: Vec::new() };
        self.decode_in(&mut scratch, mask, expected)?;
        Ok(scratch.data)
    }

    /// Undoes the filters on the chunk in `scratch.data`. Bit i of `mask` set: filter i was skipped.
    pub(crate) fn decode_in(&self, scratch: &mut Scratch, mask: u32, expected: usize) -> H5Result<()> {
        // No codec here packs tighter than 1 : 1032 but for constant data; a tiny chunk that claims to
        // be huge must not take the memory.
        if expected > 16 << 20 && expected / 4096 > scratch.data.len() {
            return bad(format!("a chunk of {} bytes claims to hold {expected}", scratch.data.len()));
        }
        for (i, filter) in self.0.iter().enumerate().rev() {
            if mask >> i & 1 == 1 {
                continue;
            }
            // A checksum that was applied before this filter is still part of the data.
            let sums = self.0[..i].iter().enumerate();
            let sums = sums.filter(|(j, f)| f.id == FLETCHER32 && mask >> j & 1 == 0).count();
            undo(filter, scratch, expected + 4 * sums)?;
        }
        if scratch.data.len() != expected {
            return bad(format!("a chunk decodes to {} bytes instead of {expected}", scratch.data.len()));
        }
        Ok(())
    }
}

fn known(id: u16) -> bool {
    matches!(id, DEFLATE | SHUFFLE | FLETCHER32 | LZF | BLOSC | LZ4 | BITSHUFFLE | ZSTD)
}

fn name(filter: &Filter) -> String {
    let parameter = |i: usize| filter.parameters.get(i).copied();
    match filter.id {
        DEFLATE => format!("gzip-{}", parameter(0).unwrap_or(0)),
        SHUFFLE => "shuffle".into(),
        FLETCHER32 => "fletcher32".into(),
        4 => "szip".into(),
        5 => "nbit".into(),
        6 => "scaleoffset".into(),
        LZF => "lzf".into(),
        BLOSC => {
            const CODECS: [&str; 6] = ["blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"];
            format!("blosc:{}", parameter(6).and_then(|i| CODECS.get(i as usize)).unwrap_or(&"blosclz"))
        }
        LZ4 => "lz4".into(),
        BITSHUFFLE => match parameter(4) {
            Some(2) => "bitshuffle:lz4".into(),
            Some(3) => "bitshuffle:zstd".into(),
            _ => "bitshuffle".into(),
        },
        ZSTD => "zstd".into(),
        32013 => "zfp".into(),
        32026 => "blosc2".into(),
        id => format!("number {id}"),
    }
}

fn undo(filter: &Filter, scratch: &mut Scratch, expected: usize) -> H5Result<()> {
    let Scratch { data, spare } = scratch;
    spare.clear();
    let parameter = |i: usize| filter.parameters.get(i).copied().unwrap_or(0) as usize;
    match filter.id {
        FLETCHER32 => {
            let Some(n) = data.len().checked_sub(4) else { return bad("a chunk without its checksum") };
            let stored = u32::from_le_bytes([data[n], data[n + 1], data[n + 2], data[n + 3]]);
            let sum = decode::fletcher32(&data[..n]);
            // Writers before HDF5 1.6.3 swapped the bytes of each half.
            let swapped = sum >> 8 & 0x00ff_00ff | sum << 8 & 0xff00_ff00;
            if stored != sum && stored != swapped {
                return bad("a chunk does not match its checksum");
            }
            data.truncate(n);
            return Ok(());
        }
        SHUFFLE => {
            spare.resize(data.len(), 0);
            decode::unshuffle(data, spare, parameter(0).max(1));
        }
        DEFLATE => {
            spare.resize(expected, 0);
            let n = decode::inflate(data, spare).map_err(H5Error::Bad)?;
            spare.truncate(n);
        }
        LZF => {
            spare.resize(expected, 0);
            let n = decode::lzf(data, spare).map_err(H5Error::Bad)?;
            spare.truncate(n);
        }
        ZSTD => {
            spare.resize(expected, 0);
            let n = decode::zstd(data, spare).map_err(H5Error::Bad)?;
            spare.truncate(n);
        }
        LZ4 => {
            spare.resize(expected, 0);
            lz4_filter(data, spare)?;
        }
        BITSHUFFLE => {
            spare.resize(expected, 0);
            bitshuffle_filter(filter, data, spare)?;
        }
        BLOSC => {
            spare.resize(expected, 0);
            decode::blosc(data, spare).map_err(H5Error::Bad)?;
        }
        _ => return Err(H5Error::Unsupported(format!("the filter {}", name(filter)))),
    }
    std::mem::swap(data, spare);
    Ok(())
}

/// Big-endian number.
fn big(c: &mut Cursor<'_>, n: usize) -> H5Result<usize> {
    let value = c.bytes(n)?.iter().fold(0u64, |acc, &b| acc << 8 | u64::from(b));
    Ok(usize::try_from(value).unwrap_or(usize::MAX))
}

/// The registered LZ4 filter: total size (8 bytes), block size (4), then size (4) and data per block; a
/// block that did not shrink is stored as it is.
fn lz4_filter(data: &[u8], out: &mut [u8]) -> H5Result<()> {
    let mut c = Cursor::new(data, "LZ4 chunk");
    let total = big(&mut c, 8)?;
    let block = big(&mut c, 4)?;
    if total != out.len() || block == 0 {
        return bad(format!("an LZ4 chunk of {total} bytes in blocks of {block}, {} expected", out.len()));
    }
    for part in out.chunks_mut(block) {
        let n = big(&mut c, 4)?;
        let packed = c.bytes(n)?;
        if n == part.len() {
            part.copy_from_slice(packed);
        } else {
            decode::lz4(packed, part).map_err(H5Error::Bad)?;
        }
    }
    Ok(())
}

/// The bitshuffle filter: parameters are version (2), element size, block size in elements, codec.
fn bitshuffle_filter(filter: &Filter, data: &[u8], out: &mut [u8]) -> H5Result<()> {
    let parameter = |i: usize| filter.parameters.get(i).copied().unwrap_or(0) as usize;
    let size = parameter(2).max(1);
    let codec = parameter(4);
    if !out.len().is_multiple_of(size) || size > 1024 {
        return bad(format!("a bitshuffle chunk of elements of {size} bytes"));
    }
    let mut c = Cursor::new(data, "bitshuffle chunk");
    let block = if codec == 0 {
        match parameter(3) {
            0 => (8192 / size / 8 * 8).max(128),
            n => n,
        }
    } else {
        let total = big(&mut c, 8)?;
        let bytes = big(&mut c, 4)?;
        if total != out.len() {
            return bad(format!("a bitshuffle chunk of {total} bytes, {} expected", out.len()));
        }
        bytes / size
    };
    if block == 0 || !block.is_multiple_of(8) {
        return bad(format!("a bitshuffle chunk in blocks of {block} elements"));
    }
    // Whole groups of 8 elements are transposed, the rest is copied.
    let grouped = out.len() / size / 8 * 8 * size;
    let (body, tail) = out.split_at_mut(grouped);
    let mut buffer = Vec::new();
    for part in body.chunks_mut(block * size) {
        let packed = if codec == 0 {
            c.bytes(part.len())?
        } else {
            let n = big(&mut c, 4)?;
            c.bytes(n)?
        };
        let bits = match codec {
            0 => packed,
            2 | 3 => {
                buffer.resize(part.len(), 0);
                let n = if codec == 2 {
                    decode::lz4(packed, &mut buffer)
                } else {
                    decode::zstd(packed, &mut buffer)
                };
                if n.map_err(H5Error::Bad)? != part.len() {
                    return bad("a bitshuffle block is too short");
                }
                &buffer
            }
            n => return Err(H5Error::Unsupported(format!("bitshuffle with codec {n}"))),
        };
        decode::bit_unshuffle(bits, part, size);
    }
    tail.copy_from_slice(c.bytes(tail.len())?);
    Ok(())
}
