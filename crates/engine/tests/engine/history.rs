//! What is kept, listed and forgotten.

use std::time::Duration;

use crate::common::Bench;
use engine::{
    ArtifactKind, Clock, Context, Engine, Error, Failure, Flow, Level, NewRun, Orchestrator, Registry,
    RunFilter, StateType, StepOptions,
};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);

fn flows() -> Registry {
    Registry::new()
        .with(Flow::new("good", |context: Context, _: Value| async move {
            context.info("begun");
            context.artifact("Quick Look", ArtifactKind::Image, json!("a.png"), Some("first"));
            context.artifact("Quick Look", ArtifactKind::Image, json!("b.png"), Some("second"));
            let step = context.step("work", StepOptions::new(), |step| async move {
                step.warn("slow disk");
                step.progress(0.5, "half");
                Ok(())
            });
            step.await
        }))
        .with(Flow::new("bad", |_: Context, _: Value| async { Err::<(), _>(Failure::fatal("no")) }))
        .with(Flow::new("parent", |context: Context, _: Value| async move {
            context.sub_run::<Value>("child", NewRun::of("good", json!({}))).await?;
            context.sleep("long", 30 * DAY).await
        }))
}

#[tokio::test]
async fn a_key_gives_the_same_run_for_ever() {
    let bench = Bench::new();
    let new = || NewRun::of("good", json!({})).key("scan-1");
    let first = bench.engine.create_run(new()).await.unwrap();
    let again = bench.engine.create_run(new()).await.unwrap();
    assert_eq!((first.id, first.is_new, again.is_new), (again.id, true, false));
    let other = bench.engine.create_run(NewRun { flow: "bad".into(), ..new() }).await.unwrap();
    assert!(other.is_new, "a key belongs to its flow");
    bench.work(&flows()).await;
    bench.clock.advance(100 * DAY);
    assert_eq!(bench.engine.forget(90 * DAY).await.unwrap(), 2);
    assert!(!bench.engine.create_run(new()).await.unwrap().is_new, "also after the history was forgotten");
}

#[tokio::test]
async fn pages_filters_and_counts() {
    let bench = Bench::new();
    for number in 0..25 {
        let flow = if number % 5 == 0 { "bad" } else { "good" };
        let new =
            NewRun::of(flow, json!({})).named(format!("Scan {number:02}")).tag(format!("mod{}", number % 2));
        bench.engine.create_run(new).await.unwrap();
    }
    bench.work(&flows()).await;
    let engine = &bench.engine;
    let mut filter = RunFilter { limit: 10, ..RunFilter::default() };
    let mut names = Vec::new();
    loop {
        let page = engine.runs(filter.clone()).await.unwrap();
        names.extend(page.items.iter().map(|run| run.name.clone()));
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    let expected: Vec<_> = (0..25).rev().map(|number| format!("Scan {number:02}")).collect();
    assert_eq!(names, expected, "newest first, each once");
    let count = async |filter: RunFilter| engine.runs(filter).await.unwrap().items.len();
    let all = RunFilter::default;
    assert_eq!(count(RunFilter { flow: Some("bad".into()), ..all() }).await, 5);
    assert_eq!(count(RunFilter { states: vec![StateType::Failed], ..all() }).await, 5);
    assert_eq!(count(RunFilter { states: vec![StateType::Failed, StateType::Completed], ..all() }).await, 25);
    assert_eq!(count(RunFilter { tags: vec!["mod1".into()], ..all() }).await, 12);
    let both = vec!["mod1".into(), "mod0".into()];
    assert_eq!(count(RunFilter { tags: both, ..all() }).await, 0);
    assert_eq!(count(RunFilter { name_contains: Some("scan 1".into()), ..all() }).await, 10);
    assert_eq!(count(RunFilter { name_contains: Some("%".into()), ..all() }).await, 0, "text, not a pattern");
    let future = Some(bench.clock.now() + jiff::SignedDuration::from_secs(1));
    assert_eq!(count(RunFilter { created_from: future, ..all() }).await, 0);
    assert_eq!(count(RunFilter { created_before: future, ..all() }).await, 25);
    let counts = engine.counts().await.unwrap();
    assert_eq!(counts.get(&StateType::Completed), Some(&20));
    assert_eq!(counts.get(&StateType::Failed), Some(&5));
}

#[tokio::test]
async fn logs_artifacts_and_the_history_of_all() {
    let bench = Bench::new();
    let run = bench.engine.create_run(NewRun::of("good", json!({}))).await.unwrap().id;
    bench.work(&flows()).await;
    let logs = bench.engine.logs(run, 0, 100).await.unwrap();
    let lines: Vec<_> =
        logs.iter().map(|line| (line.step.as_deref(), line.level, line.message.as_str())).collect();
    assert_eq!(lines, [(None, Level::Info, "begun"), (Some("work"), Level::Warning, "slow disk")]);
    assert_eq!(bench.engine.logs(run, logs[0].id, 100).await.unwrap(), logs[1..]);
    let artifacts = bench.engine.artifacts(run).await.unwrap();
    let shown: Vec<_> = artifacts.iter().map(|one| (one.key.as_str(), one.kind, one.data.clone())).collect();
    assert_eq!(shown.len(), 2, "the latest of each key: {shown:?}");
    assert!(shown.contains(&("quick-look", ArtifactKind::Image, json!("b.png"))), "{shown:?}");
    assert!(shown.contains(&("work", ArtifactKind::Progress, json!(0.5))), "{shown:?}");
    assert_eq!(bench.engine.latest_artifact("quick-look").await.unwrap().unwrap().run, run);
    let all = bench.engine.history_since(0, 100).await.unwrap();
    assert_eq!(all, bench.engine.history(run).await.unwrap());
    assert_eq!(bench.engine.history_since(all[1].id, 2).await.unwrap(), all[2..4]);
}

#[tokio::test]
async fn states_cannot_be_rewritten() {
    let bench = Bench::new();
    bench.engine.create_run(NewRun::of("good", json!({}))).await.unwrap();
    let raw = rusqlite::Connection::open(bench.folder.path().join("runs.db")).unwrap();
    let refused = raw.execute("UPDATE history SET name = 'Completed'", []).unwrap_err().to_string();
    assert!(refused.contains("append-only"), "{refused}");
}

#[tokio::test]
async fn only_what_has_ended_is_forgotten() {
    let bench = Bench::new();
    let parent = bench.engine.create_run(NewRun::of("parent", json!({}))).await.unwrap().id;
    let old = bench.engine.create_run(NewRun::of("good", json!({}))).await.unwrap().id;
    let waiting = bench.engine.create_run(NewRun::of("nobody has it", json!({}))).await.unwrap().id;
    bench.work(&flows()).await;
    bench.clock.advance(10 * DAY);
    let young = bench.engine.create_run(NewRun::of("bad", json!({}))).await.unwrap().id;
    bench.work(&flows()).await;
    assert_eq!(bench.engine.forget(5 * DAY).await.unwrap(), 1);
    assert!(matches!(bench.engine.run(old).await, Err(Error::NotFound { .. })));
    assert!(bench.engine.logs(old, 0, 10).await.unwrap().is_empty());
    assert!(bench.engine.artifacts(old).await.unwrap().is_empty());
    assert!(bench.engine.history(old).await.unwrap().is_empty());
    for kept in [parent, waiting, young] {
        bench.engine.run(kept).await.unwrap();
    }
    let children = RunFilter { parent: Some(parent), ..RunFilter::default() };
    assert_eq!(bench.engine.runs(children.clone()).await.unwrap().items.len(), 1, "its parent still runs");
    bench.clock.advance(21 * DAY);
    bench.work(&flows()).await;
    assert_eq!(bench.kind(parent).await, StateType::Completed);
    bench.clock.advance(6 * DAY);
    assert_eq!(bench.engine.forget(5 * DAY).await.unwrap(), 3);
    assert_eq!(bench.engine.runs(children).await.unwrap().items.len(), 0);
}

fn open(path: &std::path::Path) -> Error {
    Engine::open(path, Clock::system()).unwrap_err()
}

#[tokio::test]
async fn files_that_are_not_ours_or_newer_or_damaged_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);

    std::fs::write(
        path("text"),
        "not a database, but long enough to be looked at as one, with some more text to fill the header",
    )
    .unwrap();
    assert!(matches!(open(&path("text")), Error::NotOurs { .. }), "{}", open(&path("text")));

    let other = rusqlite::Connection::open(path("other")).unwrap();
    other.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1);").unwrap();
    assert!(matches!(open(&path("other")), Error::NotOurs { .. }));
    let kept: i64 = other.query_row("SELECT count(*) FROM theirs", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1);

    drop(Engine::open(path("newer"), Clock::system()).unwrap());
    rusqlite::Connection::open(path("newer")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = open(&path("newer"));
    assert!(matches!(refused, Error::NewerSchema { found: 99, .. }) && !refused.retry_helps(), "{refused}");

    let engine = Engine::open(path("damaged"), Clock::system()).unwrap();
    for number in 0..200 {
        engine.create_run(NewRun::of("good", json!({ "number": number }))).await.unwrap();
    }
    drop(engine);
    let mut bytes = std::fs::read(path("damaged")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 9000].fill(0xA5);
    std::fs::write(path("damaged"), &bytes).unwrap();
    let refused = match Engine::open(path("damaged"), Clock::system()) {
        Ok(engine) => engine::Worker::new(engine.store(), flows()).run_until_idle().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
    assert!(refused.to_string().contains("restore"), "{refused}");

    let missing = open(&path("no/such/folder"));
    assert!(missing.to_string().contains("check that the folder exists"), "{missing}");
}

#[tokio::test]
async fn a_backup_is_a_journal_of_its_own() {
    let bench = Bench::new();
    let run = bench.engine.create_run(NewRun::of("good", json!({}))).await.unwrap().id;
    bench.work(&flows()).await;
    let copy = bench.folder.path().join("copy.db");
    bench.engine.store().backup(&copy).await.unwrap();
    bench.engine.store().check(true).await.unwrap();
    let copy = Engine::open(&copy, bench.clock.clone()).unwrap();
    assert_eq!(copy.run(run).await.unwrap(), bench.engine.run(run).await.unwrap());
}
