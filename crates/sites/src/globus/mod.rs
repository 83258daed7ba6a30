//! Sites that are Globus collections, and facilities behind Globus Compute.
//!
//! A collection shows names, sizes and times, and moves whole files; it neither reads nor writes a few bytes. Small
//! files (a manifest, a wish to cancel) therefore pass through the *exchange*: a folder of a collection that this
//! host sees. What has to survive a crash (the number of a submission) is in a note on this host's disk before it
//! is sent.

mod call;
mod compute;
mod exchange;
mod flow;
mod look;
mod notes;
mod order;
mod remove;
mod storage;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use globus::{Globus, Settings};

use crate::error::{Error, Result};
use crate::storage::Watch;

pub use compute::{GlobusCompute, GlobusEndpoint};
pub use exchange::Exchange;
pub use storage::GlobusStorage;

/// Where the settings of the client come from, when it is first used: without credentials, the rest of a
/// beamline works all the same.
type Source = Box<dyn Fn() -> globus::Result<Settings> + Send + Sync>;

/// What all collections and endpoints of a beamline share: the client, the notes, the exchange.
pub struct Link {
    source: Source,
    client: OnceLock<Globus>,
    notes: PathBuf,
    exchange: Option<Exchange>,
    poll: (Duration, Duration),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("notes", &self.notes)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// A link whose notes are in `notes`, a folder on a disk of this host.
    pub fn new(
        notes: impl Into<PathBuf>,
        source: impl Fn() -> globus::Result<Settings> + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Box::new(source),
            client: OnceLock::new(),
            notes: notes.into(),
            exchange: None,
            poll: (Duration::from_millis(250), Duration::from_secs(10)),
        }
    }

    /// With a folder through which small files pass.
    #[must_use]
    pub fn with_exchange(self, exchange: Exchange) -> Self {
        Self { exchange: Some(exchange), ..self }
    }

    /// Looks at tasks this often in the beginning, and at most.
    #[must_use]
    pub fn with_poll(self, first: Duration, longest: Duration) -> Self {
        Self { poll: (first, longest), ..self }
    }

    /// The client.
    ///
    /// # Errors
    /// There are no credentials, or they make no sense.
    pub fn client(&self) -> Result<&Globus> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = Globus::new((self.source)()?)?;
        Ok(self.client.get_or_init(|| made))
    }

    /// The folder of notes.
    pub(crate) fn notes(&self) -> &Path {
        &self.notes
    }

    pub(crate) fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_ref()
    }

    /// Waits until a task is over, and tells how it is. What holds it up and waiting cannot help is ended.
    pub(crate) async fn follow(
        &self,
        task_id: &str,
        watch: &Watch,
        mut observer: impl FnMut(&globus::transfer::Task),
    ) -> Result<globus::transfer::Task> {
        use globus::transfer::Outcome;
        let transfer = self.client()?.transfer();
        let (mut pause, mut hopeless) = (self.poll.0, 0);
        loop {
            let task = transfer.task(task_id).await?;
            observer(&task);
            let outcome = task.outcome();
            if outcome.is_over() {
                return Ok(task);
            }
            if watch.is_stopped() {
                // Cancelled, or just over: both are an end of it.
                transfer.cancel(task_id).await?;
                return Err(Error::Cancelled);
            }
            // Twice in a row, as a fault may be gone at the next try of Globus.
            hopeless = match outcome {
                Outcome::Held(fault) if fault.is_hopeless() => hopeless + 1,
                Outcome::Inactive | Outcome::Unknown => 2,
                _ => 0,
            };
            if hopeless >= 2 {
                let events = transfer.events(task_id, 100).await.unwrap_or_default();
                if !matches!(outcome, Outcome::Inactive | Outcome::Unknown) {
                    transfer.cancel(task_id).await?;
                }
                return match task.failure(&events) {
                    Some(failure) => Err(globus::Error::Task(Box::new(failure)).into()),
                    None => Ok(task),
                };
            }
            let begun = std::time::Instant::now();
            while begun.elapsed() < pause && !watch.is_stopped() {
                tokio::time::sleep(pause.min(Duration::from_millis(200))).await;
            }
            pause = (pause * 2).min(self.poll.1);
        }
    }

    /// The error that an ended task is, unless it succeeded.
    pub(crate) async fn success(&self, task: &globus::transfer::Task) -> Result<()> {
        if task.outcome() == globus::transfer::Outcome::Succeeded {
            return Ok(());
        }
        let events = self.client()?.transfer().events(&task.task_id, 100).await.unwrap_or_default();
        match task.failure(&events) {
            Some(failure) => Err(globus::Error::Task(Box::new(failure)).into()),
            None => Ok(()),
        }
    }
}

/// A collection, and the site's root in it.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub link: Arc<Link>,
    pub site: String,
    pub collection: String,
    pub root: String,
}

impl Spot {
    /// The path in the collection.
    pub fn path(&self, path: &custody::RelPath) -> String {
        let root = self.root.trim_end_matches('/');
        match path.is_root() {
            true => format!("{root}/"),
            false => format!("{root}/{path}"),
        }
    }

    /// The path for messages.
    pub fn shown(&self, path: &custody::RelPath) -> PathBuf {
        PathBuf::from(format!("{}:{}", self.site, self.path(path)))
    }
}

/// A label that Transfer takes: letters, digits, blanks and `-_,.`, at most 128.
pub(crate) fn label(text: &str) -> String {
    let fits = |c: char| if c.is_alphanumeric() || " -_,.".contains(c) { c } else { ' ' };
    let words: String = text.chars().map(fits).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_only_what_transfer_takes() {
        assert_eq!(label("BLS-00564/2023_x.h5 (raw): run 1"), "BLS-00564 2023_x.h5 raw run 1");
        assert_eq!(label(&"µ".repeat(300)).chars().count(), 128);
    }
}
