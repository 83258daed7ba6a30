//! Time. Everything that waits or stamps asks a [`Clock`], so that a test can let seven days pass at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// The system's clock, one that is moved by hand, or one that runs faster. Cheap to clone; clones agree.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System,
    Manual(Arc<watch::Sender<Timestamp>>),
    Scaled { start: Timestamp, origin: Instant, factor: f64 },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock(Kind::System)
    }

    /// A clock that stands still until [`advance`](Self::advance) moves it.
    pub fn manual(start: Timestamp) -> Self {
        Clock(Kind::Manual(Arc::new(watch::Sender::new(start))))
    }

    /// A clock that starts at `start` now and runs `factor` times as fast as the system's.
    pub fn scaled(start: Timestamp, factor: f64) -> Self {
        Clock(Kind::Scaled { start, origin: Instant::now(), factor: factor.max(1e-6) })
    }

    /// The time now, to the microsecond (the journal keeps no more).
    pub fn now(&self) -> Timestamp {
        let now = match &self.0 {
            Kind::System => Timestamp::now(),
            Kind::Manual(time) => *time.borrow(),
            Kind::Scaled { start, origin, factor } => {
                add(*start, Duration::from_secs_f64(origin.elapsed().as_secs_f64() * factor))
            }
        };
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// Moves a manual clock; other clocks are not impressed.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(time) = &self.0 {
            time.send_modify(|now| *now = add(*now, by));
        }
    }

    /// Waits until `at`.
    pub async fn sleep_until(&self, at: Timestamp) {
        match &self.0 {
            Kind::Manual(time) => {
                let mut moved = time.subscribe();
                // The sender lives in `self`, so this ends only when the time has come.
                let _ = moved.wait_for(|now| *now >= at).await;
            }
            Kind::System => tokio::time::sleep(until(self.now(), at)).await,
            Kind::Scaled { factor, .. } => {
                tokio::time::sleep(until(self.now(), at).div_f64(*factor)).await;
            }
        }
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(add(self.now(), duration)).await;
    }
}

/// `time + duration`, at most the end of time.
pub(crate) fn add(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| time.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `time - duration`, at least the beginning of time.
pub(crate) fn sub(time: Timestamp, duration: Duration) -> Timestamp {
    let span = SignedDuration::try_from(duration).ok();
    span.and_then(|duration| time.checked_sub(duration).ok()).unwrap_or(Timestamp::MIN)
}

/// The time from `from` to `to`, zero if `to` has passed.
pub(crate) fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
