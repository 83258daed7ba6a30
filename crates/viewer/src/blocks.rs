//! Boxes of voxels out of chunks and files. Decoded chunks are kept in one cache of bounded size, and
//! viewers that want the same chunk at once have it decoded once.

use std::ops::Range;
use std::sync::Arc;

use volume::reader::TiffStackReader;
use volume::{Voxels, VoxelsRef};

use crate::error::{Error, Result};
use crate::open::{Opened, State};
use crate::pool::Stop;

/// A region along z, y, x.
pub(crate) type Region = [Range<usize>; 3];

/// Which decoded piece: version of the volume, level, indices of the chunk. Whole slices of compressed TIFFs
/// have the level `SLICE`.
type Key = (Arc<str>, u8, [u32; 3]);
const SLICE: u8 = u8::MAX;

/// Decoded chunks, the most useful of them, up to a number of bytes.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    chunks: moka::sync::Cache<Key, Arc<Voxels>>,
    bytes: u64,
}

impl Cache {
    /// A cache of `bytes`.
    pub(crate) fn new(bytes: u64) -> Self {
        let chunks = moka::sync::Cache::builder()
            // In KiB: weights have 32 bits, and so have more than a whole slice.
            .weigher(|_: &Key, voxels: &Arc<Voxels>| (voxels.view().bytes().len() >> 10).max(1) as u32)
            .max_capacity(bytes >> 10)
            .build();
        Self { chunks, bytes }
    }

    /// Bytes that are held, to a KiB a chunk.
    pub(crate) fn held(&self) -> u64 {
        self.chunks.weighted_size() << 10
    }

    fn get(&self, key: Key, read: impl FnOnce() -> volume::Result<Voxels>) -> Result<Arc<Voxels>> {
        let chunk = self.chunks.try_get_with(key, || read().map(Arc::new)).map_err(Error::Volume);
        // Evictions are otherwise put off, and a chunk is megabytes.
        self.chunks.run_pending_tasks();
        chunk
    }
}

/// How voxels become what is sent: a line of them into as many of `T`.
pub(crate) trait Convert<T>: Fn(VoxelsRef<'_>, &mut [T]) {}
impl<T, F: Fn(VoxelsRef<'_>, &mut [T])> Convert<T> for F {}

/// What was filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Voxels that are not there yet; they keep what `out` held.
    pub(crate) absent: usize,
    /// The level is not there yet; these are samples of level 0.
    pub(crate) sampled: bool,
}

/// Reads one volume for one request.
pub(crate) struct Reading<'a> {
    pub(crate) opened: &'a Opened,
    pub(crate) cache: &'a Cache,
    pub(crate) stop: &'a Stop,
}

impl Reading<'_> {
    /// Fills `out` (z, y, x) with a region of a level, which must lie in it.
    ///
    /// A slice along z of level 0 comes from its TIFF, which holds nothing else; out of chunks it would cost
    /// 32 times its bytes.
    pub(crate) fn fill<T>(
        &self,
        level: usize,
        region: &Region,
        out: &mut [T],
        convert: impl Convert<T>,
    ) -> Result<Filled> {
        let opened = self.opened;
        let one_row = region[0].len() == 1;
        let one_line = region[1].len() == 1 && region[0].clone().any(|z| opened.tiff_of(z).is_some());
        let z = region[0].start;
        match (opened.pyramid(), opened.tiffs()) {
            (None, Some(tiffs)) => self.fill_from_tiffs(tiffs, level, region, out, convert),
            (Some(_), Some(tiffs)) if level == 0 && one_row && opened.tiff_of(z).is_some() => {
                self.fill_from_tiffs(tiffs, 0, region, out, convert)
            }
            // A line of each file costs as many reads as there are rows, its chunks 256 times their bytes.
            (Some(_), Some(tiffs)) if level == 0 && one_line => {
                self.fill_from_tiffs(tiffs, 0, region, out, convert)
            }
            (Some(_), Some(tiffs))
                if one_row && opened.tiff_of(z << level).is_some() && !opened.has_row(level, z) =>
            {
                let filled = self.fill_from_tiffs(tiffs, level, region, out, convert)?;
                Ok(Filled { sampled: true, ..filled })
            }
            (Some(_), _) => self.fill_from_chunks(level, region, out, convert),
            (None, None) => Err(Error::NotFound(format!("voxel of {}", opened.place.name))),
        }
    }

    /// Every 2^level-th voxel out of the files of a stack.
    fn fill_from_tiffs<T>(
        &self,
        tiffs: &TiffStackReader,
        level: usize,
        [z, y, x]: &Region,
        out: &mut [T],
        convert: impl Convert<T>,
    ) -> Result<Filled> {
        let mut filled = Filled::default();
        let spread = |r: &Range<usize>| r.start << level..((r.end - 1) << level) + 1;
        let window = [spread(y), spread(x)];
        for (row, share) in z.clone().zip(out.chunks_exact_mut(y.len() * x.len())) {
            self.stop.check()?;
            let Some(index) = self.opened.tiff_of(row << level) else {
                filled.absent += share.len();
                continue;
            };
            if let Some(voxels) = tiffs.read_window(index, window.clone(), 1 << level)? {
                convert(voxels.view(), share);
                continue;
            }
            // Compressed: decoded as a whole, and kept.
            let key = (Arc::from(self.opened.version.as_str()), SLICE, [index as u32, 0, 0]);
            let slice = self.cache.get(key, || {
                let mut slice = Voxels::empty(tiffs.dtype());
                tiffs.read_rows(index..index + 1, &mut slice)?;
                Ok(slice)
            })?;
            let nx = tiffs.shape()[2];
            for (y, line) in window[0].clone().step_by(1 << level).zip(share.chunks_exact_mut(x.len())) {
                for (x, voxel) in window[1].clone().step_by(1 << level).zip(line.chunks_exact_mut(1)) {
                    convert(part(slice.view(), y * nx + x..y * nx + x + 1), voxel);
                }
            }
        }
        Ok(filled)
    }

    /// Out of the chunks of an OME-Zarr.
    fn fill_from_chunks<T>(
        &self,
        level: usize,
        region: &Region,
        out: &mut [T],
        convert: impl Convert<T>,
    ) -> Result<Filled> {
        let shape = self.opened.level(level)?.shape;
        let (Some(reader), Some(zarr)) = (self.opened.pyramid(), self.opened.zarr()) else {
            return Err(Error::NotFound(format!("OME-Zarr of {}", self.opened.place.name)));
        };
        let chunk = zarr.chunk(level).unwrap_or([32, 256, 256]);
        let voxels: usize = chunk.iter().product();
        // Of chunks that would push out everything else only the region is decoded.
        let whole = (voxels * self.opened.dtype().bytes()) as u64 <= self.cache.bytes / 8;
        let version: Arc<str> = Arc::from(self.opened.version.as_str());
        let mut filled = Filled::default();
        let grid = |axis: usize| region[axis].start / chunk[axis]..region[axis].end.div_ceil(chunk[axis]);
        for cz in grid(0) {
            for cy in grid(1) {
                for cx in grid(2) {
                    self.stop.check()?;
                    let index = [cz, cy, cx];
                    let side = |a: usize| index[a] * chunk[a]..((index[a] + 1) * chunk[a]).min(shape[a]);
                    let all = [side(0), side(1), side(2)];
                    let wanted =
                        [0, 1, 2].map(|a| all[a].start.max(region[a].start)..all[a].end.min(region[a].end));
                    let corner = [all[0].start, all[1].start, all[2].start];
                    if self.opened.state == State::Growing && !zarr.is_written(level, corner) {
                        filled.absent += wanted.iter().map(Range::len).product::<usize>();
                        continue;
                    }
                    if whole {
                        let key = (version.clone(), level as u8, index.map(|i| i as u32));
                        let block = self.cache.get(key, || reader.read(level, all.clone()))?;
                        copy(block.view(), &all, &wanted, region, out, &convert);
                    } else {
                        let block = reader.read(level, wanted.clone())?;
                        copy(block.view(), &wanted, &wanted, region, out, &convert);
                    }
                }
            }
        }
        Ok(filled)
    }
}

/// Copies `wanted` out of a block that covers `all` into `out`, which covers `region`.
fn copy<T>(
    block: VoxelsRef<'_>,
    all: &Region,
    wanted: &Region,
    region: &Region,
    out: &mut [T],
    convert: &impl Convert<T>,
) {
    let place = |base: &Region, z: usize, y: usize| {
        ((z - base[0].start) * base[1].len() + y - base[1].start) * base[2].len() + wanted[2].start
            - base[2].start
    };
    let n = wanted[2].len();
    for z in wanted[0].clone() {
        for y in wanted[1].clone() {
            let (from, to) = (place(all, z, y), place(region, z, y));
            convert(part(block, from..from + n), &mut out[to..to + n]);
        }
    }
}

/// Some of the voxels.
fn part(voxels: VoxelsRef<'_>, range: Range<usize>) -> VoxelsRef<'_> {
    match voxels {
        VoxelsRef::F32(v) => VoxelsRef::F32(&v[range]),
        VoxelsRef::U16(v) => VoxelsRef::U16(&v[range]),
        VoxelsRef::U8(v) => VoxelsRef::U8(&v[range]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_within_its_bytes_and_reads_once() {
        let cache = Cache::new(1 << 20);
        let version: Arc<str> = Arc::from("v");
        let mut reads = 0;
        for i in 0..200u32 {
            for _ in 0..2 {
                let chunk = cache.get((version.clone(), 0, [i % 50, 0, 0]), || {
                    reads += 1;
                    Ok(Voxels::F32(vec![i as f32; 25_600]))
                });
                assert_eq!(chunk.unwrap().view().len(), 25_600);
                assert!(cache.held() <= 1 << 20, "{}", cache.held());
            }
        }
        // Each is there when asked for again at once, unless it was not let in.
        assert!(reads < 400, "{reads}");
        let failed =
            cache.get((version, 1, [0; 3]), || Err(volume::Error::Cancelled { what: "a read".into() }));
        assert!(matches!(failed, Err(Error::Volume(_))));
    }
}
