//! What is left of a run: files, custody, ledger, and how often work was done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use custody::{Custody, LedgerFilter};
use serde_json::{Value, json};

/// Every file below a site, with its content's digest. Job folders are not part of the outcome.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut stack = vec![root.to_owned()];
    while let Some(folder) = stack.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && path.ends_with(".beamrail") {
                continue;
            } else if path.is_dir() {
                stack.push(path);
            } else {
                let digest = blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, digest.chars().take(16).collect());
            }
        }
    }
    found
}

/// The trees of all sites.
pub fn trees(root: &Path) -> Value {
    json!(["als", "data", "nersc", "alcf"].map(|site| (site, tree(&root.join(site)))))
}

/// Custody without times and numbers, and the ledger as the set of what was done to what: a step that is repeated
/// says so again.
pub fn custody(root: &Path) -> Value {
    let custody = Custody::open(&root.join("custody.db")).unwrap();
    let mut copies = Vec::new();
    for scan in custody.scans(100).unwrap() {
        for copy in custody.copies(&scan).unwrap() {
            copies.push(json!([
                copy.dataset.to_string(),
                copy.site,
                copy.area,
                copy.base,
                copy.state,
                copy.level,
                copy.files,
                copy.bytes,
                copy.content
            ]));
        }
    }
    copies.sort_by_key(Value::to_string);
    let filter = LedgerFilter { limit: 100_000, ..LedgerFilter::default() };
    let ledger: BTreeSet<String> = custody
        .ledger(&filter)
        .unwrap()
        .into_iter()
        .map(|entry| {
            let entry = serde_json::to_value(entry).unwrap();
            let part = |key: &str| entry.get(key).map(Value::to_string).unwrap_or_default();
            ["event", "dataset", "scan", "kind", "site", "path", "files", "bytes"].map(part).join(" ")
        })
        .collect();
    let papers = custody.scans(100).unwrap().into_iter().map(|scan| {
        custody::PAPERS.map(|paper| custody.paper(&scan, paper).unwrap().map(|bytes| bytes.len()))
    });
    json!({ "copies": copies, "ledger": ledger, "papers": papers.collect::<Vec<_>>(), "uses": custody.uses().unwrap().len() })
}

/// Reconstructions that ran to their end, by folder, and whether any dataset was copied to a place more than once.
pub fn work(root: &Path) -> Value {
    let jobs = std::fs::read_to_string(root.join("jobs.log")).unwrap_or_default();
    let mut ran: BTreeMap<String, u64> = BTreeMap::new();
    for line in jobs.lines() {
        *ran.entry(line.to_owned()).or_default() += 1;
    }
    let transfers = std::fs::read_to_string(root.join("transfers.log")).unwrap_or_default();
    let mut copied: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for line in transfers.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        // A probe that was taken away is sent again by a check that is repeated.
        if line["what"].as_str().unwrap().starts_with("beamrail-checks/") {
            continue;
        }
        let sums = copied.entry(line["what"].to_string()).or_default();
        *sums = (line["bytes"].as_u64().unwrap(), sums.1 + line["copied"].as_u64().unwrap());
    }
    let twice: Vec<String> =
        copied.iter().filter(|(_, (bytes, copied))| copied > bytes).map(|(what, _)| what.clone()).collect();
    json!({ "reconstructions": ran, "copied twice": twice })
}

/// All of it.
pub fn all(root: &Path) -> Value {
    json!({ "files": trees(root), "custody": custody(root), "work": work(root) })
}
