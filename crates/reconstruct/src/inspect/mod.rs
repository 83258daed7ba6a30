//! What a job will take, before it runs: slices, bytes, memory, scratch, time, for each way to write it.

mod choices;
mod measure;

use std::path::Path;

use scan::Scan;
use serde::Serialize;

use crate::chain::Chain;
use crate::memory;
use crate::plan::{Center, Plan, Rows, Write};
use crate::prepare::{CenterFound, Prepared};
use crate::recipe::{CenterMethod, Recipe};
use crate::spool::Spool;
use crate::{Result, filters, prepare};

pub use choices::Choice;
use measure::Measured;

/// The expected cost of a reconstruction on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Voxels, z y x (a 360° half-acquisition comes out wider, which is known only with its centre).
    pub shape: [usize; 3],
    /// Unit of the voxels.
    pub unit: String,
    /// The budget of memory in bytes.
    pub memory_budget: u64,
    /// Scratch in bytes, for filters on whole projections or compressed chunks; 0 if none.
    pub scratch_bytes: u64,
    /// CPU seconds of one pair of slices, measured now on this scan's middle rows.
    pub pair_cpu_s: f64,
    /// Bytes a second that the output folder's disk takes, measured now; absent where it cannot be written.
    pub disk_bytes_per_s: Option<f64>,
    /// Worker threads.
    pub threads: usize,
    /// What each way to write the volume takes, the one that was asked for first.
    pub choices: Vec<Choice>,
    /// Why there is no estimate of time or memory, if so.
    pub problem: Option<String>,
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
    let prepared = prepare::prepare(scan, recipe)?;
    let source = &prepared.source;
    let plan = plan(&prepared, recipe, Rows::all(source.rows()), write)?;
    let scratch_bytes = filters::needed(source, recipe)
        .map_or(0, |_| Spool::bytes(source.projections(), source.rows(), source.columns()));
    let mut estimate = Estimate {
        shape: [plan.slices(), plan.slice_columns, plan.slice_columns],
        unit: plan.unit.clone(),
        memory_budget: budget.unwrap_or_else(memory::default_budget),
        scratch_bytes,
        pair_cpu_s: 0.0,
        disk_bytes_per_s: measure::disk(folder),
        threads: threads.unwrap_or_else(crate::job::available_threads).max(1),
        choices: Vec::new(),
        problem: None,
    };
    let chain = Chain::new(&plan, &prepared.angles, source.columns())?;
    match Measured::new(source, &chain, &plan) {
        Ok(measured) => {
            estimate.pair_cpu_s = measured.pair_cpu_s;
            estimate.choices = choices::choices(&estimate, &measured, source, &chain, &plan)?;
        }
        Err(error) => estimate.problem = Some(error.to_string()),
    }
    Ok(estimate)
}

/// A plan with the axis in the middle, which costs what any other centre costs.
fn plan(prepared: &Prepared, recipe: &Recipe, rows: Rows, write: Write) -> Result<Plan> {
    let mut recipe = recipe.clone();
    recipe.center.method = CenterMethod::Fixed;
    let center = Center::given((prepared.source.columns() - 1) as f64 / 2.0);
    let found = CenterFound { center, believed: true, sinograms: Vec::new() };
    prepare::plan(prepared, &recipe, rows, write, &found, None)
}
