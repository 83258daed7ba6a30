//! Memory whose vectors do not straddle cache lines.

use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, cast_slice, cast_slice_mut};

/// Floats of a cache line.
const LINE: usize = 16;

/// Floats that begin at a cache line. A vector that straddles two lines costs twice, and more where it was written in
/// other pieces shortly before; large buffers from the allocator begin 16 bytes behind a page's border.
#[derive(Debug)]
pub struct Aligned {
    store: Vec<f32>,
    skip: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let store = vec![0.0f32; len + LINE];
        // An allocation that cannot say where it lies is used as it is: the result is the same, only slower.
        let skip = store.as_ptr().align_offset(LINE * size_of::<f32>());
        Self { store, skip: if skip < LINE { skip } else { 0 }, len }
    }

    /// Bytes of `len` floats.
    pub fn bytes(len: usize) -> usize {
        (len + LINE) * size_of::<f32>()
    }

    /// The same memory as values of another type, of a whole number of floats.
    pub(crate) fn cast<T: Pod>(&self) -> &[T] {
        cast_slice(self)
    }

    /// The same to be written.
    pub(crate) fn cast_mut<T: Pod>(&mut self) -> &mut [T] {
        cast_slice_mut(self)
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.store[self.skip..self.skip + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
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
            assert_eq!(memory.len(), len);
            assert!(memory.as_mut_ptr().addr().is_multiple_of(64));
        }
    }
}
