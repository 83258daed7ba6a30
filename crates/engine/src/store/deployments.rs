//! Deployments and their schedules in the journal.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::writer::Tx;
use super::{rows, runs, us};
use crate::deployment::{Deployment, Schedule};
use crate::error::{Error, Result};
use crate::model::{Created, NewRun, RunId};

/// Makes or replaces a deployment. A schedule that did not change keeps its place in time.
pub(crate) fn put(tx: &Tx<'_>, deployment: &Deployment) -> Result<()> {
    deployment.check()?;
    tx.execute(
        "INSERT INTO deployments (name, flow, definition, concurrency, paused, updated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) DO UPDATE SET flow = ?2, definition = ?3, concurrency = ?4, paused = ?5, updated = ?6",
        params![
            deployment.name,
            deployment.flow,
            rows::text(deployment),
            deployment.concurrency,
            deployment.paused,
            us(tx.now)
        ],
    )?;
    let kept: Vec<&str> = deployment.schedules.iter().map(|schedule| schedule.id.as_str()).collect();
    tx.execute(
        "DELETE FROM schedules WHERE deployment = ?1 AND id NOT IN (SELECT value FROM json_each(?2))",
        params![deployment.name, rows::text(&kept)],
    )?;
    for schedule in &deployment.schedules {
        tx.execute(
            "INSERT INTO schedules (deployment, id, definition, until) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (deployment, id) DO UPDATE SET definition = ?3, until = ?4 WHERE definition != ?3",
            params![deployment.name, schedule.id, rows::text(schedule), us(tx.now)],
        )?;
    }
    Ok(())
}

pub(crate) fn get(tx: &Tx<'_>, name: &str) -> Result<Deployment> {
    let stored = tx.row("SELECT definition, paused FROM deployments WHERE name = ?1", [name], definition)?;
    stored.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::NotFound { what: "deployment", name: name.to_owned() }
}

fn definition(row: &rusqlite::Row<'_>) -> rusqlite::Result<Deployment> {
    let deployment: Deployment = rows::json(row, 0)?;
    Ok(Deployment { paused: row.get(1)?, ..deployment })
}

pub(crate) fn list(connection: &Connection) -> rusqlite::Result<Vec<Deployment>> {
    connection
        .prepare_cached("SELECT definition, paused FROM deployments ORDER BY name")?
        .query_map([], definition)?
        .collect()
}

pub(crate) fn remove(tx: &Tx<'_>, name: &str) -> Result<()> {
    match tx.execute("DELETE FROM deployments WHERE name = ?1", [name])? {
        0 => Err(missing(name)),
        _ => Ok(()),
    }
}

/// Holds schedules back, or lets them go on from now: what passed meanwhile is not made up for.
pub(crate) fn pause(tx: &Tx<'_>, name: &str, paused: bool) -> Result<()> {
    let found = tx.execute("UPDATE deployments SET paused = ?2 WHERE name = ?1", params![name, paused])?;
    if found == 0 {
        return Err(missing(name));
    }
    if !paused {
        tx.execute("UPDATE schedules SET until = ?2 WHERE deployment = ?1", params![name, us(tx.now)])?;
    }
    Ok(())
}

/// A run of a deployment: its defaults, `over` laid over them.
pub(crate) fn start(tx: &Tx<'_>, id: RunId, name: &str, over: NewRun) -> Result<Created> {
    let deployment = get(tx, name)?;
    runs::create(tx, id, &new_run(&deployment, over)?)
}

/// A run that a flow starts. Where a deployment bears its flow's name it is one of that, so that its limits,
/// pool, queue and retries are the same whoever started it.
pub(crate) fn start_from_flow(tx: &Tx<'_>, id: RunId, new: NewRun) -> Result<Created> {
    let known =
        tx.row("SELECT definition, paused FROM deployments WHERE name = ?1", [&new.flow], definition)?;
    match known.filter(|deployment| new.deployment.is_none() && deployment.flow == new.flow) {
        Some(deployment) => runs::create(tx, id, &new_run(&deployment, new)?),
        None => runs::create(tx, id, &new),
    }
}

fn new_run(deployment: &Deployment, over: NewRun) -> Result<NewRun> {
    let mut tags = deployment.tags.clone();
    tags.extend(over.tags);
    Ok(NewRun {
        flow: deployment.flow.clone(),
        parameters: deployment.merged(&over.parameters)?,
        tags,
        deployment: Some(deployment.name.clone()),
        pool: deployment.pool.clone(),
        queue: deployment.queue.clone(),
        retries: deployment.retries,
        retry_delay: deployment.retry_delay,
        ..over
    })
}

/// Schedules that are on, with the time up to which they are settled.
fn active(connection: &Connection) -> rusqlite::Result<Vec<(String, Schedule, Timestamp)>> {
    connection
        .prepare_cached(
            "SELECT s.deployment, s.definition, s.until FROM schedules s JOIN deployments d ON d.name = s.deployment
             WHERE NOT d.paused",
        )?
        .query_map([], |row| Ok((row.get(0)?, rows::json::<Schedule>(row, 1)?, rows::time(row, 2)?)))?
        .filter(|row| row.as_ref().map_or(true, |(_, schedule, _)| schedule.active))
        .collect()
}

/// Whether a schedule has a time between its last and now.
pub(crate) fn anything(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    let due = |(_, schedule, until): &(String, Schedule, Timestamp)| {
        schedule.when.next(*until).is_some_and(|next| next <= now)
    };
    Ok(active(connection)?.iter().any(due))
}

/// Makes the runs that are due. Idempotent: a run's key is its schedule and time.
pub(crate) fn tick(tx: &Tx<'_>, mut new_id: impl FnMut() -> RunId) -> Result<Vec<RunId>> {
    let mut made = Vec::new();
    for (name, schedule, until) in active(tx.conn).map_err(|error| tx.explain(&error))? {
        let (times, settled) = schedule.due(until, tx.now);
        let deployment = get(tx, &name)?;
        for time in times {
            let key = format!("schedule:{name}:{}:{time}", schedule.id);
            let over = NewRun::of(&deployment.flow, schedule.parameters.clone()).key(key).at(time);
            let created = runs::create(tx, new_id(), &new_run(&deployment, over)?)?;
            if created.is_new {
                made.push(created.id);
            }
        }
        tx.execute(
            "UPDATE schedules SET until = ?3 WHERE deployment = ?1 AND id = ?2",
            params![name, schedule.id, us(settled)],
        )?;
    }
    Ok(made)
}
