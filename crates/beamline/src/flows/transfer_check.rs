//! `transfer_check`: the flight check. Between each pair of sites that the flows use, a small file is written, copied,
//! read back, compared and taken away.

use std::sync::Arc;

use custody::{DatasetId, FileEntry, FileList, Kind, RelPath, ScanName, TransferRequest};
use engine::{Context, Failure, StepContext, join_all};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sites::{Storage, Watch};

use super::work::{Outcome, transferring};
use crate::error::{Error, Result};
use crate::runtime::Beamline;

/// Where probes are, from the site's root: outside all areas, so that no flow takes one for data.
const FOLDER: &str = ".beamrail/checks";

/// The parameters of `transfer_check`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransferCheckParameters {
    /// Bytes of the file, at most 1 MiB.
    pub size: u64,
    /// What older triggers pass; every pair of sites is checked.
    pub file_path: Option<Value>,
    /// What older triggers pass; not used.
    pub config: Option<Value>,
}

impl Default for TransferCheckParameters {
    fn default() -> Self {
        Self { size: 1000, file_path: None, config: None }
    }
}

/// A pair that works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// From where.
    pub from: String,
    /// To where.
    pub to: String,
    /// Seconds for all of it.
    pub seconds: f64,
}

/// The flow. It fails if one pair does, and names all that do.
pub(super) async fn check(
    beam: Arc<Beamline>,
    context: Context,
    parameters: TransferCheckParameters,
) -> Outcome<Vec<Checked>> {
    let size = parameters.size.clamp(1, 1 << 20);
    let run = context.id().to_string();
    let checks = beam.pairs().into_iter().map(|(from, to)| {
        let (beam, run, name) = (&beam, &run, format!("{from} to {to}"));
        let options = transferring().retry(engine::Retry::attempts(3)).input(&(&from, &to, size));
        let step = context.step(&name, options, move |step: StepContext| {
            let (beam, run, from, to) = (beam.clone(), run.clone(), from.clone(), to.clone());
            async move { Ok(probe(&beam, &step, &run, &from, &to, size).await?) }
        });
        async move { Ok(step.await.map_err(|failure| (name, failure))) }
    });
    let results: Vec<std::result::Result<Checked, (String, Failure)>> =
        join_all(checks.collect::<Vec<_>>()).await?;
    let (mut fine, mut failed) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(checked) => fine.push(checked),
            Err((_, failure)) if failure.kind == engine::FailureKind::LostLease => return Err(failure),
            Err((name, failure)) => failed.push(format!("{name}: {failure}")),
        }
    }
    match failed.is_empty() {
        true => Ok(fine),
        false => Err(Failure::fatal(failed.join("; ")).with_code("transfer-check-failed")),
    }
}

async fn probe(
    beam: &Beamline,
    step: &StepContext,
    run: &str,
    from: &str,
    to: &str,
    size: u64,
) -> Result<Checked> {
    let begun = std::time::Instant::now();
    let (source, target) = (beam.site(from)?, beam.site(to)?);
    // Content that differs from check to check: an old file can pass for none of them.
    let name = format!("{run}-{from}-{to}.txt");
    let bytes: Vec<u8> = name.bytes().cycle().take(usize::try_from(size).unwrap_or(1000)).collect();
    let base = RelPath::new(FOLDER)?;
    // Side-by-side checks from one site must not meet.
    let sent = base.join(&RelPath::new(format!("sent/{name}"))?);
    let (sent_base, file) = sent.split().map(|(base, file)| (base, file.to_owned())).unwrap_or_default();
    let got_base = base.join(&RelPath::new("received")?);
    let got = got_base.join(&RelPath::new(file.as_str())?);
    let digest = blake3::hash(&bytes).to_hex().to_string();
    source.make_folder(&sent_base).await?;
    source.write_small(&sent, &bytes).await?;
    let probe = ScanName::new("beamrail-checks", "transfer-check")?;
    beam.custody.sight(&probe, Some(false), run, beam.now())?;
    let request = TransferRequest {
        dataset: DatasetId::new(probe, Kind::Raw),
        from: from.to_owned(),
        from_base: sent_base.clone(),
        to: to.to_owned(),
        to_base: got_base,
        files: FileList::new(vec![FileEntry::new(file, size, Some(digest.clone()))?])?,
        run: run.to_owned(),
    };
    let permit = beam.custody.permit_transfer(&request, beam.now())?;
    let id = permit.id().to_owned();
    let key = format!("{run}/check/{from}/{to}");
    let moved = source.transfer(permit, target.as_ref(), &key, &Watch::default(), beam.now()).await;
    let why = moved.as_ref().err().map(ToString::to_string);
    beam.custody.end_transfer(&id, why.as_deref(), beam.now())?;
    moved?;
    // Read as a small file, which every kind of site can do.
    let found = blake3::hash(&target.read_small(&got, 2 << 20).await?).to_hex().to_string();
    if found != digest {
        let reason = "it arrived as something else; check both disks and the way between".to_owned();
        return Err(Error::Value { name: "probe", value: format!("{got} at {to}"), reason });
    }
    take_away(step, source.as_ref(), &sent).await?;
    take_away(step, target.as_ref(), &got).await?;
    Ok(Checked { from: from.to_owned(), to: to.to_owned(), seconds: begun.elapsed().as_secs_f64() })
}

/// Takes a probe away, where this process sees the site's folder.
async fn take_away(step: &StepContext, storage: &dyn Storage, path: &RelPath) -> Result<()> {
    let Some(local) = storage.as_local() else {
        step.warn(format!(
            "{path} stays at {}: this process cannot delete there without a permit",
            storage.site()
        ));
        return Ok(());
    };
    let file = local.root().join(path.as_str());
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(file)).await;
    match removed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) => {
            let reason = format!("it cannot be taken away: {error}; check the rights on {FOLDER}");
            Err(Error::Value { name: "probe", value: format!("{path} at {}", storage.site()), reason })
        }
        // The runtime is going down; the next check has a name of its own.
        Err(_) => Ok(()),
    }
}
