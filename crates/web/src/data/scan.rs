//! One scan with all that is known of it.

use custody::{CopyId, Entry, FileEntry, Kind, LedgerFilter, Rule, ScanName, State};
use engine::Run;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::scans::{Known, ScanLine, known, lines, runs_of};
use crate::app::Shared;
use crate::fault::Fault;

/// Lines of the ledger that a page shows.
const LEDGER: usize = 60;
/// Files of a copy whose digests a page shows.
const FILES: usize = 4;

/// A copy as the page shows it.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Copy {
    /// Its number in custody.
    pub id: i64,
    /// raw, tiff, zarr or sidecars.
    pub kind: String,
    /// At which site.
    pub site: String,
    /// In which area.
    pub area: String,
    /// Its folder, from the site's root.
    pub base: String,
    /// present, suspect, deleting, deleted, lost or replaced.
    pub state: String,
    /// How well it was verified.
    pub level: Option<String>,
    /// Whether that is as well as policy asks.
    pub counts: bool,
    /// When.
    #[schemars(with = "Option<String>")]
    pub verified_at: Option<Timestamp>,
    /// By what.
    pub verified_by: Option<String>,
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
    /// A digest of all its files' digests, BLAKE3, where those are known.
    pub content: Option<String>,
    /// Its first files with their digests.
    pub digests: Vec<FileDigest>,
    /// The rule of its area, in words.
    pub rule: String,
    /// When it may go, as far as that is known now.
    #[schemars(with = "Option<String>")]
    pub goes: Option<Timestamp>,
}

/// A file of a copy.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct FileDigest {
    /// Its path, from the copy's folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3, where it is known.
    pub blake3: Option<String>,
}

/// The rotation centre that was used.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Center {
    /// 0-based detector column.
    pub center: f64,
    /// One standard deviation in pixels, where the method gives one.
    pub uncertainty: Option<f64>,
    /// 0 to 1.
    pub confidence: f64,
    /// found, ambiguous, at_edge, featureless or given.
    pub verdict: String,
    /// In the recipe's words.
    pub method: String,
    /// A sentence for people.
    pub reason: String,
    /// Detector row, centre and confidence of each row looked at.
    pub per_row: Vec<(u64, f64, f64)>,
}

impl Center {
    /// Whether it was found without doubt, or given by a person.
    pub(crate) fn is_believed(&self) -> bool {
        matches!(self.verdict.as_str(), "found" | "given")
    }

    /// `1283.25 ± 0.05`.
    pub(crate) fn text(&self) -> String {
        let uncertainty = self.uncertainty.map(|one| format!(" ± {one:.2}")).unwrap_or_default();
        format!("{:.2}{uncertainty}", self.center)
    }
}

/// A scan with all that is known of it.
pub(crate) struct View {
    pub known: Known,
    pub line: ScanLine,
    pub copies: Vec<Copy>,
    pub report: Option<Value>,
    pub center: Option<Center>,
    pub papers: Vec<&'static str>,
    pub ledger: Vec<Entry>,
    pub runs: Vec<Run>,
    pub deletion_on: bool,
}

/// Reads it all.
pub(crate) async fn view(app: &Shared, name: ScanName) -> Result<View, Fault> {
    let asked = name.clone();
    let found = app
        .custody(move |custody| {
            let Some(one) = known(custody, std::slice::from_ref(&asked))?.pop() else { return Ok(None) };
            // As in force: operators may have changed days elsewhere.
            let policy = custody.settings()?.1;
            let copies = one.copies.iter().map(|copy| self::copy(custody, &policy, &one, copy));
            let copies = copies.collect::<custody::Result<Vec<_>>>()?;
            let report = custody.paper(&asked, "report")?;
            let mut papers = Vec::new();
            for paper in custody::PAPERS {
                if custody.paper(&asked, paper)?.is_some() {
                    papers.push(paper);
                }
            }
            let filter = LedgerFilter { scan: Some(asked), limit: LEDGER, ..LedgerFilter::default() };
            let ledger = custody.ledger(&filter)?;
            Ok(Some((one, copies, report, papers, ledger, custody.deletion_is_on()?)))
        })
        .await?;
    let Some((known, copies, report, papers, ledger, deletion_on)) = found else {
        return Err(Fault::not_found(format!("custody knows no scan {name}")).hint(
            "the list of scans shows what is known; a new scan is known when its first run has begun",
        ));
    };
    let report: Option<Value> = report.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let runs = runs_of(app, &name).await?;
    let mut line = lines(app, std::slice::from_ref(&known)).await?;
    let line = line.pop().ok_or_else(|| Fault::internal("a scan without its line"))?;
    let center = report.as_ref().and_then(center);
    Ok(View { known, line, copies, report, center, papers, ledger, runs, deletion_on })
}

fn copy(
    custody: &custody::Custody,
    policy: &custody::Settings,
    known: &Known,
    copy: &custody::CopyRecord,
) -> custody::Result<Copy> {
    let area = policy.area(&copy.site, &copy.area);
    let first = |copy: &custody::CopyRecord| copy.first_verified_at.or(copy.verified_at);
    let goes = match area.map(|area| &area.retention) {
        None | Some(Rule::Never) => None,
        Some(Rule::After(age)) => first(copy).map(|at| age.after(at)),
        Some(Rule::AfterVerified { age, site }) => {
            let there = known.copies.iter().filter(|one| one.site == *site && one.dataset == copy.dataset);
            there.filter_map(first).min().map(|at| age.after(at))
        }
    };
    let digests = match copy.state.is_there() {
        true => custody.files(copy.id)?.entries().iter().take(FILES).map(digest).collect(),
        false => Vec::new(),
    };
    Ok(Copy {
        id: copy.id.0,
        kind: copy.dataset.kind.name().to_owned(),
        site: copy.site.clone(),
        area: copy.area.clone(),
        base: copy.base.to_string(),
        state: copy.state.name().to_owned(),
        level: copy.level.map(|level| level.name().to_owned()),
        counts: copy.level >= Some(policy.level) && copy.state == State::Present,
        verified_at: copy.verified_at,
        verified_by: copy.verified_by.clone(),
        files: copy.files,
        bytes: copy.bytes,
        content: copy.content.clone(),
        digests,
        rule: area.map(|area| area.retention.to_string()).unwrap_or_else(|| "no such area any more".into()),
        goes: goes.filter(|_| copy.state.is_there()),
    })
}

fn digest(file: &FileEntry) -> FileDigest {
    FileDigest { path: file.path.to_string(), size: file.size, blake3: file.blake3.clone() }
}

/// The centre in a report.
pub(crate) fn center(report: &Value) -> Option<Center> {
    let center = report.pointer("/plan/center")?;
    let number = |key: &str| center.get(key).and_then(Value::as_f64);
    let text = |key: &str| center.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let rows = center.get("per_row").and_then(Value::as_array).into_iter().flatten();
    let row = |row: &Value| Some((row.get(0)?.as_u64()?, row.get(1)?.as_f64()?, row.get(2)?.as_f64()?));
    Some(Center {
        center: number("center")?,
        uncertainty: number("uncertainty"),
        confidence: number("confidence").unwrap_or(0.0),
        verdict: text("verdict"),
        method: text("method"),
        reason: text("reason"),
        per_row: rows.filter_map(row).collect(),
    })
}

/// A copy of these results that this process can read, best first.
pub(crate) fn readable(app: &Shared, known: &Known, kind: Kind) -> Vec<(CopyId, String)> {
    let mut fits: Vec<_> = known
        .copies
        .iter()
        .filter(|copy| copy.dataset.kind == kind && copy.state == State::Present)
        .filter_map(|copy| {
            let local = app.beamline.sites.get(&copy.site)?.as_local().is_some();
            Some((!local, std::cmp::Reverse(copy.level), copy.id, copy.site.clone()))
        })
        .collect();
    fits.sort();
    fits.into_iter().map(|(_, _, id, site)| (id, site)).collect()
}
