//! A journal that was put back from a backup: what it does not know of is found outside, not started again.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Bench, Job, World};
use engine::faults::CrashAt;
use engine::{
    Context, Engine, External, Failure, Flow, Identity, NewRun, Orchestrator, Registry, RunId, StateType,
    StepContext, StepOptions,
};
use serde_json::{Value, json};

/// A job of the world, known by a name that is derived from run and step.
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

    async fn cancel(&self, label: &String) -> Result<(), Failure> {
        self.0.cancel(label);
        Ok(())
    }
}

fn flow(world: &World) -> Registry {
    let work = Submit(world.clone());
    Registry::new().with(Flow::new("two jobs", move |context: Context, _: Value| {
        let work = work.clone();
        async move {
            let first = context.external("first", StepOptions::new(), work.clone()).await?;
            context.step("between", StepOptions::new(), |_| async { Ok(()) }).await?;
            let second = context.external("second", StepOptions::new(), work).await?;
            Ok(json!([first, second]))
        }
    }))
}

async fn begin(bench: &Bench) -> RunId {
    bench.engine.create_run(NewRun::of("two jobs", json!({}))).await.unwrap().id
}

/// The backup is of any moment; after it the run ends, and then the disk is lost.
#[tokio::test]
async fn a_backup_of_any_moment_starts_nothing_twice() {
    let counter = Arc::new(CrashAt::never());
    let bench = Bench::new();
    begin(&bench).await;
    bench.worker(&flow(&World::default())).faults(counter.clone()).run_until_idle().await.unwrap();
    let points = counter.seen();
    assert!(points > 20, "{points} points");
    for point in 1..=points {
        let (bench, world) = (Bench::new(), World::default());
        let run = begin(&bench).await;
        let worker = bench.worker(&flow(&world)).faults(Arc::new(CrashAt::point(point)));
        worker.run_until_idle().await.unwrap_err();
        let copy = bench.folder.path().join("copy.db");
        bench.engine.store().backup(&copy).await.unwrap();
        let taken = bench.clock.now();
        // The worker is started again, and the run ends: of this the backup knows nothing.
        bench.clock.advance(Duration::from_secs(31));
        bench.work(&flow(&world)).await;
        assert_eq!(bench.kind(run).await, StateType::Completed);
        let lost = bench.engine.history(run).await.unwrap();

        let back = Engine::open(&copy, bench.clock.clone()).unwrap();
        let open = usize::from(!back.run(run).await.unwrap().state.kind.is_terminal());
        assert_eq!(back.restored(taken).await.unwrap(), open, "point {point}");
        engine::Worker::new(back.store(), flow(&world)).run_until_idle().await.unwrap();
        let ended = back.run(run).await.unwrap();
        assert_eq!(ended.state.kind, StateType::Completed, "point {point}: {ended:?}");
        assert_eq!(ended.output, bench.engine.run(run).await.unwrap().output);
        let once = Job { started: 1, ..Job::default() };
        assert_eq!(world.jobs(), [once.clone(), once], "point {point}");
        if open == 1 {
            // No number of the lost journal is used again.
            let told = back.history(run).await.unwrap();
            let note = told.iter().find(|entry| {
                entry.state.message.as_deref().is_some_and(|text| text.contains("restored from the backup"))
            });
            let note = note.expect("the history says so");
            assert!(note.id > lost.last().unwrap().id && told.last().unwrap().id >= note.id);
            assert!(
                back.logs(run, 0, 100).await.unwrap().iter().any(|line| line.message.contains("restored"))
            );
        }
    }
    println!("{points} moments");
}
