//! Byte and bit transposition, which put like bytes (bits) of neighbouring elements together.

/// Undoes a byte shuffle: the k-th bytes of all elements lie together. A tail shorter than an element
/// is copied. `out` has the length of `data`.
pub(crate) fn unshuffle(data: &[u8], out: &mut [u8], size: usize) {
    let count = data.len() / size;
    match size {
        0 | 1 => out.copy_from_slice(data),
        2 => {
            let (low, high) = data.split_at(count);
            for ((o, &l), &h) in out.chunks_exact_mut(2).zip(low).zip(high) {
                o[0] = l;
                o[1] = h;
            }
        }
        _ => {
            // Blocks of elements keep the strided writes in the cache.
            for first in (0..count).step_by(1024) {
                let last = (first + 1024).min(count);
                for k in 0..size {
                    for i in first..last {
                        out[i * size + k] = data[k * count + i];
                    }
                }
            }
        }
    }
    let whole = count * size;
    out[whole..].copy_from_slice(&data[whole..]);
}

/// Undoes a bit shuffle of `out.len() / size` elements, a multiple of 8: bit b of byte k of all elements
/// lies together, element i in bit i % 8 of byte i / 8.
pub(crate) fn bit_unshuffle(data: &[u8], out: &mut [u8], size: usize) {
    let count = out.len() / size;
    let row = count / 8;
    for k in 0..size {
        for j in 0..row {
            let mut bits = 0u64;
            for b in 0..8 {
                bits |= u64::from(data[(k * 8 + b) * row + j]) << (8 * b);
            }
            let bytes = transpose_8x8(bits).to_le_bytes();
            for (i, byte) in bytes.iter().enumerate() {
                out[(j * 8 + i) * size + k] = *byte;
            }
        }
    }
}

/// Transposes an 8 × 8 bit matrix, row r in byte r.
fn transpose_8x8(mut x: u64) -> u64 {
    let mut t = (x ^ (x >> 7)) & 0x00aa_00aa_00aa_00aa;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000_cccc_0000_cccc;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x0000_0000_f0f0_f0f0;
    x ^ t ^ (t << 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_transpose() {
        // Row 0 full: column 0 of every row.
        assert_eq!(transpose_8x8(0xff), 0x0101_0101_0101_0101);
        assert_eq!(transpose_8x8(1 << 15), 1 << 57);
    }

    #[test]
    fn bytes_come_back_with_their_tail() {
        let data = [1, 4, 2, 5, 3, 6, 9];
        let mut out = [0; 7];
        unshuffle(&data, &mut out, 3);
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 9]);
    }
}
