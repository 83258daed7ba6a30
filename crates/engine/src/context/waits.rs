//! Steps that wait for time, a person or another run, and those that are one write in the journal.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::active::Resting;
use super::opened::Opened;
use crate::event::Event;
use crate::failure::Failure;
use crate::model::{Ask, NewRun, RunId};
use crate::state::{State, StateType, names};
use crate::store::{deployments, outbox, queries, runs};

/// A question to a person.
pub(super) async fn input<T>(opened: &Opened, ask: Ask) -> Result<T, Failure>
where
    T: Serialize + DeserializeOwned + Send,
{
    let _busy = opened.busy();
    if let Some(answer) = opened.replay()? {
        return Ok(answer);
    }
    opened.gate().await?;
    let key = opened.declared.key.clone();
    let mut ask = Ask { step: key.clone(), ..ask };
    if let Some(given) = opened.active.inputs.get(&key) {
        match serde_json::from_value::<T>(given.clone()) {
            Ok(answer) => {
                let output = given.clone();
                opened
                    .write("answered", move |tx, entry| {
                        let state = State::new(StateType::Running, tx.now).named(names::RESUMING);
                        entry.wait(tx, state, None)?;
                        entry.complete(tx, &output)
                    })
                    .await?;
                return Ok(answer);
            }
            Err(error) => ask.message = format!("{given} does not fit: {error}. {}", ask.message),
        }
    }
    let declared = opened.declared.clone();
    let asked = ask.clone();
    opened
        .write("ask", move |tx, entry| {
            entry.begin(tx, &declared)?;
            let details = serde_json::to_value(&asked).unwrap_or_default();
            let state = State::new(StateType::Paused, tx.now).named(&asked.title).because(&asked.message);
            entry.wait(tx, state.with(details), None)
        })
        .await?;
    let cancelled = opened.active.rest(Resting::Input { ask: Box::new(ask) }, std::future::pending()).await;
    match cancelled {
        Err(failure) => Err(opened.end(failure).await?),
        Ok(()) => std::future::pending().await,
    }
}

/// A wait until a time that is fixed when it is first reached.
pub(super) async fn sleep(opened: &Opened, at: Timestamp) -> Result<(), Failure> {
    let _busy = opened.busy();
    if let Some(()) = opened.replay()? {
        return Ok(());
    }
    let wake = match opened.known().and_then(|step| step.wake) {
        Some(wake) => wake,
        None => {
            opened.gate().await?;
            let declared = opened.declared.clone();
            opened
                .write("sleep", move |tx, entry| {
                    entry.begin(tx, &declared)?;
                    let state = State::new(StateType::Running, tx.now).named(names::SLEEPING);
                    entry.wait(tx, state.because(format!("until {at}")), Some(at))
                })
                .await?;
            at
        }
    };
    let clock = opened.active.store.clock();
    if let Err(failure) = opened.active.rest(Resting::Sleep { wake }, clock.sleep_until(wake)).await {
        return Err(opened.end(failure).await?);
    }
    opened.complete(&()).await
}

/// Another flow as a run of its own.
pub(super) async fn sub_run<T: DeserializeOwned>(opened: &Opened, new: NewRun) -> Result<T, Failure> {
    let _busy = opened.busy();
    if let Some(output) = opened.replay::<Value>()? {
        return output_of(opened, output);
    }
    opened.gate().await?;
    let active = &opened.active;
    let parent = active.lease.run;
    let key = format!("{parent}/{}/{}", active.run.generation, opened.declared.key);
    // Outside work is named after its run, so a host that takes the parent over must find the same child.
    let id = parent.child(&key);
    let new = NewRun { parent: Some(parent), idempotency_key: Some(key), ..new };
    let declared = opened.declared.clone();
    // One write: the step, its child, and the child's id as the step's handle.
    let child = opened
        .write("sub-run", move |tx, entry| {
            let reopened = entry.is_reopened(tx)?;
            entry.begin(tx, &declared)?;
            let child = deployments::start_from_flow(tx, id, new)?.id;
            if reopened && !matches!(runs::get(tx, child)?.state.kind, StateType::Completed) {
                let ended = runs::get(tx, child)?.state.kind.is_terminal();
                if ended {
                    runs::retry(tx, child, false, "the run that started it is tried again")?;
                }
            }
            entry.acted(tx, &json!(child))?;
            Ok(child)
        })
        .await?;
    let ended = async {
        // Only the store's failure ends this otherwise, and the next write reports that.
        while !matches!(ended(opened, child).await, Ok(true)) {
            change_of(opened, child).await;
        }
    };
    if !matches!(self::ended(opened, child).await, Ok(true)) {
        // Cancelling the parent has cancelled the child in the same write.
        if let Err(failure) = active.rest(Resting::Child { run: child }, ended).await {
            return Err(opened.end(failure).await?);
        }
    }
    let run = active.store.read(move |connection| queries::run(connection, child)).await?;
    if run.state.kind == StateType::Completed {
        let output = run.output.unwrap_or_default();
        opened.complete(&output).await?;
        return output_of(opened, output);
    }
    let why = run.error.map_or_else(|| run.state.message.clone().unwrap_or_default(), |e| e.message);
    let text = format!("sub-run {} ({child}) ended as {}: {why}", run.name, run.state.name);
    let failure = Failure { step: Some(opened.declared.key.as_str().into()), ..Failure::fatal(text) };
    Err(opened.end(failure.with_code("sub-run-failed").with_details(json!({ "run": child }))).await?)
}

fn output_of<T: DeserializeOwned>(opened: &Opened, output: Value) -> Result<T, Failure> {
    serde_json::from_value(output).map_err(|error| {
        Failure::fatal(format!("step {}: the sub-run's output does not fit: {error}", opened.declared.key))
    })
}

async fn ended(opened: &Opened, child: RunId) -> crate::Result<bool> {
    let run = opened.active.store.read(move |connection| queries::run(connection, child)).await?;
    Ok(run.state.kind.is_terminal())
}

/// Waits for a change of the run by this process, or a while (others may change it).
async fn change_of(opened: &Opened, child: RunId) {
    let mut events = opened.active.store.events();
    let changed = async {
        loop {
            match events.recv().await {
                Ok(Event::Run { run, .. }) if run == child => return,
                Ok(_) => (),
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        () = changed => (),
        () = tokio::time::sleep(std::time::Duration::from_secs(1)) => (),
    }
}

/// Creates a run, once.
pub(super) async fn start_run(opened: &Opened, new: NewRun) -> Result<RunId, Failure> {
    let _busy = opened.busy();
    if let Some(id) = opened.replay()? {
        return Ok(id);
    }
    opened.gate().await?;
    let id = opened.active.store.new_id();
    let declared = opened.declared.clone();
    let created = opened
        .write("start-run", move |tx, entry| {
            entry.begin(tx, &declared)?;
            let created = deployments::start_from_flow(tx, id, new)?;
            entry.complete(tx, &json!(created.id))?;
            Ok(created.id)
        })
        .await?;
    Ok(created)
}

/// Puts a message into the outbox, once.
pub(super) async fn send(opened: &Opened, topic: String, key: String, payload: Value) -> Result<(), Failure> {
    let _busy = opened.busy();
    if let Some(()) = opened.replay()? {
        return Ok(());
    }
    opened.gate().await?;
    let declared = opened.declared.clone();
    let run = opened.active.lease.run;
    opened
        .write("send", move |tx, entry| {
            entry.begin(tx, &declared)?;
            outbox::put(tx, &topic, &key, &payload, Some(run))?;
            entry.complete(tx, &Value::Null)
        })
        .await?;
    Ok(())
}
