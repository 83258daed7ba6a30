//! Memory in whole pages, lent and given back: what direct I/O writes from.
//!
//! A file is made in one buffer of [`Pages`], whose address and length are multiples of 4 KiB, so that the
//! disk can take it from there without a copy through the system's cache. A [`PagePool`] owns a fixed number
//! of them: fresh memory costs more (the system clears it page by page) than most of what is done with it,
//! and who has to wait for a buffer has found the job's pace.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What addresses, offsets and lengths are multiples of.
pub const PAGE: usize = 4096;

/// Bytes that begin and end at a page's border.
#[derive(Debug)]
pub struct Pages {
    /// One page longer than wanted, so that a border lies in its first page.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Pages {
    /// At least `bytes` zeros, rounded up to whole pages.
    pub fn zeroed(bytes: usize) -> Self {
        let len = bytes.max(1).next_multiple_of(PAGE);
        let memory = vec![0u8; len + PAGE];
        // An allocator that cannot say where a border lies costs speed only: writing falls back.
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Self { memory, start, len }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// A fixed number of equal buffers.
#[derive(Debug, Clone)]
pub struct PagePool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free: Mutex<Vec<Pages>>,
    returned: Condvar,
    count: usize,
    bytes: usize,
}

impl PagePool {
    /// `count` (at least one) buffers of `bytes`; the system hands the memory over when it is first used.
    pub fn new(count: usize, bytes: usize) -> Self {
        let count = count.max(1);
        let free = Mutex::new((0..count).map(|_| Pages::zeroed(bytes)).collect());
        Self { shared: Arc::new(Shared { free, returned: Condvar::new(), count, bytes }) }
    }

    /// A buffer with whatever its last user left in it; waits until one is given back.
    pub fn take(&self) -> Pooled {
        // A poisoned lock only means that another thread panicked; the buffers are still plain memory.
        let mut free = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(pages) = free.pop() {
                return Pooled { pages: Some(pages), home: self.shared.clone() };
            }
            free = self.shared.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Bytes of all buffers together.
    pub fn memory_bytes(&self) -> u64 {
        (self.shared.count * (self.shared.bytes.next_multiple_of(PAGE) + PAGE)) as u64
    }
}

/// A buffer on loan; dropping it gives it back.
#[derive(Debug)]
pub struct Pooled {
    /// `None` only while being dropped.
    pages: Option<Pages>,
    home: Arc<Shared>,
}

impl Deref for Pooled {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.pages.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            self.home.free.lock().unwrap_or_else(PoisonError::into_inner).push(pages);
            self.home.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_go_round() {
        let pool = PagePool::new(2, 5000);
        let (a, b) = (pool.take(), pool.take());
        for pages in [&a, &b] {
            assert_eq!((pages.len(), pages.as_ptr().addr() % PAGE), (2 * PAGE, 0));
        }
        let first = a.as_ptr();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.take().as_ptr().addr());
            drop(a);
            assert_eq!(waiting.join().unwrap(), first.addr());
        });
        assert_eq!(pool.memory_bytes(), 2 * 3 * PAGE as u64);
    }
}
