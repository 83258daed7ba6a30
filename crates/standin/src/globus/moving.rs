//! What a transfer or delete task does from its start to its end: it waits for its turn, goes through
//! its items, meets faults, tries again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::faults::{Kind as Fault, Victim};
use super::folder::Trouble;
use super::state::World;
use super::task::{Kind, Skipped, Status, Task};
use super::{copying, deleting};

/// Why work on a task stops.
#[derive(Debug)]
pub enum Stop {
    /// It has ended, or the stand-in does: nothing more to do.
    Ended,
    /// It fails for good.
    Fatal(String, String),
}

/// Why one attempt at a file failed.
#[derive(Debug)]
pub enum Failure {
    Stop(Stop),
    /// The event's code and text; tried again, or skipped if it is the source's fault.
    Fault {
        code: String,
        details: String,
        at_source: bool,
    },
}

impl Failure {
    /// Trouble with a path.
    pub fn of(trouble: &Trouble, at_source: bool) -> Self {
        Self::Fault { code: trouble.code().to_owned(), details: trouble.text().to_owned(), at_source }
    }

    /// An error of the file system on a path.
    pub fn io(path: &str, error: &std::io::Error, at_source: bool) -> Self {
        if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
            return Self::Fault {
                code: "QUOTA_EXCEEDED".to_owned(),
                details: format!("{path}: {error}"),
                at_source,
            };
        }
        Self::of(&Trouble::of(path, error), at_source)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// Starts, or goes on with, a task.
pub fn start(world: &Arc<World>, id: String) {
    world.spawn(move |world| Mover { world, id: &id }.run());
}

/// A task at work.
pub struct Mover<'a> {
    pub world: &'a World,
    pub id: &'a str,
}

impl Mover<'_> {
    /// Looks at the task.
    pub fn read<T>(&self, look: impl FnOnce(&Task) -> T) -> Result<T, Stop> {
        self.world.read(|state| state.tasks.get(self.id).map(look)).ok_or(Stop::Ended)
    }

    /// Changes the task, unless it has ended.
    pub fn change<T>(&self, change: impl FnOnce(&mut Task) -> T) -> Result<T, Stop> {
        let changed =
            self.world.change(|state| state.tasks.get_mut(self.id).filter(|task| task.is_open()).map(change));
        changed.ok_or(Stop::Ended)
    }

    fn run(&self) {
        let outcome = self.turn().and_then(|()| {
            self.change(|task| {
                if !task.events.iter().any(|event| event.code == "STARTED") {
                    task.event("STARTED", "started", "", false);
                }
                task.nice = Some(("OK".to_owned(), "The task is running".to_owned()));
            })?;
            match self.read(|task| task.kind)? {
                Kind::Transfer => copying::transfer(self),
                Kind::Delete => deleting::delete(self),
            }
        });
        let end = |task: &mut Task| match &outcome {
            Ok(()) => {
                if !task.skipped.is_empty() {
                    task.event("SKIPPED_ERRORS", "skipped errors", "Some paths were skipped", false);
                }
                task.end(Status::Succeeded, None);
            }
            Err(Stop::Fatal(code, text)) => task.end(Status::Failed, Some((code, text))),
            Err(Stop::Ended) => {}
        };
        // Without a disk the end is in memory, and reached again after a restart.
        let _ = self.world.commit(|state| state.tasks.get_mut(self.id).map(end));
    }

    /// Waits for one of the few places of active tasks, in the order of submission.
    fn turn(&self) -> Result<(), Stop> {
        let limit = self.world.config.active_limit;
        let turn = self.world.until(|state| {
            let Some(mine) = state.tasks.get(self.id).filter(|task| task.is_open()) else {
                return Some(Err(Stop::Ended));
            };
            if mine.deadline <= Timestamp::now() {
                return Some(Err(expired()));
            }
            let alike = || {
                state
                    .tasks
                    .values()
                    .filter(|task| task.owner == mine.owner && task.kind == mine.kind && task.is_open())
            };
            let running = alike().filter(|task| task.running).count();
            let before = alike().any(|task| !task.running && task.order < mine.order);
            if running >= limit || before {
                return None;
            }
            state.tasks.get_mut(self.id).map(|task| {
                task.running = true;
                Ok(())
            })
        });
        turn.unwrap_or(Err(Stop::Ended))
    }

    /// To be asked often: may the task go on? Waits as long as it is paused or inactive.
    pub fn guard(&self) -> Result<(), Stop> {
        loop {
            if self.world.stopping() {
                return Err(Stop::Ended);
            }
            let (names, label, deadline) = self.read(|task| {
                let mut names = vec![task.source.clone(), task.source_name.clone()];
                names.extend(task.destination.clone().into_iter().chain(task.destination_name.clone()));
                (names, task.label.clone(), task.is_open().then_some(task.deadline))
            })?;
            match deadline {
                None => return Err(Stop::Ended),
                Some(deadline) if deadline <= Timestamp::now() => return Err(expired()),
                Some(_) => {}
            }
            let victim = Victim { collections: &names, label: label.as_deref(), ..Victim::default() };
            let (paused, inactive) = self
                .world
                .read(|state| (state.under(&victim, &Fault::Paused), state.under(&victim, &Fault::Inactive)));
            self.change(|task| {
                if paused && !task.paused {
                    task.event("PAUSED", "paused", "Paused by an administrator", false);
                    task.nice = Some(("PAUSED".to_owned(), "Paused by an administrator".to_owned()));
                } else if task.paused && !paused {
                    task.event("UNPAUSED", "unpaused", "", false);
                    task.nice = Some(("OK".to_owned(), "The task is running".to_owned()));
                }
                task.paused = paused;
                task.status = if inactive { Status::Inactive } else { Status::Active };
                if inactive {
                    task.nice =
                        Some(("EXPIRED_CREDENTIALS".to_owned(), "The credentials have expired".to_owned()));
                }
            })?;
            if !paused && !inactive {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Tries until it works, is skipped, or the task stops. True if it was skipped.
    pub fn persist<T>(
        &self,
        source: &str,
        destination: &str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<Option<T>, Stop> {
        loop {
            self.guard()?;
            match self.befall(source).map_or_else(&mut attempt, Err) {
                Ok(done) => {
                    self.change(|task| {
                        task.retrying = 0;
                        task.nice = Some(("OK".to_owned(), "The task is running".to_owned()));
                    })?;
                    return Ok(Some(done));
                }
                Err(Failure::Stop(stop)) => return Err(stop),
                Err(Failure::Fault { code, details, at_source }) => {
                    let skippable =
                        matches!(code.as_str(), "PERMISSION_DENIED" | "FILE_NOT_FOUND" | "AMBIGUOUS_PATH");
                    let (skip, quota) = self.read(|task| {
                        (task.option("skip_source_errors"), task.option("fail_on_quota_errors"))
                    })?;
                    if code == "QUOTA_EXCEEDED" && quota {
                        return Err(Stop::Fatal(code, details));
                    }
                    self.change(|task| {
                        task.faults += 1;
                        task.event(&code, &code.to_lowercase().replace('_', " "), &details, true);
                        if skip && at_source && skippable {
                            task.skipped.push(Skipped {
                                source: source.to_owned(),
                                destination: destination.to_owned(),
                                code: code.clone(),
                                details: details.clone(),
                                time: Timestamp::now(),
                            });
                        } else {
                            task.retrying = 1;
                            task.nice = Some((code.clone(), details.clone()));
                        }
                    })?;
                    if skip && at_source && skippable {
                        return Ok(None);
                    }
                    let until = Instant::now() + self.world.config.retry_delay;
                    while Instant::now() < until {
                        self.guard()?;
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
        }
    }

    /// The injected failure of this attempt, if there is one.
    fn befall(&self, source: &str) -> Option<Failure> {
        let offline = self.read(|task| {
            let ends = [Some(task.source.clone()), task.destination.clone()];
            ends.into_iter().flatten().flat_map(|id| self.world.names(&id)).collect::<Vec<_>>()
        });
        let offline = offline.is_ok_and(|names| {
            let victim = Victim { collections: &names, file: Some(source), ..Victim::default() };
            self.world.read(|state| state.under(&victim, &Fault::CollectionOffline))
        });
        if offline {
            return Some(Failure::Fault {
                code: "CONNECT_FAILED".to_owned(),
                details: "The endpoint cannot be reached".to_owned(),
                at_source: false,
            });
        }
        let (kind, _) = self.met(source, |kind| {
            matches!(kind, Fault::FileFault { .. } | Fault::TaskFailed { .. } | Fault::SlowTransfer { .. })
        })?;
        match kind {
            Fault::FileFault { code, details } => Some(Failure::Fault { code, details, at_source: true }),
            Fault::TaskFailed { code, description } => Some(Failure::Stop(Stop::Fatal(code, description))),
            Fault::SlowTransfer { bytes_per_second } => {
                let _ = self.change(|task| task.limit = Some(bytes_per_second.max(1)));
                None
            }
            _ => None,
        }
    }

    /// A fault of a wanted kind that befalls this file now.
    pub fn met(&self, source: &str, wanted: impl Fn(&Fault) -> bool) -> Option<(Fault, u64)> {
        self.world.change(|state| {
            let task = state.tasks.get(self.id)?;
            let mut names = vec![task.source.clone(), task.source_name.clone()];
            names.extend(task.destination.clone().into_iter().chain(task.destination_name.clone()));
            let label = task.label.clone();
            let victim = Victim {
                collections: &names,
                label: label.as_deref(),
                file: Some(source),
                ..Victim::default()
            };
            state.meet(&victim, wanted).map(|(number, kind)| (kind, number))
        })
    }

    /// A file has arrived: a deadline that nobody has given moves on.
    pub fn progress(task: &mut Task) {
        if !task.fixed_deadline && task.kind == Kind::Transfer {
            task.deadline = Timestamp::now() + SignedDuration::from_hours(72);
        }
    }
}

fn expired() -> Stop {
    Stop::Fatal("EXPIRED".to_owned(), "The task did not end before its deadline".to_owned())
}
