//! Deployments: a flow with default parameters, a place to run, and schedules.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::sub;
use crate::error::{Error, Result};
use crate::flow::Flow;

/// A flow, ready to be run by people and schedules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its name, unique.
    pub name: String,
    /// The flow that it runs.
    pub flow: String,
    /// A sentence for people.
    #[serde(default)]
    pub description: String,
    /// Default parameters; those of a run are laid over them.
    pub parameters: Value,
    /// The JSON schema of the parameters.
    pub schema: Value,
    /// Where its runs go.
    pub pool: String,
    /// The queue in the pool.
    pub queue: String,
    /// Tags of its runs.
    #[serde(default)]
    pub tags: Vec<String>,
    /// At most so many of its runs at once.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// No runs by schedules. Runs that people ask for are made all the same.
    #[serde(default)]
    pub paused: bool,
    /// How often a failed run is tried again.
    #[serde(default)]
    pub retries: u32,
    /// The wait before each of those.
    #[serde(default)]
    pub retry_delay: Duration,
    /// When it runs by itself.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
}

impl Deployment {
    /// A deployment of `flow` in pool and queue "default", without schedules.
    pub fn of(name: impl Into<String>, flow: &Flow) -> Self {
        Deployment {
            name: name.into(),
            flow: flow.name().to_owned(),
            description: flow.description().to_owned(),
            parameters: json!({}),
            schema: flow.schema().clone(),
            pool: "default".to_owned(),
            queue: "default".to_owned(),
            tags: Vec::new(),
            concurrency: None,
            paused: false,
            retries: 0,
            retry_delay: Duration::ZERO,
            schedules: Vec::new(),
        }
    }

    /// With default parameters.
    #[must_use]
    pub fn parameters(mut self, parameters: Value) -> Self {
        self.parameters = parameters;
        self
    }

    /// With a schedule.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// With a limit of runs at once.
    #[must_use]
    pub fn concurrency(mut self, most: u32) -> Self {
        self.concurrency = Some(most);
        self
    }

    /// The default parameters with others laid over them, if they fit the schema.
    pub(crate) fn merged(&self, over: &Value) -> Result<Value> {
        let mut merged = self.parameters.as_object().cloned().unwrap_or_default();
        match over {
            Value::Null => (),
            Value::Object(over) => merged.extend(over.clone()),
            other => {
                let reason = format!("they are {other}, and must be an object");
                return Err(Error::invalid(format!("parameters of {}", self.name), reason));
            }
        }
        let merged = Value::Object(merged);
        crate::schema::check(&self.schema, &merged)
            .map_err(|reason| Error::invalid(format!("parameters of {}", self.name), reason))?;
        Ok(merged)
    }

    pub(crate) fn check(&self) -> Result<()> {
        for (index, schedule) in self.schedules.iter().enumerate() {
            schedule.when.check(&self.name)?;
            if self.schedules.iter().take(index).any(|other| other.id == schedule.id) {
                let reason = format!("two schedules are called {:?}; give each its own id", schedule.id);
                return Err(Error::invalid(format!("deployment {}", self.name), reason));
            }
            self.merged(&schedule.parameters)?;
        }
        Ok(())
    }
}

/// When a deployment runs by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Unique in the deployment; a run is known by it and its time, so it is made once.
    pub id: String,
    /// The times.
    pub when: When,
    /// What to do about times that passed while nothing ran.
    pub catch_up: CatchUp,
    /// Switched on.
    pub active: bool,
    /// Parameters laid over those of the deployment.
    #[serde(default)]
    pub parameters: Value,
}

impl Schedule {
    /// A schedule that is switched on and catches up on the latest missed time.
    pub fn new(id: impl Into<String>, when: When) -> Self {
        Schedule { id: id.into(), when, catch_up: CatchUp::Latest, active: true, parameters: Value::Null }
    }

    /// With another catch-up policy.
    #[must_use]
    pub fn catch_up(mut self, policy: CatchUp) -> Self {
        self.catch_up = policy;
        self
    }
}

/// Times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum When {
    /// Five fields (six with seconds). At the change to summer time a fixed time that does not exist runs
    /// just after the gap; at the change back one that exists twice runs once; `*` follows the wall clock.
    Cron {
        /// "0 3 * * *"
        expression: String,
        /// "America/Los_Angeles"
        time_zone: String,
    },
    /// Once.
    Once {
        /// The time.
        at: Timestamp,
    },
    /// In equal steps of elapsed time, whatever the wall clock does.
    Every {
        /// The step.
        interval: Duration,
        /// One of the times.
        from: Timestamp,
    },
}

/// What to do about times that passed while nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// A run for each.
    All,
    /// One run, for the latest.
    Latest,
    /// None.
    None,
}

/// At most so many runs of one schedule at one look; the rest follows at the next.
const MOST: usize = 1000;
/// A time is missed when it is older than this: looks come every few seconds.
const GRACE: Duration = Duration::from_secs(60);

impl When {
    fn parsed(&self) -> std::result::Result<Option<(Cron, TimeZone)>, String> {
        let When::Cron { expression, time_zone } = self else { return Ok(None) };
        let cron = Cron::from_str(expression).map_err(|error| format!("cron {expression:?}: {error}"))?;
        let zone = TimeZone::get(time_zone).map_err(|error| error.to_string())?;
        Ok(Some((cron, zone)))
    }

    fn check(&self, deployment: &str) -> Result<()> {
        let what = || format!("deployment {deployment}");
        if let When::Every { interval, .. } = self
            && interval.as_micros() == 0
        {
            return Err(Error::invalid(what(), "a schedule with an interval of 0 would never end"));
        }
        self.parsed().map(drop).map_err(|reason| Error::invalid(what(), reason))
    }

    /// The times after `after`, up to and including `until`, the first thousand.
    pub fn between(&self, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        match self {
            When::Once { at } => Some(*at).filter(|at| *at > after && *at <= until).into_iter().collect(),
            When::Every { interval, from } => {
                let step = i128::try_from(interval.as_micros()).unwrap_or(i128::MAX).max(1);
                let (base, after) = (i128::from(from.as_microsecond()), i128::from(after.as_microsecond()));
                let first = (after - base).div_euclid(step) + 1;
                (first.max(0)..)
                    .map_while(|index| i64::try_from(base + index * step).ok())
                    .map_while(|us| Timestamp::from_microsecond(us).ok())
                    .take_while(|time| *time <= until)
                    .take(MOST)
                    .collect()
            }
            When::Cron { .. } => {
                // What was stored was checked; should it not parse any more, it gives no times.
                let Ok(Some((cron, zone))) = self.parsed() else { return Vec::new() };
                cron.iter_after(Zoned::new(after, zone))
                    .map(|time| time.timestamp())
                    .take_while(|time| *time <= until)
                    .take(MOST)
                    .collect()
            }
        }
    }

    /// The last time up to and including `until`.
    fn latest(&self, until: Timestamp) -> Option<Timestamp> {
        match self {
            When::Once { at } => Some(*at).filter(|at| *at <= until),
            When::Every { interval, from } => {
                let step = i128::try_from(interval.as_micros()).unwrap_or(i128::MAX).max(1);
                let (base, until) = (i128::from(from.as_microsecond()), i128::from(until.as_microsecond()));
                let index = Some((until - base).div_euclid(step)).filter(|index| *index >= 0)?;
                Timestamp::from_microsecond(i64::try_from(base + index * step).ok()?).ok()
            }
            When::Cron { .. } => {
                let (cron, zone) = self.parsed().ok()??;
                let time = cron.find_previous_occurrence(&Zoned::new(until, zone), true).ok()?;
                Some(time.timestamp())
            }
        }
    }

    /// The next time after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            When::Cron { .. } => {
                let (cron, zone) = self.parsed().ok()??;
                cron.iter_after(Zoned::new(after, zone)).next().map(|time| time.timestamp())
            }
            _ => self.between(after, Timestamp::MAX).first().copied(),
        }
    }
}

impl Schedule {
    /// The times to make runs for, and up to when all is settled.
    pub(crate) fn due(&self, after: Timestamp, now: Timestamp) -> (Vec<Timestamp>, Timestamp) {
        match self.catch_up {
            CatchUp::All => {
                let times = self.when.between(after, now);
                let settled = if times.len() == MOST { times.last().copied().unwrap_or(now) } else { now };
                (times, settled)
            }
            CatchUp::Latest => {
                (self.when.latest(now).filter(|time| *time > after).into_iter().collect(), now)
            }
            CatchUp::None => (self.when.between(after.max(sub(now, GRACE)), now), now),
        }
    }
}
