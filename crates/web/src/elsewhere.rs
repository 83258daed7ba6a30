//! Deletions that are scheduled outside of the journal: where a Prefect server has the schedules, it is asked in the
//! background and not too often; pages show what it said last, and say so when it is silent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use beamline::settings::{Scheduled, Source};
use jiff::Timestamp;

use crate::app::Shared;

/// What it said is good for so long.
const GOOD: Duration = Duration::from_secs(30);
/// Deletions that are asked for.
const MOST: usize = 200;
/// It is given up after so long.
const LONGEST: Duration = Duration::from_secs(20);

/// What is known of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The soonest first.
    pub planned: Vec<Scheduled>,
    /// When it said so; nothing before its first answer.
    pub at: Option<Timestamp>,
    /// Why it said nothing when it was asked last.
    pub fault: Option<String>,
}

/// Where deletions are scheduled, if that is not the journal.
#[derive(Default)]
pub(crate) struct Elsewhere {
    source: OnceLock<Arc<dyn Source>>,
    known: Mutex<Known>,
    last: Mutex<Option<Instant>>,
    asking: AtomicBool,
}

impl Elsewhere {
    pub(crate) fn attach(&self, source: Arc<dyn Source>) {
        let _ = self.source.set(source);
    }

    /// Its name for people, and what is known; nothing where the journal has the schedules.
    pub(crate) fn known(&self) -> Option<(String, Known)> {
        let source = self.source.get()?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some((source.name(), known))
    }
}

/// Begins to ask where that is due.
pub(crate) fn wake(app: &Shared) {
    let here = &app.elsewhere;
    let Some(source) = here.source.get().cloned() else { return };
    let age = here.last.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed());
    if age.is_some_and(|age| age < GOOD) || here.asking.swap(true, Ordering::SeqCst) {
        return;
    }
    let app = app.clone();
    tokio::spawn(async move {
        let said = tokio::time::timeout(LONGEST, source.deletions(MOST)).await;
        let said = said.unwrap_or_else(|_| Err(format!("no answer within {} s", LONGEST.as_secs())));
        let here = &app.elsewhere;
        {
            let mut known = here.known.lock().unwrap_or_else(PoisonError::into_inner);
            match said {
                Ok(planned) => *known = Known { planned, at: Some(app.now()), fault: None },
                Err(why) => known.fault = Some(crate::words::first_line(&why, 240)),
            }
        }
        *here.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        here.asking.store(false, Ordering::SeqCst);
        app.live.tell();
    });
}
