//! The path of a scan through the places, and what of it is at each.

use std::collections::BTreeSet;

use beamline::Beamline;
use custody::{CopyRecord, Kind, Level, State};
use serde::Serialize;

use super::doing::Doing;

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// A copy that counts as verified.
    Verified,
    /// A copy that is there, and not verified as policy asks.
    There,
    /// Something goes on there.
    Busy,
    /// A copy failed its verification, or vanished.
    Wrong,
    /// Copies were there and were deleted.
    Gone,
    /// Nothing was there.
    Empty,
}

/// A place and what is there.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Place {
    /// The site.
    pub site: String,
    /// How it stands.
    pub standing: Standing,
    /// Which of the scan's datasets are there: raw, tiff, zarr, sidecars.
    pub holds: Vec<String>,
    /// In words.
    pub text: String,
}

/// The sites in the order in which a scan comes to them.
pub(crate) fn journey(beam: &Beamline) -> Vec<String> {
    let home = &beam.flows.home;
    let first = home.detector.iter().cloned().chain([home.data_host.clone()]);
    let archives = home.archives.iter().cloned();
    let recon = beam.flows.recon.values().flat_map(|one| {
        let facility = beam.facilities.get(&one.facility).map(|facility| facility.site.clone());
        facility.into_iter().chain(one.return_to.iter().cloned())
    });
    let mut seen = BTreeSet::new();
    let all = first.chain(archives).chain(recon).chain(beam.sites.keys().cloned());
    all.filter(|site| !site.is_empty() && beam.sites.contains_key(site) && seen.insert(site.clone()))
        .collect()
}

/// A scan's places.
pub(crate) fn places(journey: &[String], level: Level, copies: &[CopyRecord], doing: &[Doing]) -> Vec<Place> {
    journey.iter().map(|site| place(site, level, copies, doing)).collect()
}

fn place(site: &str, level: Level, copies: &[CopyRecord], doing: &[Doing]) -> Place {
    let here: Vec<&CopyRecord> = copies.iter().filter(|copy| copy.site == site).collect();
    let there = || here.iter().filter(|copy| copy.state.is_there());
    let mut holds: Vec<Kind> = there().map(|copy| copy.dataset.kind).collect();
    holds.sort();
    holds.dedup();
    let busy = doing.iter().find(|one| one.site.as_deref() == Some(site));
    // Results that were set aside for newer ones are lost at their old path only.
    let moved = |lost: &CopyRecord| there().any(|copy| copy.dataset == lost.dataset && copy.is_like(lost));
    let wrong = here.iter().any(|copy| match copy.state {
        State::Suspect => true,
        State::Lost => !moved(copy),
        _ => false,
    });
    let words = || holds.iter().map(|kind| kind_words(*kind)).collect::<Vec<_>>().join(", ");
    let (standing, text) = if let Some(one) = busy {
        (Standing::Busy, one.text.clone())
    } else if wrong {
        (Standing::Wrong, "a copy failed its verification or vanished".to_owned())
    } else if there().any(|copy| copy.level >= Some(level)) {
        (Standing::Verified, format!("{}, verified", words()))
    } else if !holds.is_empty() {
        (Standing::There, format!("{}, not verified yet", words()))
    } else if !here.is_empty() {
        (Standing::Gone, "was here and has gone".to_owned())
    } else {
        (Standing::Empty, "not here".to_owned())
    };
    let holds = holds.into_iter().map(|kind| kind.name().to_owned()).collect();
    Place { site: site.to_owned(), standing, holds, text }
}

/// What a dataset is to a person.
pub(crate) fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Raw => "raw data",
        Kind::Tiff => "slices",
        Kind::Zarr => "volume",
        Kind::Sidecars => "report",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy at `alcf` as custody's records of today read.
    fn copy(base: &str, state: State, level: Option<Level>) -> CopyRecord {
        let name = custody::ScanName::new("ALS-1_user", "foam").unwrap();
        CopyRecord {
            id: custody::CopyId(1),
            dataset: custody::DatasetId::new(name, Kind::Zarr),
            site: "alcf".into(),
            area: "scratch".into(),
            base: custody::RelPath::new(base).unwrap(),
            state,
            level,
            registered_at: jiff::Timestamp::UNIX_EPOCH,
            first_verified_at: None,
            verified_at: None,
            verified_by: None,
            files: 1,
            bytes: 1,
            shape: "one".into(),
            content: None,
            run: None,
            permit: None,
        }
    }

    #[test]
    fn what_was_set_aside_for_a_rerun_is_not_called_wrong() {
        let level = Level::TransferChecksummed;
        let lost = copy("scratch/foam", State::Lost, Some(level));
        let aside = copy("scratch/foam/replaced/1", State::Present, Some(level));
        let standing = |copies: &[CopyRecord]| place("alcf", level, copies, &[]).standing;
        assert_eq!(standing(&[lost.clone(), aside.clone()]), Standing::Verified);
        assert_eq!(standing(std::slice::from_ref(&lost)), Standing::Wrong);
        let damaged = CopyRecord { state: State::Suspect, ..aside.clone() };
        assert_eq!(standing(&[lost.clone(), damaged]), Standing::Wrong);
        let another = CopyRecord { shape: "another".into(), ..aside };
        assert_eq!(standing(&[lost, another]), Standing::Wrong);
    }
}
