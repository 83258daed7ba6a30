//! The measurements under an estimate: pairs of this scan's slices on all threads at once, what the threads beside them
//! cost, and the output folder's disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use rustix::time::{ClockId, clock_gettime};
use volume::speed::Disk;
use volume::{Histogram, OmeZarr, Pages, VoxelsRef};

use crate::chain::{Chain, Workspace};
use crate::clocks::Clocks;
use crate::plan::Plan;
use crate::source::{Block, Source};
use crate::{Error, Result, outputs};

/// Bytes written to measure the disk: enough to outlast its cache's first burst, little enough to wait for.
const DISK_BYTES: u64 = 256 << 20;

/// Bytes of the scan that are hashed, and of memory that is touched: enough for a clock, little enough to wait for.
const PROBE: usize = 32 << 20;

/// How long the threads work together, once they are warm.
const LOAD: Duration = Duration::from_millis(600);

/// Pairs from the middle of the scan, and what they and the work beside them took.
pub(super) struct Measured {
    /// CPU seconds of reconstructing a pair while all threads do so, which share caches and memory.
    pub pair_cpu_s: f64,
    /// CPU seconds that the machine gave each thread in a second: less than 1 where others compute, too.
    pub share: f64,
    /// CPU seconds of reading a detector row.
    pub row_cpu_s: f64,
    /// CPU seconds of one slice's histogram.
    pub sample_cpu_s: f64,
    /// CPU seconds of a byte's digest.
    pub digest_cpu_s: f64,
    /// CPU seconds of reading a byte of the scan file once more, for its digest.
    pub input_cpu_s: f64,
    /// CPU seconds of touching a byte of memory for the first time.
    pub fresh_cpu_s: f64,
    /// Two neighbouring slices (one where the detector has a single row).
    pub images: Vec<Vec<f32>>,
    /// Their values.
    pub histogram: Histogram,
}

impl Measured {
    /// Reads as many rows from the middle as a job reads at once, and reconstructs their pairs on `threads` of `pool`.
    pub fn new(
        source: &Source,
        chain: &Chain,
        plan: &Plan,
        pool: &ThreadPool,
        (threads, rows): (usize, usize),
    ) -> Result<Self> {
        let (block, rows, row_cpu_s) = rows_of(source, rows)?;
        let Load { pair_cpu_s, share, images } = load(chain, plan, pool, threads, &block, rows)?;
        let mut histogram = Histogram::default();
        let (sampled, ()) = cpu(|| {
            for image in &images {
                chain.sample(image, plan.slices() / 2, &mut histogram);
            }
        });
        let bytes: &[u8] = bytemuck::cast_slice(images.first().map_or(&[], Vec::as_slice));
        let (hashed, _) = cpu(|| std::hint::black_box(blake3::hash(bytes)));
        let (touched, _) = cpu(|| {
            let mut memory = Pages::zeroed(PROBE);
            memory.iter_mut().step_by(volume::pages::PAGE).for_each(|byte| *byte = 1);
            std::hint::black_box(memory.len())
        });
        Ok(Self {
            pair_cpu_s,
            share,
            row_cpu_s,
            sample_cpu_s: sampled / images.len() as f64,
            digest_cpu_s: hashed / bytes.len().max(1) as f64,
            input_cpu_s: input(&source.scan().info().path)?,
            fresh_cpu_s: touched / PROBE as f64,
            images,
            histogram,
        })
    }

    /// CPU seconds of turning one slice into what `spec` stores, and the slices (or one) in that form.
    pub fn stored(&self, spec: &volume::VolumeSpec) -> (f64, Vec<Pages>) {
        let mut spent = 0.0;
        let stored = self.images.iter().map(|image| {
            let mut pages = Pages::zeroed(image.len() * spec.dtype.bytes());
            let voxels = ..image.len() * spec.dtype.bytes();
            // The first time pays for fresh memory, as a job does only once.
            for _ in 0..2 {
                spent = cpu(|| spec.store_into(image, &mut pages[voxels])).0;
            }
            pages
        });
        let stored = stored.collect();
        (if spec.dtype == volume::DataType::F32 { 0.0 } else { spent }, stored)
    }
}

/// About `rows` rows from the middle, how many they are, and the CPU seconds of reading one. A compressed scan would have
/// to be passed through for that; there two rows are made of its first projection over and over.
fn rows_of(source: &Source, rows: usize) -> Result<(Block, usize, f64)> {
    let mut block = Block::default();
    if source.scan().needs_spool() {
        let middle = (source.rows() / 2) & !1;
        let rows = middle..(middle + 2).min(source.rows());
        let mut samples = scan::Samples::empty(scan::DataType::F32);
        source.read_projections(0..1, &mut samples)?;
        let frame = samples.to_f32();
        let part = &frame[rows.start * source.columns()..rows.end * source.columns()];
        block.samples = Some(scan::Samples::F32(part.repeat(source.projections())));
        block.normalizer = Some(source.normalizer(rows.clone())?);
        return Ok((block, rows.len(), 0.0));
    }
    let first = (source.rows().saturating_sub(rows) / 2) & !1;
    let rows = first..(first + rows).min(source.rows());
    let mut spent = 0.0;
    // The first time pays for fresh memory, and finds the file's pages.
    for _ in 0..2 {
        let before = source.scan().helpers_cpu_ns();
        let (own, read) = cpu(|| source.read(rows.clone(), &mut block));
        read?;
        spent = own + source.scan().helpers_cpu_ns().saturating_sub(before) as f64 * 1e-9;
    }
    let count = rows.len();
    Ok((block, count, spent / count as f64))
}

/// What came of all threads working together.
struct Load {
    pair_cpu_s: f64,
    share: f64,
    images: Vec<Vec<f32>>,
}

/// One thread's part in it.
struct Part {
    pairs: usize,
    pair_cpu_s: f64,
    cpu_s: f64,
    wall_s: f64,
    images: Vec<Vec<f32>>,
}

/// Lets `threads` of `pool` reconstruct pairs of `block` at once, each with scratch and images of its own, as in a job.
/// As there, some encode meanwhile: a pair takes a tenth longer beside that, because it shares caches and memory.
fn load(
    chain: &Chain,
    plan: &Plan,
    pool: &ThreadPool,
    threads: usize,
    block: &Block,
    rows: usize,
) -> Result<Load> {
    let slice = plan.slice_columns * plan.slice_columns;
    let clocks = Clocks::default();
    let pair = |workspace: &mut Workspace, images: &mut [Vec<f32>], pair: usize| -> Result<()> {
        let row = 2 * (pair % rows.div_ceil(2));
        let mut targets: [Option<&mut [f32]>; 2] = [None, None];
        for (target, image) in targets.iter_mut().zip(images).take((rows - row).min(2)) {
            *target = Some(image);
        }
        chain.pair(workspace, block, row, row + 1 < rows, targets, &mut |_| {}, &clocks).map(drop)
    };
    let spec =
        volume::VolumeSpec { dtype: volume::DataType::F32, scaling: None, ..outputs::spec(plan, "", None) };
    let (version, compression) = (outputs::version(plan), outputs::compression(&plan.recipe));
    let encode = |images: &[Vec<f32>]| -> Result<()> {
        if plan.write.zarr {
            let views: Vec<_> = images.iter().map(|image| VoxelsRef::F32(image)).collect();
            OmeZarr::sample(&spec, version, compression, &views)?;
        }
        Ok(())
    };
    let together = Barrier::new(threads);
    let parts = pool.broadcast(|context| -> Result<Option<Part>> {
        let index = context.index();
        if index >= threads {
            return Ok(None);
        }
        let mut images = vec![vec![0f32; slice]; rows.min(2)];
        let warm = chain.workspace().and_then(|mut workspace| {
            pair(&mut workspace, &mut images, index)?;
            Ok(workspace)
        });
        // Also after a failure: nobody may wait for who has gone.
        together.wait();
        let mut workspace = warm?;
        let (began, mut pairs, mut pair_cpu_s) = (Instant::now(), 0, 0.0);
        let (cpu_s, done) = cpu(|| -> Result<()> {
            while pairs < 2 || began.elapsed() < LOAD {
                let (spent, made) = cpu(|| pair(&mut workspace, &mut images, index + (pairs + 1) * threads));
                made?;
                pair_cpu_s += spent;
                pairs += 1;
                // A sample encodes its slices twice, so every second pair is enough; neighbours take turns.
                if (pairs + index).is_multiple_of(2) {
                    encode(&images)?;
                }
            }
            Ok(())
        });
        let wall_s = began.elapsed().as_secs_f64();
        done.map(|()| Some(Part { pairs, pair_cpu_s, cpu_s, wall_s, images }))
    });
    let mut all = Load { pair_cpu_s: 0.0, share: 0.0, images: Vec::new() };
    let mut pairs = 0;
    for part in parts {
        let Some(part) = part? else { continue };
        pairs += part.pairs;
        all.pair_cpu_s += part.pair_cpu_s;
        all.share += part.cpu_s / part.wall_s / threads as f64;
        if all.images.is_empty() {
            all.images = part.images;
        }
    }
    if pairs == 0 {
        return Err(Error::Thread("worker"));
    }
    all.pair_cpu_s /= pairs as f64;
    Ok(all)
}

/// CPU seconds of a byte of the file, read from its middle on and hashed as a job does.
fn input(path: &Path) -> Result<f64> {
    let failed = |error| Error::io("cannot read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(PROBE as u64) / 2)).map_err(failed)?;
    let (mut hasher, mut buffer, mut bytes) = (blake3::Hasher::new(), vec![0u8; 1 << 20], 0);
    let (spent, hashed) = cpu(|| {
        while bytes < PROBE {
            match file.read(&mut buffer)? {
                0 => break,
                read => {
                    hasher.update(&buffer[..read]);
                    bytes += read;
                }
            }
        }
        Ok(())
    });
    hashed.map_err(failed)?;
    Ok(spent / bytes.max(1) as f64)
}

/// How fast the disk under `folder`, or under the nearest folder above it that exists, takes results.
pub(super) fn disk(folder: &Path) -> Option<Disk> {
    let there = folder.ancestors().find(|path| path.is_dir());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A tenth of what is free: a disk that is nearly full is not filled by asking how fast it is.
    let bytes = DISK_BYTES.min(outputs::available(there).ok()? / 10);
    volume::speed::disk(there, bytes).ok()
}

/// CPU seconds of this thread in `work`, and its result.
pub(super) fn cpu<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    };
    let began = now();
    let result = work();
    (now() - began, result)
}
