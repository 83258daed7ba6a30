//! The engine's figures: step transitions per second with a hundred runs at once, the latency of a claim, the
//! time of list pages over 100,000 runs, and the time to recover from a crash.
//!
//!     cargo run --release -p beamrail-engine --example engine_bench [FOLDER]
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use engine::faults::CrashAt;
use engine::{
    Clock, Context, Engine, Event, Failure, Flow, NewRun, Orchestrator, Registry, RunFilter, StateType,
    StepOptions, Worker,
};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const STEPS: u64 = 20;

fn flows() -> Registry {
    Registry::new().with(Flow::new("steps", |context: Context, _: Value| async move {
        for _ in 0..STEPS {
            context.step("step", StepOptions::new(), |_| async { Ok(()) }).await?;
        }
        Ok::<_, Failure>(())
    }))
}

fn milliseconds(times: &mut [Duration]) -> String {
    times.sort();
    let at = |part: f64| {
        let index = ((times.len().saturating_sub(1)) as f64 * part) as usize;
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    format!("median {:.1} ms, 99th percentile {:.1} ms", at(0.5), at(0.99))
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).map_or_else(|| scratch.path().to_path_buf(), PathBuf::from);
    println!("journal in {}", folder.display());
    fsyncs(&folder)?;
    for at_once in [1_u64, 10, 100] {
        transitions(&folder.join(format!("transitions-{at_once}.db")), at_once).await?;
    }
    claims(&folder.join("claims.db")).await?;
    recovery(&folder.join("recovery.db")).await?;
    history(&folder.join("history.db")).await
}

/// What the disk gives: the ruler for the rest.
fn fsyncs(folder: &std::path::Path) -> Outcome<()> {
    use std::io::Write;
    let mut file = tempfile::tempfile_in(folder)?;
    let began = Instant::now();
    for _ in 0..200 {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
    }
    println!("disk: {:.0} synced writes/s one after another", 200.0 / began.elapsed().as_secs_f64());
    Ok(())
}

async fn transitions(path: &std::path::Path, at_once: u64) -> Outcome<()> {
    let engine = Engine::open(path, Clock::system())?;
    let runs = (at_once * 4).max(20);
    for _ in 0..runs {
        engine.create_run(NewRun::of("steps", json!({}))).await?;
    }
    let before = engine.history_since(0, u32::MAX).await?.len();
    let began = Instant::now();
    let worker = Worker::new(engine.store(), flows()).concurrency(usize::try_from(at_once)?);
    worker.run_until_idle().await?;
    let took = began.elapsed().as_secs_f64();
    let after = engine.history_since(0, u32::MAX).await?;
    let steps = after.iter().filter(|entry| entry.step.is_some()).count();
    println!(
        "{at_once:>3} runs at once: {:.0} step transitions/s, {:.0} transitions/s in all ({runs} runs, {steps} step \
         transitions, {took:.2} s; synchronous FULL)",
        steps as f64 / took,
        (after.len() - before) as f64 / took
    );
    Ok(())
}

/// From the creation of a run to its first line of code in an idle worker.
async fn claims(path: &std::path::Path) -> Outcome<()> {
    let engine = Engine::open(path, Clock::system())?;
    let begun = Arc::new(tokio::sync::Notify::new());
    let tell = begun.clone();
    let registry = Registry::new().with(Flow::new("note", move |_: Context, _: Value| {
        tell.notify_one();
        async { Ok::<_, Failure>(()) }
    }));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(Worker::new(engine.store(), registry).run(async move { drop(stopped.await) }));
    let mut times = Vec::new();
    for _ in 0..200 {
        let mut events = engine.events();
        let began = Instant::now();
        let run = engine.create_run(NewRun::of("note", json!({}))).await?.id;
        begun.notified().await;
        times.push(began.elapsed());
        let done = |event: &Event| matches!(event, Event::Run { run: id, state, .. } if *id == run && state.kind.is_terminal());
        while !done(&events.recv().await?) {}
    }
    let _ = stop.send(());
    worker.await??;
    println!("creation to first line of the flow, idle worker: {}", milliseconds(&mut times));
    Ok(())
}

/// A hundred runs in the middle of their steps when the worker stops dead; another opens the journal.
async fn recovery(path: &std::path::Path) -> Outcome<()> {
    let clock = Clock::manual(jiff::Timestamp::now());
    let engine = Engine::open(path, clock.clone())?;
    for _ in 0..100 {
        engine.create_run(NewRun::of("steps", json!({}))).await?;
    }
    let crash = Arc::new(CrashAt::point(4000));
    let died = Worker::new(engine.store(), flows()).concurrency(100).faults(crash).run_until_idle().await;
    let done = engine.counts().await?.get(&StateType::Completed).copied().unwrap_or_default();
    drop(engine);
    clock.advance(Duration::from_secs(31));
    let repeated = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let engine = Engine::open(path, clock)?;
    let opened = began.elapsed();
    let first = repeated.clone();
    let registry = Registry::new().with(Flow::new("steps", move |context: Context, _: Value| {
        let first = first.clone();
        async move {
            for _ in 0..STEPS {
                let first = first.clone();
                let step = context.step("step", StepOptions::new(), move |_| {
                    first.fetch_add(1, SeqCst);
                    async { Ok(()) }
                });
                step.await?;
            }
            Ok::<_, Failure>(())
        }
    }));
    let mut events = engine.events();
    let worker = tokio::spawn(Worker::new(engine.store(), registry).concurrency(100).run_until_idle());
    let mut running = 0;
    while running < 100 - done {
        let event = events.recv().await?;
        running += u64::from(matches!(event, Event::Run { state, .. } if state.kind == StateType::Running));
    }
    let taken_over = began.elapsed();
    worker.await??;
    println!(
        "recovery after {}: journal open in {:.0} ms, {running} runs at work again in {:.0} ms, {} of {} steps done \
         after the crash",
        died.err().map_or_else(String::new, |error| error.to_string()),
        opened.as_secs_f64() * 1e3,
        taken_over.as_secs_f64() * 1e3,
        repeated.load(SeqCst),
        100 * STEPS
    );
    Ok(())
}

async fn history(path: &std::path::Path) -> Outcome<()> {
    let engine = Engine::open(path, Clock::system())?;
    let began = Instant::now();
    // Written from many tasks, as the group commit likes it.
    let mut writers = tokio::task::JoinSet::new();
    for part in 0..100 {
        let engine = engine.clone();
        writers.spawn(async move {
            for number in 0..1000 {
                let flow = if number % 3 == 0 { "alcf_recon_flow" } else { "new_832_file_flow" };
                let parameters = json!({ "file_path": format!("/raw/folder-{part}/scan-{number}.h5") });
                let new = NewRun::of(flow, parameters).named(format!("scan {part}/{number}"));
                let id = engine.create_run(new.tag(format!("folder-{part}"))).await?.id;
                engine.cancel(id, "bench").await?;
            }
            Ok::<_, engine::Error>(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    println!("100,000 runs made and ended in {:.1} s", began.elapsed().as_secs_f64());
    let newest = engine.runs(RunFilter { limit: 1, ..RunFilter::default() }).await?;
    let middle = engine.runs(RunFilter { limit: 1000, ..RunFilter::default() }).await?;
    let deep = middle.items.last().map(|run| run.id);
    let all = RunFilter::default;
    let filters = [
        ("first page of 100", all()),
        ("a page 1000 runs deep", RunFilter { before: deep, ..all() }),
        ("of a flow", RunFilter { flow: Some("alcf_recon_flow".into()), ..all() }),
        ("of a state", RunFilter { states: vec![StateType::Cancelled], ..all() }),
        ("of a state that none has", RunFilter { states: vec![StateType::Failed], ..all() }),
        ("of a tag", RunFilter { tags: vec!["folder-7".into()], ..all() }),
        ("by part of the name, rare", RunFilter { name_contains: Some("99/999".into()), ..all() }),
    ];
    for (name, filter) in filters {
        let mut times = Vec::new();
        for _ in 0..20 {
            let began = Instant::now();
            engine.runs(filter.clone()).await?;
            times.push(began.elapsed());
        }
        println!("list, {name}: {}", milliseconds(&mut times));
    }
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        engine.counts().await?;
        times.push(began.elapsed());
    }
    println!("counts by state: {}", milliseconds(&mut times));
    drop(newest);
    let began = Instant::now();
    engine.create_run(NewRun::of("steps", json!({}))).await?;
    let summary = Worker::new(engine.store(), flows()).run_until_idle().await?;
    println!(
        "one run of {STEPS} steps beside that history: {:.0} ms ({} claimed)",
        began.elapsed().as_secs_f64() * 1e3,
        summary.claimed
    );
    println!("journal: {:.0} MB", std::fs::metadata(path)?.len() as f64 / 1e6);
    let path = path.to_path_buf();
    drop(engine);
    let began = Instant::now();
    drop(Engine::open(&path, Clock::system())?);
    println!("opening it (with its integrity check): {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
