//! Reads settings where they are kept, and tells custody: what they say, or that they are not known.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use custody::Custody;
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
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match read.and_then(|given| Ok((policy(&self.places, &self.base, &given)?, given))) {
            Ok((policy, given)) => {
                custody.configure(&policy, &name, now)?;
                custody.authority_heard(&name, &serde_json::to_value(given).unwrap_or_default(), now)?;
            }
            Err(why) => custody.authority_silent(&name, &why, now)?,
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

    /// What the operator decided about flows; `None` where nothing is decided, or nobody answers.
    pub async fn decisions(&self) -> std::result::Result<Option<Value>, String> {
        let Some(source) = self.source.get() else { return Ok(None) };
        Ok(source.read(&[DECISIONS.to_owned()]).await?.remove(DECISIONS))
    }
}
