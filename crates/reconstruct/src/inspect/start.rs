//! What comes before the stream of slices: opening, the search for the centre, its evidence, filters on whole projections.
//! It is done here once, with a clock: what it takes depends on the scan, on the method and on the filters, and no rule
//! would follow them.

use std::time::Instant;

use crate::clocks::process_cpu_s;
use crate::plan::{Center, Plan, Rows, Write};
use crate::prepare::{self, CenterFound, Prepared};
use crate::quick::CenterPicture;
use crate::recipe::{CenterMethod, OutputType, Recipe};
use crate::{Result, filters};

/// Pairs of slices whose CPU time the search for the centre takes, where it cannot be done in passing: measured as 11
/// at 2560 and at 1024 columns, 16 at 512.
const SEARCH_PAIRS: f64 = 12.0;

/// What comes before the stream, without the sampling of values for integers.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// Wall seconds.
    pub seconds: f64,
    /// CPU seconds in them.
    pub cpu_s: f64,
    /// Work on all threads that is known in pairs of slices only.
    pub pairs: f64,
    /// Wall seconds of passing all projections through decompression or filters once; 0 where that is not needed.
    pub pass_s: f64,
}

impl Start {
    /// Looks for the centre as a job does, on the threads of the current pool. The plan has that centre, or the middle
    /// where a job would refuse it: what is off the middle may widen a half-acquisition, all else costs the same.
    pub fn new(
        prepared: &Prepared,
        recipe: &Recipe,
        write: Write,
    ) -> Result<(Self, Plan, Option<CenterPicture>)> {
        let rows = Rows::all(prepared.source.rows());
        let mut start = Self::default();
        let (began, cpu) = (Instant::now(), process_cpu_s());
        // A compressed scan would have to be passed through, which may take minutes.
        let blind = prepared.source.scan().needs_spool();
        let found = if blind { None } else { prepare::find_center(prepared, recipe, &rows).ok() };
        let picture = found.as_ref().and_then(|found| CenterPicture::draw(prepared, found, None).ok());
        (start.seconds, start.cpu_s) = (began.elapsed().as_secs_f64(), process_cpu_s() - cpu);
        if let Some(spooled) = filters::needed(&prepared.source, recipe) {
            let (seconds, cpu_s) = filters::pass(prepared, recipe, spooled)?;
            // Once into the spool, and once for the rows that the centre is sought in.
            let passes = if blind { 2.0 } else { 1.0 };
            start.pass_s = seconds;
            start.seconds += passes * seconds;
            start.cpu_s += passes * cpu_s;
        }
        if blind && recipe.center.method != CenterMethod::Fixed {
            start.pairs = SEARCH_PAIRS;
        }
        let plan = match found.filter(|found| found.believed || recipe.center.accept_unbelieved) {
            Some(found) => prepare::plan(prepared, recipe, rows, write, &found, None)?,
            None => in_the_middle(prepared, recipe, rows, write)?,
        };
        Ok((start, plan, picture))
    }
}

/// A plan with the axis in the middle.
fn in_the_middle(prepared: &Prepared, recipe: &Recipe, rows: Rows, write: Write) -> Result<Plan> {
    let center = Center::given((prepared.source.columns() - 1) as f64 / 2.0);
    let found = CenterFound { center, believed: true, sinograms: Vec::new() };
    let mut fixed = recipe.clone();
    fixed.center.method = CenterMethod::Fixed;
    prepare::plan(prepared, &fixed, rows, write, &found, None)
}

/// Pairs that are reconstructed one after the other, to learn the range of integers.
pub(super) fn sampled_pairs(plan: &Plan) -> usize {
    let output = &plan.recipe.output;
    let given = output.scale_min.is_some() && output.scale_max.is_some();
    if given || output.dtype == OutputType::Float32 { 0 } else { plan.slices().min(5) }
}
