//! Results that are there already: refuse, replace or go on.

use std::path::{Path, PathBuf};

use volume::{Manifest, VerifyLevel};

use crate::job::{Context, Existing, Outcome};
use crate::journal::WorkFolder;
use crate::paths::Paths;
use crate::plan::{Plan, Wanted};
use crate::prepare::{self, Prepared};
use crate::{Error, Result};

/// Looks at the output folder before anything is done. `Some` where a resumed job is complete already.
pub(crate) fn already_done(context: &Context<'_>) -> Result<Option<Outcome>> {
    let paths = &context.paths;
    match context.options.existing {
        Existing::Refuse => match things(paths).into_iter().find(|path| exists(path)) {
            Some(path) => Err(Error::Exists { path }),
            None => Ok(None),
        },
        Existing::Overwrite => {
            remove(paths)?;
            Ok(None)
        }
        Existing::Resume => {
            if let Some(done) = committed(context)? {
                return Ok(Some(done));
            }
            let foreign = [paths.tiffs(), paths.zarr()].into_iter().find(|path| exists(path));
            match foreign {
                Some(path) if !exists(&paths.work().join("plan.json")) => Err(Error::Usage(format!(
                    "{} is there, but no unfinished job that could be resumed; pass --overwrite to replace it",
                    path.display()
                ))),
                _ => Ok(None),
            }
        }
    }
}

/// `Some` if the volume is committed: the manifest is there and every file it lists has its size.
pub(crate) fn committed(context: &Context<'_>) -> Result<Option<Outcome>> {
    let paths = &context.paths;
    if !exists(&paths.manifest()) {
        return Ok(None);
    }
    let manifest = Manifest::read(&paths.manifest())?;
    let verification = manifest.verify(&paths.folder, VerifyLevel::Sized, &|_, _| {})?;
    if !verification.is_ok() {
        return Err(Error::BadInput(format!(
            "{} lists {} files that are missing or changed; run `beamrail verify {}` for the list, or start again with --overwrite",
            paths.manifest().display(),
            verification.findings.len(),
            paths.manifest().display()
        )));
    }
    if exists(&paths.work()) {
        // Committed, and killed before the work folder went.
        WorkFolder::open(&paths.work(), true)?.remove()?;
    }
    let bytes = manifest.bytes();
    Ok(Some(Outcome {
        name: paths.name(),
        outputs: results(paths).into_iter().filter(|path| exists(path)).collect(),
        manifest_blake3: Some(manifest.digest()),
        already_done: true,
        center: None,
        shape: None,
        bytes,
        seconds: context.began.elapsed().as_secs_f64(),
        stages: Vec::new(),
        warnings: Vec::new(),
    }))
}

/// The unfinished job to go on with, locked, if that was asked for and there is one that serves.
pub(crate) fn unfinished(context: &Context<'_>, wanted: &Wanted) -> Result<Option<(WorkFolder, Plan)>> {
    let path = context.paths.work();
    if context.options.existing != Existing::Resume || !exists(&path) {
        return Ok(None);
    }
    let work = WorkFolder::open(&path, true)?;
    match Plan::read(&work.plan_path())? {
        None => Ok(None),
        Some(plan) => match plan.serves(wanted) {
            Ok(()) => Ok(Some((work, plan))),
            Err(why) => Err(Error::Usage(format!("cannot resume {}: {why}", path.display()))),
        },
    }
}

/// The plan that `--plan` wrote.
pub(crate) fn planned(context: &Context<'_>) -> Result<Plan> {
    let path = context.paths.work().join("plan.json");
    Plan::read(&path)?.ok_or_else(|| {
        Error::Usage(format!(
            "there is no plan at {}; run the same command with --plan first",
            path.display()
        ))
    })
}

/// Refuses a scan that is not the one that was planned for.
pub(crate) fn same_scan(plan: &Plan, prepared: &Prepared) -> Result<()> {
    let now = prepare::identity(prepared.source.scan());
    if now == plan.scan {
        return Ok(());
    }
    Err(Error::BadInput(format!(
        "{} changed since the plan was made ({} bytes then, {} now); plan again with --plan --overwrite",
        prepared.source.scan().info().path.display(),
        plan.scan.bytes,
        now.bytes
    )))
}

/// Files and folders of a finished volume.
pub(crate) fn results(paths: &Paths) -> Vec<PathBuf> {
    vec![paths.tiffs(), paths.zarr(), paths.report(), paths.manifest(), paths.preview()]
}

/// What counts as "there already". A preview alone (from a quick look) does not.
fn things(paths: &Paths) -> Vec<PathBuf> {
    vec![paths.manifest(), paths.work(), paths.tiffs(), paths.zarr(), paths.report()]
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Deletes earlier results: the commit first, so that nothing half-deleted looks whole; then files that
/// carry the names of our own formats, inside our own folders, never through a link. Foreign files stay.
fn remove(paths: &Paths) -> Result<()> {
    let work = if exists(&paths.work()) { Some(WorkFolder::open(&paths.work(), true)?) } else { None };
    for file in [paths.manifest(), paths.report(), paths.preview()] {
        if exists(&file) {
            unlink(&file)?;
        }
    }
    let slice = |name: &str| {
        let digits =
            name.strip_prefix(&format!("{}_", paths.stem)).and_then(|rest| rest.strip_suffix(".tiff"));
        digits.is_some_and(|digits| digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    remove_inside(&paths.tiffs(), &slice)?;
    remove_inside(&paths.quick_slice(), &slice)?;
    let zarr = |name: &str| {
        matches!(name, ".zattrs" | ".zgroup" | ".zarray" | ".zmetadata" | "zarr.json")
            || (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    remove_inside(&paths.zarr(), &zarr)?;
    work.map_or(Ok(()), WorkFolder::remove)
}

/// Removes from `folder` and below every file whose name is `ours`, and folders that are empty then.
fn remove_inside(folder: &Path, ours: &dyn Fn(&str) -> bool) -> Result<()> {
    let is_folder = folder.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if !is_folder {
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(|source| Error::io("cannot list", folder, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| Error::io("cannot list", folder, source))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().map_err(|source| Error::io("cannot look at", &path, source))?;
        if kind.is_dir() {
            remove_inside(&path, ours)?;
        } else if kind.is_file() && (ours(&name) || volume::fs::is_part_name(&name)) {
            unlink(&path)?;
        }
    }
    // Stays if something foreign is in it.
    let _ = std::fs::remove_dir(folder);
    Ok(())
}

fn unlink(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|source| Error::io("cannot remove", path, source))
}
