//! BLAKE3 of a file while it is being made.
//!
//! Hashing a finished file of megabytes brings it to the cache a second time. BLAKE3 is a tree, so pieces
//! can be hashed as soon as they are final, while they are near, and in any order: a file's header, which often
//! is known last, comes last. The tree is that of <https://github.com/BLAKE3-team/BLAKE3-specs>, section 2.1:
//! the left side of every node is the largest power of two that leaves something to the right.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{Hash, Hasher};

/// Bytes hashed at once, a power of two of BLAKE3's own chunks: enough for its vectors, and still in the
/// second-level cache.
const PIECE: usize = 64 << 10;

/// The digest of a file of which some is still to come.
#[derive(Debug, Clone)]
pub(super) struct Digest {
    /// Pieces at the beginning that are not final before the end.
    open: usize,
    /// The values of the whole pieces behind them.
    values: Vec<ChainingValue>,
}

impl Digest {
    /// Of a file whose first `open` bytes may change until the end.
    pub(super) fn new(open: usize) -> Self {
        Self { open: open.div_ceil(PIECE), values: Vec::new() }
    }

    /// Hashes what is new, now that `file` will not change before `end`, the first bytes aside. The same memory
    /// is given each time; it may be longer than the file.
    #[inline]
    pub(super) fn advance(&mut self, file: &[u8], end: usize) {
        let whole = end.min(file.len()) / PIECE;
        for piece in self.open + self.values.len()..whole {
            self.values.push(value(file, piece));
        }
    }

    /// The digest of `file`, which is complete and begins with what [`Digest::advance`] was given.
    pub(super) fn finish(self, file: &[u8]) -> Hash {
        let pieces = file.len().div_ceil(PIECE);
        if pieces < 2 {
            return blake3::hash(file);
        }
        let mut values: Vec<_> = (0..self.open.min(pieces)).map(|piece| value(file, piece)).collect();
        values.extend(self.values);
        for piece in values.len()..pieces {
            values.push(value(file, piece));
        }
        let (left, right) = values.split_at(left(pieces));
        merge_subtrees_root(&merge(left), &merge(right), Mode::Hash)
    }
}

/// The value of a piece, the last of which may be short.
fn value(file: &[u8], piece: usize) -> ChainingValue {
    let begin = piece * PIECE;
    let mut hasher = Hasher::new();
    hasher.set_input_offset(begin as u64);
    hasher.update(&file[begin..file.len().min(begin + PIECE)]).finalize_non_root()
}

/// Pieces to the left of a node that holds `pieces`, at least two.
fn left(pieces: usize) -> usize {
    pieces.div_ceil(2).next_power_of_two()
}

/// The value of a node below the root.
fn merge(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(left(values.len()));
    merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
    }

    #[test]
    fn lengths_at_the_borders_of_pieces_and_powers() {
        for pieces in [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33] {
            for more in [-1025, -1, 0, 1, 1024] {
                let Some(bytes) = (pieces * PIECE).checked_add_signed(more) else { continue };
                let file = content(bytes);
                for open in [0, 1, PIECE, PIECE + 1, 40 * PIECE] {
                    let digest = Digest::new(open).finish(&file);
                    assert_eq!(digest, blake3::hash(&file), "{bytes} bytes, {open} open");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Bytes appear in steps of any size, wrong before and at the beginning until the end.
        #[test]
        fn a_file_that_grows_has_the_digest_of_the_whole(
            bytes in 0usize..12 * PIECE,
            open in 0usize..3 * PIECE,
            steps in proptest::collection::vec(1usize..3 * PIECE, 0..12),
        ) {
            let whole = content(bytes);
            // A buffer longer than the file, with something else in it.
            let (mut buffer, mut digest, mut end) = (vec![0xaa; bytes + 777], Digest::new(open), 0);
            for step in steps {
                let next = (end + step).min(bytes);
                buffer[end..next].copy_from_slice(&whole[end..next]);
                end = next;
                buffer[..open.min(end)].fill(0x55);
                digest.advance(&buffer, end);
            }
            buffer[..bytes].copy_from_slice(&whole);
            prop_assert_eq!(digest.finish(&buffer[..bytes]), blake3::hash(&whole));
        }
    }
}
