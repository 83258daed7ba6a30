//! Looking at collections, and copying between them by hand.

use std::sync::Arc;

use beamline::config::Config;
use custody::{DatasetId, FileEntry, FileList, Kind, RelPath, ScanName, SeenKind, TransferRequest};
use sites::{ListLimits, Storage, Watch};

use super::super::beam::{Beam, BeamArgs, who};
use crate::exit::{Exit, Failure};
use crate::grid::Grid;
use crate::output;
use crate::progress::Mode;

/// List a folder of a collection
#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    /// Where: SITE:PATH, from the site's root
    #[arg(value_name = "SITE:PATH")]
    place: String,

    /// Everything below as well
    #[arg(short, long)]
    recursive: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Copy a file or folder from site to site, once
///
/// Custody is asked as for every copy: export control holds for people too. What is there already and differs is left
/// alone. The same command again goes on where it was.
#[derive(Debug, clap::Args)]
pub(super) struct Transfer {
    /// From where: SITE:PATH, in the raw or scratch area
    #[arg(value_name = "SITE:PATH")]
    from: String,

    /// To which site; the path is the same in its area
    #[arg(value_name = "SITE")]
    to: String,
}

/// SITE:PATH.
fn place(text: &str) -> Result<(String, RelPath), Failure> {
    let (site, path) = text.split_once(':').unwrap_or((text, ""));
    let path = path.trim_matches('/');
    let path = if path.is_empty() { Ok(RelPath::root()) } else { RelPath::new(path) };
    Ok((site.to_owned(), path?))
}

pub(super) fn ls(beam: &BeamArgs, args: &Ls) -> Result<(), Failure> {
    let config = Config::load(beam.config.as_deref())?;
    let (site, path) = place(&args.place)?;
    let storage = super::collection(&config, &Arc::new(config.link()), &site)?;
    let limits = ListLimits { depth: if args.recursive { 64 } else { 1 }, entries: 1_000_000 };
    let runtime = super::runtime()?;
    let found = if args.recursive {
        runtime.block_on(storage.list(&path, limits))?
    } else {
        // One level: the folders below are named, not entered.
        let client = storage.link().client()?;
        let root = config.sites.get(&site).map(|site| site.root.join(path.as_str())).unwrap_or_default();
        let data_access = config.sites.get(&site).is_some_and(|site| site.data_access);
        let listed = runtime.block_on(async {
            if data_access {
                client.transfer().with_data_access(&[storage.collection()]).await?;
            }
            client.transfer().ls(storage.collection(), &root.to_string_lossy(), limits.entries).await
        })?;
        let kind = |info: &globus::transfer::FileInfo| match info.kind {
            globus::transfer::FileKind::Folder => SeenKind::Folder,
            _ if info.is_link() => SeenKind::Link,
            _ => SeenKind::File,
        };
        let mut found: Vec<custody::Seen> = listed
            .iter()
            .map(|info| custody::Seen {
                kind: kind(info),
                mtime_ns: info.modified_ns(),
                ..custody::Seen::file(info.name.clone(), info.size.unwrap_or(0))
            })
            .collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    };
    if args.json {
        return output::print_json(&found);
    }
    let mut grid = Grid::new(&["name", ">bytes", "changed"]);
    for one in found {
        let name = if one.kind == SeenKind::Folder { format!("{}/", one.path) } else { one.path };
        let time = one.mtime_ns.and_then(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).ok());
        grid.row([name, one.size.to_string(), time.map(super::super::beam::time).unwrap_or_default()]);
    }
    output::print(&grid.text())
}

pub(super) fn transfer(args: &BeamArgs, wanted: &Transfer, progress: Mode) -> Result<(), Failure> {
    let beam = Beam::open(args)?;
    let (from, path) = place(&wanted.from)?;
    let (source, target) = (beam.beamline.site(&from)?.clone(), beam.beamline.site(&wanted.to)?.clone());
    let policy = &beam.beamline.policy;
    let areas = policy.sites.get(&from).map(|site| site.areas.clone()).unwrap_or_default();
    let area = areas.iter().find(|(_, area)| path.is_within(&area.path) && path != area.path);
    let Some((name, area)) = area else {
        let folders: Vec<String> = areas.values().map(|area| area.path.to_string()).collect();
        return Err(Failure::usage(format!("{path} is in no area of {from}")).hint(folders.join(", ")));
    };
    let below = path.below(&area.path).unwrap_or_default();
    // <experiment folder>/<scan or its results>: what export control goes by.
    let mut parts = below.parts();
    let (Some(folder), Some(top)) = (parts.next(), parts.next()) else {
        return Err(Failure::usage(format!("{path}: name a scan or its results, in an experiment folder")));
    };
    let plain = if name == "scratch" { top.strip_prefix("rec").unwrap_or(top) } else { top };
    let stem = plain.split('.').next().unwrap_or(plain);
    let scan = ScanName::new(folder, stem)?;
    let kind = match name.as_str() {
        "raw" => Kind::Raw,
        _ if top.ends_with(".zarr") => Kind::Zarr,
        _ if top.contains('.') => Kind::Sidecars,
        _ => Kind::Tiff,
    };
    let base = area.path.join(&RelPath::new(folder)?);
    let inner = path.below(&base).unwrap_or_default();
    let found = beam.wait(source.stat(&path))?.ok_or_else(|| {
        Failure::new(Exit::BadInput, format!("{path} is not at {from}")).hint("beamrail globus ls")
    })?;
    let mut entries = Vec::new();
    if found.kind == SeenKind::File {
        entries.push(FileEntry { path: inner.clone(), size: found.size, blake3: None });
    } else {
        for one in beam.wait(source.list(&path, ListLimits::default()))? {
            if one.kind == SeenKind::File {
                let file = inner.join(&RelPath::new(one.path.as_str())?);
                entries.push(FileEntry { path: file, size: one.size, blake3: None });
            }
        }
    }
    let run = format!("by hand, {}", who());
    beam.beamline.custody.sight(&scan, None, &run, beam.now())?;
    let to_base = beam.beamline.base(&wanted.to, name, &scan)?;
    let request = TransferRequest {
        dataset: DatasetId::new(scan, kind),
        from: from.clone(),
        from_base: base,
        to: wanted.to.clone(),
        to_base,
        files: FileList::new(entries)?,
        run,
    };
    let permit = beam.beamline.custody.permit_transfer(&request, beam.now())?;
    let id = permit.id().to_owned();
    let stop = super::super::stop_on_signals()?;
    let quiet = progress == Mode::None;
    let watch = Watch::new(move |now| {
        if !quiet {
            let note = now.note.clone().map(|note| format!("; {note}")).unwrap_or_default();
            let (bytes, rate) = (output::bytes(now.bytes), now.rate / 1e6);
            super::super::live::say(&format!(
                "{bytes} of {}, {} of {} files, {rate:.0} MB/s, {} faults{note}",
                output::bytes(now.total_bytes),
                now.files,
                now.total_files,
                now.faults
            ));
        }
    });
    let key = format!("by hand/{from}:{path}/{}", wanted.to);
    let moved = beam.wait(async {
        let moving = source.transfer(permit, target.as_ref(), &key, &watch, beam.now());
        let mut moving = std::pin::pin!(moving);
        loop {
            tokio::select! {
                done = &mut moving => return done,
                () = tokio::time::sleep(std::time::Duration::from_millis(200)) => if stop.requested() {
                    watch.stop();
                },
            }
        }
    });
    let failure = moved.as_ref().err().map(ToString::to_string);
    beam.beamline.custody.end_transfer(&id, failure.as_deref(), beam.now())?;
    let done = moved?;
    output::print(&format!(
        "{} files, {} copied, {} there already, {:.1} s; not in custody: beamrail reconcile --adopt registers raw scans",
        done.files.count(),
        output::bytes(done.copied),
        output::bytes(done.reused),
        done.elapsed.as_secs_f64()
    ))
}
