//! A run goes on where it was: finished steps are not repeated, whatever happened in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use crate::common::Bench;
use engine::faults::CrashAt;
use engine::{
    Context, Error, Failure, Flow, NewRun, Orchestrator, Registry, Retry, StateType, StepOptions, join_all,
};
use serde_json::{Value, json};

fn counting(calls: Arc<[AtomicU32; 3]>) -> Registry {
    Registry::new().with(Flow::new("three", move |context: Context, _: Value| {
        let calls = calls.clone();
        async move {
            let mut sum = 0;
            for index in 0..3_usize {
                let calls = calls.clone();
                sum += context
                    .step("add", StepOptions::new(), move |_| {
                        calls[index].fetch_add(1, SeqCst);
                        async move { Ok(10_u64.pow(u32::try_from(index).unwrap())) }
                    })
                    .await?;
            }
            Ok(sum)
        }
    }))
}

#[tokio::test]
async fn a_run_completes_and_its_history_says_how() {
    let bench = Bench::new();
    let registry = counting(Arc::default());
    let run = bench.engine.create_run(NewRun::of("three", json!({})).tag("test")).await.unwrap().id;
    bench.work(&registry).await;
    let done = bench.engine.run(run).await.unwrap();
    assert_eq!((done.state.kind, done.output), (StateType::Completed, Some(json!(111))));
    assert_eq!(
        bench.states(run, None).await,
        ["SCHEDULED/Scheduled", "PENDING/Pending", "RUNNING/Running", "COMPLETED/Completed"]
    );
    let steps = bench.engine.steps(run).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.key.as_str()).collect::<Vec<_>>(), ["add", "add#2", "add#3"]);
    assert_eq!(bench.states(run, Some("add#2")).await, ["RUNNING/Running", "COMPLETED/Completed"]);
}

/// At each journal point of the run the worker dies; the next one ends it with the same sum, and only the
/// step that was under way is done again.
#[tokio::test]
async fn a_crash_at_any_journal_write_repeats_at_most_the_step_under_way() {
    let counter = Arc::new(CrashAt::never());
    let bench = Bench::new();
    bench.engine.create_run(NewRun::of("three", json!({}))).await.unwrap();
    bench.worker(&counting(Arc::default())).faults(counter.clone()).run_until_idle().await.unwrap();
    let points = counter.seen();
    assert_eq!(points, 17, "claim, begin, 2 x 3 steps, finish: before and after each, the claim after only");
    for point in 1..=points {
        let bench = Bench::new();
        let calls: Arc<[AtomicU32; 3]> = Arc::default();
        let registry = counting(calls.clone());
        let run = bench.engine.create_run(NewRun::of("three", json!({}))).await.unwrap().id;
        let crashed = bench.worker(&registry).faults(Arc::new(CrashAt::point(point))).run_until_idle().await;
        assert!(matches!(crashed, Err(Error::Crashed)), "{crashed:?}");
        bench.clock.advance(Duration::from_secs(31));
        bench.work(&registry).await;
        let done = bench.engine.run(run).await.unwrap();
        assert_eq!((done.state.kind, done.output), (StateType::Completed, Some(json!(111))), "point {point}");
        let calls: u32 = calls.iter().map(|calls| calls.load(SeqCst)).sum();
        assert!((3..=4).contains(&calls), "point {point}: {calls} calls");
    }
}

#[tokio::test]
async fn a_step_that_changed_its_name_or_input_is_an_error_and_nothing_is_done() {
    let bench = Bench::new();
    let flow = |input: u32, key_name: &'static str| {
        Registry::new().with(Flow::new("changing", move |context: Context, _: Value| async move {
            let options = StepOptions::new().key("a").input(&input);
            context.step(key_name, options, |_| async { Ok(1) }).await?;
            context.step("stop", StepOptions::new(), |_| async { Err::<(), _>(Failure::fatal("no")) }).await
        }))
    };
    let run = bench.engine.create_run(NewRun::of("changing", json!({}))).await.unwrap().id;
    bench.work(&flow(1, "one")).await;
    assert_eq!(bench.kind(run).await, StateType::Failed);
    for (registry, says) in [(flow(2, "one"), "the input"), (flow(1, "other"), "a step named")] {
        bench.engine.retry(run, false).await.unwrap();
        bench.work(&registry).await;
        let error = bench.engine.run(run).await.unwrap().error.unwrap();
        assert_eq!(error.code.as_deref(), Some("non-deterministic"));
        assert!(error.message.contains(says), "{}", error.message);
    }
}

#[tokio::test]
async fn a_key_used_twice_is_an_error() {
    let bench = Bench::new();
    let registry = Registry::new().with(Flow::new("twice", |context: Context, _: Value| async move {
        let options = || StepOptions::new().key("same");
        context.step("a", options(), |_| async { Ok(()) }).await?;
        context.step("a", options(), |_| async { Ok(()) }).await
    }));
    let run = bench.engine.create_run(NewRun::of("twice", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    let error = bench.engine.run(run).await.unwrap().error.unwrap();
    assert!(error.message.contains("used before"), "{}", error.message);
}

#[tokio::test]
async fn steps_run_side_by_side_and_a_failure_drops_nobody() {
    let bench = Bench::fast();
    let registry = Registry::new().with(Flow::new("side", |context: Context, _: Value| async move {
        let gate = Arc::new(tokio::sync::Barrier::new(3));
        let steps = (0..3).map(|index| {
            let gate = gate.clone();
            context.scope(&format!("part{index}")).step("wait", StepOptions::new(), move |_| {
                let gate = gate.clone();
                async move {
                    // All three are needed to pass: none waits for another's end.
                    gate.wait().await;
                    if index == 0 { Err(Failure::fatal("first")) } else { Ok(index) }
                }
            })
        });
        join_all(steps).await
    }));
    let run = bench.engine.create_run(NewRun::of("side", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Failed);
    let steps = bench.engine.steps(run).await.unwrap();
    let states: Vec<_> = steps.iter().map(|step| (step.key.as_str(), step.state.kind)).collect();
    assert!(states.contains(&("part0/wait", StateType::Failed)), "{states:?}");
    assert!(states.contains(&("part1/wait", StateType::Completed)), "{states:?}");
    assert!(states.contains(&("part2/wait", StateType::Completed)), "{states:?}");
}

#[tokio::test]
async fn retries_obey_the_failure_and_the_service() {
    let bench = Bench::new();
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    let registry = Registry::new().with(Flow::new("retry", move |context: Context, _: Value| {
        let seen = seen.clone();
        async move {
            let retry = Retry::attempts(3).first(Duration::from_secs(60));
            context
                .step("ask", StepOptions::new().retry(retry), move |_| {
                    let call = seen.fetch_add(1, SeqCst);
                    async move {
                        match call {
                            0 => Err(Failure::retryable("busy").after(Duration::from_secs(3600))),
                            1 => Err(Failure::fatal("no such file")),
                            _ => Ok(()),
                        }
                    }
                })
                .await
        }
    }));
    let run = bench.engine.create_run(NewRun::of("retry", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    let waiting = bench.engine.run(run).await.unwrap();
    assert_eq!((waiting.state.kind, waiting.state.name.as_str()), (StateType::Scheduled, "AwaitingRetry"));
    assert_eq!(waiting.worker, None, "a long wait holds no worker");
    bench.clock.advance(Duration::from_secs(3599));
    bench.work(&registry).await;
    assert_eq!(calls.load(SeqCst), 1, "the service asked for an hour");
    bench.clock.advance(Duration::from_secs(1));
    bench.work(&registry).await;
    assert_eq!(calls.load(SeqCst), 2);
    assert_eq!(bench.kind(run).await, StateType::Failed, "a fatal failure is not tried again");
}

#[tokio::test]
async fn a_retry_keeps_finished_steps_and_one_from_the_start_none() {
    let bench = Bench::new();
    let calls: Arc<[AtomicU32; 2]> = Arc::default();
    let seen = calls.clone();
    let registry = Registry::new().with(Flow::new("second-fails", move |context: Context, _: Value| {
        let seen = seen.clone();
        async move {
            let (first, second) = (seen.clone(), seen.clone());
            let good = context.step("good", StepOptions::new(), move |_| {
                first[0].fetch_add(1, SeqCst);
                async { Ok(()) }
            });
            good.await?;
            let bad = context.step("bad", StepOptions::new(), move |_| {
                let call = second[1].fetch_add(1, SeqCst);
                async move { if call == 0 { Err(Failure::fatal("once")) } else { Ok(call) } }
            });
            bad.await
        }
    }));
    let run = bench.engine.create_run(NewRun::of("second-fails", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Failed);
    bench.engine.retry(run, false).await.unwrap();
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Completed);
    assert_eq!((calls[0].load(SeqCst), calls[1].load(SeqCst)), (1, 2));
    let refused = bench.engine.retry(run, true).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "what has completed stays so: {refused:?}");
}

#[tokio::test]
async fn a_panic_is_crashed_and_not_running_for_ever() {
    let bench = Bench::new();
    let registry = Registry::new().with(Flow::new("panics", |_: Context, _: Value| async move {
        let none = std::hint::black_box(None::<u32>);
        Ok::<_, Failure>(none.expect("a bug"))
    }));
    let run = bench.engine.create_run(NewRun::of("panics", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    let run = bench.engine.run(run).await.unwrap();
    assert_eq!(run.state.kind, StateType::Crashed);
    assert!(run.state.message.unwrap().contains("a bug"));
}
