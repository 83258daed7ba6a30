//! Keeping a service's rate.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Lets `burst` requests through at once and then one each `pace`. Callers wait their turn.
#[derive(Debug)]
pub(crate) struct Limiter {
    pace: Duration,
    /// How far ahead of the pace requests may be.
    slack: Duration,
    /// When the next request is due, were they all to keep the pace.
    due: Mutex<Option<Instant>>,
}

impl Limiter {
    /// `requests` in each `period`; none of either is no limit.
    pub fn new(requests: u32, period: Duration) -> Self {
        let pace = period.checked_div(requests).unwrap_or(Duration::ZERO);
        let slack = pace.saturating_mul(requests.saturating_sub(1));
        Self { pace, slack, due: Mutex::new(None) }
    }

    /// Waits until a request may be sent.
    pub async fn turn(&self) {
        if self.pace.is_zero() {
            return;
        }
        let mut due = self.due.lock().await;
        let now = Instant::now();
        let next = due.map_or(now, |due| due.max(now));
        *due = Some(next + self.pace);
        drop(due);
        let ahead = next.saturating_duration_since(now);
        tokio::time::sleep(ahead.saturating_sub(self.slack)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_beyond_the_burst_wait() {
        let limiter = Limiter::new(4, Duration::from_millis(80));
        let begun = Instant::now();
        for _ in 0..4 {
            limiter.turn().await;
        }
        let burst = begun.elapsed();
        for _ in 0..4 {
            limiter.turn().await;
        }
        // Four more at one each 20 ms; the clock can only make it longer.
        assert!(begun.elapsed() >= Duration::from_millis(79), "{:?} after {burst:?}", begun.elapsed());
        Limiter::new(0, Duration::from_secs(1)).turn().await;
    }
}
