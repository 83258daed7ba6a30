//! A slab of slices while its pairs are being computed, in whatever order they end.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use volume::{Batch, FileRecord, Histogram, Pooled};

use crate::journal::SlabRecord;
use crate::report::Quality;

/// A slab in work.
pub struct Slab {
    number: usize,
    slices: Range<usize>,
    /// The slab's files on their way to the disk.
    batch: Arc<Batch>,
    state: Mutex<State>,
    complete: Sender<Complete>,
}

/// What one pair adds.
#[derive(Default)]
pub struct SliceParts {
    /// Index in the volume, the buffer that holds the slice, and its file's record if there is one.
    pub slices: Vec<(usize, Arc<Pooled>, Option<FileRecord>)>,
    /// Sample of the values.
    pub histogram: Histogram,
    /// Odd pixels.
    pub quality: Quality,
}

/// All slices of a slab.
pub struct Complete {
    /// Its record; chunks are to be added.
    pub record: SlabRecord,
    /// The slices in order.
    pub slices: Vec<Arc<Pooled>>,
    /// The slab's files on their way to the disk.
    pub batch: Arc<Batch>,
}

#[derive(Default)]
struct State {
    slices: Vec<Option<(Arc<Pooled>, Option<FileRecord>)>>,
    missing: usize,
    histogram: Histogram,
    quality: Quality,
}

impl Slab {
    /// Slab `number` with the given slices, all missing; `complete` gets it when the last one is there.
    pub fn new(number: usize, slices: Range<usize>, complete: Sender<Complete>) -> Self {
        let mut state = State { missing: slices.len(), ..State::default() };
        state.slices.resize_with(slices.len(), || None);
        Self { number, slices, batch: Arc::default(), state: Mutex::new(state), complete }
    }

    /// Its number.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The slab's files on their way to the disk.
    pub fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    /// Adds what a pair made. Counts are integers, so the order does not matter.
    pub fn add(&self, parts: SliceParts) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.histogram.merge(&parts.histogram);
        state.quality.add(&parts.quality);
        for (z, pages, record) in parts.slices {
            if let Some(place) = z.checked_sub(self.slices.start).and_then(|i| state.slices.get_mut(i)) {
                *place = Some((pages, record));
                state.missing = state.missing.saturating_sub(1);
            }
        }
        if state.missing > 0 {
            return;
        }
        let State { slices, histogram, quality, .. } = std::mem::take(&mut *state);
        let (slices, records): (Vec<_>, Vec<_>) = slices.into_iter().flatten().unzip();
        let files = records.into_iter().flatten().collect();
        let record = SlabRecord { slab: self.number, files, histogram, quality };
        // Whoever ended early has the reason; the slices go back to their pool.
        let _ = self.complete.send(Complete { record, slices, batch: self.batch.clone() });
    }
}
