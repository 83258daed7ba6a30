//! How sites and facilities stand, by the same checks as `beamrail check`, but only looking. Looked at in the
//! background, one place after the other and not too often; pages show what was found last and never wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use beamline::check::{self, Depth, Look, Verdict};
use jiff::Timestamp;
use serde::Serialize;

use crate::app::Shared;

/// What was found is good for so long.
const GOOD: Duration = Duration::from_secs(300);
/// Nobody makes it look more often than that.
const SOONEST: Duration = Duration::from_secs(20);
/// Between two places.
const PAUSE: Duration = Duration::from_millis(200);
/// One place is given up after so long.
const LONGEST: Duration = Duration::from_secs(60);

/// What was found at a place.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Found {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// How it stands: as badly as the worst of its looks.
    pub verdict: Verdict,
    /// One by one.
    pub looks: Vec<Look>,
}

/// What is known of all places, by "site als" and "facility polaris".
#[derive(Default)]
pub(crate) struct Health {
    found: Mutex<BTreeMap<String, Found>>,
    last: Mutex<Option<Instant>>,
    looking: AtomicBool,
}

impl Health {
    /// What was found last.
    pub(crate) fn found(&self) -> BTreeMap<String, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is being looked at now.
    pub(crate) fn is_looking(&self) -> bool {
        self.looking.load(Ordering::SeqCst)
    }

    fn age(&self) -> Option<Duration> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}

/// Begins to look in the background where that is due; `now` brings it forward. Says whether it looks.
pub(crate) fn wake(app: &Shared, now: bool) -> bool {
    let health = &app.health;
    let limit = if now { SOONEST } else { GOOD };
    if health.age().is_some_and(|age| age < limit) {
        return health.is_looking();
    }
    if !health.looking.swap(true, Ordering::SeqCst) {
        tokio::spawn(look(app.clone()));
    }
    true
}

async fn look(app: Shared) {
    let sites = app.config.sites.keys().map(|name| (false, name.clone()));
    let facilities = app.config.facilities.keys().map(|name| (true, name.clone()));
    let places: Vec<(bool, String)> = sites.chain(facilities).collect();
    for (facility, name) in places {
        let key = format!("{} {name}", if facility { "facility" } else { "site" });
        let (config, began) = (app.config.clone(), Instant::now());
        let runtime = tokio::runtime::Handle::current();
        // Disks and commands make a thread wait, so it is one that may.
        let work = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                match facility {
                    true => check::facility(&config, &name, Depth::GLANCE).await,
                    false => check::site(&config, &name, Depth::GLANCE).await,
                }
            })
        });
        let looks = match tokio::time::timeout(LONGEST, work).await {
            Ok(Ok(looks)) => looks,
            late => vec![Look {
                place: key.clone(),
                what: "answer".into(),
                verdict: Verdict::Fault,
                found: match late {
                    Err(_) => format!("none within {} s", LONGEST.as_secs()),
                    Ok(_) => "the check broke off".into(),
                },
                action: Some(format!(
                    "operator: beamrail check {}",
                    key.split(' ').nth(1).unwrap_or_default()
                )),
            }],
        };
        let verdict = looks.iter().map(|look| look.verdict).max().unwrap_or(Verdict::Ok);
        let found = Found { at: app.now(), took_s: began.elapsed().as_secs_f64(), verdict, looks };
        app.health.found.lock().unwrap_or_else(PoisonError::into_inner).insert(key, found);
        tokio::time::sleep(PAUSE).await;
    }
    *app.health.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    app.health.looking.store(false, Ordering::SeqCst);
    app.live.tell();
}
