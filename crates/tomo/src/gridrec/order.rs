//! The order in which samples are gridded, and are therefore stored.
//!
//! A band of grid rows takes a few samples of every ray. Stored ray by ray, each of these handfuls would be fetched from
//! another page of memory; stored band by band, and by ray within a band, gridding reads all samples in one stream.

use super::lines::Sample;
use crate::aligned::Aligned;

/// Samples are copied this many at a time. What is written beyond the end of a handful belongs to the next ray, which
/// comes later, or to the gap behind the band.
const PIECE: usize = 4;

/// Which samples of which ray each band takes, and where they are stored.
pub(crate) struct Order {
    rays: usize,
    count: usize,
    /// Frequencies next to the origin that are kept for themselves as well.
    core: usize,
    /// (band, ray): the first sample of the band, negative on the negative half axis; one more line than bands.
    firsts: Vec<i32>,
    /// (band, ray): where it is stored.
    starts: Vec<u32>,
    total: usize,
}

impl Order {
    /// `end(band, ray)` is the number of the first sample that comes after `band` (−1 for the first of them), whose last
    /// takes what is left of the `count` samples; `begin(ray)` is the first sample of all.
    pub(crate) fn new(
        rays: usize,
        bands: usize,
        count: usize,
        core: usize,
        begin: impl Fn(usize) -> i32,
        end: impl Fn(i32, usize) -> i32,
    ) -> Self {
        let mut firsts: Vec<i32> = (0..rays).map(begin).collect();
        let mut starts = Vec::with_capacity((bands + 1) * rays);
        let mut total = 0;
        for band in 0..=bands {
            for ray in 0..rays {
                let first = firsts[band * rays + ray];
                let last = if band == bands { count as i32 } else { end(band as i32 - 1, ray) };
                let last = last.clamp(first, count as i32);
                firsts.push(last);
                starts.push(total as u32);
                total += (last - first) as usize;
            }
            total += PIECE;
        }
        Self { rays, count, core, firsts, starts, total }
    }

    /// Room for the samples of all bands, and of the core (ray, frequency).
    pub(crate) fn buffers(&self) -> [Aligned; 2] {
        self.lens().map(Aligned::zeros)
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        self.lens().map(Aligned::bytes).into_iter().sum()
    }

    /// Floats of either.
    fn lens(&self) -> [usize; 2] {
        [self.total, self.rays * (self.core + 1)]
            .map(|samples| samples * (size_of::<Sample>() / size_of::<f32>()))
    }

    pub(crate) fn shared_bytes(&self) -> usize {
        (self.firsts.len() + self.starts.len()) * 4
    }

    /// Length of the line that [`Order::put`] wants.
    pub(crate) fn line_len(&self) -> usize {
        self.count + PIECE
    }

    /// Stores the samples of one ray; rays come in turn.
    #[inline(always)]
    pub(crate) fn put(&self, [bands, core]: [&mut [Sample]; 2], ray: usize, line: &[Sample]) {
        core[ray * (self.core + 1)..][..=self.core].copy_from_slice(&line[..=self.core]);
        let firsts = self.firsts.chunks_exact(self.rays);
        let lasts = self.firsts[self.rays..].chunks_exact(self.rays);
        for ((firsts, lasts), starts) in firsts.zip(lasts).zip(self.starts.chunks_exact(self.rays)) {
            let (mut first, last, mut at) = (firsts[ray], lasts[ray], starts[ray] as usize);
            while first < last.min(0) {
                let [a, b, c, d] = line[first.unsigned_abs() as usize];
                bands[at] = [c, d, a, b];
                (first, at) = (first + 1, at + 1);
            }
            while first < last {
                let from = line[first as usize..].first_chunk::<PIECE>();
                if let (Some(to), Some(from)) = (bands[at..].first_chunk_mut::<PIECE>(), from) {
                    *to = *from;
                }
                (first, at) = (first + PIECE as i32, at + PIECE);
            }
        }
    }

    /// The samples of a band (−1 for the first) by ray: the number of the first, and the samples.
    pub(crate) fn band<'a>(
        &'a self,
        samples: &'a [Sample],
        band: i32,
    ) -> impl Iterator<Item = (i32, &'a [Sample])> {
        let at = ((band + 1) as usize * self.rays).min(self.starts.len());
        let firsts = self.firsts.get(at..at + 2 * self.rays).unwrap_or_default();
        let (firsts, lasts) = firsts.split_at(firsts.len() / 2);
        let mut rest = samples.get(self.starts.get(at).map_or(0, |at| *at as usize)..).unwrap_or_default();
        firsts.iter().zip(lasts).map(move |(first, last)| {
            let here;
            (here, rest) = rest.split_at((last - first) as usize);
            (*first, here)
        })
    }

    /// The samples 0..=core of a ray.
    pub(crate) fn core<'a>(&self, samples: &'a [Sample], ray: usize) -> &'a [Sample] {
        &samples[ray * (self.core + 1)..][..=self.core]
    }
}
