//! Waits for time, for a person, for other runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use crate::common::Bench;
use engine::{
    Ask, Context, Deployment, Error, Failure, Flow, NewRun, Orchestrator, Registry, RunFilter, StateType,
    StepOptions,
};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);

fn answers(key: &str, value: Value) -> BTreeMap<String, Value> {
    BTreeMap::from([(key.to_owned(), value)])
}

#[tokio::test]
async fn seven_days_pass_in_milliseconds_and_hold_no_worker() {
    let bench = Bench::new();
    let registry = Registry::new().with(Flow::new("prune", |context: Context, _: Value| async move {
        context.sleep("wait", 7 * DAY).await
    }));
    let run = bench.engine.create_run(NewRun::of("prune", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    let asleep = bench.engine.run(run).await.unwrap();
    assert_eq!((asleep.state.name.as_str(), asleep.worker), ("Sleeping", None));
    bench.clock.advance(7 * DAY - Duration::from_secs(1));
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Scheduled);
    bench.clock.advance(Duration::from_secs(1));
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Completed);
}

#[tokio::test]
async fn a_run_waits_for_a_person_and_takes_only_a_fitting_answer() {
    let bench = Bench::new();
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    let registry = Registry::new().with(Flow::new("ask", move |context: Context, _: Value| {
        let seen = seen.clone();
        async move {
            let find = context.step("find", StepOptions::new(), move |_| {
                seen.fetch_add(1, SeqCst);
                async { Ok(0.2) }
            });
            let confidence: f64 = find.await?;
            let ask = Ask::new("Centre needed", format!("confidence {confidence}"));
            let ask = ask.evidence(json!({ "picture": "centre.png" }));
            context.pause_for_input::<f64>("center", ask).await
        }
    }));
    let run = bench.engine.create_run(NewRun::of("ask", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    let paused = bench.engine.run(run).await.unwrap();
    assert_eq!((paused.state.kind, paused.state.name.as_str()), (StateType::Paused, "Centre needed"));
    let ask = paused.ask.unwrap();
    assert_eq!((ask.key.as_str(), &ask.evidence["picture"]), ("center", &json!("centre.png")));
    bench.clock.advance(30 * DAY);
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Paused, "it waits as long as it takes");

    let engine = &bench.engine;
    for (wrong, says) in [
        (BTreeMap::new(), "it waits for \"center\""),
        (answers("centre", json!(1280.5)), "it waits for \"center\""),
        (answers("center", json!("left")), "must be of type number"),
    ] {
        let refused = engine.resume(run, wrong).await.unwrap_err();
        assert!(refused.to_string().contains(says) && refused.is_bad_input(), "{refused}");
    }
    assert_eq!(engine.resume(run, answers("center", json!(1280.5))).await.unwrap().name, "Resuming");
    bench.work(&registry).await;
    let done = engine.run(run).await.unwrap();
    assert_eq!((done.state.kind, done.output), (StateType::Completed, Some(json!(1280.5))));
    assert_eq!(calls.load(SeqCst), 1, "the step before was not repeated");
    let states = bench.states(run, None).await;
    assert_eq!(states[3..5], ["PAUSED/Centre needed", "SCHEDULED/Resuming"]);
}

#[tokio::test]
async fn another_branch_works_on_while_one_asks() {
    let bench = Bench::new();
    let registry = Registry::new().with(Flow::new("both", |context: Context, _: Value| async move {
        let ask = context.pause_for_input::<u32>("number", Ask::new("Number needed", "any"));
        let work = context.step("work", StepOptions::new(), |_| async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(1)
        });
        let (asked, worked): (Result<u32, Failure>, Result<u32, Failure>) = tokio::join!(ask, work);
        Ok::<_, Failure>(asked? + worked?)
    }));
    let run = bench.engine.create_run(NewRun::of("both", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    let steps = bench.engine.steps(run).await.unwrap();
    let kind = |key: &str| steps.iter().find(|step| step.key == key).unwrap().state.kind;
    assert_eq!((kind("number"), kind("work")), (StateType::Paused, StateType::Completed));
    bench.engine.resume(run, answers("number", json!(41))).await.unwrap();
    bench.work(&registry).await;
    assert_eq!(bench.engine.run(run).await.unwrap().output, Some(json!(42)));
}

#[tokio::test]
async fn an_operator_pauses_between_steps() {
    let bench = Bench::new();
    let gate = Arc::new(tokio::sync::Notify::new());
    let open = gate.clone();
    let registry = Registry::new().with(Flow::new("two", move |context: Context, _: Value| {
        let gate = open.clone();
        async move {
            let first = context.step("first", StepOptions::new(), |_| {
                let gate = gate.clone();
                async move {
                    gate.notified().await;
                    Ok(())
                }
            });
            first.await?;
            context.step("second", StepOptions::new(), |_| async { Ok(()) }).await
        }
    }));
    let run = bench.engine.create_run(NewRun::of("two", json!({}))).await.unwrap().id;
    let worker = tokio::spawn(bench.worker(&registry).run_until_idle());
    bench.until(run, StateType::Running).await;
    bench.engine.pause(run, "beam time").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.kind(run).await, StateType::Running, "the step at work is not disturbed");
    gate.notify_one();
    worker.await.unwrap().unwrap();
    let paused = bench.engine.run(run).await.unwrap();
    assert_eq!((paused.state.kind, paused.state.message.as_deref()), (StateType::Paused, Some("beam time")));
    assert!(bench.states(run, Some("second")).await.is_empty());
    bench.engine.resume(run, BTreeMap::new()).await.unwrap();
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Completed);
    assert_eq!(bench.states(run, Some("first")).await, ["RUNNING/Running", "COMPLETED/Completed"]);
}

/// The person's program is another one than the worker's: no event reaches the worker, it looks.
#[tokio::test]
async fn another_process_cancels_within_a_poll() {
    let bench = Bench::with(engine::Clock::system());
    let registry = Registry::new().with(Flow::new("long", |context: Context, _: Value| async move {
        context
            .step("wait", StepOptions::new(), |_| async {
                std::future::pending::<()>().await;
                Ok(())
            })
            .await
    }));
    let run = bench.engine.create_run(NewRun::of("long", json!({}))).await.unwrap().id;
    let worker = bench.worker(&registry).poll(Duration::from_millis(20)).lease(DAY);
    let worker = tokio::spawn(worker.run_until_idle());
    bench.until(run, StateType::Running).await;
    bench.other().cancel(run, "from the command line").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), worker)
        .await
        .expect("long before the next renewal")
        .unwrap()
        .unwrap();
    let run = bench.engine.run(run).await.unwrap();
    let said = (run.state.kind, run.state.message.as_deref());
    assert_eq!(said, (StateType::Cancelled, Some("from the command line")));
}

#[tokio::test]
async fn a_step_that_needs_a_person_pauses_the_run_and_is_tried_again() {
    let bench = Bench::new();
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    let registry = Registry::new().with(Flow::new("login", move |context: Context, _: Value| {
        let seen = seen.clone();
        async move {
            let step = context.step("transfer", StepOptions::new(), move |_| {
                let call = seen.fetch_add(1, SeqCst);
                async move {
                    if call == 0 {
                        Err(Failure::needs_input("consent expired; log in again"))
                    } else {
                        Ok(call)
                    }
                }
            });
            step.await
        }
    }));
    let run = bench.engine.create_run(NewRun::of("login", json!({}))).await.unwrap().id;
    bench.work(&registry).await;
    let paused = bench.engine.run(run).await.unwrap();
    assert_eq!(
        (paused.state.kind, paused.state.message.unwrap().as_str()),
        (StateType::Paused, "consent expired; log in again")
    );
    bench.engine.resume(run, BTreeMap::new()).await.unwrap();
    bench.work(&registry).await;
    assert_eq!(bench.engine.run(run).await.unwrap().output, Some(json!(1)));
}

fn family() -> Registry {
    Registry::new()
        .with(Flow::new("parent", |context: Context, parameters: Value| async move {
            let child = |n: u32| NewRun::of("child", json!({ "n": n, "sleep": parameters["sleep"] }));
            let (one, two) =
                (context.sub_run::<u32>("one", child(1)), context.sub_run::<u32>("two", child(2)));
            let (one, two) = tokio::join!(one, two);
            Ok::<_, Failure>(one? + two?)
        }))
        .with(Flow::new("child", |context: Context, parameters: Value| async move {
            if parameters["sleep"] == json!(true) {
                context.sleep("wait", DAY).await?;
            }
            Ok::<_, Failure>(parameters["n"].as_u64().unwrap_or_default() * 10)
        }))
}

/// With one place in the pool: a parent that held it while it waits would wait for ever.
#[tokio::test]
async fn a_parent_waits_for_its_sub_runs_without_a_place() {
    let bench = Bench::new();
    let run = bench.engine.create_run(NewRun::of("parent", json!({}))).await.unwrap().id;
    bench.worker(&family()).concurrency(1).run_until_idle().await.unwrap();
    let done = bench.engine.run(run).await.unwrap();
    assert_eq!((done.state.kind, done.output), (StateType::Completed, Some(json!(30))));
    let children = RunFilter { parent: Some(run), ..RunFilter::default() };
    assert_eq!(bench.engine.runs(children).await.unwrap().items.len(), 2, "each was made once");
}

/// Limits that only runs made by hand obeyed were none.
#[tokio::test]
async fn a_sub_run_obeys_the_limit_and_retries_of_its_flows_deployment() {
    let bench = Bench::new();
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (inside, peak) = (now.clone(), most.clone());
    let registry = Registry::new()
        .with(Flow::new("parent", |context: Context, _: Value| async move {
            let child = || NewRun::of("child", json!({}));
            let (one, two, three) = tokio::join!(
                context.sub_run::<u32>("one", child()),
                context.sub_run::<u32>("two", child()),
                context.sub_run::<u32>("three", child())
            );
            Ok::<_, Failure>(one? + two? + three?)
        }))
        .with(Flow::new("child", move |_: Context, _: Value| {
            let (inside, peak) = (inside.clone(), peak.clone());
            async move {
                peak.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                inside.fetch_sub(1, SeqCst);
                Ok::<_, Failure>(1)
            }
        }));
    let deployment = Deployment::of("child", registry.get("child").unwrap());
    let deployment = Deployment { retries: 2, tags: vec!["slow".into()], ..deployment.concurrency(1) };
    bench.engine.deploy(deployment).await.unwrap();
    let run = bench.engine.create_run(NewRun::of("parent", json!({}))).await.unwrap().id;
    bench.worker(&registry).concurrency(8).run_until_idle().await.unwrap();
    assert_eq!(bench.engine.run(run).await.unwrap().output, Some(json!(3)));
    assert_eq!(most.load(SeqCst), 1, "one at a time");
    let children = RunFilter { parent: Some(run), tags: vec!["slow".into()], ..RunFilter::default() };
    let children = bench.engine.runs(children).await.unwrap().items;
    assert_eq!(children.len(), 3);
    assert!(children.iter().all(|child| child.deployment.as_deref() == Some("child")), "{children:#?}");
}

#[tokio::test]
async fn cancelling_a_parent_cancels_its_sub_runs() {
    let bench = Bench::new();
    let run = bench.engine.create_run(NewRun::of("parent", json!({ "sleep": true }))).await.unwrap().id;
    bench.work(&family()).await;
    assert_eq!(bench.engine.run(run).await.unwrap().state.name, "AwaitingSubrun");
    assert_eq!(bench.engine.cancel(run, "enough").await.unwrap().kind, StateType::Cancelled);
    let children = RunFilter { parent: Some(run), ..RunFilter::default() };
    let children = bench.engine.runs(children).await.unwrap().items;
    assert!(children.iter().all(|child| child.state.kind == StateType::Cancelled), "{children:#?}");
    bench.clock.advance(2 * DAY);
    bench.work(&family()).await;
    assert_eq!(bench.kind(run).await, StateType::Cancelled);
}

#[tokio::test]
async fn only_a_paused_run_is_resumed_and_only_an_ended_one_retried() {
    let bench = Bench::new();
    let run = bench.engine.create_run(NewRun::of("x", json!({}))).await.unwrap().id;
    for refused in [
        bench.engine.resume(run, BTreeMap::new()).await,
        bench.engine.retry(run, false).await,
        bench.engine.pause(run, "").await.map(|()| unreachable!()),
    ] {
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
    assert_eq!(bench.engine.cancel(run, "not needed").await.unwrap().kind, StateType::Cancelled);
    assert!(matches!(bench.engine.cancel(run, "twice").await, Err(Error::Refused { .. })));
}

#[tokio::test]
async fn sub_runs_that_a_person_lets_go_on_take_places_under_the_limit_of_their_flow() {
    // With a limit of 1 never two at once; with 2 there are, so the limit is what holds them apart.
    for most in [1, 2] {
        let bench = Bench::new();
        let now: Arc<[AtomicU32; 2]> = Arc::default();
        let seen = now.clone();
        let ask = Flow::new("ask", move |context: Context, _: Value| {
            let seen = seen.clone();
            async move {
                let _: u32 = context.pause_for_input("number", Ask::new("Number needed", "any")).await?;
                let work = context.step("work", StepOptions::new(), move |_| {
                    let seen = seen.clone();
                    async move {
                        seen[1].fetch_max(seen[0].fetch_add(1, SeqCst) + 1, SeqCst);
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        seen[0].fetch_sub(1, SeqCst);
                        Ok(())
                    }
                });
                work.await
            }
        });
        bench.engine.deploy(Deployment::of("ask", &ask).concurrency(most)).await.unwrap();
        let registry =
            Registry::new().with(ask).with(Flow::new("parent", |context: Context, _: Value| async move {
                context.sub_run::<Value>("child", NewRun::of("ask", json!({}))).await.map(drop)
            }));
        for _ in 0..2 {
            bench.engine.create_run(NewRun::of("parent", json!({}))).await.unwrap();
        }
        bench.work(&registry).await;
        let paused = RunFilter { states: vec![StateType::Paused], ..RunFilter::default() };
        let paused = bench.engine.runs(paused).await.unwrap().items;
        assert_eq!(paused.len(), 2, "a run that waits for a person holds no place");
        for run in &paused {
            bench.engine.resume(run.id, answers("number", json!(1))).await.unwrap();
        }
        bench.work(&registry).await;
        assert_eq!(bench.engine.counts().await.unwrap().get(&StateType::Completed), Some(&4));
        assert_eq!(now[1].load(SeqCst), most);
    }
}
