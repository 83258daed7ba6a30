//! Runs by the clock: time zones and their changes, what was missed, once only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::common::{Bench, noon};
use engine::{
    CatchUp, Clock, Context, Deployment, Failure, Flow, NewRun, Orchestrator, Registry, RunFilter, Schedule,
    StateType, StepOptions, When,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct Parameters {
    path: String,
    days: Option<u32>,
}

fn flow() -> Flow {
    Flow::new("prune", |_: Context, _: Parameters| async { Ok::<_, Failure>(()) })
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(expression: &str) -> When {
    When::Cron { expression: expression.to_owned(), time_zone: "America/Los_Angeles".to_owned() }
}

fn at(when: &When, from: &str, to: &str) -> Vec<String> {
    when.between(time(from), time(to)).iter().map(Timestamp::to_string).collect()
}

/// 2026-03-08, 02:00 PST: the clocks go to 03:00 PDT. 2026-11-01, 02:00 PDT: they go back to 01:00 PST.
#[test]
fn the_changes_of_the_clocks_in_california() {
    let nightly = cron("30 2 * * *");
    // 02:30 PST is 10:30 UTC; on the 8th there is no 02:30, it runs after the gap; from the 9th on 09:30 UTC.
    assert_eq!(
        at(&nightly, "2026-03-07T00:00:00Z", "2026-03-10T00:00:00Z"),
        ["2026-03-07T10:30:00Z", "2026-03-08T10:00:00Z", "2026-03-09T09:30:00Z"]
    );
    // 01:30 comes twice on the 1st, and runs once.
    let twice = cron("30 1 * * *");
    assert_eq!(
        at(&twice, "2026-10-31T00:00:00Z", "2026-11-03T00:00:00Z"),
        ["2026-10-31T08:30:00Z", "2026-11-01T08:30:00Z", "2026-11-02T09:30:00Z"]
    );
    // Every hour goes on every hour of real time, through both changes.
    for day in ["2026-03-08", "2026-11-01"] {
        let hourly =
            cron("0 * * * *").between(time(&format!("{day}T06:30:00Z")), time(&format!("{day}T13:30:00Z")));
        assert_eq!(hourly.len(), 7, "{day}: {hourly:?}");
        assert!(hourly.windows(2).all(|pair| pair[1].duration_since(pair[0]).as_hours() == 1), "{hourly:?}");
    }
    // At noon, California's noon: 20:00 UTC in winter, 19:00 in summer.
    assert_eq!(
        at(&cron("0 12 * * *"), "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z"),
        ["2026-03-07T20:00:00Z", "2026-03-08T19:00:00Z"]
    );
}

#[test]
fn equal_steps_and_once() {
    let every = When::Every { interval: Duration::from_secs(12 * 3600), from: time("2026-01-01T03:00:00Z") };
    assert_eq!(
        at(&every, "2026-03-08T03:00:00Z", "2026-03-09T03:00:00Z"),
        ["2026-03-08T15:00:00Z", "2026-03-09T03:00:00Z"],
        "after, up to and including"
    );
    assert_eq!(at(&every, "2025-01-01T00:00:00Z", "2026-01-01T02:59:59Z"), Vec::<String>::new());
    let once = When::Once { at: time("2026-03-08T03:00:00Z") };
    assert_eq!(at(&once, "2026-03-08T02:00:00Z", "2026-03-08T03:00:00Z"), ["2026-03-08T03:00:00Z"]);
    assert_eq!(at(&once, "2026-03-08T03:00:00Z", "2026-03-09T03:00:00Z"), Vec::<String>::new());
}

fn daily(policy: CatchUp) -> Deployment {
    let when = When::Cron { expression: "0 3 * * *".into(), time_zone: "America/Los_Angeles".into() };
    Deployment::of("nightly", &flow())
        .parameters(json!({ "path": "/data" }))
        .schedule(Schedule::new("night", when).catch_up(policy))
}

async fn dues(bench: &Bench) -> Vec<String> {
    let mut runs = bench.engine.runs(RunFilter::default()).await.unwrap().items;
    runs.sort_by_key(|run| run.expected);
    runs.iter().map(|run| run.expected.to_string()).collect()
}

/// Nothing ran for five days (noon on Monday to noon on Saturday): five nights were missed.
#[tokio::test]
async fn missed_nights_by_policy() {
    for (policy, nights) in [(CatchUp::All, 5), (CatchUp::Latest, 1), (CatchUp::None, 0)] {
        let bench = Bench::new();
        bench.engine.deploy(daily(policy)).await.unwrap();
        bench.clock.advance(Duration::from_secs(5 * 86_400));
        let made = bench.engine.tick().await.unwrap();
        assert_eq!(made.len(), nights, "{policy:?}");
        assert_eq!(
            dues(&bench).await.last().map(String::as_str),
            (nights > 0).then_some("2026-11-28T11:00:00Z")
        );
        assert!(bench.engine.tick().await.unwrap().is_empty(), "each night once");
        // The next night comes on time, whatever the policy.
        bench.clock.advance(Duration::from_secs(23 * 3600 + 5));
        assert_eq!(bench.engine.tick().await.unwrap().len(), 1, "{policy:?}");
    }
}

/// A schedule every minute was away for three days: the latest is one, and all are 4320, none twice, although
/// a look makes a thousand at most.
#[tokio::test]
async fn a_long_absence_of_a_dense_schedule() {
    for (policy, runs) in [(CatchUp::Latest, 1), (CatchUp::All, 4320)] {
        let bench = Bench::new();
        let when = When::Every { interval: Duration::from_secs(60), from: noon() };
        let schedule = Schedule::new("minute", when).catch_up(policy);
        let deployment = Deployment { schedules: vec![schedule], ..daily(policy) };
        bench.engine.deploy(deployment).await.unwrap();
        bench.clock.advance(Duration::from_secs(3 * 86_400));
        let mut made = 0;
        for _ in 0..10 {
            made += bench.engine.tick().await.unwrap().len();
        }
        assert_eq!(made, runs, "{policy:?}");
    }
}

/// Two programs look at the same moment, many times: a run for each time, not two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schedulers_make_each_run_once() {
    let bench = Bench::new();
    let other = bench.other();
    bench.engine.deploy(daily(CatchUp::All)).await.unwrap();
    let mut made = 0;
    for _ in 0..10 {
        bench.clock.advance(Duration::from_secs(86_400));
        let (one, two) = tokio::join!(bench.engine.tick(), other.tick());
        made += one.unwrap().len() + two.unwrap().len();
    }
    assert_eq!(made, 10);
    assert_eq!(dues(&bench).await.len(), 10);
}

#[tokio::test]
async fn a_paused_deployment_makes_no_runs_and_does_not_make_up_for_them() {
    let bench = Bench::new();
    bench.engine.deploy(daily(CatchUp::All)).await.unwrap();
    bench.engine.pause_deployment("nightly", true).await.unwrap();
    bench.clock.advance(Duration::from_secs(5 * 86_400));
    assert!(bench.engine.tick().await.unwrap().is_empty());
    bench.engine.pause_deployment("nightly", false).await.unwrap();
    assert!(bench.engine.tick().await.unwrap().is_empty());
    bench.clock.advance(Duration::from_secs(86_400));
    assert_eq!(bench.engine.tick().await.unwrap().len(), 1);
}

#[tokio::test]
async fn deploying_the_same_again_keeps_its_place_in_time() {
    let bench = Bench::new();
    bench.engine.deploy(daily(CatchUp::All)).await.unwrap();
    bench.clock.advance(Duration::from_secs(2 * 86_400));
    bench.engine.deploy(daily(CatchUp::All)).await.unwrap();
    assert_eq!(bench.engine.tick().await.unwrap().len(), 2, "a restart of the service loses no night");
}

#[tokio::test]
async fn parameters_are_checked_against_the_schema() {
    let bench = Bench::new();
    bench.engine.deploy(daily(CatchUp::Latest)).await.unwrap();
    let start = |parameters| bench.engine.start("nightly", NewRun::of("prune", parameters));
    let id = start(json!({ "days": 7 })).await.unwrap().id;
    let run = bench.engine.run(id).await.unwrap();
    assert_eq!(run.parameters, json!({ "path": "/data", "days": 7 }), "laid over the defaults");
    assert_eq!(run.deployment.as_deref(), Some("nightly"));
    for (wrong, says) in [
        (json!({ "day": 7 }), "did you mean \"days\"?"),
        (json!({ "days": "seven" }), "days is \"seven\", and must be of type integer or null"),
        (json!([1]), "must be an object"),
    ] {
        let refused = start(wrong).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    assert!(bench.engine.start("daily", NewRun::of("prune", json!({}))).await.unwrap_err().is_bad_input());
    let unset = Deployment { parameters: json!({}), ..daily(CatchUp::Latest) };
    let refused = bench.engine.deploy(unset).await.unwrap_err().to_string();
    assert!(refused.contains("has no \"path\""), "a schedule that could never run: {refused}");
    for (expression, time_zone, says) in
        [("61 * * * *", "UTC", "61 * * * *"), ("0 3 * * *", "Amerika/Los_Angeles", "Amerika/Los_Angeles")]
    {
        let when = When::Cron { expression: expression.into(), time_zone: time_zone.into() };
        let wrong = daily(CatchUp::All).schedule(Schedule::new("wrong", when));
        let refused = bench.engine.deploy(wrong).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[tokio::test]
async fn a_worker_looks_at_the_schedules_by_itself() {
    let bench = Bench::with(Clock::system());
    let registry = Registry::new().with(flow());
    let when = When::Every { interval: Duration::from_secs(1), from: bench.clock.now() };
    let deployment = Deployment { schedules: vec![Schedule::new("second", when)], ..daily(CatchUp::All) };
    bench.engine.deploy(deployment).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = bench.worker(&registry).poll(Duration::from_millis(20));
    let worker = tokio::spawn(worker.run(async move { drop(stopped.await) }));
    let done = RunFilter { states: vec![StateType::Completed], ..RunFilter::default() };
    for _ in 0..500 {
        if !bench.engine.runs(done.clone()).await.unwrap().items.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send(()).unwrap();
    worker.await.unwrap().unwrap();
    assert!(!bench.engine.runs(done).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_deployments_limit_holds_for_runs_by_hand_too() {
    let bench = Bench::new();
    let now = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let seen = now.clone();
    let slow = Flow::new("prune", move |context: Context, _: Parameters| {
        let now = seen.clone();
        async move {
            let step = context.step("work", StepOptions::new(), |_| {
                let now = now.clone();
                async move {
                    now[1].fetch_max(now[0].fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    now[0].fetch_sub(1, SeqCst);
                    Ok(())
                }
            });
            step.await
        }
    });
    bench.engine.deploy(daily(CatchUp::All).concurrency(2)).await.unwrap();
    for _ in 0..8 {
        bench.engine.start("nightly", NewRun::of("prune", json!({}))).await.unwrap();
    }
    bench.work(&Registry::new().with(slow)).await;
    assert_eq!(bench.engine.counts().await.unwrap().get(&StateType::Completed), Some(&8));
    assert_eq!(now[1].load(SeqCst), 2);
}

#[tokio::test]
async fn a_run_that_nobody_takes_is_late() {
    let bench = Bench::new();
    let new = NewRun::of("nobody", json!({})).at(noon() + jiff::SignedDuration::from_secs(60));
    let run = bench.engine.create_run(new).await.unwrap().id;
    bench.clock.advance(Duration::from_secs(70));
    bench.engine.tick().await.unwrap();
    assert_eq!(bench.engine.run(run).await.unwrap().state.name, "Scheduled");
    bench.clock.advance(Duration::from_secs(10));
    bench.engine.tick().await.unwrap();
    bench.engine.tick().await.unwrap();
    assert_eq!(bench.states(run, None).await, ["SCHEDULED/Scheduled", "SCHEDULED/Late"], "said once");
}
