//! Links for others: one volume's OME-Zarr, read-only, for a while.
//!
//! A link holds its end and a keyed BLAKE3 hash of volume and end; nothing is stored. Whoever has the link
//! can read the volume until then, so it is the one secret that stands in an address, and [`redact`] takes it
//! out of logs. A new key ends all links.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Result};

/// The longest life of a link, 30 days.
const LONGEST: u64 = 30 * 24;

/// The key of links.
#[derive(Clone)]
pub(crate) struct Sealer([u8; 32]);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl Sealer {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn mac(&self, id: &str, until: u64) -> blake3::Hash {
        let text = format!("beamrail link 1\0{until}\0{id}");
        blake3::keyed_hash(&self.0, text.as_bytes())
    }

    /// A token for `hours` from now (1 to 720), and when it ends, in seconds since 1970.
    pub(crate) fn token(&self, id: &str, hours: u64) -> Result<(String, u64)> {
        if !(1..=LONGEST).contains(&hours) {
            return Err(Error::parameter("hours", format!("a link lives 1 to {LONGEST} hours")));
        }
        let until = now() + hours * 3600;
        let mac = URL_SAFE_NO_PAD.encode(self.mac(id, until).as_bytes());
        Ok((format!("{until:x}.{mac}"), until))
    }

    /// Whether `token` opens volume `id` now.
    pub(crate) fn check(&self, id: &str, token: &str) -> Result<()> {
        let forged = || Error::Refused("this link is not valid; copy it anew, whole".into());
        let (until, mac) = token.split_once('.').ok_or_else(forged)?;
        let until = u64::from_str_radix(until, 16).map_err(|_| forged())?;
        let mac: [u8; 32] =
            URL_SAFE_NO_PAD.decode(mac).ok().and_then(|mac| mac.try_into().ok()).ok_or_else(forged)?;
        // The comparison of hashes takes the same time wherever they differ.
        if self.mac(id, until) != blake3::Hash::from_bytes(mac) {
            return Err(forged());
        }
        if until <= now() { Err(Error::Expired) } else { Ok(()) }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A path as it may stand in a log: the secret part of a link is taken out.
pub fn redact(path: &str) -> Cow<'_, str> {
    let Some(start) = path.find("/share/").map(|at| at + "/share/".len()) else { return Cow::Borrowed(path) };
    let end = path[start..].find(['/', '?', '#']).map_or(path.len(), |at| start + at);
    Cow::Owned(format!("{}…{}", &path[..start], &path[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_one_volume_for_its_time() {
        let sealer = Sealer::new([7; 32]);
        let (token, until) = sealer.token("rec_a", 2).unwrap();
        assert!(until > now() + 7000 && until <= now() + 7200);
        assert!(sealer.check("rec_a", &token).is_ok());
        assert!(matches!(sealer.check("rec_b", &token), Err(Error::Refused(_))));
        assert!(matches!(Sealer::new([8; 32]).check("rec_a", &token), Err(Error::Refused(_))));
        let later = token.replacen(&format!("{until:x}"), &format!("{:x}", until + 1), 1);
        assert!(matches!(sealer.check("rec_a", &later), Err(Error::Refused(_))));
        let past = now() - 1;
        let old = format!("{past:x}.{}", URL_SAFE_NO_PAD.encode(sealer.mac("rec_a", past).as_bytes()));
        assert!(matches!(sealer.check("rec_a", &old), Err(Error::Expired)));
        for bad in ["", ".", "zz.", &token[..token.len() - 1], "ffffffffffffffffff.AA"] {
            assert!(matches!(sealer.check("rec_a", bad), Err(Error::Refused(_))), "{bad}");
        }
        assert!(sealer.token("a", 0).is_err() && sealer.token("a", 721).is_err());
        // The id ends where the end of the link begins, whatever it holds.
        assert_ne!(sealer.mac("1\0a", 5), sealer.mac("a", 51));
    }

    #[test]
    fn logs_do_not_hold_the_secret() {
        let (token, _) = Sealer::new([7; 32]).token("a", 1).unwrap();
        for path in [
            format!("/share/{token}/a.zarr/.zattrs"),
            format!("/share/{token}"),
            format!("/x/share/{token}?q"),
        ] {
            let told = redact(&path);
            assert!(!told.contains(&token[..8]) && told.contains("/share/…"), "{told}");
        }
        assert_eq!(redact("/api/volumes"), "/api/volumes");
    }
}
