//! What Prefect must have: pools, queues, deployments, settings, the JSON block type, the automation against zombies.
//!
//! [`plan`] compares and changes nothing; [`Plan::apply`] does what the plan says. Doing it again changes nothing. What
//! people wrote (settings, secrets, a schedule switched off) stays. A deployment that another kind of worker serves is
//! taken over only by [`take_over`], and put back by [`put_back`].

mod takeover;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use prefect::{Client, NewDeployment, Secret};
use serde_json::{Value, json};

pub use takeover::{Saved, put_back, saved, take_over};
use translate::{differing, same_times, translated};

use crate::error::{Error, Result};
use crate::worker::POOL_TYPE;

/// The automation's name.
const ZOMBIES: &str = "beamrail: runs of silent workers";
/// Three signs of life missed.
const SILENCE: Duration = Duration::from_secs(100);

/// What should be there.
pub struct Wanted {
    /// The pool of all deployments whose pool is "default".
    pub pool: String,
    /// Deployments, by the names that triggers use; `flow` is the flow's name in Prefect.
    pub deployments: Vec<engine::Deployment>,
    /// Priorities of queues that are made (1 is the first).
    pub priorities: BTreeMap<String, u32>,
    /// Settings by their names with hyphens, and the values that they begin with.
    pub settings: Vec<(String, Value)>,
    /// Secrets by the names of their blocks; `None`: known by name alone.
    pub secrets: Vec<(String, Option<Secret>)>,
    /// Names ("flow/name") of deployments that were taken over: they keep what their makers gave them.
    pub taken: BTreeSet<String>,
}

impl Wanted {
    /// These deployments in this pool, and nothing besides.
    pub fn new(pool: impl Into<String>, deployments: Vec<engine::Deployment>) -> Self {
        Wanted {
            pool: pool.into(),
            deployments,
            priorities: BTreeMap::new(),
            settings: Vec::new(),
            secrets: Vec::new(),
            taken: BTreeSet::new(),
        }
    }

    fn pool_of<'a>(&'a self, one: &'a engine::Deployment) -> &'a str {
        if one.pool == "default" { &self.pool } else { &one.pool }
    }
}

/// A thing in Prefect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A work pool.
    Pool(String),
    /// A queue of a pool.
    Queue(String, String),
    /// A deployment, "flow/name".
    Deployment(String),
    /// The type of JSON blocks.
    JsonBlocks,
    /// A setting: a variable, or a JSON block.
    Setting(String),
    /// A Secret block.
    Secret(String),
    /// The automation against zombies.
    Automation(String),
}

impl Item {
    /// What kind of thing it is: "work pool".
    pub fn kind(&self) -> &'static str {
        match self {
            Item::Pool(_) => "work pool",
            Item::Queue(..) => "queue",
            Item::Deployment(_) => "deployment",
            Item::JsonBlocks => "block type",
            Item::Setting(_) => "setting",
            Item::Secret(_) => "secret",
            Item::Automation(_) => "automation",
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Item::Queue(pool, name) => format!("{pool}/{name}"),
            Item::JsonBlocks => "json".to_owned(),
            Item::Pool(name)
            | Item::Deployment(name)
            | Item::Setting(name)
            | Item::Secret(name)
            | Item::Automation(name) => name.clone(),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is as it should be, or it is there and its content is people's business.
    Same,
    /// It is not there.
    Missing,
    /// It differs: in these fields.
    Differs(Vec<String>),
    /// Workers of another pool serve it; it is left alone.
    Foreign(String),
    /// It was taken over, and its old pool is kept for the way back.
    TakenOver,
    /// It is not there, and nobody gave its content.
    Absent,
}

impl Change {
    /// Whether [`Plan::apply`] does something about it.
    pub fn is_open(&self) -> bool {
        matches!(self, Change::Missing | Change::Differs(_))
    }
}

/// What differs between what should be and what is.
pub struct Plan {
    /// Each thing with its change.
    pub items: Vec<(Item, Change)>,
    wanted: Wanted,
}

/// Compares.
///
/// # Errors
/// A pool is another kind of worker's; what the server says.
pub async fn plan(client: &Client, wanted: Wanted) -> Result<Plan> {
    let mut items = Vec::new();
    let there = |found: bool| if found { Change::Same } else { Change::Missing };
    let mut queues: BTreeMap<&str, BTreeSet<&str>> =
        BTreeMap::from([(wanted.pool.as_str(), BTreeSet::new())]);
    for one in &wanted.deployments {
        queues.entry(wanted.pool_of(one)).or_default().insert(&one.queue);
    }
    for (pool, queues) in queues {
        let found = client.work_pool(pool).await?;
        if let Some(found) = &found
            && found.kind != POOL_TYPE
        {
            return Err(Error::WrongPool { pool: pool.to_owned(), kind: found.kind.clone() });
        }
        items.push((Item::Pool(pool.to_owned()), there(found.is_some())));
        for queue in queues {
            let found = found.is_some() && client.work_queue(pool, queue).await?.is_some();
            items.push((Item::Queue(pool.to_owned(), queue.to_owned()), there(found)));
        }
    }
    items.push((Item::JsonBlocks, there(client.block_type("json").await?.is_some())));
    for (name, _) in &wanted.settings {
        items.push((Item::Setting(name.clone()), there(client.setting(name).await?.is_some())));
    }
    for (name, value) in &wanted.secrets {
        let change = match (client.secret(name).await?, value) {
            (Some(_), _) => Change::Same,
            (None, Some(_)) => Change::Missing,
            (None, None) => Change::Absent,
        };
        items.push((Item::Secret(name.clone()), change));
    }
    if client.version().await?.has_events() {
        let found = client.automations().await?.iter().any(|one| one.name == ZOMBIES);
        items.push((Item::Automation(ZOMBIES.to_owned()), there(found)));
    }
    for one in &wanted.deployments {
        let change = compared(client, &wanted, one).await?;
        items.push((Item::Deployment(full_name(one)), change));
    }
    Ok(Plan { items, wanted })
}

fn full_name(one: &engine::Deployment) -> String {
    format!("{}/{}", one.flow, one.name)
}

async fn compared(client: &Client, wanted: &Wanted, one: &engine::Deployment) -> Result<Change> {
    let pool = wanted.pool_of(one);
    let Some(found) = client.deployment(&one.flow, &one.name).await? else { return Ok(Change::Missing) };
    if found.work_pool_name.as_deref() != Some(pool) {
        return Ok(Change::Foreign(found.work_pool_name.unwrap_or_else(|| "no pool".to_owned())));
    }
    if wanted.taken.contains(&full_name(one)) {
        return Ok(Change::TakenOver);
    }
    Ok(match differing(&translated(one, pool), &found) {
        fields if fields.is_empty() => Change::Same,
        fields => Change::Differs(fields),
    })
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_done(&self) -> bool {
        !self.items.iter().any(|(_, change)| change.is_open())
    }

    /// Does it. What was changed in Prefect by hand and is no field of ours (paused, a schedule switched off) stays.
    ///
    /// # Errors
    /// What the server says; what was done before stays done.
    pub async fn apply(&self, client: &Client) -> Result<()> {
        for (item, _) in self.items.iter().filter(|(_, change)| change.is_open()) {
            match item {
                Item::Pool(name) => {
                    let about = "Runs of beamrail; its workers are started with `beamrail worker`";
                    client.create_work_pool(name, POOL_TYPE, about, &json!({})).await?;
                }
                Item::Queue(pool, name) => {
                    let priority = self.wanted.priorities.get(name).copied();
                    client.create_work_queue(pool, name, priority, None).await?;
                }
                Item::JsonBlocks => drop(client.ensure_json_type().await?),
                Item::Setting(name) => {
                    if let Some((_, value)) = self.wanted.settings.iter().find(|(one, _)| one == name) {
                        create_setting(client, name, value).await?;
                    }
                }
                Item::Secret(name) => {
                    let value = self.wanted.secrets.iter().find(|(one, _)| one == name);
                    if let Some((_, Some(secret))) = value {
                        client.create_block("secret", name, &json!(secret.expose())).await?;
                    }
                }
                Item::Automation(name) => {
                    client.create_automation(&prefect::zombies(name, SILENCE)).await?;
                }
                Item::Deployment(name) => {
                    if let Some(one) = self.wanted.deployments.iter().find(|one| full_name(one) == *name) {
                        put(client, &self.wanted, one).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A variable where those hold JSON; before, a JSON block, which the interface has a form for.
async fn create_setting(client: &Client, name: &str, value: &Value) -> Result<()> {
    if client.version().await?.has_json_variables() {
        client.create_variable(&name.replace('-', "_"), value, &["beamrail"]).await?;
    } else {
        client.create_block("json", name, value).await?;
    }
    Ok(())
}

async fn put(client: &Client, wanted: &Wanted, one: &engine::Deployment) -> Result<()> {
    let mut new: NewDeployment = translated(one, wanted.pool_of(one));
    new.flow_id = client.flow(&one.flow).await?.id;
    if let Some(found) = client.deployment(&one.flow, &one.name).await? {
        new.paused = found.paused;
        for schedule in &mut new.schedules {
            let seen = found.schedules.iter().find(|seen| same_times(schedule, seen));
            schedule.active = seen.map_or(schedule.active, |seen| seen.active);
        }
    }
    client.put_deployment(&new).await?;
    Ok(())
}
