//! Live pages: one look at the journal for all who watch, told to them as server-sent events. A page that hears of a
//! change fetches itself again; what it shows is made in one place.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use engine::{Engine, Orchestrator, StateType};
use futures_util::stream;
use tokio::sync::broadcast;

use crate::app::Shared;
use crate::fault::Fault;

/// How often the journal is looked at while somebody watches. Other processes write it, so events of this one
/// would not do.
const LOOK: Duration = Duration::from_secs(1);
/// How often pages are told while something runs, for its progress.
const PROGRESS: u32 = 2;
/// Watching pages at once.
const MOST: usize = 256;

/// Tells watching pages that something happened.
pub(crate) struct Hub {
    engine: Engine,
    changes: broadcast::Sender<i64>,
    watching: Arc<AtomicUsize>,
    looking: AtomicBool,
}

/// Counts a page for as long as it watches.
struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Hub {
    pub(crate) fn new(engine: Engine) -> Self {
        let changes = broadcast::Sender::new(16);
        Self { engine, changes, watching: Arc::default(), looking: AtomicBool::new(false) }
    }

    /// Pages that watch now.
    pub(crate) fn watching(&self) -> usize {
        self.watching.load(Ordering::SeqCst)
    }

    /// Tells everybody now, after an action of this process.
    pub(crate) fn tell(&self) {
        // Nobody watches: nobody to tell.
        let _ = self.changes.send(0);
    }

    /// Looks for as long as pages watch.
    async fn look(app: Shared) {
        let hub = &app.live;
        let mut after = hub.engine.last_change().await.unwrap_or(0);
        let mut quiet = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            if hub.watching() == 0 {
                hub.looking.store(false, Ordering::SeqCst);
                // A page that came in between has seen that somebody looks, and must not be left alone.
                if hub.watching() == 0 || hub.looking.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
            quiet += 1;
            let last = hub.engine.last_change().await.unwrap_or(after);
            let busy = || async {
                let counts = hub.engine.counts().await.unwrap_or_default();
                counts.get(&StateType::Running).is_some_and(|count| *count > 0)
            };
            if last != after || (quiet >= PROGRESS && busy().await) {
                after = last;
                quiet = 0;
                let _ = hub.changes.send(last);
            }
        }
    }
}

/// `GET /live`: an event `change` for every change.
pub(crate) async fn live(State(app): State<Shared>) -> Response {
    let hub = &app.live;
    if hub.watching.fetch_add(1, Ordering::SeqCst) >= MOST {
        hub.watching.fetch_sub(1, Ordering::SeqCst);
        return Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are watching")
            .after(30)
            .into_response();
    }
    let watching = Watching(hub.watching.clone());
    if !hub.looking.swap(true, Ordering::SeqCst) {
        tokio::spawn(Hub::look(app.clone()));
    }
    let begin = (hub.changes.subscribe(), watching, true);
    let events = stream::unfold(begin, |(mut changes, watching, first)| async move {
        // The first event says that the server is there (again); it also opens the stream.
        if first {
            return Some((Event::default().event("hello").data("0"), (changes, watching, false)));
        }
        let data = match changes.recv().await {
            Ok(id) => id,
            Err(broadcast::error::RecvError::Lagged(_)) => 0,
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        let event = Event::default().event("change").data(data.to_string());
        Some((event, (changes, watching, false)))
    });
    let events = futures_util::StreamExt::map(events, Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}
