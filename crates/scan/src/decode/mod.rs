//! Decompression of single blocks. Output sizes are given, never taken from the data; damaged input gives
//! an error, never a panic.

mod blosc;
mod shuffle;

pub(crate) use blosc::blosc;
pub(crate) use shuffle::{bit_unshuffle, unshuffle};

type Outcome = std::result::Result<usize, String>;

/// zlib stream; bytes written.
pub(crate) fn inflate(data: &[u8], out: &mut [u8]) -> Outcome {
    let mut z = flate2::Decompress::new(true);
    match z.decompress(data, out, flate2::FlushDecompress::Finish) {
        Ok(flate2::Status::StreamEnd) => Ok(z.total_out() as usize),
        Ok(_) => Err("a gzip chunk is cut or longer than its shape".into()),
        Err(e) => Err(format!("a gzip chunk is damaged ({e})")),
    }
}

/// LZ4 block; bytes written.
pub(crate) fn lz4(data: &[u8], out: &mut [u8]) -> Outcome {
    lz4_flex::block::decompress_into(data, out).map_err(|e| format!("an LZ4 block is damaged ({e})"))
}

/// Zstandard frame; bytes written.
pub(crate) fn zstd(data: &[u8], out: &mut [u8]) -> Outcome {
    zstd::bulk::decompress_to_buffer(data, out).map_err(|e| format!("a Zstandard block is damaged ({e})"))
}

/// Marc Lehmann's LZF; bytes written.
pub(crate) fn lzf(data: &[u8], out: &mut [u8]) -> Outcome {
    let cut = || "an LZF chunk is damaged".to_string();
    let (mut i, mut o) = (0, 0);
    while let Some(&control) = data.get(i) {
        let control = usize::from(control);
        i += 1;
        if control < 32 {
            let n = control + 1;
            let from = data.get(i..i + n).ok_or_else(cut)?;
            out.get_mut(o..o + n).ok_or_else(cut)?.copy_from_slice(from);
            i += n;
            o += n;
        } else {
            let mut n = control >> 5;
            if n == 7 {
                n += usize::from(*data.get(i).ok_or_else(cut)?);
                i += 1;
            }
            let distance = ((control & 31) << 8 | usize::from(*data.get(i).ok_or_else(cut)?)) + 1;
            i += 1;
            o = repeat(out, o, distance, n + 2).ok_or_else(cut)?;
        }
    }
    Ok(o)
}

/// Appends `n` bytes that begin `distance` before `at`, byte by byte where the two overlap; the new end.
pub(crate) fn repeat(out: &mut [u8], at: usize, distance: usize, n: usize) -> Option<usize> {
    let from = at.checked_sub(distance)?;
    let end = at.checked_add(n).filter(|&e| e <= out.len())?;
    if distance >= n {
        out.copy_within(from..from + n, at);
    } else {
        for k in 0..n {
            out[at + k] = out[from + k];
        }
    }
    Some(end)
}

/// Fletcher's checksum as HDF5 computes it (16-bit words, big-endian).
pub(crate) fn fletcher32(data: &[u8]) -> u32 {
    let (mut low, mut high) = (0u32, 0u32);
    let words = data.chunks_exact(2);
    let odd = words.remainder().first().copied();
    let mut pending = 0;
    for word in words {
        low += u32::from(word[0]) << 8 | u32::from(word[1]);
        high += low;
        pending += 1;
        if pending == 360 {
            low = (low & 0xffff) + (low >> 16);
            high = (high & 0xffff) + (high >> 16);
            pending = 0;
        }
    }
    if let Some(last) = odd {
        low += u32::from(last) << 8;
        high += low;
    }
    for _ in 0..2 {
        low = (low & 0xffff) + (low >> 16);
        high = (high & 0xffff) + (high >> 16);
    }
    high << 16 | low
}
