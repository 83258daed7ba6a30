//! One run in one worker: from the claim to its end, its rest, or its loss.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};

use crate::context::Context;
use crate::context::active::{Active, Control, Resting};
use crate::context::stop_within;
use crate::error::{Error, Result};
use crate::failure::{Failure, FailureKind};
use crate::faults::Faults;
use crate::flow::{Boxed, Flow};
use crate::model::{Level, Run};
use crate::state::{State, StateType, names};
use crate::store::runs::{self, Ending, Lease, Rest};
use crate::store::steps::{self, Entry};
use crate::store::{Store, queries};

/// What became of a run in this worker.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It stands in this state now, and the worker has let go of it.
    Stored(State),
    /// It is not this worker's any more, or the journal cannot be written.
    Lost(Error),
}

/// How the flow's function ended.
enum Flowed {
    Returned(std::result::Result<Value, Failure>),
    Panicked(String),
    Rests(Vec<Resting>),
    GivenBack,
}

/// Executes a claimed run.
pub(crate) async fn execute(
    store: Store,
    flow: Flow,
    run: Run,
    lease: Lease,
    control: Arc<Control>,
    faults: Arc<dyn Faults>,
    patience: Duration,
) -> Outcome {
    let work = async {
        let (id, generation) = (run.id, run.generation);
        let path = store.path().to_path_buf();
        let steps = store
            .read(move |connection| {
                steps::of_run(connection, id, generation)
                    .map_err(|error| Error::sqlite(&path, "read", &error))
            })
            .await?;
        let inputs = store.write(move |tx| runs::inputs(tx, id)).await?;
        if run.state.kind == StateType::Cancelling {
            control.cancel(run.state.message.clone().unwrap_or_default());
        }
        let active =
            Arc::new(Active::new(store, lease, run, control.clone(), faults, steps, inputs, patience));
        body(&active, &flow).await
    };
    tokio::select! {
        biased;
        error = control.wait_lost() => Outcome::Lost(error),
        result = work => result.map_or_else(Outcome::Lost, Outcome::Stored),
    }
}

async fn body(active: &Arc<Active>, flow: &Flow) -> Result<State> {
    active.point(true, "claim", None).await;
    let lease = active.lease.clone();
    active.journal("begin-run", None, move |tx| runs::begin(tx, &lease)).await?;
    let flowed = tokio::select! {
        biased;
        () = active.control.wait_give_back() => Flowed::GivenBack,
        flowed = drive(active, flow) => flowed,
    };
    match flowed {
        Flowed::Returned(result) => end(active, result).await,
        Flowed::Panicked(message) => {
            stop_orphans(active).await?;
            let ending = Ending {
                state: State::new(StateType::Crashed, active.now()).because(&message),
                output: None,
                error: Some(Failure::fatal(message).with_code("panic")),
            };
            finish(active, ending).await
        }
        Flowed::Rests(resting) => rest(active, resting).await,
        Flowed::GivenBack => {
            let lease = active.lease.clone();
            let reason = format!("{} stopped and handed it back", lease.worker);
            active.journal("hand-back", None, move |tx| runs::hand_back(tx, &lease, &reason)).await?;
            Ok(State::new(StateType::Scheduled, active.now()).named(names::AWAITING_RETRY))
        }
    }
}

/// Polls the flow until it returns, panics, or all its branches rest.
async fn drive(active: &Arc<Active>, flow: &Flow) -> Flowed {
    let context = Context::new(active.clone());
    let parameters = active.run.parameters.clone();
    let begun = catch_unwind(AssertUnwindSafe(|| flow.call(context, parameters)));
    let mut future: Boxed<_> = match begun {
        Ok(future) => future,
        Err(panic) => return Flowed::Panicked(message_of(panic.as_ref())),
    };
    poll_fn(move |task| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
            Ok(Poll::Ready(result)) => Poll::Ready(Flowed::Returned(result)),
            Err(panic) => Poll::Ready(Flowed::Panicked(message_of(panic.as_ref()))),
            // Steps change this only while they are polled, so what is seen here stays true.
            Ok(Poll::Pending) => match active.rests() {
                Some(resting) if active.control.cancelled().is_none() => Poll::Ready(Flowed::Rests(resting)),
                _ => Poll::Pending,
            },
        }
    })
    .await
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the flow's code panicked: {}", text.unwrap_or_else(|| "no message".to_owned()))
}

async fn end(active: &Arc<Active>, result: std::result::Result<Value, Failure>) -> Result<State> {
    stop_orphans(active).await?;
    let now = active.now();
    let ending = match result {
        Ok(output) => {
            Ending { state: State::new(StateType::Completed, now), output: Some(output), error: None }
        }
        Err(failure) => {
            let state = match failure.kind {
                FailureKind::Cancelled => State::new(StateType::Cancelled, now),
                FailureKind::NeedsInput => {
                    let state = State::new(StateType::Paused, now).named(names::SUSPENDED);
                    return store_rest(active, state.because(&failure.message), None, None, None).await;
                }
                FailureKind::LostLease => {
                    let lease = &active.lease;
                    return Err(Error::LeaseLost {
                        run: lease.run,
                        ours: lease.fence,
                        theirs: lease.fence + 1,
                    });
                }
                _ if failure.code.as_deref().is_some_and(|code| code.ends_with("-timeout")) => {
                    State::new(StateType::Failed, now).named(names::TIMED_OUT)
                }
                _ => State::new(StateType::Failed, now),
            };
            let details =
                json!({ "code": failure.code, "step": failure.step, "retry_helps": failure.retry_helps() });
            let state = state.because(&failure.message).with(details);
            Ending { state, output: None, error: Some(failure) }
        }
    };
    finish(active, ending).await
}

async fn finish(active: &Arc<Active>, ending: Ending) -> Result<State> {
    let lease = active.lease.clone();
    active.journal("finish", None, move |tx| runs::finish(tx, &lease, ending)).await
}

/// Stops outside work that the flow started and whose step it dropped: nothing lives on unseen.
async fn stop_orphans(active: &Arc<Active>) -> Result<()> {
    for (key, stop) in active.take_stops() {
        let limit = Duration::from_secs(60);
        let stopped = stop_within(active.store.clock(), limit, &stop).await;
        let failure = Failure::cancelled("the flow ended without waiting for this step");
        let failure = match stopped {
            Ok(()) => failure,
            Err(why) => {
                let text = format!("step {key}: its outside work may live on: {why}");
                queries::post_log(&active.store, &active.lease, Some(key.clone()), Level::Error, text);
                crate::context::unconfirmed(failure, &why, Value::Null)
            }
        };
        let entry =
            Entry { lease: active.lease.clone(), generation: active.run.generation, key: key.clone() };
        active.journal("fail", Some(&key), move |tx| entry.fail(tx, &failure)).await?;
    }
    Ok(())
}

/// All branches rest: the run lets go of its worker until the first of them goes on.
async fn rest(active: &Arc<Active>, resting: Vec<Resting>) -> Result<State> {
    let now = active.now();
    let wake = resting.iter().filter_map(Resting::wake).min();
    let child = resting.iter().find_map(|why| match why {
        Resting::Child { run } => Some(*run),
        _ => None,
    });
    for why in &resting {
        match why {
            Resting::Input { ask } => {
                let details = serde_json::to_value(ask).unwrap_or_default();
                let state = State::new(StateType::Paused, now).named(&ask.title).because(&ask.message);
                return store_rest(active, state.with(details), wake, Some(ask), child).await;
            }
            Resting::Pause { reason } => {
                let state = State::new(StateType::Paused, now).named(names::SUSPENDED).because(reason);
                return store_rest(active, state, None, None, None).await;
            }
            _ => (),
        }
    }
    let state = State::new(StateType::Scheduled, now);
    let state = match (resting.first(), child) {
        (_, Some(child)) => state.named(names::AWAITING_SUBRUN).with(json!({ "run": child })),
        (Some(Resting::Retry { wake, why }), _) => {
            state.named(names::AWAITING_RETRY).because(format!("until {wake}: {why}"))
        }
        (Some(Resting::Sleep { wake }), _) => state.named(names::SLEEPING).because(format!("until {wake}")),
        _ => state.named(names::SLEEPING),
    };
    store_rest(active, state, wake, None, child).await
}

async fn store_rest(
    active: &Arc<Active>,
    state: State,
    due: Option<jiff::Timestamp>,
    ask: Option<&crate::model::Ask>,
    child: Option<crate::model::RunId>,
) -> Result<State> {
    let (lease, ask) = (active.lease.clone(), ask.cloned());
    let rest = Rest { state, due, ask, child };
    active.journal("rest", None, move |tx| runs::rest(tx, &lease, rest)).await
}
