//! When a request is sent again, and after how long. As Globus's own SDK has it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// A number from 0 to 1, another each time.
pub type Jitter = Arc<dyn Fn() -> f64 + Send + Sync>;

/// How patient a client is.
#[derive(Clone)]
pub struct RetryPolicy {
    /// How often a request is sent again.
    pub retries: u32,
    /// No wait is longer, whatever the service asks for.
    pub longest: Duration,
    /// Waits are multiplied with this; 1 but in tests.
    pub scale: f64,
    /// Where chance comes from.
    pub jitter: Jitter,
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RetryPolicy");
        f.field("retries", &self.retries).field("longest", &self.longest).finish_non_exhaustive()
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 5, longest: Duration::from_secs(10), scale: 1.0, jitter: Arc::new(chance) }
    }
}

impl RetryPolicy {
    /// The wait before try `attempt` + 1, the first being 0: a quarter to three quarters of a second, doubled
    /// each time; or what the service asked for.
    pub fn wait(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let wait = asked.unwrap_or_else(|| {
            let base = 0.25 + 0.5 * (self.jitter)().clamp(0.0, 1.0);
            Duration::from_secs_f64(base * f64::from(2_u32.saturating_pow(attempt.min(16))))
        });
        wait.min(self.longest).mul_f64(self.scale.clamp(0.0, 1.0))
    }
}

/// The hasher's keys differ from call to call, which is all the chance that is needed here.
fn chance() -> f64 {
    RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_at_ten_seconds() {
        let fixed = |x: f64| RetryPolicy { jitter: Arc::new(move || x), ..RetryPolicy::default() };
        let waits = |x| (0..6).map(|n| fixed(x).wait(n, None).as_secs_f64()).collect::<Vec<_>>();
        assert_eq!(waits(0.0), [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]);
        assert_eq!(waits(1.0), [0.75, 1.5, 3.0, 6.0, 10.0, 10.0]);
        assert_eq!(fixed(0.5).wait(0, Some(Duration::from_secs(3))).as_secs(), 3);
        assert_eq!(fixed(0.5).wait(0, Some(Duration::from_secs(3600))).as_secs(), 10);
        assert_eq!(fixed(0.5).wait(u32::MAX, None).as_secs(), 10);
        let (one, other) = (chance(), chance());
        assert!(one != other && (0.0..=1.0).contains(&one));
    }
}
