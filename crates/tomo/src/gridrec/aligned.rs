//! Memory whose vectors do not straddle cache lines.

/// Floats of a cache line.
const LINE: usize = 16;

/// Floats that begin at a cache line. A vector that straddles two costs twice, and more where it was written in other
/// pieces shortly before.
pub(crate) struct Aligned {
    store: Vec<f32>,
    skip: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let store = vec![0.0f32; len + LINE];
        // An allocation that cannot say where it lies is used as it is: the result is the same, only slower.
        let skip = store.as_ptr().align_offset(LINE * size_of::<f32>());
        Self { store, skip: if skip < LINE { skip } else { 0 }, len }
    }

    /// Bytes of `len` floats.
    pub(crate) fn bytes(len: usize) -> usize {
        (len + LINE) * size_of::<f32>()
    }

    pub(crate) fn get_mut(&mut self) -> &mut [f32] {
        &mut self.store[self.skip..self.skip + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_at_a_cache_line() {
        for len in [0, 1, 17, 4096] {
            let mut memory = Aligned::zeros(len);
            assert_eq!(memory.get_mut().len(), len);
            assert!(memory.get_mut().as_ptr().addr().is_multiple_of(64));
        }
    }
}
