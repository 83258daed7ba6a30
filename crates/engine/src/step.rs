//! How a step is to be done: its key, its retries, its time limits, what a cancellation means to it.

use std::time::Duration;

use serde::Serialize;

use crate::failure::{Failure, FailureKind};

/// When and how often a step is tried again. Only failures whose retry helps are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Attempts in all; 1 is no retry.
    pub attempts: u32,
    /// The wait after the first failure.
    pub first: Duration,
    /// Each further wait is so many times the one before.
    pub factor: f64,
    /// No wait is longer (except one that a service asked for).
    pub longest: Duration,
    /// A wait varies by this part of itself, so that many runs do not knock at once.
    pub jitter: f64,
}

impl Retry {
    /// One attempt.
    pub const NONE: Retry =
        Retry { attempts: 1, first: Duration::ZERO, factor: 1.0, longest: Duration::ZERO, jitter: 0.0 };

    /// So many attempts in all, waiting 1 s, 2 s, 4 s, ... up to 5 min, each ± 20 %.
    pub fn attempts(attempts: u32) -> Self {
        Retry {
            attempts,
            first: Duration::from_secs(1),
            factor: 2.0,
            longest: Duration::from_secs(300),
            jitter: 0.2,
        }
    }

    /// With this first wait.
    #[must_use]
    pub fn first(mut self, first: Duration) -> Self {
        self.first = first;
        self.longest = self.longest.max(first);
        self
    }

    /// With this longest wait.
    #[must_use]
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// The wait after attempt number `attempt` failed so; `None` if it is not tried again. `seed` (of run and
    /// step) fixes the jitter, so that a resumed run waits as it would have.
    pub fn wait(&self, attempt: u32, failure: &Failure, seed: &str) -> Option<Duration> {
        if failure.kind != FailureKind::Retryable || attempt >= self.attempts {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.first.as_secs_f64() * self.factor.powi(exponent);
        let capped = grown.min(self.longest.as_secs_f64()).max(0.0);
        let digest = blake3::hash(format!("{seed}/{attempt}").as_bytes());
        let bytes = digest.as_bytes();
        let unit = f64::from(u16::from_le_bytes([bytes[0], bytes[1]])) / f64::from(u16::MAX);
        let varied = capped * (1.0 + self.jitter * (2.0 * unit - 1.0));
        let wait = Duration::try_from_secs_f64(varied).unwrap_or(self.longest);
        Some(wait.max(failure.retry_after.unwrap_or_default()))
    }
}

/// What a cancellation does to a local step at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCancel {
    /// Its future is dropped where it waits; [`StepContext::is_cancelled`](crate::StepContext::is_cancelled)
    /// tells blocking work.
    #[default]
    Drop,
    /// It ends by itself, being short or asking `is_cancelled`.
    Finish,
}

/// How a step is to be done. `StepOptions::new()` is one attempt, no time limits.
#[derive(Debug, Clone, Default)]
pub struct StepOptions {
    pub(crate) key: Option<String>,
    pub(crate) input: Option<String>,
    pub(crate) retry: Option<Retry>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) run_timeout: Option<Duration>,
    pub(crate) on_cancel: OnCancel,
    pub(crate) cancel_timeout: Option<Duration>,
    pub(crate) keeps_failure: bool,
    pub(crate) timeout_retries: bool,
}

impl StepOptions {
    /// One attempt, no time limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key in the journal; without it the name is, numbered if it is used again ("copy", "copy#2").
    /// Steps whose number or order depends on data need one.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What the step depends on. A resumed run whose step has another input is an error, not a wrong result.
    #[must_use]
    pub fn input(mut self, input: &impl Serialize) -> Self {
        let text = serde_json::to_vec(input).unwrap_or_default();
        self.input = Some(blake3::hash(&text).to_hex().as_str().chars().take(32).collect());
        self
    }

    /// With retries.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// At most so long until the step says that it really runs
    /// ([`StepContext::running`](crate::StepContext::running)).
    #[must_use]
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = Some(limit);
        self
    }

    /// At most so long from then on (from the beginning, if there is no queue timeout and it does not say).
    #[must_use]
    pub fn run_timeout(mut self, limit: Duration) -> Self {
        self.run_timeout = Some(limit);
        self
    }

    /// A timeout counts as a failure that a retry may mend. Without this it ends the step.
    #[must_use]
    pub fn retry_timeouts(mut self) -> Self {
        self.timeout_retries = true;
        self
    }

    /// What a cancellation does to it.
    #[must_use]
    pub fn on_cancel(mut self, what: OnCancel) -> Self {
        self.on_cancel = what;
        self
    }

    /// How long stopping the outside work may take (default 60 s), before the step is CANCELLED
    /// "unconfirmed".
    #[must_use]
    pub fn cancel_timeout(mut self, limit: Duration) -> Self {
        self.cancel_timeout = Some(limit);
        self
    }

    /// Its failure is an answer that the flow handles (fail-over): a retry of the run keeps it.
    #[must_use]
    pub fn failure_is_answer(mut self) -> Self {
        self.keeps_failure = true;
        self
    }

    pub(crate) fn retries(&self) -> Retry {
        self.retry.unwrap_or(Retry::NONE)
    }
}
