//! `beamrail watch`: start a flow when a scan is complete.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use beamline::config::SiteKind;
use beamline::watch::{Folder, Notice, Seen, Settings, Standing, Starts, Watcher, first_looks};
use custody::Age;
use engine::{Courier, Worker};
use prefect::{Client, Patience};
use serde_json::json;
use tokio::task::JoinHandle;

use super::beam::{Beam, BeamArgs, short, time};
use super::live::say;
use super::worker::with_couriers;
use crate::exit::{Exit, Failure};
use crate::grid::Grid;
use crate::output;

/// How often the file system's notices are looked for, and what waits for time to pass is looked at.
const TICK: Duration = Duration::from_millis(250);

/// How long a watch that ends waits for a server to take what was ordered.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Start a flow when a scan is complete
///
/// A scan is complete when its size and time have stood still, its HDF5 superblock says that it was closed, and it
/// holds all frames that it was laid out for. Each scan starts one run, also over restarts. A line is printed
/// whenever a file stands differently than before, with the reason why it still waits.
///
/// Where PREFECT_API_URL names a server, runs are made there. While it does not answer they are kept in the outbox of the
/// state folder; this command, or a worker of the same state folder, delivers them when it does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// Folders with raw scans: a site's raw folder, or one in it [default: those of the configuration, else the
    /// data host's]
    #[arg(value_name = "DIR")]
    folders: Vec<PathBuf>,

    /// The flow to start [default: the configuration's, else dispatcher]
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,

    /// How long size and time must stand still: "10 s"
    #[arg(long, value_name = "DURATION")]
    quiet: Option<Age>,

    /// How often folders are listed, whatever the file system tells: "30 s"
    #[arg(long, value_name = "DURATION")]
    poll: Option<Age>,

    /// How old scans may be that are there at the first look: "1 day". Older ones are found by `beamrail reconcile`
    #[arg(long, value_name = "DURATION")]
    backlog: Option<Age>,

    /// Do the runs too, as `beamrail worker` does
    #[arg(long)]
    work: bool,

    /// Look until no file waits for its time to pass, print how each stands, and end
    #[arg(long)]
    once: bool,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Watches until told to stop.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let beam = Beam::open(&args.beam)?;
    beam.deploy()?;
    let (mut watcher, folders, settings) = watcher(&beam, args)?;
    let stop = super::stop_on_signals()?;
    let poll = duration(args.poll.unwrap_or(beam.config.watch.poll)).max(TICK);
    let mut notice = Notice::new(&folders);
    let (watched, refused) = notice.counts();
    if !args.once {
        say(&format!("watching {} for {}", names(&folders), settings.flow));
        if refused > 0 {
            say(&format!(
                "{refused} folders cannot be watched by inotify ({watched} are): they are looked at every {} s",
                poll.as_secs()
            ));
        }
    }
    let prefect = super::prefect::client()?;
    if args.work && prefect.is_some() {
        return Err(Failure::usage("--work is for the journal alone: runs are made in Prefect")
            .hint("beamrail worker, beside beamrail watch"));
    }
    let over = Arc::new(AtomicBool::new(false));
    let delivered = Arc::new(AtomicBool::new(false));
    let delivering = match &prefect {
        Some(client) => {
            let courier = orders(&beam, client)?;
            Some(beam.spawn(courier.run(beam.engine.store().clone(), until(delivered.clone()))))
        }
        None => None,
    };
    let starts = match &prefect {
        Some(_) => Starts::Ordered(&beam.engine, worker::ORDERS),
        None => Starts::Here(&beam.engine),
    };
    let working = args.work.then(|| {
        let worker = Worker::new(beam.engine.store(), beam.registry.clone());
        let worker = with_couriers(worker.pool(beam.config.place(&settings.flow).0), &beam.config);
        beam.spawn(worker.run(until(over.clone())))
    });
    let mut looked = Instant::now();
    let mut first = true;
    let mut old = 0;
    let result: Result<(), Failure> = loop {
        if notice.came(&folders) || first || watcher.impatient() || looked.elapsed() >= poll {
            first = false;
            looked = Instant::now();
            let news = match beam.wait(watcher.look(starts, beam.now())) {
                Ok(news) => news,
                // Another process writes for long, the disk is full: the next look may do.
                Err(error) if error.retry_helps() => {
                    say(&format!("cannot start a run now: {error}"));
                    Vec::new()
                }
                Err(error) => break Err(error.into()),
            };
            old += news.iter().filter(|seen| seen.standing == Standing::Old).count();
            if !args.once {
                tell(&news, args.json)?;
            }
        }
        if stop.requested() {
            break Ok(());
        }
        let settling = watcher
            .all()
            .iter()
            .any(|seen| matches!(&seen.standing, Standing::Waiting { why } if why.starts_with("still")));
        if args.once && !settling {
            break Ok(());
        }
        std::thread::sleep(TICK);
    };
    over.store(true, Ordering::Relaxed);
    if let Some(working) = working {
        beam.wait(working)
            .map_err(|error| Failure::new(Exit::Failed, format!("the worker broke: {error}")))??;
    }
    if let Some(delivering) = delivering {
        hand_over(&beam, delivering, &delivered)?;
    }
    result?;
    if old > 0 && !args.once {
        say(&format!("{old} scans from before the watch began were left alone: beamrail reconcile"));
    }
    if args.once { table(&watcher.all(), args.json) } else { Ok(()) }
}

/// Delivers orders of runs to the server. Those that were given up are tried again.
fn orders(beam: &Beam, client: &Client) -> Result<Courier, Failure> {
    for order in beam.wait(beam.engine.undelivered())? {
        if order.topic == worker::ORDERS && order.dead.is_some() {
            beam.wait(beam.engine.requeue(order.id))?;
        }
    }
    // Messages are tried again anyway; one that is silent holds the end of the command up.
    let patience = Patience { tries: 3, first: Duration::from_millis(100), longest: Duration::from_secs(1) };
    let client = Client::new(client.settings().clone().patience(patience))?;
    let config = beam.config.clone();
    let silent = Arc::new(AtomicBool::new(false));
    Ok(Courier::of(worker::ORDERS, move |message| {
        let (client, config, silent) = (client.clone(), config.clone(), silent.clone());
        async move {
            let delivered = worker::deliver_order(&client, &config, &message).await;
            let was_silent = silent.swap(delivered.is_err(), Ordering::Relaxed);
            match &delivered {
                Err(failure) if failure.retry_helps() && !was_silent => {
                    say(&format!("runs wait in the outbox, and are made later: {failure}"));
                }
                Err(failure) if !failure.retry_helps() => {
                    say(&format!("no run can be made for {}: {failure}", message.key));
                }
                Ok(()) if was_silent => say("Prefect answers again; runs that waited are made"),
                _ => {}
            }
            delivered
        }
    }))
}

/// Waits for a flag.
async fn until(flag: Arc<AtomicBool>) {
    while !flag.load(Ordering::Relaxed) {
        tokio::time::sleep(TICK).await;
    }
}

/// Gives what was ordered last a while to be delivered, and says what is left.
fn hand_over(
    beam: &Beam,
    mut delivering: JoinHandle<engine::Result<()>>,
    enough: &AtomicBool,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut left;
    loop {
        let waiting = beam.wait(beam.engine.undelivered())?;
        left = waiting.iter().filter(|order| order.topic == worker::ORDERS).count();
        if left == 0 || begun.elapsed() > HAND_OVER || delivering.is_finished() {
            break;
        }
        std::thread::sleep(TICK);
    }
    // A message that was begun is settled, or nobody may take it for two minutes.
    enough.store(true, Ordering::Relaxed);
    if beam.wait(async { tokio::time::timeout(HAND_OVER, &mut delivering).await }).is_err() {
        delivering.abort();
    }
    if left > 0 {
        say(&format!(
            "{left} runs wait in the outbox: the next beamrail watch or beamrail worker of this state folder makes them"
        ));
    }
    Ok(())
}

/// A watcher on the folders that are asked for.
fn watcher(beam: &Beam, args: &Args) -> Result<(Watcher, Vec<PathBuf>, Settings), Failure> {
    let config = &beam.config;
    let asked = match (args.folders.is_empty(), config.watch.folders.is_empty()) {
        (false, _) => args.folders.clone(),
        (true, false) => config.watch.folders.clone(),
        (true, true) => {
            let host = config.data_host().and_then(|host| config.sites.get(host));
            let raw = host.and_then(|site| Some(site.root.join(site.areas.get("raw")?.path.as_str())));
            vec![raw.ok_or_else(|| {
                Failure::usage("no folder to watch is named, and the data host has no raw folder")
                    .hint("beamrail watch DIR")
            })?]
        }
    };
    let flow = args.flow.clone().or_else(|| config.watch.flow.clone()).unwrap_or_else(|| "dispatcher".into());
    let takes_file =
        beam.registry.get(&flow).map(|flow| flow.schema().pointer("/properties/file_path").is_some());
    if takes_file != Some(true) {
        let what = if takes_file.is_none() { "there is no flow" } else { "this flow takes no scan:" };
        return Err(
            Failure::usage(format!("--flow: {what} {flow}")).hint("beamrail run, which lists the flows")
        );
    }
    let mut folders = Vec::new();
    let mut raws = Vec::new();
    for folder in asked {
        let real = folder.canonicalize().map_err(|error| {
            Failure::new(Exit::BadInput, format!("cannot watch {}: {error}", folder.display()))
        })?;
        raws.push(raw_area(beam, &real)?);
        folders.push(real);
    }
    let state = config.state.join("watch.json");
    let firsts = first_looks(&state, &folders, beam.now())
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", state.display())))?;
    let settings = Settings {
        flow,
        quiet: duration(args.quiet.unwrap_or(config.watch.quiet)),
        backlog: duration(args.backlog.unwrap_or(config.watch.backlog)),
    };
    let watched = folders.iter().zip(raws).zip(firsts);
    let watched = watched.map(|((path, raw), first)| Folder { raw, path: path.clone(), first }).collect();
    Ok((Watcher::new(watched, settings.clone()), folders, settings))
}

/// The raw area that a folder is, or lies in.
fn raw_area(beam: &Beam, folder: &Path) -> Result<PathBuf, Failure> {
    let local = beam.config.sites.values().filter(|site| site.kind == SiteKind::Local);
    let raws: Vec<PathBuf> =
        local.filter_map(|site| Some(site.root.join(site.areas.get("raw")?.path.as_str()))).collect();
    let real = raws.iter().filter_map(|raw| raw.canonicalize().ok());
    real.filter(|raw| folder.starts_with(raw)).max_by_key(|raw| raw.components().count()).ok_or_else(|| {
        Failure::new(
            Exit::BadInput,
            format!("{} lies in no site's raw folder, so no flow would find its scans", folder.display()),
        )
        .hint(match raws.is_empty() {
            true => "a site of kind \"local\" with raw = \"FOLDER\" in the configuration".to_owned(),
            false => format!("one of {}", names(&raws)),
        })
    })
}

fn names(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn duration(age: Age) -> Duration {
    Duration::from_secs(u64::try_from(age.as_seconds()).unwrap_or(0))
}

/// One line for each file that stands differently. Runs that earlier looks started are not told again.
fn tell(news: &[Seen], as_json: bool) -> Result<(), Failure> {
    for seen in news {
        let untold = matches!(
            seen.standing,
            Standing::Started { new: false, .. } | Standing::Ordered { new: false } | Standing::Old
        );
        if as_json {
            let mut line = serde_json::to_value(seen).unwrap_or_default();
            line["time"] = json!(jiff::Timestamp::now());
            output::print(&line.to_string())?;
        } else if !untold {
            let (state, what) = words(&seen.standing);
            output::print(&format!(
                "{}  {}  {state}{}{what}",
                time(jiff::Timestamp::now()),
                seen.path.display(),
                if what.is_empty() { "" } else { ": " }
            ))?;
        }
    }
    Ok(())
}

fn words(standing: &Standing) -> (&'static str, String) {
    match standing {
        Standing::Waiting { why } => ("waiting", why.clone()),
        Standing::Started { run, new: true } => ("started", format!("run {}", short(*run))),
        Standing::Started { run, new: false } => ("known", format!("run {}", short(*run))),
        Standing::Ordered { new: true } => ("ordered", "its run is for Prefect".into()),
        Standing::Ordered { new: false } => ("known", "its run was ordered in Prefect".into()),
        Standing::Refused { why } => ("refused", why.clone()),
        Standing::Old => {
            ("old", "from before the watch began; beamrail reconcile finds what was missed".into())
        }
    }
}

fn table(all: &[Seen], as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::print_json(&all);
    }
    let mut grid = Grid::new(&["file", ">size", "state", ""]);
    for seen in all {
        let (state, what) = words(&seen.standing);
        grid.row([seen.path.display().to_string(), output::bytes(seen.bytes), state.into(), what]);
    }
    if grid.is_empty() {
        say("no scans");
    }
    output::print(&grid.text())
}
