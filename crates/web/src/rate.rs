//! How often one peer may ask: buckets that fill with time, a bounded number of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// At most so many peers are remembered; when there are more, all begin anew with full buckets.
const MOST: usize = 10_000;

/// A bucket for each peer.
pub(crate) struct Rates {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Rates {
    /// So many a second on average, and so many at once.
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Whether one more is within the rate. If not, after how many seconds.
    pub(crate) fn take(&self, peer: IpAddr, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&peer) {
            buckets.clear();
        }
        let (left, at) = buckets.entry(peer).or_insert((self.burst, now));
        let passed = now.duration_since(*at).as_secs_f64();
        *left = (*left + passed * self.per_second).min(self.burst);
        *at = now;
        if *left < 1.0 {
            return Err(((1.0 - *left) / self.per_second).ceil().max(1.0) as u64);
        }
        *left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let rates = Rates::new(2.0, 3.0);
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let start = Instant::now();
        let results: Vec<_> = (0..4).map(|_| rates.take(one, start).is_ok()).collect();
        assert_eq!(results, [true, true, true, false]);
        assert!(rates.take(other, start).is_ok(), "another peer has its own");
        assert_eq!(rates.take(one, start), Err(1));
        let later = start + Duration::from_millis(500);
        assert!(rates.take(one, later).is_ok());
        assert!(rates.take(one, later).is_err());
    }
}
