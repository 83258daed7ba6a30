//! `beamrail custody`: which site holds which copy, how well verified, and until when.

use std::collections::BTreeMap;

use clap::Subcommand;
use custody::{Age, CopyRecord, LedgerFilter, ScanName};
use serde_json::{Value, json};

use super::beam::{Beam, BeamArgs, scan, time, who};
use super::live::say;
use crate::exit::{Exit, Failure};
use crate::grid::Grid;
use crate::output::{self, Table, bytes};

/// Show which site holds which copy of which scan, and keep scans from being deleted
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List scans with their copies, newest first (what `beamrail custody` does)
    List {
        /// Only copies at this site
        #[arg(long, value_name = "SITE")]
        site: Option<String>,
        /// At most so many scans
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show a scan: copies, marks, holds, papers, ledger
    Show {
        /// <experiment folder>/<scan>, with .h5 or without
        scan: String,
        /// Print one of the papers that are kept for good, and nothing else
        #[arg(long, value_name = "NAME", conflicts_with = "json")]
        paper: Option<String>,
    },
    /// Keep everything of a scan: nothing of it is deleted anywhere
    Hold {
        /// <experiment folder>/<scan>, with .h5 or without
        scan: String,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "kept by hand")]
        reason: String,
        /// The hold ends by itself after this time: "30 days"
        #[arg(long = "for", value_name = "DURATION")]
        length: Option<Age>,
    },
    /// End all holds on a scan
    Release {
        /// <experiment folder>/<scan>, with .h5 or without
        scan: String,
    },
}

/// Lists, shows, holds, releases.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let beam = Beam::open(&args.beam)?;
    match &args.command {
        None => list(&beam, None, 50, args.json),
        Some(Command::List { site, limit }) => list(&beam, site.as_deref(), *limit, args.json),
        Some(Command::Show { scan: text, paper: Some(paper) }) => print_paper(&beam, &scan(text)?, paper),
        Some(Command::Show { scan: text, paper: None }) => show(&beam, &scan(text)?, args.json),
        Some(Command::Hold { scan: text, reason, length }) => {
            let name = known(&beam, text)?;
            let until = length.map(|length| length.after(beam.now()));
            let id = beam.beamline.custody.hold(&name, &who(), reason, until, beam.now())?;
            if args.json {
                return output::print_json(&json!({ "hold": id, "scan": name, "until": until }));
            }
            let end =
                until.map_or("until it is released".to_owned(), |until| format!("until {}", time(until)));
            output::print(&format!("{name} is held {end}"))
        }
        Some(Command::Release { scan: text }) => {
            let name = known(&beam, text)?;
            let count = beam.beamline.custody.release(&name, &who(), beam.now())?;
            if args.json {
                return output::print_json(&json!({ "released": count, "scan": name }));
            }
            let holds = if count == 1 { "hold" } else { "holds" };
            output::print(&format!("{name}: {count} {holds} released"))
        }
    }
}

fn print_paper(beam: &Beam, name: &ScanName, paper: &str) -> Result<(), Failure> {
    let custody = &beam.beamline.custody;
    match custody.paper(name, paper)? {
        Some(bytes) => output::print(&String::from_utf8_lossy(&bytes)),
        None => {
            let names = custody.papers(name)?.join(", ");
            Err(Failure::new(Exit::BadInput, format!("custody keeps no paper {paper} of {name}")).hint(names))
        }
    }
}

/// A scan that custody knows. A hold on a misspelt name would keep nothing.
fn known(beam: &Beam, text: &str) -> Result<ScanName, Failure> {
    let name = scan(text)?;
    if beam.beamline.custody.mark(&name)?.is_some() {
        return Ok(name);
    }
    let scans = beam.beamline.custody.scans(1000)?;
    let near = scans
        .iter()
        .map(|scan| (strsim::jaro_winkler(&scan.to_string(), &name.to_string()), scan))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let failure = Failure::new(Exit::BadInput, format!("custody knows no scan {name}"));
    Err(match near {
        Some((_, near)) => failure.hint(near.to_string()),
        None => failure.hint("beamrail custody list"),
    })
}

fn list(beam: &Beam, site: Option<&str>, limit: usize, as_json: bool) -> Result<(), Failure> {
    let custody = &beam.beamline.custody;
    if let Some(site) = site {
        beam.beamline.site(site)?;
    }
    let mut scans = Vec::new();
    for name in custody.scans(limit)? {
        let copies: Vec<CopyRecord> = custody
            .copies(&name)?
            .into_iter()
            .filter(|copy| copy.state.is_there() && site.is_none_or(|site| copy.site == site))
            .collect();
        if site.is_none() || !copies.is_empty() {
            scans.push((name, copies));
        }
    }
    if as_json {
        let list: Vec<Value> = scans
            .iter()
            .map(|(name, copies)| json!({ "scan": name.to_string(), "copies": copies }))
            .collect();
        return output::print_json(&list);
    }
    let mut grid = Grid::new(&["scan", "what", ">files", ">bytes", "at (state, how verified)"]);
    for (name, copies) in &scans {
        let mut kinds: BTreeMap<_, Vec<&CopyRecord>> = BTreeMap::new();
        for copy in copies {
            kinds.entry(copy.dataset.kind).or_default().push(copy);
        }
        if kinds.is_empty() {
            grid.row([name.to_string(), "".into(), "".into(), "".into(), "no copy is there".into()]);
        }
        for (kind, copies) in kinds {
            let first = copies.first();
            let places: Vec<String> = copies.iter().map(|copy| place(copy)).collect();
            grid.row([
                name.to_string(),
                kind.to_string(),
                first.map(|copy| copy.files.to_string()).unwrap_or_default(),
                first.map(|copy| bytes(copy.bytes)).unwrap_or_default(),
                places.join(", "),
            ]);
        }
    }
    if grid.is_empty() {
        say("custody knows no scans");
    }
    output::print(&grid.text())
}

fn place(copy: &CopyRecord) -> String {
    let level = copy.level.map_or("not verified", custody::Level::name);
    match copy.state {
        custody::State::Present => format!("{} ({level})", copy.site),
        other => format!("{} ({}, {level})", copy.site, other.name()),
    }
}

fn show(beam: &Beam, name: &ScanName, as_json: bool) -> Result<(), Failure> {
    let custody = &beam.beamline.custody;
    let mark = custody.mark(name)?.ok_or_else(|| {
        Failure::new(Exit::BadInput, format!("custody knows no scan {name}")).hint("beamrail custody list")
    })?;
    let copies = custody.copies(name)?;
    let holds = custody.holds(Some(name))?;
    let ledger =
        custody.ledger(&LedgerFilter { scan: Some(name.clone()), limit: 200, ..LedgerFilter::default() })?;
    let papers = custody.papers(name)?;
    if as_json {
        return output::print_json(&json!({
            "scan": name.to_string(), "mark": mark, "copies": copies, "holds": holds, "papers": papers,
            "ledger": ledger,
        }));
    }
    let mut head = Table::default();
    head.row("scan", name.to_string());
    let export = if mark.controlled { "yes" } else { "no" };
    head.row("export-controlled", format!("{export}, by {} on {} ({})", mark.source, time(mark.at), mark.by));
    for hold in holds.iter().filter(|hold| hold.released_at.is_none()) {
        let until = hold.until.map(|until| format!(", until {}", time(until))).unwrap_or_default();
        head.row("held", format!("by {} since {}{until}: {}", hold.who, time(hold.placed_at), hold.reason));
    }
    if !papers.is_empty() {
        head.row("kept for good", papers.join(", "));
    }
    let mut grid =
        Grid::new(&["copy", "what", "site", "area", "state", "verified", "when", ">files", ">bytes"]);
    for copy in &copies {
        grid.row([
            copy.id.0.to_string(),
            copy.dataset.kind.to_string(),
            copy.site.clone(),
            copy.area.clone(),
            copy.state.name().into(),
            copy.level.map_or("no", custody::Level::name).into(),
            copy.verified_at.map(time).unwrap_or_default(),
            copy.files.to_string(),
            bytes(copy.bytes),
        ]);
    }
    let mut lines = Grid::new(&["when", "ledger", "what", "site", ""]);
    for entry in &ledger {
        lines.row([
            time(entry.at),
            json!(entry.event).as_str().unwrap_or_default().to_owned(),
            entry.kind.map(|kind| kind.to_string()).unwrap_or_default(),
            entry.site.clone().unwrap_or_default(),
            entry.text.clone(),
        ]);
    }
    output::print(&format!("{}\n{}\n{}", head.text(), grid.text(), lines.text()))
}
