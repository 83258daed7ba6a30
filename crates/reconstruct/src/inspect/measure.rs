//! The measurements under an estimate: one pair of this scan's slices, and the output folder's disk.

use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use volume::Histogram;

use crate::Result;
use crate::chain::Chain;
use crate::clocks::Clocks;
use crate::plan::Plan;
use crate::source::{Block, Source};

/// Bytes written to measure the disk: enough to outlast its cache's first burst, little enough to wait for.
const DISK_BYTES: u64 = 256 << 20;

/// The middle pair of slices, and what it took.
pub(super) struct Measured {
    /// CPU seconds of reading and reconstructing the pair.
    pub pair_cpu_s: f64,
    /// CPU seconds of one slice's digest.
    pub digest_cpu_s: f64,
    /// The slices (one where the detector has a single row).
    pub images: Vec<Vec<f32>>,
    /// Their values.
    pub histogram: Histogram,
}

impl Measured {
    /// Reads and reconstructs the middle pair once to warm up and once with a clock. A compressed scan would have to be
    /// passed through for that; there the rows are made of its first projections over and over.
    pub(super) fn new(source: &Source, chain: &Chain, plan: &Plan) -> Result<Self> {
        let row = (source.rows() / 2) & !1;
        let rows = row..(row + 2).min(source.rows());
        let mut block = Block::default();
        if source.scan().needs_spool() {
            let mut samples = scan::Samples::empty(scan::DataType::F32);
            source.read_projections(0..1, &mut samples)?;
            let frame = samples.to_f32();
            let part = &frame[rows.start * source.columns()..rows.end * source.columns()];
            block.samples = Some(scan::Samples::F32(part.repeat(source.projections())));
            block.normalizer = Some(source.normalizer(rows.clone())?);
        }
        let slice = plan.slice_columns * plan.slice_columns;
        let mut images = vec![vec![0f32; slice]; rows.len()];
        let mut workspace = chain.workspace()?;
        let clocks = Clocks::default();
        let mut pair_cpu_s = 0.0;
        for _ in 0..2 {
            let began = thread_cpu_s();
            if !source.scan().needs_spool() {
                source.read(rows.clone(), &mut block)?;
            }
            let mut targets: [Option<&mut [f32]>; 2] = [None, None];
            for (target, image) in targets.iter_mut().zip(&mut images) {
                *target = Some(image);
            }
            chain.pair(&mut workspace, &block, 0, rows.len() == 2, targets, &mut |_| {}, &clocks)?;
            pair_cpu_s = thread_cpu_s() - began;
        }
        let mut histogram = Histogram::default();
        for image in &images {
            chain.sample(image, plan.slices() / 2, &mut histogram);
        }
        let began = thread_cpu_s();
        std::hint::black_box(blake3::hash(bytemuck::cast_slice(&images[0])));
        let digest_cpu_s = thread_cpu_s() - began;
        Ok(Self { pair_cpu_s, digest_cpu_s, images, histogram })
    }
}

/// How fast the disk under `folder`, or under the nearest folder above it that exists, takes results.
pub(super) fn disk(folder: &Path) -> Option<f64> {
    let there = folder.ancestors().find(|path| path.is_dir());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A tenth of what is free: a disk that is nearly full is not filled by asking how fast it is.
    let bytes = DISK_BYTES.min(crate::outputs::available(there).ok()? / 10);
    volume::speed::disk(there, bytes).ok()
}

fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
