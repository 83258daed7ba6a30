//! The end of a job: lower levels that span parts, contrast window, preview, report, and the commit.

use volume::preview::Middle;
use volume::{Histogram, Manifest};

use crate::clocks::{Stage, process_cpu_s};
use crate::job::{Context, Outcome};
use crate::journal::{SlabRecord, WorkFolder};
use crate::plan::Plan;
use crate::progress::Event;
use crate::report::{Quality, Report, Warning};
use crate::{Error, Result, existing, outputs, quick};

/// Completes and commits the volume whose slabs are all journalled. `input` is the raw file's digest, `middle` what
/// the preview shows as far as it was made by this process.
pub(crate) fn finish(
    context: &Context<'_>,
    plan: &Plan,
    work: WorkFolder,
    input: &str,
    middle: Option<Middle>,
) -> Result<Outcome> {
    let records = work.records()?;
    complete(plan, &records)?;
    let mut histogram = Histogram::default();
    let mut quality = Quality::default();
    let mut files = Vec::new();
    for record in records {
        histogram.merge(&record.histogram);
        quality.add(&record.quality);
        files.extend(record.files);
    }
    // These were synced before their slab was journalled.
    let durable = files.len();
    let window = histogram.window();
    let spec = outputs::spec(plan, &context.paths.name(), Some(input));
    if plan.write.zarr {
        context.stage("levels", "building the levels that are left");
        let zarr = volume::OmeZarr::open_existing(
            &context.paths.zarr(),
            &spec,
            outputs::version(plan),
            outputs::compression(&plan.recipe),
        )?;
        let done: std::collections::BTreeSet<(usize, usize)> =
            files.iter().filter_map(|file| zarr.locate(&file.path)).collect();
        let more = context.clocks.time_all(Stage::Zarr, || {
            context.pool.install(|| zarr.build_missing(&|level, slab| done.contains(&(level, slab))))
        })?;
        files.extend(more);
        files.extend(zarr.finish(window)?);
    }
    context.stop.check()?;
    context.stage("preview", "drawing the preview");
    let preview = context
        .clocks
        .time_all(Stage::Pictures, || quick::preview(context, plan, &work, &histogram, window, middle))?;
    files.push(preview);

    context.stage("commit", "waiting for the disk and committing");
    let paths: Vec<_> = files[durable..].iter().map(|file| context.paths.folder.join(&file.path)).collect();
    context.clocks.time(Stage::Sync, || volume::sync_files(&paths))?;
    let manifest = Manifest::new(context.paths.name(), files)?;
    let digest = manifest.digest();
    let bytes = manifest.bytes();
    let outcome = Outcome {
        name: context.paths.name(),
        outputs: existing::results(&context.paths),
        manifest_blake3: Some(digest.clone()),
        already_done: false,
        center: Some(plan.center.clone()),
        shape: Some(spec.shape),
        bytes,
        seconds: context.began.elapsed().as_secs_f64(),
        stages: context.clocks.table(process_cpu_s() - context.cpu_before),
        warnings: warnings(plan, &quality),
    };
    let report = Report {
        schema: crate::report::SCHEMA,
        beamrail: env!("CARGO_PKG_VERSION").into(),
        plan: plan.clone(),
        input_blake3: input.to_owned(),
        warnings: outcome.warnings.clone(),
        quality,
        stages: outcome.stages.clone(),
        wall_s: outcome.seconds,
        cpu_s: process_cpu_s() - context.cpu_before,
        slices: plan.slices() as u64,
        peak_memory: crate::report::peak_memory(),
        memory_budget: context.budget,
        threads: context.threads,
        bytes_written: bytes,
        bytes_input: plan.scan.bytes,
        window: [window.start as f32, window.end as f32],
        histogram,
        manifest: crate::plan::file_name(&context.paths.manifest()),
        manifest_blake3: digest.clone(),
        host: crate::report::host_name(),
        started: context.started.clone(),
        finished: crate::report::now(),
    };
    report.write(&context.paths.report())?;
    manifest.write(&context.paths.manifest())?;
    work.remove()?;
    context.observer.event(&Event::Done {
        manifest: context.paths.manifest(),
        digest,
        seconds: context.began.elapsed().as_secs_f64(),
    });
    Ok(outcome)
}

/// Every slab must be there before anything is finished.
fn complete(plan: &Plan, records: &[SlabRecord]) -> Result<()> {
    let have: std::collections::BTreeSet<usize> = records.iter().map(|record| record.slab).collect();
    let missing: Vec<usize> = (0..plan.slabs()).filter(|slab| !have.contains(slab)).collect();
    match missing.first() {
        None => Ok(()),
        Some(&first) => Err(Error::Usage(format!(
            "{} of {} slabs are not reconstructed yet (the first holds slices {:?}); run the missing parts, then --finish",
            missing.len(),
            plan.slabs(),
            plan.slab_slices(first)
        ))),
    }
}

/// The plan's warnings and those that only the pixels could tell.
fn warnings(plan: &Plan, quality: &Quality) -> Vec<Warning> {
    let mut warnings = plan.warnings.clone();
    let share = |count: u64| 100.0 * count as f64 / quality.total.max(1) as f64;
    if quality.not_finite > 0 {
        warnings.push(Warning {
            code: "values-not-finite".into(),
            message: format!(
                "{} values ({:.3} %) were NaN or infinite and were interpolated from their neighbours",
                quality.not_finite,
                share(quality.not_finite)
            ),
        });
    }
    if share(quality.clipped) > 1.0 {
        warnings.push(Warning {
            code: "transmission-clipped".into(),
            message: format!(
                "{:.1} % of the transmissions are below transmission.minimum = {} and were raised to it: the object is too dense, or the flat fields do not fit",
                share(quality.clipped),
                plan.recipe.transmission.minimum
            ),
        });
    }
    warnings
}
