//! The commands, one file each: flags, then what is done with them.

use std::path::PathBuf;

use ::reconstruct::progress::Stop;
use ::reconstruct::recipe::Recipe;

use crate::exit::{Exit, Failure};

pub(crate) mod backup;
mod beam;
pub(crate) mod center;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod custody;
pub(crate) mod demo;
mod explain;
pub(crate) mod globus;
mod health;
pub(crate) mod init;
pub(crate) mod inspect;
mod live;
pub(crate) mod man;
pub(crate) mod prefect;
pub(crate) mod prune;
pub(crate) mod recipes;
pub(crate) mod reconcile;
pub(crate) mod reconstruct;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod verify;
pub(crate) mod view;
pub(crate) mod watch;
pub(crate) mod worker;
pub(crate) mod zarr;

/// The raw scan and how to read it: flags that several commands share.
#[derive(Debug, clap::Args)]
pub(crate) struct ScanArgs {
    /// The raw scan (HDF5)
    #[arg(value_name = "SCAN.h5")]
    pub(crate) scan: PathBuf,

    /// Read the scan as this layout instead of detecting it
    #[arg(long, value_parser = layout, value_name = "LAYOUT", help_heading = "Reading the scan")]
    layout: Option<scan::Layout>,

    /// Path of the projections inside the file, where it is not the usual one
    #[arg(long, value_name = "PATH", help_heading = "Reading the scan")]
    dataset: Option<String>,

    /// Which time point of a time-resolved scan, counted from 0
    #[arg(long, value_name = "N", help_heading = "Reading the scan")]
    time_point: Option<usize>,

    /// Rotation in degrees from the first to the last projection, for a file without angles
    #[arg(long, value_name = "DEGREES", help_heading = "Reading the scan")]
    scan_range: Option<f64>,

    /// Go on with the projections that were written where the last ones are missing
    #[arg(long, help_heading = "Reading the scan")]
    allow_incomplete: bool,
}

impl ScanArgs {
    /// The flags as the reader takes them.
    pub(crate) fn open_options(&self) -> scan::OpenOptions {
        scan::OpenOptions {
            layout: self.layout,
            dataset: self.dataset.clone(),
            time_point: self.time_point,
            range_degrees: self.scan_range,
            allow_incomplete: self.allow_incomplete,
            ..scan::OpenOptions::default()
        }
    }
}

/// The layout of that name.
fn layout(name: &str) -> Result<scan::Layout, String> {
    use scan::Layout::{Als, Als1131, Dxchange, Dxfile, Nexus, Sls};
    let all = [Dxfile, Dxchange, Als, Als1131, Sls, Nexus];
    all.into_iter().find(|layout| layout.to_string() == name).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("the layouts are {}", names.join(", "))
    })
}

/// The recipe and what changes it: flags that several commands share.
#[derive(Debug, clap::Args)]
pub(crate) struct RecipeArgs {
    /// Recipe: the name of a built-in one (beamrail recipes) or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    recipe: String,

    /// Change a parameter of the recipe; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl RecipeArgs {
    /// The recipe with all changes, checked; `more` settings come last, so they win.
    pub(crate) fn resolve(&self, more: impl IntoIterator<Item = String>) -> Result<Recipe, Failure> {
        let mut settings = self.set.clone();
        settings.extend(more);
        Ok(Recipe::resolve(&self.recipe, &settings)?)
    }
}

/// A stop that SIGINT (Ctrl-C) and SIGTERM ask for. A second signal ends the process at once.
pub(crate) fn stop_on_signals() -> Result<Stop, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Stop::new();
    let register = || -> std::io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, sets it, and the job winds down.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                Exit::Interrupted.code().into(),
                stop.flag(),
            )?;
            signal_hook::flag::register(signal, stop.flag())?;
        }
        Ok(())
    };
    register().map_err(|error| Failure::new(Exit::Failed, format!("cannot catch signals: {error}")))?;
    Ok(stop)
}

/// Versions of OME-Zarr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OmeVersion {
    /// On Zarr v2; what most viewers read.
    #[value(name = "0.4")]
    V04,
    /// On Zarr v3, with shards.
    #[value(name = "0.5")]
    V05,
}

impl From<OmeVersion> for volume::OmeVersion {
    fn from(version: OmeVersion) -> Self {
        match version {
            OmeVersion::V04 => Self::V04,
            OmeVersion::V05 => Self::V05,
        }
    }
}

impl From<OmeVersion> for ::reconstruct::plan::OmeZarr {
    fn from(version: OmeVersion) -> Self {
        match version {
            OmeVersion::V04 => Self::V04,
            OmeVersion::V05 => Self::V05,
        }
    }
}
