//! The rotation centres of many scans: read from their reports once, and again when there is a newer report.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use custody::ScanName;

use super::scan::{Center, center};
use crate::app::App;
use crate::fault::Fault;

/// Scans that are remembered.
const MOST: usize = 4096;

/// What was read, by scan, with the version of the report.
#[derive(Default)]
pub(crate) struct Centers(Mutex<HashMap<String, (i64, Option<Center>)>>);

impl Centers {
    fn get(&self, name: &str, version: i64) -> Option<Option<Center>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|(of, _)| *of == version).map(|(_, center)| center.clone())
    }

    fn keep(&self, name: String, version: i64, center: Option<Center>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(name, (version, center));
    }
}

/// The centre that each of these scans was reconstructed with last, where that is known.
pub(crate) async fn centers(
    app: &std::sync::Arc<App>,
    names: Vec<ScanName>,
) -> Result<HashMap<String, Center>, Fault> {
    let kept = app.clone();
    app.custody(move |custody| {
        let mut found = HashMap::new();
        for name in &names {
            let Some(version) = custody.paper_version(name, "report")? else { continue };
            let text = name.to_string();
            let known = match kept.centers.get(&text, version) {
                Some(known) => known,
                None => {
                    let report = custody.paper(name, "report")?.unwrap_or_default();
                    let report = serde_json::from_slice(&report).ok();
                    let read = report.as_ref().and_then(center);
                    kept.centers.keep(text.clone(), version, read.clone());
                    read
                }
            };
            found.extend(known.map(|center| (text, center)));
        }
        Ok(found)
    })
    .await
}
