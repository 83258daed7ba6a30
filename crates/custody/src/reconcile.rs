//! Reconciliation: what is on the disks, compared with what custody knows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::files::{Expectation, Finding, Reach, Seen, SeenKind, compare};
use crate::names::{Kind, ScanName};
use crate::path::RelPath;
use crate::records::{CopyId, State};
use crate::{Custody, Result};

/// Everything that was found in an area of a site.
#[derive(Debug, Clone)]
pub struct SiteListing {
    /// Which site.
    pub site: String,
    /// Which of its areas.
    pub area: String,
    /// When the listing began.
    pub observed_at: Timestamp,
    /// All files and links below the area, relative to the area's folder; or why it was not listed. A
    /// listing that was cut short must not be given: what is not in it counts as vanished.
    pub reach: Reach,
}

/// What does not agree.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reconciliation {
    /// Raw scans at the data host of which custody has no copy and that no run has seen.
    pub missed: Vec<Found>,
    /// Copies none of whose files are there any more.
    pub vanished: Vec<CopyId>,
    /// Copies that are not what was verified, with what is wrong.
    pub changed: Vec<(CopyId, Vec<Finding>)>,
    /// Files that belong to no copy.
    pub unregistered: Vec<Found>,
    /// Sites and areas that did not answer, or are not in the policy, and why. Nothing is concluded for them.
    pub unreachable: Vec<(String, String, String)>,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// At which site.
    pub site: String,
    /// In which area.
    pub area: String,
    /// Relative to the site's root.
    pub path: RelPath,
    /// In bytes.
    pub size: u64,
    /// The scan it is the raw file of, if it is one.
    pub scan: Option<ScanName>,
}

impl Custody {
    /// Compares listings with the records. `data_host` names the site at which raw scans arrive;
    /// `has_run` tells whether some run has seen a scan. Nothing is changed: follow up with
    /// [`Custody::mark_lost`], [`Custody::verify`] and [`Custody::adopt`].
    pub fn reconcile(
        &self,
        listings: &[SiteListing],
        data_host: &str,
        has_run: &dyn Fn(&ScanName) -> bool,
    ) -> Result<Reconciliation> {
        let mut result = Reconciliation::default();
        for listing in listings {
            self.reconcile_area(listing, data_host, has_run, &mut result)?;
        }
        Ok(result)
    }

    fn reconcile_area(
        &self,
        listing: &SiteListing,
        data_host: &str,
        has_run: &dyn Fn(&ScanName) -> bool,
        result: &mut Reconciliation,
    ) -> Result<()> {
        let mut skip = |why: &str| {
            result.unreachable.push((listing.site.clone(), listing.area.clone(), why.to_owned()));
            Ok(())
        };
        let files = match &listing.reach {
            Reach::Unreachable(why) => return skip(why),
            Reach::Seen(files) => files,
        };
        let settings = self.settings()?.1;
        let Some(area) = settings.area(&listing.site, &listing.area) else {
            return skip("the policy knows no such area");
        };
        let mut by_path: BTreeMap<&str, &Seen> = BTreeMap::new();
        for file in files.iter().filter(|file| file.kind != SeenKind::Folder) {
            by_path.insert(&file.path, file);
        }
        let mut owned: BTreeSet<String> = BTreeSet::new();
        let copies = self.present(Some(&listing.site))?;
        for copy in copies.iter().filter(|copy| copy.area == listing.area) {
            let Some(base) = copy.base.below(&area.path) else { continue };
            let list = self.files(copy.id)?;
            let prefix = |path: &str| match base.is_root() {
                true => path.to_owned(),
                false => format!("{}/{path}", base.as_str()),
            };
            let mut here: Vec<Seen> = Vec::new();
            for top in list.tops() {
                let top = prefix(top);
                let below = format!("{top}/");
                let inside = by_path.range(below.as_str()..).take_while(|(path, _)| path.starts_with(&below));
                for (path, seen) in by_path.get_key_value(top.as_str()).into_iter().chain(inside) {
                    owned.insert((*path).to_owned());
                    let path = if base.is_root() { path } else { &path[base.as_str().len() + 1..] };
                    here.push(Seen { path: path.to_owned(), ..(*seen).clone() });
                }
            }
            // Being deleted, or registered after the listing began: no conclusion.
            if copy.state == State::Deleting || copy.registered_at >= listing.observed_at {
                continue;
            }
            let mtimes = self.read("read file times", |db| db.mtimes_of(copy.id))?;
            let expect = Expectation { mtimes: mtimes.as_deref(), ..Expectation::default() };
            let findings = compare(&list, &expect, &here);
            if here.is_empty() {
                result.vanished.push(copy.id);
            } else if !findings.is_empty() && copy.state == State::Present {
                result.changed.push((copy.id, findings));
            }
        }
        for (path, seen) in by_path.iter().filter(|(path, _)| !owned.contains(**path)) {
            let Ok(path) = RelPath::new(*path) else { continue };
            let scan = ScanName::of_raw(&path).filter(|_| seen.kind == SeenKind::File);
            let found = Found {
                site: listing.site.clone(),
                area: listing.area.clone(),
                path: area.path.join(&path),
                size: seen.size,
                scan: scan.clone(),
            };
            // Files that are being written carry a dot; they are nobody's yet.
            if path.parts().any(|part| part.starts_with('.')) {
                continue;
            }
            if let Some(scan) = scan.filter(|_| listing.site == data_host) {
                let raw = |copy: &crate::CopyRecord| copy.dataset.kind == Kind::Raw && copy.state.is_there();
                if !has_run(&scan) && !self.copies(&scan)?.iter().any(raw) {
                    result.missed.push(found.clone());
                }
            }
            result.unregistered.push(found);
        }
        Ok(())
    }
}
