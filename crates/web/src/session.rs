//! Sessions: what a browser has after its person showed a token. In memory, so a restart asks again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng as _;

use crate::access::Role;

/// The cookie's name.
pub(crate) const COOKIE: &str = "beamrail_session";
/// Ends by itself when it was not used for so long.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// And so long after it began in any case.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// At most so many; the ones that were not used longest go first.
const MOST: usize = 2000;

struct Session {
    who: String,
    role: Role,
    began: Instant,
    used: Instant,
}

/// All sessions, by the digest of their secret.
#[derive(Default)]
pub(crate) struct Sessions {
    all: Mutex<HashMap<blake3::Hash, Session>>,
}

/// Random text of 256 bits, from the operating system.
///
/// # Errors
/// The system has no randomness to give.
pub(crate) fn random_text() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

impl Sessions {
    /// Begins one; returns what the cookie holds.
    pub(crate) fn begin(&self, who: String, role: Role) -> std::io::Result<String> {
        let secret = random_text()?;
        let now = Instant::now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, session| session.lives(now));
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, one)| one.used).map(|(key, _)| *key)
        {
            all.remove(&oldest);
        }
        all.insert(blake3::hash(secret.as_bytes()), Session { who, role, began: now, used: now });
        Ok(secret)
    }

    /// Whose it is.
    pub(crate) fn find(&self, secret: &str) -> Option<(String, Role)> {
        let key = blake3::hash(secret.as_bytes());
        let now = Instant::now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let session = all.get_mut(&key).filter(|session| session.lives(now))?;
        session.used = now;
        Some((session.who.clone(), session.role))
    }

    /// Ends one.
    pub(crate) fn end(&self, secret: &str) {
        let key = blake3::hash(secret.as_bytes());
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

impl Session {
    fn lives(&self, now: Instant) -> bool {
        now.duration_since(self.used) < IDLE && now.duration_since(self.began) < LONGEST
    }
}

/// The session's secret among the cookies.
pub(crate) fn of_cookies(headers: &axum::http::HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(axum::http::header::COOKIE).iter();
    let pairs = cookies.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, v)| v)
}
