//! Blosc 1 containers, as the HDF5 Blosc filter writes them.
//!
//! Format: c-blosc `README_CHUNK_FORMAT.rst`: a header of 16 bytes, block offsets, blocks that may be
//! split into one stream per byte of the element.

use super::shuffle::{bit_unshuffle, unshuffle};
use super::{inflate, lz4, repeat, zstd};

fn number(data: &[u8], at: usize) -> Result<usize, String> {
    match data.get(at..at.saturating_add(4)) {
        Some(b) => Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize),
        None => Err("a Blosc chunk is cut".into()),
    }
}

/// Decodes a whole container into `out`, which must have exactly its size.
pub(crate) fn blosc(data: &[u8], out: &mut [u8]) -> Result<(), String> {
    let (Some(&flags), Some(&type_size)) = (data.get(2), data.get(3)) else {
        return Err("a Blosc chunk is cut".into());
    };
    let total = number(data, 4)?;
    let block = number(data, 8)?;
    if total != out.len() {
        return Err(format!("a Blosc chunk holds {total} bytes, {} expected", out.len()));
    }
    if flags & 2 != 0 {
        let raw = data.get(16..16 + total).ok_or("a Blosc chunk is cut")?;
        out.copy_from_slice(raw);
        return Ok(());
    }
    if block == 0 && total > 0 {
        return Err("a Blosc chunk in blocks of no bytes".into());
    }
    let size = usize::from(type_size).max(1);
    let mut buffer = vec![0; block.min(total)];
    for (i, part) in out.chunks_mut(block.max(1)).enumerate() {
        let start = number(data, 16 + 4 * i)?;
        let rest = data.get(start..).ok_or("a Blosc block lies outside its chunk")?;
        let whole = part.len() == block;
        let splits = if flags & 0x10 == 0 && whole && size <= 16 && block / size >= 128 { size } else { 1 };
        let shuffled = flags & 5 != 0 && size * part.len() > 0 && (flags & 4 != 0 || size > 1);
        if shuffled {
            let buffer = &mut buffer[..part.len()];
            streams(rest, buffer, splits, flags >> 5)?;
            if flags & 1 != 0 {
                unshuffle(buffer, part, size);
            } else {
                // Blosc leaves a block alone whose elements do not come in eights.
                let count = part.len() / size;
                let grouped = if count.is_multiple_of(8) { count * size } else { 0 };
                bit_unshuffle(&buffer[..grouped], &mut part[..grouped], size);
                part[grouped..].copy_from_slice(&buffer[grouped..]);
            }
        } else {
            streams(rest, part, splits, flags >> 5)?;
        }
    }
    Ok(())
}

fn streams(mut data: &[u8], out: &mut [u8], splits: usize, codec: u8) -> Result<(), String> {
    let each = out.len() / splits;
    for part in out.chunks_mut(each.max(1)) {
        let n = number(data, 0)?;
        let packed = data.get(4..n.saturating_add(4)).ok_or("a Blosc stream is cut")?;
        let written = if n == part.len() {
            part.copy_from_slice(packed);
            n
        } else {
            match codec {
                0 => blosc_lz(packed, part),
                1 => lz4(packed, part),
                2 => snap::raw::Decoder::new()
                    .decompress(packed, part)
                    .map_err(|e| format!("a Snappy block is damaged ({e})")),
                3 => inflate(packed, part),
                4 => zstd(packed, part),
                c => Err(format!("Blosc codec {c} is unknown")),
            }?
        };
        if written != part.len() {
            return Err("a Blosc stream is too short".into());
        }
        data = &data[4 + n..];
    }
    Ok(())
}

/// BloscLZ, a relative of FastLZ level 2; bytes written.
fn blosc_lz(data: &[u8], out: &mut [u8]) -> Result<usize, String> {
    let cut = || "a BloscLZ block is damaged".to_string();
    let mut next = {
        let mut i = 0;
        move || {
            let byte = data.get(i).copied();
            i += 1;
            byte.map(usize::from)
        }
    };
    let Some(first) = next() else { return Ok(0) };
    let mut control = first & 31;
    let mut o = 0;
    loop {
        if control >= 32 {
            let mut n = (control >> 5) - 1;
            let high = (control & 31) << 8;
            if n == 6 {
                loop {
                    let code = next().ok_or_else(cut)?;
                    n += code;
                    if code != 255 {
                        break;
                    }
                }
            }
            let code = next().ok_or_else(cut)?;
            let mut distance = high + code + 1;
            if code == 255 && high == 31 << 8 {
                distance = next().ok_or_else(cut)? << 8;
                distance += next().ok_or_else(cut)? + 8191 + 1;
            }
            o = repeat(out, o, distance, n + 3).ok_or_else(cut)?;
        } else {
            for _ in 0..=control {
                *out.get_mut(o).ok_or_else(cut)? = next().ok_or_else(cut)? as u8;
                o += 1;
            }
        }
        match next() {
            Some(c) => control = c,
            None => return Ok(o),
        }
    }
}
