//! The job as a whole: what `beamrail reconstruct` does, in all its forms.

use std::path::PathBuf;
use std::time::Instant;

use rayon::ThreadPool;
use serde::Serialize;
use volume::preview::Middle;

use crate::chain::{Chain, Workspace};
use crate::clocks::{Clocks, Stage, process_cpu_s};
use crate::journal::{Journal, WorkFolder};
use crate::memory::{self, Layout};
use crate::paths::Paths;
use crate::pipeline::{Opening, Pipeline};
use crate::plan::{Plan, Rows, Wanted, Write};
use crate::prepare::{self, CenterFound, Prepared};
use crate::progress::{Event, Meter, Observer, Stop};
use crate::quick::CenterPicture;
use crate::recipe::Recipe;
use crate::{Error, Result, digest, existing, filters, finish, outputs, picture, quick};

/// What to do with results that are there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// Leave them and refuse.
    #[default]
    Refuse,
    /// Delete them (own files only) and start again.
    Overwrite,
    /// Go on where an interrupted job stopped; a finished one is left as it is.
    Resume,
}

/// Which form of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// From scan to committed volume.
    Run,
    /// Decide everything, write the plan, reconstruct nothing.
    Plan,
    /// The slabs of part `index` (1-based) of `of`, after a plan.
    Part {
        /// 1 to `of`.
        index: usize,
        /// Number of parts.
        of: usize,
    },
    /// Lower levels that span parts, preview, manifest: after the parts.
    Finish,
    /// The middle slice and the preview only.
    Quick,
}

/// A job as asked for.
#[derive(Debug, Clone)]
pub struct JobOptions {
    /// The raw scan.
    pub scan: PathBuf,
    /// How to open it.
    pub open: scan::OpenOptions,
    /// Folder for the results.
    pub output: PathBuf,
    /// The recipe, overrides applied.
    pub recipe: Recipe,
    /// Rows as `a:b[:step]`; all where absent.
    pub rows: Option<String>,
    /// What to write.
    pub write: Write,
    /// Memory budget in bytes.
    pub memory: Option<u64>,
    /// Worker threads.
    pub threads: Option<usize>,
    /// Results that are there already.
    pub existing: Existing,
}

/// What a job leaves behind.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The volume's name, `rec<stem>`.
    pub name: String,
    /// Files and folders made.
    pub outputs: Vec<PathBuf>,
    /// Digest of the manifest, once committed.
    pub manifest_blake3: Option<String>,
    /// Whether everything had been there before this call.
    pub already_done: bool,
    /// Rotation centre.
    pub center: Option<crate::plan::Center>,
    /// Voxels of the volume, z y x.
    pub shape: Option<[usize; 3]>,
    /// Bytes of results.
    pub bytes: u64,
    /// Wall seconds of this call.
    pub seconds: f64,
    /// Seconds by stage of this call.
    pub stages: Vec<crate::clocks::StageTime>,
    /// Warnings about the input.
    pub warnings: Vec<crate::report::Warning>,
}

/// What the stages of one call share.
pub(crate) struct Context<'a> {
    pub options: &'a JobOptions,
    pub paths: Paths,
    pub observer: &'a dyn Observer,
    pub stop: &'a Stop,
    pub clocks: Clocks,
    pub pool: ThreadPool,
    pub threads: usize,
    pub budget: u64,
    pub began: Instant,
    pub started: String,
    pub cpu_before: f64,
}

impl Context<'_> {
    pub(crate) fn stage(&self, name: &'static str, message: impl Into<String>) {
        self.observer.event(&Event::Stage { name, message: message.into() });
    }
}

/// Does the job. Events go to `observer`; `stop` ends it early and resumably.
///
/// # Errors
/// [`Error::kind`] tells bad input from failure; after a failure or an interruption the same options with
/// [`Existing::Resume`] go on from the last finished slab.
pub fn execute(
    options: &JobOptions,
    action: Action,
    observer: &dyn Observer,
    stop: &Stop,
) -> Result<Outcome> {
    let threads = options.threads.unwrap_or_else(available_threads).max(1);
    let pool = workers(threads)?;
    let context = Context {
        options,
        paths: Paths::new(&options.scan, &options.output)?,
        observer,
        stop,
        clocks: Clocks::default(),
        pool,
        threads,
        budget: options.memory.unwrap_or_else(memory::default_budget),
        began: Instant::now(),
        started: crate::report::now(),
        cpu_before: process_cpu_s(),
    };
    match action {
        Action::Run => run(&context),
        Action::Plan => plan(&context),
        Action::Part { index, of } => part(&context, index, of),
        Action::Finish => finish_parts(&context),
        Action::Quick => quick_look(&context),
    }
}

/// Cores that this process may use.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn run(context: &Context<'_>) -> Result<Outcome> {
    if let Some(done) = existing::already_done(context)? {
        return Ok(done);
    }
    let mut prepared = open(context)?;
    let wanted = wanted(context, &prepared)?;
    let (work, plan) = match existing::unfinished(context, &wanted)? {
        Some(unfinished) => unfinished,
        None => begin(context, &prepared, wanted.rows)?,
    };
    announce(context, &plan);
    let chain = Chain::new(&plan, &prepared.angles, prepared.source.columns())?;
    std::thread::scope(|scope| {
        let input = scope.spawn(|| {
            context.clocks.time(Stage::Digest, || digest::file(&context.options.scan, context.stop))
        });
        let middle = picture::middle(&plan);
        let middle = reconstruct(context, &mut prepared, &plan, &chain, &work, (1, 1), middle)?;
        let input = input.join().map_err(|_| Error::Thread("digest"))??;
        finish::finish(context, &plan, work, &input, middle)
    })
}

fn plan(context: &Context<'_>) -> Result<Outcome> {
    if let Some(done) = existing::already_done(context)? {
        return Ok(done);
    }
    let prepared = open(context)?;
    let wanted = wanted(context, &prepared)?;
    let plan = match existing::unfinished(context, &wanted)? {
        Some((_, plan)) => plan,
        None => begin(context, &prepared, wanted.rows)?.1,
    };
    announce(context, &plan);
    Ok(outcome(context, &plan, vec![context.paths.work().join("plan.json")]))
}

/// Decides, and writes the decisions down.
fn begin(context: &Context<'_>, prepared: &Prepared, rows: Rows) -> Result<(WorkFolder, Plan)> {
    let (plan, found) = decide(context, prepared, rows)?;
    let picture = context
        .clocks
        .time_all(Stage::Pictures, || context.pool.install(|| CenterPicture::draw(prepared, &found, None)))?;
    let work = outputs::begin(context, &plan)?;
    picture.keep(&work)?;
    plan.write(&work.plan_path())?;
    Ok((work, plan))
}

fn part(context: &Context<'_>, index: usize, of: usize) -> Result<Outcome> {
    if of == 0 || !(1..=of).contains(&index) {
        return Err(Error::Usage(format!(
            "--part {index}/{of}: parts count from 1 to their number, for example --part 2/4"
        )));
    }
    let plan = existing::planned(context)?;
    let mut prepared =
        prepare::prepare(scan::open_with(&context.options.scan, &context.options.open)?, &plan.recipe)?;
    existing::same_scan(&plan, &prepared)?;
    let work = WorkFolder::open(&context.paths.work(), false)?;
    let chain = Chain::new(&plan, &prepared.angles, prepared.source.columns())?;
    announce(context, &plan);
    reconstruct(context, &mut prepared, &plan, &chain, &work, (index, of), None)?;
    Ok(outcome(context, &plan, Vec::new()))
}

fn finish_parts(context: &Context<'_>) -> Result<Outcome> {
    if let Some(done) = existing::committed(context)? {
        return Ok(done);
    }
    let plan = existing::planned(context)?;
    let prepared =
        prepare::prepare(scan::open_with(&context.options.scan, &context.options.open)?, &plan.recipe)?;
    existing::same_scan(&plan, &prepared)?;
    let work = WorkFolder::open(&context.paths.work(), true)?;
    let input = digest::file(&context.options.scan, context.stop)?;
    finish::finish(context, &plan, work, &input, None)
}

fn quick_look(context: &Context<'_>) -> Result<Outcome> {
    let mut prepared = open(context)?;
    let rows = wanted(context, &prepared)?.rows;
    let (plan, found) = decide(context, &prepared, rows)?;
    let chain = Chain::new(&plan, &prepared.angles, prepared.source.columns())?;
    let picture = context.pool.install(|| CenterPicture::draw(&prepared, &found, None))?;
    volume::fs::create_folder(&context.paths.folder)?;
    let middle = plan.slices() / 2 / crate::plan::SLAB;
    filters::spool(context, &mut prepared, &plan, None, middle..middle + 1)?;
    let image = quick::deliver(context, &prepared, &plan, &chain, &mut chain.workspace()?, Some(&picture))?;
    quick::write_slice(context, &plan, &image)?;
    Ok(outcome(context, &plan, vec![context.paths.preview(), context.paths.quick_slice()]))
}

/// Opens the scan and checks it against the recipe.
fn open(context: &Context<'_>) -> Result<Prepared> {
    let options = context.options;
    context.stage("open", format!("opening {}", options.scan.display()));
    let prepared = prepare::prepare(scan::open_with(&options.scan, &options.open)?, &options.recipe)?;
    context.stop.check()?;
    Ok(prepared)
}

fn wanted(context: &Context<'_>, prepared: &Prepared) -> Result<Wanted> {
    let options = context.options;
    let rows = match &options.rows {
        Some(text) => Rows::parse(text, prepared.source.rows())?,
        None => Rows::all(prepared.source.rows()),
    };
    Ok(Wanted {
        scan: prepare::identity(prepared.source.scan()),
        recipe: options.recipe.clone(),
        rows,
        write: options.write,
    })
}

/// Finds the centre and resolves everything else.
fn decide(context: &Context<'_>, prepared: &Prepared, rows: Rows) -> Result<(Plan, CenterFound)> {
    let recipe = &context.options.recipe;
    context.stage("center", "finding the rotation centre");
    let found = context
        .clocks
        .time_all(Stage::Center, || context.pool.install(|| prepare::find_center(prepared, recipe, &rows)))?;
    context.stop.check()?;
    if !found.believed && !recipe.center.accept_unbelieved {
        let evidence = quick::refused(context, prepared, &found);
        return Err(Error::Center {
            reason: found.center.reason.clone(),
            center: found.center.center,
            confidence: found.center.confidence,
            verdict: found.center.verdict.clone(),
            evidence,
        });
    }
    let mut plan = prepare::plan(prepared, recipe, rows, context.options.write, &found, None)?;
    filters::check(prepared, recipe, &mut plan.warnings)?;
    plan.scaling = context.pool.install(|| quick::scaling(context, prepared, &plan))?;
    Ok((plan, found))
}

/// Tells the observer what was decided.
fn announce(context: &Context<'_>, plan: &Plan) {
    for warning in &plan.warnings {
        context
            .observer
            .event(&Event::Warning { code: warning.code.clone(), message: warning.message.clone() });
    }
    let center = &plan.center;
    context.observer.event(&Event::Center {
        center: center.center,
        confidence: center.confidence,
        verdict: center.verdict.clone(),
    });
}

/// Streams the slabs of one part. The planes in `middle` come back with what was made here.
fn reconstruct(
    context: &Context<'_>,
    prepared: &mut Prepared,
    plan: &Plan,
    chain: &Chain,
    work: &WorkFolder,
    (index, of): (usize, usize),
    mut middle: Option<Middle>,
) -> Result<Option<Middle>> {
    let slabs = plan.part_slabs(index, of);
    let journal = Journal::open(work, index, of)?;
    let done: std::collections::BTreeSet<usize> =
        work.records()?.into_iter().map(|record| record.slab).collect();
    if slabs.clone().all(|slab| done.contains(&slab)) {
        return Ok(middle);
    }
    filters::spool(context, prepared, plan, Some(work), slabs.clone())?;
    let prepared = &*prepared;
    let kept = CenterPicture::kept(work)?;
    let look = |workspace: &mut Workspace| {
        context.clocks.time(Stage::Pictures, || {
            quick::deliver(context, prepared, plan, chain, workspace, kept.as_ref()).map(drop)
        })
    };
    let opening: Option<&Opening> = if of == 1 && done.is_empty() { Some(&look) } else { None };
    let layout = layout(context, prepared, plan, chain)?;
    // Each worker has scratch of its own: no more of them than the budget has room for.
    let fewer = if layout.threads < context.threads { Some(workers(layout.threads)?) } else { None };
    let writers = outputs::open(context, plan)?;
    let slices = slabs.clone().map(|slab| plan.slab_slices(slab).len() as u64).sum();
    context.stage("reconstruct", format!("reconstructing {slices} slices of {0} × {0}", plan.slice_columns));
    let pipeline = Pipeline {
        plan,
        spec: outputs::spec(plan, &context.paths.name(), None),
        source: &prepared.source,
        chain,
        tiff: writers.tiff.as_ref(),
        zarr: writers.zarr.as_ref(),
        pool: fewer.as_ref().unwrap_or(&context.pool),
        layout,
        queue: volume::WriteQueue::new(context.paths.folder.clone(), layout.writers)?,
        clocks: &context.clocks,
        stop: context.stop,
        folder: &context.paths.folder,
        opening,
    };
    let meter = Meter::new(context.observer, "reconstruct", slices);
    pipeline.run(slabs, &|slab| done.contains(&slab), journal, &meter, middle.as_mut())?;
    Ok(middle)
}

/// Threads that compute.
fn workers(threads: usize) -> Result<ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("worker-{index}"))
        .build()
        .map_err(|_| Error::Thread("worker"))
}

/// Divides the memory budget for this scan.
pub(crate) fn layout(
    context: &Context<'_>,
    prepared: &Prepared,
    plan: &Plan,
    chain: &Chain,
) -> Result<Layout> {
    memory::plan(context.budget, context.threads, &outputs::demand(&prepared.source, plan, chain))
}

/// The answer of a call that stops before the commit.
pub(crate) fn outcome(context: &Context<'_>, plan: &Plan, outputs: Vec<PathBuf>) -> Outcome {
    Outcome {
        name: context.paths.name(),
        outputs,
        manifest_blake3: None,
        already_done: false,
        center: Some(plan.center.clone()),
        shape: Some([plan.slices(), plan.slice_columns, plan.slice_columns]),
        bytes: 0,
        seconds: context.began.elapsed().as_secs_f64(),
        stages: context.clocks.table(process_cpu_s() - context.cpu_before),
        warnings: plan.warnings.clone(),
    }
}
