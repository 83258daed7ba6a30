//! What a job will take, before it runs: slices, bytes, memory, scratch, time, for each way to write it.

mod choices;
mod measure;
mod model;
mod start;

use std::path::Path;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};
use scan::Scan;
use serde::Serialize;
use volume::speed::Disk;

use crate::chain::Chain;
use crate::clocks::process_cpu_s;
use crate::plan::{Plan, Write};
use crate::prepare::Prepared;
use crate::quick::CenterPicture;
use crate::recipe::Recipe;
use crate::spool::Spool;
use crate::{Error, Result, filters, memory, outputs, prepare};

pub use choices::Choice;
use measure::Measured;
use start::Start;

/// The expected cost of a reconstruction on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Voxels, z y x.
    pub shape: [usize; 3],
    /// Unit of the voxels.
    pub unit: String,
    /// The budget of memory in bytes.
    pub memory_budget: u64,
    /// Scratch in bytes, for filters on whole projections or compressed chunks; 0 if none.
    pub scratch_bytes: u64,
    /// CPU seconds of one pair of slices, measured now on this scan's middle rows, on all threads at once.
    pub pair_cpu_s: f64,
    /// Wall seconds until the first slices are begun, measured now: opening, the rotation centre, its evidence.
    pub start_s: f64,
    /// CPU seconds a second that the threads together were given meanwhile.
    pub cores: f64,
    /// Bytes a second that the output folder's disk takes, measured now; absent where it cannot be written.
    pub disk_bytes_per_s: Option<f64>,
    /// Worker threads.
    pub threads: usize,
    /// What each way to write the volume takes, the one that was asked for first.
    pub choices: Vec<Choice>,
    /// Why there is no estimate of time or memory, if so.
    pub problem: Option<String>,
}

/// Everything that the choices are made from.
struct Basis<'a> {
    prepared: &'a Prepared,
    plan: &'a Plan,
    chain: &'a Chain,
    pool: &'a ThreadPool,
    start: Start,
    measured: Measured,
    disk: Option<Disk>,
    /// CPU seconds of drawing the quick look.
    drawing_cpu_s: f64,
}

/// Estimates reconstructing all rows of `scan` with `recipe` into `folder`.
///
/// # Errors
/// For a scan that this recipe cannot reconstruct.
pub fn estimate(
    scan: Scan,
    recipe: &Recipe,
    write: Write,
    folder: &Path,
    budget: Option<u64>,
    threads: Option<usize>,
) -> Result<Estimate> {
    let threads = threads.unwrap_or_else(crate::job::available_threads).max(1);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().map_err(|_| Error::Thread("worker"))?;
    let disk = measure::disk(folder);
    let (began, cpu) = (Instant::now(), process_cpu_s());
    let prepared = prepare::prepare(scan, recipe)?;
    let (opened_s, opened_cpu_s) = (began.elapsed().as_secs_f64(), process_cpu_s() - cpu);
    let source = &prepared.source;
    let (mut start, plan, picture) = pool.install(|| Start::new(&prepared, recipe, write))?;
    let began = Instant::now();
    let chain = Chain::new(&plan, &prepared.angles, source.columns())?;
    start.seconds += opened_s + began.elapsed().as_secs_f64();
    start.cpu_s += opened_cpu_s;
    let scratch_bytes = filters::needed(source, recipe)
        .map_or(0, |_| Spool::bytes(source.projections(), source.rows(), source.columns()));
    let mut estimate = Estimate {
        shape: [plan.slices(), plan.slice_columns, plan.slice_columns],
        unit: plan.unit.clone(),
        memory_budget: budget.unwrap_or_else(memory::default_budget),
        scratch_bytes,
        pair_cpu_s: 0.0,
        start_s: 0.0,
        cores: 0.0,
        disk_bytes_per_s: disk.map(|disk| disk.bytes_per_s),
        threads,
        choices: Vec::new(),
        problem: None,
    };
    // As much at once as a job has in memory at least; where the budget allows no job, one thread.
    let layout = memory::plan(estimate.memory_budget, threads, &outputs::demand(source, &plan, &chain));
    let size = layout.map_or((1, 2), |layout| (layout.threads, layout.unit_rows));
    match Measured::new(source, &chain, &plan, &pool, size) {
        Ok(measured) => {
            estimate.pair_cpu_s = measured.pair_cpu_s;
            estimate.cores = measured.share * threads as f64;
            estimate.start_s = start.seconds + start.pairs * measured.pair_cpu_s / estimate.cores;
            let drawing_cpu_s = drawing(&plan, &measured, picture.as_ref())?;
            let (prepared, plan, chain, pool) = (&prepared, &plan, &chain, &pool);
            let basis = Basis { prepared, plan, chain, pool, start, measured, disk, drawing_cpu_s };
            estimate.choices = choices::choices(&estimate, &basis)?;
        }
        Err(error) => estimate.problem = Some(error.to_string()),
    }
    Ok(estimate)
}

/// CPU seconds of drawing the quick look.
fn drawing(plan: &Plan, measured: &Measured, evidence: Option<&CenterPicture>) -> Result<f64> {
    let image = measured.images.first().cloned().unwrap_or_default();
    let (spent, drawn) =
        measure::cpu(|| crate::picture::quick_png("", plan, image, evidence, &measured.histogram));
    drawn.map(|_| spent)
}
