//! Journals of released versions, as they were left in the middle of runs: each later version goes on with them.

use std::path::Path;
use std::time::Duration;

use crate::common::{Bench, Job, World};
use engine::{
    Context, Deployment, Engine, External, Failure, Flow, Identity, NewRun, Orchestrator, Registry,
    RunFilter, Schedule, StateType, StepContext, StepOptions, When,
};
use serde_json::{Value, json};

/// Written by version 0.1.0, schema 1: `keep` of this file. Never changed; a released schema gets a file of its own.
const OF_SCHEMA_1: &str = include_str!("journal-v1.sql");
/// The job that the journal was about to hear of when its worker was killed.
const JOB: &str = "beamrail-submit-";

#[derive(Clone)]
struct Submit(World);

impl External for Submit {
    type Handle = String;
    type Output = String;

    async fn prepare(&self, identity: &Identity) -> Result<String, Failure> {
        Ok(identity.label())
    }

    async fn start(&self, label: &String, _: &StepContext) -> Result<String, Failure> {
        self.0.start(label);
        Ok(label.clone())
    }

    async fn find(&self, label: &String) -> Result<Option<String>, Failure> {
        Ok(self.0.knows(label).then(|| label.clone()))
    }

    async fn wait(&self, label: &String, _: &StepContext) -> Result<String, Failure> {
        Ok(label.clone())
    }

    async fn cancel(&self, _: &String) -> Result<(), Failure> {
        Ok(())
    }
}

fn flows(world: &World) -> Registry {
    let work = Submit(world.clone());
    let flow = move |context: Context, _: Value| {
        let work = work.clone();
        async move {
            let before: u32 = context
                .step("before", StepOptions::new(), |_| async { Err::<u32, _>(Failure::fatal("done again")) })
                .await?;
            let job = context.external("submit", StepOptions::new(), work).await?;
            context.sleep("rest", Duration::from_secs(60)).await?;
            Ok(json!({ "before": before, "job": job }))
        }
    };
    Registry::new().with(Flow::new("outside", flow))
}

/// Makes the journal that `OF_SCHEMA_1` is the text of, with `sqlite3 runs.db .dump`, at the point where the job was
/// started and not written down. Run with `BEAMRAIL_KEEP_JOURNAL=FOLDER`.
#[tokio::test]
async fn keep() {
    let Some(folder) = std::env::var_os("BEAMRAIL_KEEP_JOURNAL") else { return };
    let clock = engine::Clock::manual(crate::common::noon());
    let engine = Engine::open(Path::new(&folder).join("runs.db"), clock).unwrap();
    let work = Submit(World::default());
    let flow = move |context: Context, _: Value| {
        let work = work.clone();
        async move {
            let before: u32 = context.step("before", StepOptions::new(), |_| async { Ok(7) }).await?;
            let job = context.external("submit", StepOptions::new(), work).await?;
            Ok(json!({ "before": before, "job": job }))
        }
    };
    let flow = Flow::new("outside", flow);
    let every = When::Every { interval: Duration::from_secs(3600), from: crate::common::noon() };
    let mut deployment = Deployment::of("outside", &flow);
    deployment.schedules.push(Schedule::new("hourly", every));
    engine.deploy(deployment).await.unwrap();
    let new = NewRun::of("outside", json!({ "file_path": "a/b.h5" })).key("a/b").tag("scan:a/b");
    engine.create_run(new).await.unwrap();
    engine.send("announcement", "one", json!({ "text": "soon" })).await.unwrap();
    let counter = engine::faults::CrashAt::point(11);
    let worker = engine::Worker::new(engine.store(), Registry::new().with(flow));
    worker.named("old:1").faults(std::sync::Arc::new(counter)).run_until_idle().await.unwrap_err();
    let step = engine.steps(engine.runs(RunFilter::default()).await.unwrap().items[0].id).await.unwrap();
    assert!(step[1].handle.is_some() && !step[1].acted, "the point has moved: {step:#?}");
}

#[tokio::test]
async fn a_run_in_flight_of_version_0_1_goes_on() {
    let bench = Bench::new();
    let path = bench.folder.path().join("old.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(OF_SCHEMA_1).unwrap();
    let engine = Engine::open(&path, bench.clock.clone()).unwrap();
    let run = engine.runs(RunFilter::default()).await.unwrap().items.remove(0);
    let label = engine.steps(run.id).await.unwrap()[1].handle.clone().expect("it was about to be started");
    let label = label.as_str().unwrap().to_owned();
    assert!(label.starts_with(JOB), "{label}");
    // The old worker had started it, and was killed before it could write that down.
    let world = World::default();
    world.start(&label);
    bench.clock.advance(Duration::from_secs(90));
    let work = || engine::Worker::new(engine.store(), flows(&world)).run_until_idle();
    work().await.unwrap();
    // The sleep of the flow's newer code: not in the old journal, and no contradiction to it.
    bench.clock.advance(Duration::from_secs(90));
    work().await.unwrap();
    let ended = engine.run(run.id).await.unwrap();
    assert_eq!(ended.state.kind, StateType::Completed, "{:?}", ended.error);
    assert_eq!(ended.output, Some(json!({ "before": 7, "job": label })));
    assert_eq!(world.jobs(), [Job { started: 1, ..Job::default() }]);
    // Its key, deployment and message are known.
    let same = engine.create_run(NewRun::of("outside", json!({})).key("a/b")).await.unwrap();
    assert_eq!((same.id, same.is_new), (run.id, false));
    assert_eq!(engine.deployments().await.unwrap()[0].schedules.len(), 1);
    assert_eq!(engine.undelivered().await.unwrap().len(), 1);
}
