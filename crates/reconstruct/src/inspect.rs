//! What a job will take, before it runs: slices, bytes, memory, scratch, time.

use std::time::Instant;

use scan::Scan;
use serde::Serialize;

use crate::chain::Chain;
use crate::clocks::Clocks;
use crate::memory;
use crate::plan::{Center, Plan, Rows, Write};
use crate::prepare::{CenterFound, Prepared};
use crate::recipe::{CenterMethod, Recipe};
use crate::source::{Block, Source};
use crate::spool::Spool;
use crate::{Result, filters, outputs, prepare};

/// The expected cost of a reconstruction on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Voxels, z y x (a 360° half-acquisition comes out wider, which is known only with its centre).
    pub shape: [usize; 3],
    /// Unit of the voxels.
    pub unit: String,
    /// Bytes of TIFF and Zarr at most (Zarr counted uncompressed).
    pub output_bytes: u64,
    /// Peak memory in bytes within the budget.
    pub memory_bytes: u64,
    /// The budget in bytes.
    pub memory_budget: u64,
    /// Scratch in bytes, for filters on whole projections or compressed chunks; 0 if none.
    pub scratch_bytes: u64,
    /// CPU seconds of one pair of slices, measured now on this scan's middle rows.
    pub pair_cpu_s: f64,
    /// Seconds of computing on `threads` threads, for the whole volume; reading and writing not counted.
    pub compute_s: f64,
    /// Worker threads.
    pub threads: usize,
    /// Why there is no estimate of time or memory, if so.
    pub problem: Option<String>,
}

/// Estimates reconstructing all rows of `scan` with `recipe`.
///
/// # Errors
/// For a scan that this recipe cannot reconstruct.
pub fn estimate(
    scan: Scan,
    recipe: &Recipe,
    write: Write,
    budget: Option<u64>,
    threads: Option<usize>,
) -> Result<Estimate> {
    let prepared = prepare::prepare(scan, recipe)?;
    let source = &prepared.source;
    let rows = Rows::all(source.rows());
    let threads = threads.unwrap_or_else(crate::job::available_threads).max(1);
    let budget = budget.unwrap_or_else(memory::default_budget);
    let plan = plan(&prepared, recipe, rows, write)?;
    let scratch_bytes = filters::needed(source, recipe)
        .map_or(0, |_| Spool::bytes(source.projections(), source.rows(), source.columns()));
    let mut estimate = Estimate {
        shape: [plan.slices(), plan.slice_columns, plan.slice_columns],
        unit: plan.unit.clone(),
        output_bytes: outputs::bytes(&plan),
        memory_bytes: 0,
        memory_budget: budget,
        scratch_bytes,
        pair_cpu_s: 0.0,
        compute_s: 0.0,
        threads,
        problem: None,
    };
    let chain = Chain::new(&plan, &prepared.angles, source.columns())?;
    match memory::plan(budget, threads, &outputs::demand(source, &plan, &chain)) {
        Ok(layout) => estimate.memory_bytes = layout.peak,
        Err(error) => estimate.problem = Some(error.to_string()),
    }
    match measure(source, &chain, &plan) {
        Ok(seconds) => {
            estimate.pair_cpu_s = seconds;
            estimate.compute_s = seconds * plan.slices().div_ceil(2) as f64 / threads as f64;
        }
        Err(error) => estimate.problem = Some(error.to_string()),
    }
    Ok(estimate)
}

/// Reconstructs the middle pair once to warm up and once with a clock. A compressed scan would have to be
/// passed through for that; there the rows are made of its first projections over and over.
fn measure(source: &Source, chain: &Chain, plan: &Plan) -> Result<f64> {
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
    } else {
        source.read(rows.clone(), &mut block)?;
    }
    let slice = plan.slice_columns * plan.slice_columns;
    let mut images = [vec![0f32; slice], vec![0f32; slice]];
    let mut workspace = chain.workspace()?;
    let clocks = Clocks::default();
    let mut seconds = 0.0;
    for _ in 0..2 {
        let began = Instant::now();
        let [first, second] = &mut images;
        let targets = [Some(first.as_mut_slice()), (rows.len() == 2).then_some(second.as_mut_slice())];
        chain.pair(&mut workspace, &block, 0, rows.len() == 2, targets, &clocks)?;
        seconds = began.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

/// A plan with the axis in the middle, which costs what any other centre costs.
fn plan(prepared: &Prepared, recipe: &Recipe, rows: Rows, write: Write) -> Result<Plan> {
    let mut recipe = recipe.clone();
    recipe.center.method = CenterMethod::Fixed;
    let center = Center::given((prepared.source.columns() - 1) as f64 / 2.0);
    let found = CenterFound { center, believed: true, sinograms: Vec::new() };
    prepare::plan(prepared, &recipe, rows, write, &found, None)
}
