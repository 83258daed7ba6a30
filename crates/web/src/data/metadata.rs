//! What a raw file says of itself: its geometry, and the small datasets and attributes in it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::http::StatusCode;
use custody::ScanName;
use scan::ScanInfo;
use serde::Serialize;

use super::pictures::{known_scan, raw};
use crate::app::Shared;
use crate::fault::Fault;
use crate::words::{bytes, count};

/// Files that are remembered.
const MOST: usize = 64;

/// What a raw file says.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Metadata {
    /// The file's name.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Geometry and circumstances as they were understood: name and value with its unit.
    pub facts: Vec<(String, String)>,
    /// What is odd about it, and what is done about that.
    pub warnings: Vec<String>,
    /// Small datasets and attributes, by their path in the file; attributes as `path@name`.
    pub values: BTreeMap<String, String>,
}

/// A file as it was when it was read.
#[derive(PartialEq)]
struct Read {
    path: PathBuf,
    bytes: u64,
    time: SystemTime,
}

/// Files that were read, the latest first.
#[derive(Default)]
pub(crate) struct Files(Mutex<VecDeque<(Read, Arc<Metadata>)>>);

impl Files {
    fn get(&self, file: &Read) -> Option<Arc<Metadata>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(one, _)| one == file).map(|(_, said)| said.clone())
    }

    fn keep(&self, file: Read, said: &Arc<Metadata>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(one, _)| one.path != file.path);
        all.truncate(MOST - 1);
        all.push_front((file, said.clone()));
    }
}

/// Reads it, from whichever copy of the raw file this process can read.
pub(crate) async fn metadata(app: &Shared, name: &ScanName) -> Result<Arc<Metadata>, Fault> {
    let file = raw(app, &known_scan(app, name).await?).await?;
    let kept = app.clone();
    app.blocking(move || {
        let unread = |why: String| Fault::new(StatusCode::CONFLICT, why);
        let about = file.metadata().map_err(|error| unread(format!("{}: {error}", file.display())))?;
        let time = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let file = Read { path: file, bytes: about.len(), time };
        if let Some(known) = kept.files.get(&file) {
            return Ok(known);
        }
        let scan = scan::open(&file.path).map_err(|error| unread(error.to_string()))?;
        let said = Arc::new(told(scan.info()));
        kept.files.keep(file, &said);
        Ok(said)
    })
    .await
}

fn told(info: &ScanInfo) -> Metadata {
    let angles = match (info.theta_degrees.first(), info.theta_degrees.last()) {
        (Some(first), Some(last)) => format!("{first:.3}° to {last:.3}°, {:.3}° in all", info.range_degrees),
        _ => "none".to_owned(),
    };
    let mut facts = vec![
        ("Layout", format!("{} ({})", info.layout, info.dataset)),
        (
            "Projections",
            format!(
                "{} of {} rows × {} columns, {}",
                info.projections, info.rows, info.columns, info.stored_type
            ),
        ),
        ("Flat fields", count(info.flat_frames as u64, "frame")),
        ("Dark fields", count(info.dark_frames as u64, "frame")),
        ("Angles", angles),
    ];
    if info.time_points > 1 {
        facts.push(("Time points", info.time_points.to_string()));
    }
    let known = [
        ("Pixel at the sample", info.pixel_size_um.map(|um| format!("{um} µm"))),
        ("Sample to detector", info.distance_mm.map(|mm| format!("{mm} mm"))),
        ("Photon energy", info.energy_kev.map(|kev| format!("{kev} keV"))),
        ("Sample", info.sample.clone()),
        ("Acquired", info.acquired.clone()),
        ("In memory", Some(bytes(info.bytes))),
    ];
    facts.extend(known.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Metadata {
        file: info.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        bytes: info.file_bytes,
        facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        warnings: info.warnings.iter().map(|one| one.message.clone()).collect(),
        values: info.metadata.clone(),
    }
}
