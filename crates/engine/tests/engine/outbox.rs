//! Messages that must go out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::Bench;
use engine::faults::CrashAt;
use engine::{Context, Error, Failure, Flow, Message, NewRun, Orchestrator, Registry, Worker};
use serde_json::{Value, json};

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

fn sender() -> Registry {
    Registry::new().with(Flow::new("send", |context: Context, _: Value| async move {
        context.send("catalogue", "scan-1", json!({ "bytes": 1 })).await
    }))
}

fn deliverer(worker: Worker, seen: &Seen, answer: Result<(), Failure>) -> Worker {
    let seen = seen.clone();
    worker.deliver("catalogue", move |message: Message| {
        seen.lock().unwrap().push((message.key, message.payload));
        let answer = answer.clone();
        async move { answer }
    })
}

#[tokio::test]
async fn a_message_goes_out_once_however_often_the_worker_dies() {
    let counter = Arc::new(CrashAt::never());
    let bench = Bench::new();
    bench.engine.create_run(NewRun::of("send", json!({}))).await.unwrap();
    bench.worker(&sender()).faults(counter.clone()).run_until_idle().await.unwrap();
    for point in 1..=counter.seen() {
        let bench = Bench::new();
        let seen = Seen::default();
        bench.engine.create_run(NewRun::of("send", json!({}))).await.unwrap();
        let crashed = bench.worker(&sender()).faults(Arc::new(CrashAt::point(point))).run_until_idle().await;
        assert!(matches!(crashed, Err(Error::Crashed)));
        bench.clock.advance(Duration::from_secs(31));
        deliverer(bench.worker(&sender()), &seen, Ok(())).run_until_idle().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [("scan-1".to_owned(), json!({ "bytes": 1 }))], "point {point}");
        assert!(bench.engine.undelivered().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_same_key_is_the_same_message_even_after_delivery() {
    let (bench, seen) = (Bench::new(), Seen::default());
    assert!(bench.engine.send("catalogue", "a", json!(1)).await.unwrap());
    assert!(!bench.engine.send("catalogue", "a", json!(2)).await.unwrap());
    deliverer(bench.worker(&Registry::new()), &seen, Ok(())).run_until_idle().await.unwrap();
    assert!(!bench.engine.send("catalogue", "a", json!(3)).await.unwrap());
    deliverer(bench.worker(&Registry::new()), &seen, Ok(())).run_until_idle().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [("a".to_owned(), json!(1))]);
}

#[tokio::test]
async fn what_may_pass_is_tried_for_days_and_what_may_not_is_shown() {
    let (bench, seen) = (Bench::new(), Seen::default());
    bench.engine.send("catalogue", "a", json!(1)).await.unwrap();
    let down = || Err(Failure::retryable("503 from the catalogue"));
    for _ in 0..400 {
        deliverer(bench.worker(&Registry::new()), &seen, down()).run_until_idle().await.unwrap();
        let waiting = bench.engine.undelivered().await.unwrap();
        let Some(next) = waiting[0].next_try else { break };
        let wait = next.duration_since(bench.clock.now());
        assert!(wait.as_secs() <= 1500, "no wait is much longer than 20 minutes: {wait}");
        bench.clock.advance(wait.try_into().unwrap());
    }
    let dead = &bench.engine.undelivered().await.unwrap()[0];
    assert_eq!(dead.last_error.as_deref(), Some("503 from the catalogue"));
    let lasted = dead.dead.unwrap().duration_since(dead.created);
    assert!((84..108).contains(&lasted.as_hours()), "about four days: {lasted}");
    assert_eq!(seen.lock().unwrap().len(), 300);
    // A person has it tried again.
    bench.engine.requeue(dead.id).await.unwrap();
    deliverer(bench.worker(&Registry::new()), &seen, Ok(())).run_until_idle().await.unwrap();
    assert!(bench.engine.undelivered().await.unwrap().is_empty());

    bench.engine.send("catalogue", "b", json!(1)).await.unwrap();
    let refused = Err(Failure::fatal("400: no such proposal"));
    deliverer(bench.worker(&Registry::new()), &seen, refused).run_until_idle().await.unwrap();
    let dead = &bench.engine.undelivered().await.unwrap()[0];
    assert_eq!((dead.attempts, dead.dead.is_some()), (1, true));
    assert!(bench.engine.requeue(4711).await.unwrap_err().is_bad_input());
}
