//! Reads settings where they are kept, and tells custody: what they say, or that they are not known.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use custody::{Custody, ScanName};
use jiff::Timestamp;
use serde_json::Value;

use super::{DECISIONS, Given, Places, policy};

/// A place where operators keep settings.
#[async_trait]
pub trait Source: Send + Sync {
    /// For people: "Prefect at http://host:4200/api".
    fn name(&self) -> String;
    /// The settings of these names that are there.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    async fn read(&self, names: &[String]) -> std::result::Result<Given, String>;
    /// Whether this process may decide about deletions: there is one owner of custody.
    ///
    /// # Errors
    /// Why not, or why nobody knows.
    async fn may_decide(&self) -> std::result::Result<(), String>;
    /// Why a copy is to stay although custody would let it go: somebody cancelled or moved its deletion, or works with
    /// the scan on another host.
    ///
    /// # Errors
    /// Why it cannot be known.
    async fn wants_kept(
        &self,
        scan: &ScanName,
        site: &str,
        path: &str,
    ) -> std::result::Result<Option<String>, String>;
    /// Deletions that are scheduled there, the soonest first, at most `limit`.
    ///
    /// # Errors
    /// Why they cannot be known.
    async fn deletions(&self, limit: usize) -> std::result::Result<Vec<Scheduled>, String>;
    /// Whether some worker knows the scan as export-controlled.
    ///
    /// # Errors
    /// Why it cannot be known.
    async fn is_controlled(&self, scan: &ScanName) -> std::result::Result<bool, String>;
    /// Lets all workers know that the scan is export-controlled.
    ///
    /// # Errors
    /// Why they cannot be told.
    async fn set_controlled(&self, scan: &ScanName) -> std::result::Result<(), String>;
}

/// A deletion for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// The scan.
    pub scan: ScanName,
    /// The site that loses a copy.
    pub site: String,
    /// What, as triggers name it: `<folder>/<stem>.h5`, `<folder>/rec<stem>.zarr`.
    pub path: String,
    /// When.
    pub at: Timestamp,
}

/// What was read a moment ago is not asked for again before each of many deletions.
const MOMENT: Duration = Duration::from_secs(30);

/// The settings of a beamline. The default one knows no source: the configuration alone holds.
#[derive(Default)]
pub struct Keeper {
    base: custody::Settings,
    places: Places,
    source: OnceLock<Arc<dyn Source>>,
    asked: Mutex<Option<Instant>>,
}

impl Keeper {
    /// Of a configuration's policy, for its places.
    pub fn new(base: custody::Settings, places: Places) -> Self {
        Self { base, places, ..Self::default() }
    }

    /// Settings are kept there. The first place stays.
    pub fn attach(&self, source: Arc<dyn Source>) {
        let _ = self.source.set(source);
    }

    /// The policy with what the source said last, as custody remembers it: for a start.
    pub(crate) fn standing(&self, custody: &Custody) -> custody::Result<custody::Settings> {
        let Some(authority) = custody.authority()? else { return Ok(self.base.clone()) };
        let given: Given = serde_json::from_value(authority.given).unwrap_or_default();
        Ok(policy(&self.places, &self.base, &given).unwrap_or_else(|_| self.base.clone()))
    }

    /// Reads what says when files go, and sets custody's policy by it. A source that is silent, or says what is no
    /// number of days, is told to custody, which then lets nothing go.
    ///
    /// # Errors
    /// Custody's database cannot be used.
    pub async fn refresh(&self, custody: &Custody, now: Timestamp) -> custody::Result<()> {
        let Some(source) = self.source.get() else { return Ok(()) };
        let names = [super::PRUNING.to_owned(), self.places.raw_settings()];
        let name = source.name();
        let read = source.read(&names).await;
        let may_decide = if read.is_ok() { source.may_decide().await } else { Ok(()) };
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match read.and_then(|given| Ok((policy(&self.places, &self.base, &given)?, given))) {
            Ok((policy, given)) => {
                let given = serde_json::to_value(given).unwrap_or_default();
                custody.configure(&policy, &name, now)?;
                match may_decide {
                    Ok(()) => custody.authority_heard(&name, &given, now)?,
                    Err(why) => custody.authority_silent(&name, &why, Some(&given), now)?,
                }
            }
            Err(why) => custody.authority_silent(&name, &why, None, now)?,
        }
        Ok(())
    }

    /// As [`refresh`](Self::refresh), unless it was done a moment ago.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh).
    pub async fn refresh_if_old(&self, custody: &Custody, now: Timestamp) -> custody::Result<()> {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|asked| asked.elapsed() < MOMENT) {
            Ok(())
        } else {
            self.refresh(custody, now).await
        }
    }

    /// Why a copy is to stay, and who says so.
    ///
    /// # Errors
    /// Why it cannot be known.
    pub async fn wants_kept(
        &self,
        scan: &ScanName,
        site: &str,
        path: &str,
    ) -> std::result::Result<Option<(String, String)>, (String, String)> {
        let Some(source) = self.source.get() else { return Ok(None) };
        match source.wants_kept(scan, site, path).await {
            Ok(why) => Ok(why.map(|why| (source.name(), why))),
            Err(why) => Err((source.name(), why)),
        }
    }

    /// The export flag of a scan, with what other workers know of it.
    ///
    /// # Errors
    /// Nobody answers, and `known` is `false`: it is not known here either.
    pub async fn flag(
        &self,
        scan: &ScanName,
        flag: Option<bool>,
        known: bool,
    ) -> std::result::Result<Option<bool>, String> {
        let Some(source) = self.source.get() else { return Ok(flag) };
        match source.is_controlled(scan).await {
            Ok(true) => Ok(Some(true)),
            Ok(false) => Ok(flag),
            // What was known at first sight holds: a run that goes on does not stop for a silent server.
            Err(_) if known => Ok(flag),
            Err(why) => Err(why),
        }
    }

    /// Lets other workers know of a controlled scan.
    ///
    /// # Errors
    /// Why they cannot be told.
    pub async fn tell_controlled(&self, scan: &ScanName) -> std::result::Result<(), String> {
        match self.source.get() {
            Some(source) => source.set_controlled(scan).await,
            None => Ok(()),
        }
    }

    /// What the operator decided about flows; `None` where nothing is decided, or nobody answers.
    pub async fn decisions(&self) -> std::result::Result<Option<Value>, String> {
        let Some(source) = self.source.get() else { return Ok(None) };
        Ok(source.read(&[DECISIONS.to_owned()]).await?.remove(DECISIONS))
    }
}
