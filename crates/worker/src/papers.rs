//! What a run of a beamline ends with in Prefect, for whoever looks only there: where its time went, who holds which copy
//! of its scan, and the picture of what it made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beamline::explain::{Explanation, explain};
use beamline::identity::Identity;
use beamline::{Beamline, area};
use custody::{Kind, RelPath, Rule, ScanName, State};
use engine::{Engine, Run};
use prefect::Content;
use serde_json::{Value, json};

/// Pictures up to this size go into the artifact itself: the interface reads no files of ours.
const PICTURE: u64 = 1 << 20;

/// A key, what is shown, and a sentence beside it.
pub(crate) type Paper = (&'static str, Content, &'static str);

/// What there is to show at the end of a run. What cannot be read is left out: it is for looking at.
pub(crate) async fn papers(beam: &Beamline, engine: &Engine, run: &Run) -> Vec<Paper> {
    let mut papers = Vec::new();
    if let Ok(explained) = explain(engine, &beam.custody, run.id).await {
        papers.push(("where-the-time-went", times(&explained), "Where the time went"));
        if let Some(text) = findings(&explained) {
            papers.push(("abnormal", Content::Markdown(text), "What took longer than it usually does"));
        }
    }
    if let Some(scan) = scan_of(run) {
        if let Some(table) = copies(beam, &scan) {
            papers.push(("custody", table, "Which site holds which copy"));
        }
        if run.flow.ends_with("_recon_flow")
            && let Some(picture) = preview(beam, &scan).await
        {
            papers.push(("preview", picture, "The middle slices"));
        }
    }
    papers
}

fn scan_of(run: &Run) -> Option<ScanName> {
    let path = run.parameters.get("file_path").and_then(Value::as_str)?;
    Identity::of_trigger(path).ok().map(|identity| identity.name)
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn times(explained: &Explanation) -> Content {
    let run = &explained.measured;
    let mut spent: Vec<_> = run.spent.iter().filter(|(_, seconds)| **seconds >= 0.05).collect();
    spent.sort_by(|a, b| b.1.total_cmp(a.1));
    let rows = spent.into_iter().map(|(kind, seconds)| {
        let percent = if run.total_s > 0.0 { (100.0 * seconds / run.total_s).round() } else { 0.0 };
        json!({ "on": kind, "seconds": tenths(*seconds), "percent": percent })
    });
    let whole = json!({ "on": "all", "seconds": tenths(run.total_s), "percent": 100 });
    Content::Table(rows.chain([whole]).collect())
}

fn findings(explained: &Explanation) -> Option<String> {
    let lines: Vec<String> =
        explained.abnormal.iter().map(|finding| format!("- {}: {}", finding.what, finding.text)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn copies(beam: &Beamline, scan: &ScanName) -> Option<Content> {
    let policy = beam.custody.settings().ok()?.1;
    let copies = beam.custody.copies(scan).ok()?;
    let rows: Vec<Value> = copies
        .iter()
        .filter(|copy| copy.state.is_there())
        .map(|copy| {
            let rule = policy.area(&copy.site, &copy.area).map(|area| &area.retention);
            let goes = match (rule, copy.first_verified_at) {
                (Some(Rule::After(age)), Some(at)) => age.after(at).to_string(),
                (Some(rule), _) => rule.to_string(),
                (None, _) => String::new(),
            };
            json!({
                "what": copy.dataset.kind, "site": copy.site, "area": copy.area, "state": copy.state.name(),
                "verified": copy.level, "files": copy.files, "bytes": copy.bytes, "may go": goes,
            })
        })
        .collect();
    (!rows.is_empty()).then(|| Content::Table(rows.into()))
}

/// The preview beside the results, from the first site that gives it.
async fn preview(beam: &Beamline, scan: &ScanName) -> Option<Content> {
    let copies = beam.custody.copies(scan).ok()?;
    let there = |kind: Kind, state: State| kind == Kind::Sidecars && state == State::Present;
    for copy in
        copies.iter().filter(|copy| there(copy.dataset.kind, copy.state) && copy.area == area::SCRATCH)
    {
        let name = RelPath::new(format!("rec{}.preview.png", scan.stem())).ok()?;
        if let Some(picture) = read(beam, &copy.site, &copy.base.join(&name)).await {
            return Some(picture);
        }
    }
    None
}

/// A picture as flows name it: "site:path".
pub(crate) async fn picture(beam: &Beamline, place: &str) -> Option<Content> {
    let (site, path) = place.split_once(':')?;
    read(beam, site, &RelPath::new(path).ok()?).await
}

async fn read(beam: &Beamline, site: &str, path: &RelPath) -> Option<Content> {
    let bytes = beam.site(site).ok()?.read_small(path, PICTURE).await.ok()?;
    let kind = if path.as_str().ends_with(".png") { "image/png" } else { "image/jpeg" };
    Some(Content::Image(format!("data:{kind};base64,{}", STANDARD.encode(bytes))))
}
