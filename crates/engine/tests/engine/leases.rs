//! Who may work on what: leases, fencing numbers, limits, priorities.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::Bench;
use engine::{
    Context, Failure, Flow, NewRun, Orchestrator, Pool, Queue, Registry, RunFilter, StateType, StepOptions,
};
use serde_json::{Value, json};

/// A worker loses its lease in the middle of a step (it was silent for too long). Another takes the run up and
/// ends it. What the first still wants to write is refused.
#[tokio::test]
async fn the_loser_of_a_lease_cannot_write() {
    let bench = Bench::new();
    let stuck = Arc::new(tokio::sync::Notify::new());
    let entered = Arc::new(AtomicBool::new(false));
    let after = Arc::new(AtomicBool::new(false));
    let slow = {
        let (stuck, entered, after) = (stuck.clone(), entered.clone(), after.clone());
        Registry::new().with(Flow::new("slow", move |context: Context, _: Value| {
            let (stuck, entered, after) = (stuck.clone(), entered.clone(), after.clone());
            async move {
                let text = context.step("work", StepOptions::new(), move |_| {
                    let (stuck, entered) = (stuck.clone(), entered.clone());
                    async move {
                        entered.store(true, SeqCst);
                        stuck.notified().await;
                        Ok("the loser's".to_owned())
                    }
                });
                let text: Result<String, Failure> = text.await;
                after.store(true, SeqCst);
                text
            }
        }))
    };
    let fast = Registry::new().with(Flow::new("slow", |context: Context, _: Value| async move {
        context.step("work", StepOptions::new(), |_| async { Ok("the winner's".to_owned()) }).await
    }));
    let run = bench.engine.create_run(NewRun::of("slow", json!({}))).await.unwrap().id;
    // So long a lease and poll that it renews nothing while the clock jumps.
    let hour = Duration::from_secs(3600);
    let loser = bench.worker(&slow).named("loser").lease(hour).poll(10 * hour);
    let loser = tokio::spawn(loser.run_until_idle());
    while !entered.load(SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The winner is another program on the same file, whose clock says that the lease is long over.
    let later = engine::Clock::manual(bench.clock.now() + jiff::SignedDuration::from_hours(2));
    let other = engine::Engine::open(bench.folder.path().join("runs.db"), later).unwrap();
    engine::Worker::new(other.store(), fast).named("winner").run_until_idle().await.unwrap();
    let won = bench.engine.run(run).await.unwrap();
    assert_eq!((won.state.kind, won.output), (StateType::Completed, Some(json!("the winner's"))));
    let before = bench.engine.history(run).await.unwrap();
    stuck.notify_one();
    let summary = loser.await.unwrap().unwrap();
    assert_eq!(summary.lost, 1);
    assert_eq!(bench.engine.history(run).await.unwrap(), before, "nothing was added");
    assert_eq!(bench.engine.run(run).await.unwrap().output, Some(json!("the winner's")));
    assert!(!after.load(SeqCst), "the loser's flow goes no further");
    let taken: Vec<_> = before.iter().filter_map(|entry| entry.state.message.clone()).collect();
    assert!(taken.iter().any(|text| text.starts_with("loser stopped answering")), "{taken:?}");
}

/// What runs at once, by kind, with the most that was seen.
#[derive(Default)]
struct Gauge(Mutex<HashMap<String, (usize, usize)>>);

impl Gauge {
    fn enter(&self, names: &[String]) {
        let mut gauge = self.0.lock().unwrap();
        for name in names {
            let entry = gauge.entry(name.clone()).or_default();
            entry.0 += 1;
            entry.1 = entry.1.max(entry.0);
        }
    }

    fn leave(&self, names: &[String]) {
        let mut gauge = self.0.lock().unwrap();
        names.iter().for_each(|name| gauge.entry(name.clone()).or_default().0 -= 1);
    }

    fn most(&self, name: &str) -> usize {
        self.0.lock().unwrap().get(name).map_or(0, |entry| entry.1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_runs_and_four_workers_none_lost_none_doubled_limits_kept() {
    let bench = Bench::with(engine::Clock::system());
    let gauge = Arc::new(Gauge::default());
    let done: Arc<Mutex<HashMap<i64, usize>>> = Arc::default();
    let registry = {
        let (gauge, done) = (gauge.clone(), done.clone());
        Registry::new().with(Flow::new("work", move |context: Context, parameters: Value| {
            let (gauge, done) = (gauge.clone(), done.clone());
            async move {
                let mut names = context.run().tags.clone();
                names.push(context.run().queue.clone());
                names.push("pool".to_owned());
                gauge.enter(&names);
                let number = parameters["number"].as_i64().unwrap();
                let step = context.step("count", StepOptions::new(), move |_| {
                    *done.lock().unwrap().entry(number).or_default() += 1;
                    async { Ok(()) }
                });
                let result = step.await;
                gauge.leave(&names);
                result
            }
        }))
    };
    let engine = &bench.engine;
    engine.set_pool(Pool { name: "default".into(), concurrency: Some(20), paused: false }).await.unwrap();
    let queue = |name: &str, most| Queue {
        pool: "default".into(),
        name: name.into(),
        priority: 1,
        concurrency: Some(most),
        paused: false,
    };
    engine.set_queue(queue("narrow", 3)).await.unwrap();
    engine.set_queue(queue("wide", 15)).await.unwrap();
    engine.set_limit("nersc", Some(2)).await.unwrap();
    for number in 0..1000 {
        let new = NewRun::of("work", json!({ "number": number }));
        let new = new.on("default", if number % 4 == 0 { "narrow" } else { "wide" });
        let new = if number % 10 == 0 { new.tag("nersc") } else { new };
        engine.create_run(new).await.unwrap();
    }
    let workers = (0..4).map(|index| {
        // Each a program of its own: its own connection, its own writer.
        let other = bench.other();
        let worker = engine::Worker::new(other.store(), registry.clone()).named(format!("worker-{index}"));
        let worker = worker.concurrency(8).poll(Duration::from_millis(20));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        (stop, tokio::spawn(worker.run(async move { drop(stopped.await) })))
    });
    let workers: Vec<_> = workers.collect();
    let finished = RunFilter { states: vec![StateType::Completed], limit: 1000, ..RunFilter::default() };
    let began = std::time::Instant::now();
    while engine.runs(finished.clone()).await.unwrap().items.len() < 1000 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < Duration::from_secs(120), "{:?}", engine.counts().await.unwrap());
    }
    println!("1000 runs in {:.1} s", began.elapsed().as_secs_f64());
    let mut claimed = 0;
    for (stop, worker) in workers {
        stop.send(()).unwrap();
        claimed += worker.await.unwrap().unwrap().claimed;
    }
    assert_eq!(claimed, 1000);
    let done = done.lock().unwrap();
    assert_eq!(done.len(), 1000);
    assert!(done.values().all(|times| *times == 1));
    for (name, most) in [("pool", 20), ("narrow", 3), ("wide", 15), ("nersc", 2)] {
        assert!(gauge.most(name) <= most, "{name}: {} at once", gauge.most(name));
        assert!(gauge.most(name) > 0);
    }
}

#[tokio::test]
async fn a_lower_priority_number_goes_first_and_a_paused_queue_not_at_all() {
    let bench = Bench::new();
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let registry = {
        let order = order.clone();
        Registry::new().with(Flow::new("note", move |context: Context, _: Value| {
            order.lock().unwrap().push(context.run().queue.clone());
            async { Ok::<_, Failure>(()) }
        }))
    };
    for (name, priority, paused) in [("late", 50, false), ("urgent", 1, false), ("held", 0, true)] {
        let queue = Queue { pool: "default".into(), name: name.into(), priority, concurrency: None, paused };
        bench.engine.set_queue(queue).await.unwrap();
    }
    for queue in ["late", "default", "held", "urgent"] {
        bench.engine.create_run(NewRun::of("note", json!({})).on("default", queue)).await.unwrap();
    }
    bench.worker(&registry).concurrency(1).run_until_idle().await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["urgent", "late", "default"]);
}

#[tokio::test]
async fn a_stopped_worker_hands_its_runs_back_and_they_go_on_elsewhere() {
    let bench = Bench::new();
    let first = Arc::new(AtomicUsize::new(0));
    let registry = {
        let first = first.clone();
        Registry::new().with(Flow::new("long", move |context: Context, _: Value| {
            let first = first.clone();
            async move {
                let count = first.clone();
                let step = context.step("quick", StepOptions::new(), move |_| {
                    count.fetch_add(1, SeqCst);
                    async { Ok(()) }
                });
                step.await?;
                let calls = first.clone();
                let step = context.step("long", StepOptions::new(), move |_| {
                    let call = calls.fetch_add(10, SeqCst);
                    async move {
                        if call < 10 {
                            std::future::pending::<()>().await;
                        }
                        Ok(())
                    }
                });
                step.await
            }
        }))
    };
    let run = bench.engine.create_run(NewRun::of("long", json!({}))).await.unwrap().id;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = bench.worker(&registry).drain(Duration::ZERO).run(async move { drop(stopped.await) });
    let worker = tokio::spawn(worker);
    while first.load(SeqCst) < 11 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.send(()).unwrap();
    let summary = worker.await.unwrap().unwrap();
    assert_eq!(summary.left.get(&StateType::Scheduled), Some(&1));
    bench.work(&registry).await;
    assert_eq!(bench.kind(run).await, StateType::Completed);
    assert_eq!(first.load(SeqCst), 21, "the quick step was not repeated, the long one was");
}

/// A run that takes each worker down with it (it needs too much memory, say) ends as crashed, so that the workers
/// can do the others; a person can try it again.
#[tokio::test]
async fn a_run_that_kills_its_workers_is_given_up_and_can_be_retried() {
    let bench = Bench::new();
    let registry = Registry::new()
        .with(Flow::new("deadly", |context: Context, _: Value| async move {
            context.step("first", StepOptions::new(), |_| async { Ok(()) }).await?;
            context.step("second", StepOptions::new(), |_| async { Ok(()) }).await
        }))
        .with(Flow::new("parent", |context: Context, _: Value| async move {
            context.sub_run::<()>("child", NewRun::of("deadly", json!({}))).await
        }));
    let parent = bench.engine.create_run(NewRun::of("parent", json!({}))).await.unwrap().id;
    let children = RunFilter { parent: Some(parent), ..RunFilter::default() };
    let mut killed = 0;
    for _ in 0..30 {
        let worker = bench.worker(&registry).faults(Arc::new(DiesInTheSecondStep));
        killed += u32::from(worker.run_until_idle().await.is_err());
        bench.clock.advance(Duration::from_secs(120));
        if bench.kind(parent).await.is_terminal() {
            break;
        }
    }
    assert_eq!(killed, 10);
    let child = bench.engine.runs(children).await.unwrap().items.remove(0);
    assert_eq!(child.state.kind, StateType::Crashed);
    let message = child.state.message.unwrap();
    assert!(message.contains("10 workers in a row"), "{message}");
    assert_eq!(bench.kind(parent).await, StateType::Failed);
    bench.engine.retry(parent, false).await.unwrap();
    bench.work(&registry).await;
    assert_eq!(bench.kind(parent).await, StateType::Completed);
}

struct DiesInTheSecondStep;

impl engine::faults::Faults for DiesInTheSecondStep {
    fn at(&self, point: &engine::faults::Point) -> engine::faults::Fault {
        match point.step.as_deref() == Some("second") && point.what == "begin" {
            true => engine::faults::Fault::Crash,
            false => engine::faults::Fault::None,
        }
    }
}
