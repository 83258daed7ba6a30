//! Work outside: started exactly once, found again, stopped when the run is.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Bench, Job, World};
use engine::faults::{CrashAt, Faults, StepFault};
use engine::{
    Context, Error, External, Failure, Flow, Identity, NewRun, Orchestrator, Registry, Retry, RunId,
    StateType, StepContext, StepOptions,
};
use serde_json::{Value, json};

/// A job of the world, by name.
#[derive(Clone)]
struct Submit {
    world: World,
    /// Ends at once; otherwise it never does.
    quick: bool,
    /// Stays in the queue: never says that it runs.
    queued: bool,
    /// Fails so, when waited for the first time under each identity.
    fails: Option<Failure>,
}

impl Submit {
    fn quick(world: &World) -> Self {
        Submit { world: world.clone(), quick: true, queued: false, fails: None }
    }

    fn slow(world: &World) -> Self {
        Submit { quick: false, ..Self::quick(world) }
    }
}

impl External for Submit {
    type Handle = String;
    type Output = String;

    async fn prepare(&self, identity: &Identity) -> Result<String, Failure> {
        Ok(identity.label())
    }

    async fn start(&self, handle: &String, _: &StepContext) -> Result<String, Failure> {
        self.world.start(handle);
        Ok(handle.clone())
    }

    async fn find(&self, handle: &String) -> Result<Option<String>, Failure> {
        Ok(self.world.knows(handle).then(|| handle.clone()))
    }

    async fn wait(&self, handle: &String, step: &StepContext) -> Result<String, Failure> {
        if !self.queued {
            step.running().await?;
        }
        if let Some(failure) = &self.fails
            && step.attempt() == 1
        {
            return Err(failure.clone());
        }
        while !self.quick && !self.world.is_done(handle) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok("done".to_owned())
    }

    async fn cancel(&self, handle: &String) -> Result<(), Failure> {
        self.world.cancel(handle);
        Ok(())
    }
}

fn flow(work: Submit, options: StepOptions) -> Registry {
    Registry::new().with(Flow::new("outside", move |context: Context, _: Value| {
        let (work, options) = (work.clone(), options.clone());
        async move {
            context.step("before", StepOptions::new(), |_| async { Ok(()) }).await?;
            let done = context.external("submit", options, work).await?;
            context.step("after", StepOptions::new(), |_| async { Ok(()) }).await?;
            Ok(done)
        }
    }))
}

async fn create(bench: &Bench) -> RunId {
    bench.engine.create_run(NewRun::of("outside", json!({}))).await.unwrap().id
}

#[tokio::test]
async fn a_crash_at_any_journal_write_starts_the_work_once() {
    let counter = Arc::new(CrashAt::never());
    let bench = Bench::new();
    create(&bench).await;
    let registry = flow(Submit::quick(&World::default()), StepOptions::new());
    bench.worker(&registry).faults(counter.clone()).run_until_idle().await.unwrap();
    let points = counter.seen();
    assert!(points > 20, "{points} points");
    for point in 1..=points {
        let (bench, world) = (Bench::new(), World::default());
        let registry = flow(Submit::quick(&world), StepOptions::new());
        let run = create(&bench).await;
        let crashed = bench.worker(&registry).faults(Arc::new(CrashAt::point(point))).run_until_idle().await;
        assert!(matches!(crashed, Err(Error::Crashed)));
        bench.clock.advance(Duration::from_secs(31));
        bench.work(&registry).await;
        assert_eq!(bench.kind(run).await, StateType::Completed, "point {point}");
        let once = Job { started: 1, ..Job::default() };
        assert_eq!(
            world.jobs(),
            [once],
            "point {point}: {:?}",
            counter.points()[usize::try_from(point).unwrap() - 1]
        );
    }
    println!("{points} journal points");
}

struct LostAnswer;
impl Faults for LostAnswer {
    fn step(&self, _: RunId, key: &str, _: u32) -> StepFault {
        if key == "submit" { StepFault::Repeat } else { StepFault::None }
    }
}

#[tokio::test]
async fn a_lost_answer_finds_the_work() {
    let (bench, world) = (Bench::new(), World::default());
    let run = create(&bench).await;
    let registry = flow(Submit::quick(&world), StepOptions::new());
    bench.worker(&registry).faults(Arc::new(LostAnswer)).run_until_idle().await.unwrap();
    assert_eq!(bench.kind(run).await, StateType::Completed);
    assert_eq!(world.jobs(), [Job { started: 1, ..Job::default() }]);
}

#[tokio::test]
async fn cancelling_stops_the_outside_work() {
    let (bench, world) = (Bench::new(), World::default());
    let run = create(&bench).await;
    let worker = bench.worker(&flow(Submit::slow(&world), StepOptions::new())).run_until_idle();
    let worker = tokio::spawn(worker);
    while world.jobs().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let state = bench.engine.cancel(run, "the scan was bad").await.unwrap();
    assert_eq!(state.kind, StateType::Cancelling);
    worker.await.unwrap().unwrap();
    assert_eq!(bench.kind(run).await, StateType::Cancelled);
    assert_eq!(world.jobs(), [Job { started: 1, cancelled: 1, ..Job::default() }]);
    assert_eq!(bench.states(run, Some("submit")).await.last().unwrap(), "CANCELLED/Cancelled");
    assert!(bench.states(run, Some("after")).await.is_empty(), "nothing begins in a cancelled run");
}

#[tokio::test]
async fn a_run_cancelled_while_its_worker_is_dead_has_its_work_stopped_by_the_next() {
    let (bench, world) = (Bench::new(), World::default());
    let run = create(&bench).await;
    let registry = flow(Submit::slow(&world), StepOptions::new());
    // Dies right after the act was recorded.
    let counter = Arc::new(CrashAt::never());
    let probe = Bench::new();
    create(&probe).await;
    let quick = flow(Submit::quick(&World::default()), StepOptions::new());
    probe.worker(&quick).faults(counter.clone()).run_until_idle().await.unwrap();
    let acted = counter.points().iter().position(|point| point.what == "acted" && point.written).unwrap();
    let fault = Arc::new(CrashAt::point(u64::try_from(acted).unwrap() + 1));
    bench.worker(&registry).faults(fault).run_until_idle().await.unwrap_err();
    assert_eq!(bench.engine.cancel(run, "not needed").await.unwrap().kind, StateType::Cancelling);
    bench.clock.advance(Duration::from_secs(31));
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Cancelled);
    assert_eq!(world.jobs(), [Job { started: 1, cancelled: 1, ..Job::default() }]);
}

#[tokio::test]
async fn waiting_in_a_queue_and_running_have_their_own_limits() {
    let hour = Duration::from_secs(3600);
    let options = || StepOptions::new().queue_timeout(hour).run_timeout(2 * hour);
    for (queued, code, passes) in [(true, "queue-timeout", hour), (false, "run-timeout", 2 * hour)] {
        let (bench, world) = (Bench::new(), World::default());
        let run = create(&bench).await;
        let work = Submit { queued, ..Submit::slow(&world) };
        let worker = tokio::spawn(bench.worker(&flow(work, options())).run_until_idle());
        let begun = |step: engine::Step| if queued { step.acted } else { step.running_since.is_some() };
        loop {
            let steps = bench.engine.steps(run).await.unwrap();
            if steps.into_iter().any(|step| step.key == "submit" && begun(step)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        bench.clock.advance(passes - Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(bench.kind(run).await, StateType::Running, "{code}: not before its time");
        bench.clock.advance(Duration::from_secs(2));
        worker.await.unwrap().unwrap();
        let run = bench.engine.run(run).await.unwrap();
        assert_eq!(run.error.unwrap().code.as_deref(), Some(code));
        assert_eq!((run.state.kind, run.state.name.as_str()), (StateType::Failed, "TimedOut"));
        assert_eq!(
            world.jobs(),
            [Job { started: 1, cancelled: 1, ..Job::default() }],
            "{code}: it is stopped"
        );
    }
}

#[tokio::test]
async fn looking_again_is_no_new_submission_and_ended_work_is() {
    let retry = StepOptions::new().retry(Retry::attempts(3).first(Duration::from_millis(1)));
    let blind = Failure::retryable("the service did not answer");
    for (failure, submissions) in [(blind.clone(), 1), (blind.work_ended(), 2)] {
        let (bench, world) = (Bench::fast(), World::default());
        let run = create(&bench).await;
        let work = Submit { fails: Some(failure), ..Submit::quick(&world) };
        bench.work(&flow(work, retry.clone())).await;
        assert_eq!(bench.kind(run).await, StateType::Completed);
        let jobs = world.jobs();
        assert_eq!(jobs.len(), submissions);
        assert!(jobs.iter().all(|job| job.started == 1), "{jobs:?}");
    }
}

#[tokio::test]
async fn a_run_that_is_tried_again_looks_for_work_that_lives_before_it_submits() {
    let denied = Failure::fatal("the service does not let us look; its owner: allow it");
    for (failure, submissions) in [(denied.clone().work_lives(), 1), (denied, 2)] {
        let (bench, world) = (Bench::fast(), World::default());
        let run = create(&bench).await;
        let refused = Submit { fails: Some(failure), ..Submit::quick(&world) };
        bench.work(&flow(refused, StepOptions::new())).await;
        assert_eq!(bench.kind(run).await, StateType::Failed);
        bench.engine.retry(run, false).await.unwrap();
        bench.work(&flow(Submit::quick(&world), StepOptions::new())).await;
        assert_eq!(bench.kind(run).await, StateType::Completed);
        assert_eq!(world.jobs().len(), submissions);
    }
}

#[tokio::test]
async fn work_that_the_flow_dropped_is_stopped() {
    let (bench, world) = (Bench::new(), World::default());
    let work = Submit::slow(&world);
    let registry = Registry::new().with(Flow::new("outside", move |context: Context, _: Value| {
        let work = work.clone();
        async move {
            let outside = context.external("submit", StepOptions::new(), work.clone());
            let fails = context.step("fails", StepOptions::new(), |_| {
                let world = work.world.clone();
                async move {
                    while world.jobs().is_empty() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Err::<(), _>(Failure::fatal("the other one failed"))
                }
            });
            tokio::try_join!(outside, fails).map(|_| ())
        }
    }));
    let run = create(&bench).await;
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Failed);
    assert_eq!(world.jobs(), [Job { started: 1, cancelled: 1, ..Job::default() }]);
    let steps = bench.engine.steps(run).await.unwrap();
    assert!(steps.iter().all(|step| step.state.kind.is_terminal()), "{steps:#?}");
}

#[test]
fn an_identity_is_the_same_again_and_another_for_another_submission() {
    let run = RunId("0199d5a0-0000-7000-8000-000000000001".parse().unwrap());
    let one = Identity { run, generation: 1, key: "alcf/reconstruct the scan".to_owned(), submission: 1 };
    let two = Identity { submission: 2, ..one.clone() };
    assert_eq!(one.label(), one.clone().label());
    assert_ne!(one.uuid(), two.uuid());
    assert_ne!(one.label(), two.label());
    assert!(one.label().len() <= 60 && one.label().chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
}
