//! Who may do what: roles, the tokens that stand for people, and the proxy that speaks for them.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

use crate::Error;

/// The shortest token: 24 characters of base64 are 144 bits.
const SHORTEST: usize = 24;
/// The header in which a proxy proves that it is the one.
pub(crate) const PROXY_SECRET: &str = "x-beamrail-proxy-secret";

/// What somebody may do. Each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See everything.
    Look,
    /// Cancel, retry, answer, hold and release, delete what policy lets go.
    Operate,
    /// Change settings.
    Administer,
}

impl Role {
    /// The word in the access file.
    pub fn name(self) -> &'static str {
        match self {
            Role::Look => "look",
            Role::Operate => "operate",
            Role::Administer => "administer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Role::Look, Role::Operate, Role::Administer]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("{text:?} is no role; roles are look, operate, administer"))
    }
}

/// How a visitor was known. Decides what protects their actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Nobody has to say who they are: loopback without tokens.
    Open,
    /// A session, by its cookie.
    Session,
    /// A token in the request itself, which no other page's browser can send.
    Bearer,
    /// A proxy that authenticated them.
    Proxy,
}

/// Somebody, as far as is known.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Their name, for ledger and audit log.
    pub who: String,
    /// What they may do.
    pub role: Role,
    /// How they were known.
    pub by: By,
    /// What their forms carry, so that no other page can send them.
    pub csrf: String,
}

/// A token's owner. The token itself is not kept.
#[derive(Debug, Clone)]
struct Holder {
    who: String,
    role: Role,
    digest: blake3::Hash,
}

/// A reverse proxy that says who somebody is.
#[derive(Clone)]
struct Proxy {
    header: String,
    secret: blake3::Hash,
    roles: BTreeMap<String, Role>,
}

/// Everybody who may come in.
#[derive(Clone, Default)]
pub struct Access {
    holders: Vec<Holder>,
    proxy: Option<Proxy>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({} tokens, proxy: {})", self.holders.len(), self.proxy.is_some())
    }
}

impl Access {
    /// Whether nobody has to say who they are.
    pub fn is_open(&self) -> bool {
        self.holders.is_empty() && self.proxy.is_none()
    }

    /// Whether there are tokens, so that a login form makes sense.
    pub fn has_tokens(&self) -> bool {
        !self.holders.is_empty()
    }

    /// Adds the people of an access file: a line each, `ROLE NAME TOKEN`; `#` begins a comment.
    ///
    /// # Errors
    /// The file cannot be read, may be read by others, or has a line that cannot be used.
    pub fn read(&mut self, path: &Path) -> Result<(), Error> {
        let fail = |reason: String| Error::Access { what: path.display().to_string(), reason };
        let meta = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
        if meta.mode() & 0o077 != 0 {
            return Err(fail("others may read it; chmod 600".into()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [role, who, token] => {
                    let role = role.parse().map_err(|why| fail(format!("line {}: {why}", number + 1)))?;
                    self.add(who, role, token).map_err(|why| fail(format!("line {}: {why}", number + 1)))?;
                }
                _ => return Err(fail(format!("line {}: write ROLE NAME TOKEN", number + 1))),
            }
        }
        if self.holders.is_empty() {
            return Err(fail("names nobody; add a line ROLE NAME TOKEN".into()));
        }
        Ok(())
    }

    /// Adds one person.
    ///
    /// # Errors
    /// The token is short, or another's.
    pub fn add(&mut self, who: &str, role: Role, token: &str) -> Result<(), String> {
        let token = token.trim();
        if token.len() < SHORTEST {
            return Err(format!(
                "a token needs {SHORTEST} characters or more; make one with openssl rand -hex 24"
            ));
        }
        let digest = blake3::hash(token.as_bytes());
        if self.holders.iter().any(|holder| holder.digest == digest) {
            return Err(format!("{who} has the same token as somebody else"));
        }
        self.holders.push(Holder { who: who.to_owned(), role, digest });
        Ok(())
    }

    /// Believes a proxy that sends `secret` in `X-Beamrail-Proxy-Secret` and a name in `header`. Names without
    /// a role may look.
    ///
    /// # Errors
    /// The secret is short.
    pub fn trust_proxy(
        &mut self,
        header: &str,
        secret: &str,
        roles: BTreeMap<String, Role>,
    ) -> Result<(), String> {
        let secret = secret.trim();
        if secret.len() < SHORTEST {
            return Err(format!("the proxy's secret needs {SHORTEST} characters or more"));
        }
        let secret = blake3::hash(secret.as_bytes());
        self.proxy = Some(Proxy { header: header.to_ascii_lowercase(), secret, roles });
        Ok(())
    }

    /// Whose token this is. Digests are compared, in constant time, so that no time tells how much was right.
    pub(crate) fn holder(&self, token: &str) -> Option<(String, Role)> {
        let digest = blake3::hash(token.trim().as_bytes());
        self.holders
            .iter()
            .find(|holder| holder.digest == digest)
            .map(|holder| (holder.who.clone(), holder.role))
    }

    /// Whom a proxy speaks for, if it is the one that is believed.
    pub(crate) fn by_proxy(&self, headers: &axum::http::HeaderMap) -> Option<(String, Role)> {
        let proxy = self.proxy.as_ref()?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let sent = blake3::hash(text(PROXY_SECRET)?.as_bytes());
        if sent != proxy.secret {
            return None;
        }
        let who = text(&proxy.header)?.trim();
        let fits = !who.is_empty() && who.len() <= 128 && !who.chars().any(char::is_control);
        let role = proxy.roles.get(who).copied().unwrap_or(Role::Look);
        fits.then(|| (who.to_owned(), role))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_access_file_is_read_and_bad_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let token = "0123456789abcdef0123456789abcdef";
        write(&format!("# people\nlook anna {token} # a guest\n\noperate ben {token}x\n"), 0o600);
        let mut access = Access::default();
        access.read(&path).unwrap();
        assert_eq!(access.holder(token), Some(("anna".into(), Role::Look)));
        assert_eq!(access.holder(&format!("{token}x")), Some(("ben".into(), Role::Operate)));
        assert_eq!(access.holder(""), None);
        assert_eq!(access.holder(&token[1..]), None);
        for (text, mode, why) in [
            (format!("look anna {token}"), 0o640, "chmod 600"),
            ("look anna short".to_owned(), 0o600, "24 characters"),
            (format!("boss anna {token}"), 0o600, "roles are look"),
            (format!("look {token}"), 0o600, "ROLE NAME TOKEN"),
            (format!("look a {token}\nlook b {token}"), 0o600, "same token"),
            ("# nobody\n".to_owned(), 0o600, "names nobody"),
        ] {
            write(&text, mode);
            let error = Access::default().read(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains(token), "the token must not be in the message: {error}");
        }
        assert!(!format!("{access:?}").contains("anna"));
    }

    #[test]
    fn a_proxy_is_believed_by_its_secret_alone() {
        let mut access = Access::default();
        let roles = BTreeMap::from([("ben".to_owned(), Role::Operate)]);
        assert!(access.trust_proxy("X-User", "short", roles.clone()).is_err());
        access.trust_proxy("X-User", "0123456789abcdef01234567", roles).unwrap();
        let ask = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = axum::http::HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            access.by_proxy(&headers)
        };
        let secret = (PROXY_SECRET, "0123456789abcdef01234567");
        assert_eq!(ask(&[secret, ("x-user", "ben")]), Some(("ben".into(), Role::Operate)));
        assert_eq!(ask(&[secret, ("x-user", "carl")]), Some(("carl".into(), Role::Look)));
        assert_eq!(ask(&[("x-user", "ben")]), None);
        assert_eq!(ask(&[(PROXY_SECRET, "0123456789abcdef01234568"), ("x-user", "ben")]), None);
        assert_eq!(ask(&[secret]), None);
        assert_eq!(ask(&[secret, ("x-user", " ")]), None);
    }
}
