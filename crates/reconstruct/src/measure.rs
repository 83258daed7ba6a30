//! The stream by itself, for measurements: no centre, pictures, digest or commit, and nothing written.

use std::path::Path;

use rayon::ThreadPoolBuilder;
use volume::{OmeZarr, TiffStack, WriteQueue};

use crate::chain::Chain;
use crate::clocks::{Clocks, StageTime, process_cpu_s};
use crate::journal::{Journal, WorkFolder};
use crate::pipeline::Pipeline;
use crate::plan::{Center, OmeZarr as OmeZarrVersion, Rows, Write};
use crate::prepare::{self, CenterFound};
use crate::progress::{Meter, Silent, Stop};
use crate::recipe::Recipe;
use crate::{Error, Result, memory, outputs};

/// What a run of the stream took.
#[derive(Debug)]
pub struct Measured {
    /// Slices made.
    pub slices: usize,
    /// Wall seconds, from the first read to the last encoded chunk.
    pub wall_s: f64,
    /// CPU seconds of the process meanwhile.
    pub cpu_s: f64,
    /// Seconds by stage.
    pub stages: Vec<StageTime>,
}

/// Reconstructs all of `scan` about its middle with `threads`, encodes and hashes everything that a job
/// would, and throws it away. Metadata and a journal are left in `folder`, which must be fresh.
///
/// # Errors
/// As a job has them.
pub fn stream(scan: &Path, recipe: &Recipe, budget: u64, threads: usize, folder: &Path) -> Result<Measured> {
    let prepared = prepare::prepare(scan::open_with(scan, &scan::OpenOptions::default())?, recipe)?;
    let center = Center::given((prepared.source.columns() - 1) as f64 / 2.0);
    let found = CenterFound { center, believed: true, sinograms: Vec::new() };
    let rows = Rows::all(prepared.source.rows());
    let write = Write { tiff: true, zarr: true, ome_zarr: OmeZarrVersion::V04 };
    let plan = prepare::plan(&prepared, recipe, rows, write, &found, None)?;
    let chain = Chain::new(&plan, &prepared.angles, prepared.source.columns())?;
    let layout = memory::plan(budget, threads, &outputs::demand(&prepared.source, &plan, &chain))?;
    let spec = outputs::spec(&plan, "measured", None);
    let tiff = TiffStack::open_existing(&folder.join("tiff"), "measured", &spec)?;
    let (version, compression) = (outputs::version(&plan), outputs::compression(recipe));
    let zarr = OmeZarr::open_existing(&folder.join("measured.zarr"), &spec, version, compression)?;
    let pool =
        ThreadPoolBuilder::new().num_threads(layout.threads).build().map_err(|_| Error::Thread("worker"))?;
    let work = WorkFolder::open(&folder.join("work"), true)?;
    let (clocks, stop) = (Clocks::default(), Stop::default());
    let pipeline = Pipeline {
        plan: &plan,
        spec,
        source: &prepared.source,
        chain: &chain,
        tiff: Some(&tiff),
        zarr: Some(&zarr),
        pool: &pool,
        layout,
        queue: WriteQueue::discarding()?,
        clocks: &clocks,
        stop: &stop,
        folder,
        opening: None,
    };
    let (began, cpu) = (std::time::Instant::now(), process_cpu_s());
    let journal = Journal::open(&work, 1, 1)?;
    let meter = Meter::new(&Silent, "measure", plan.slices() as u64);
    pipeline.run(0..plan.slabs(), &|_| false, journal, &meter, None)?;
    let (wall_s, cpu_s) = (began.elapsed().as_secs_f64(), process_cpu_s() - cpu);
    Ok(Measured { slices: plan.slices(), wall_s, cpu_s, stages: clocks.table(cpu_s) })
}
