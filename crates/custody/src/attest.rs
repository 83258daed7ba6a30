//! Whether a copy is, right now, what was verified.

use std::collections::{BTreeMap, BTreeSet};

use crate::Result;
use crate::files::{Expectation, FileList, Finding, Observation, Problem, Reach, Seen, SeenKind, compare};
use crate::judge::Dossier;
use crate::plan::sample;
use crate::reason::Reason;
use crate::records::{CopyRecord, State};
use crate::store::{CLOCK_TOLERANCE, Db};

impl Db<'_> {
    /// Compares an observation with the copy it is of. For a witness, `doomed` is what is to go.
    pub(crate) fn attest(
        &self,
        dossier: &Dossier,
        copy: &CopyRecord,
        seen: &Observation,
        plan: i64,
        doomed: Option<(&CopyRecord, &Observation)>,
    ) -> Result<Vec<Reason>> {
        let (now, site) = (dossier.now, || copy.site.clone());
        if seen.site != copy.site || seen.base != copy.base {
            let (site, base) = (seen.site.clone(), seen.base.to_string());
            return Ok(vec![Reason::EvidenceElsewhere { site, base }]);
        }
        let observed = seen.observed_at;
        let oldest = dossier.settings.evidence_valid.before(now);
        if observed < oldest || observed > CLOCK_TOLERANCE.after(now) {
            return Ok(vec![Reason::EvidenceOld { site: site(), observed }]);
        }
        let files = match &seen.reach {
            Reach::Unreachable(why) => {
                return Ok(vec![Reason::Unreachable { site: site(), why: why.clone() }]);
            }
            Reach::Seen(files) => files,
        };
        let list = self.list_of(copy.id)?;
        let mtimes = self.mtimes_of(copy.id)?;
        let reads = dossier.settings.sites.get(&copy.site).is_some_and(|site| site.digests);
        let mut read = if reads { sample(&list, plan) } else { vec![] };
        let by_path: BTreeMap<&str, &Seen> = files.iter().map(|one| (one.path.as_str(), one)).collect();
        let broken_off = doomed.is_none() && copy.state == State::Deleting;
        if broken_off {
            read.retain(|path| by_path.contains_key(path.as_str()));
        }
        let expect = Expectation {
            mtimes: mtimes.as_deref(),
            latest: Some(CLOCK_TOLERANCE.after(now)),
            may_be_gone: broken_off,
            read: &read,
        };
        let mut findings = compare(&list, &expect, files);
        if let Some((record, other)) = doomed {
            findings.extend(differences(record, copy, other, files));
        }
        let mut reasons = Vec::new();
        let unknown = untold(&list, mtimes.as_deref(), &by_path);
        if !findings.is_empty() {
            reasons.push(Reason::Changed { site: site(), findings });
        } else if let Some(path) = unknown {
            reasons.push(Reason::CannotTell { site: site(), path });
        }
        if let Some(path) = doomed.and_then(|(_, other)| same_file(other, files)) {
            reasons.push(Reason::SameFile { site: site(), path });
        }
        Ok(reasons)
    }
}

/// Digests of the two that were read just now and differ, where no digest was known before.
fn differences(
    doomed: &CopyRecord,
    witness: &CopyRecord,
    other: &Observation,
    files: &[Seen],
) -> Vec<Finding> {
    let Reach::Seen(theirs) = &other.reach else { return vec![] };
    if doomed.dataset != witness.dataset {
        return vec![];
    }
    let read: BTreeMap<&str, &str> =
        theirs.iter().filter_map(|one| Some((one.path.as_str(), one.blake3.as_deref()?))).collect();
    let differs = |one: &&Seen| match (read.get(one.path.as_str()), &one.blake3) {
        (Some(theirs), Some(ours)) => !ours.eq_ignore_ascii_case(theirs),
        _ => false,
    };
    let finding = |one: &Seen| Finding { path: one.path.clone(), problem: Problem::Digest };
    files.iter().filter(differs).map(finding).collect()
}

/// The first file of which neither a time nor a digest tells whether it changed since it was verified.
fn untold(list: &FileList, mtimes: Option<&[Option<i64>]>, seen: &BTreeMap<&str, &Seen>) -> Option<String> {
    let told = |(at, path): (usize, &str)| {
        let Some(one) = seen.get(path) else { return true };
        let recorded = mtimes.and_then(|times| times.get(at)).copied().flatten().is_some();
        let known = list.find(path).is_some_and(|entry| entry.blake3.is_some());
        (recorded && one.mtime_ns.is_some()) || (known && one.blake3.is_some())
    };
    let mut paths = list.entries().iter().map(|entry| entry.path.as_str()).enumerate();
    paths.find(|one| !told(*one)).map(|(_, path)| path.to_owned())
}

/// A file that is the very same bytes on the disk in both observations.
fn same_file(doomed: &Observation, witness: &[Seen]) -> Option<String> {
    let Reach::Seen(doomed) = &doomed.reach else { return None };
    let theirs: BTreeSet<&str> = doomed.iter().filter_map(|one| one.identity.as_deref()).collect();
    let files = witness.iter().filter(|one| one.kind == SeenKind::File);
    let mut same = files.filter(|one| one.identity.as_deref().is_some_and(|id| theirs.contains(id)));
    same.next().map(|one| one.path.clone())
}
