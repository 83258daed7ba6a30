//! A worker with one flow, whose steps do nothing but note the time: what a run costs besides its work.
//!
//!     PREFECT_API_URL=http://127.0.0.1:4200/api cargo run --release -p beamrail-worker --example steps -- FOLDER
//!
//! `tools/prefect_overhead.py` measures it beside Prefect's own worker.
#![allow(clippy::print_stdout, reason = "an example says what it does")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use engine::{Clock, Context, Deployment, Engine, Failure, Flow, Registry, StepOptions};
use prefect::{Client, Settings};
use serde::Deserialize;

/// What the flow is told.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// The file that each step adds a line to.
    path: PathBuf,
    /// How many steps.
    count: u32,
}

async fn steps(context: Context, parameters: Parameters) -> Result<(), Failure> {
    use std::io::Write;
    for number in 0..parameters.count {
        let path = parameters.path.clone();
        let note = |_| {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            let noted = file.and_then(|mut file| writeln!(file, "{now:.6} {number}"));
            async move { noted.map_err(|error| Failure::fatal(error.to_string())) }
        };
        context.step("step", StepOptions::new(), note).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("give a folder for the journal")?);
    let settings = Settings::from_env(|name| std::env::var(name).ok())?.ok_or("set PREFECT_API_URL")?;
    let client = Client::new(settings)?;
    let flow = Flow::new("steps", steps);
    let deployment = Deployment { queue: "steps".into(), ..Deployment::of("beamrail", &flow) };
    let wanted = worker::Wanted::new("beamrail", vec![deployment]);
    worker::plan(&client, wanted).await?.apply(&client).await?;
    let mut options = worker::Options::new("beamrail");
    options.queues = vec!["steps".into()];
    if let Some(seconds) = std::env::var("BEAMRAIL_POLL").ok().and_then(|text| text.parse().ok()) {
        options.poll = Duration::from_secs_f64(seconds);
    }
    println!("polls every {:?}", options.poll);
    let engine = Engine::open(folder.join("runs.db"), Clock::system())?;
    let tell = |text: &str| println!("{text}");
    let registry = Registry::new().with(flow);
    let work = worker::Worker::new(client, engine, registry, &folder.join("prefect.db"), options, tell)?;
    // Until standard input ends.
    let stop = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    println!("{:?}", work.run(async { drop(stop.await) }).await?);
    Ok(())
}
