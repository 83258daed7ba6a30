//! Faults on demand. Each is armed once and acts on the requests, files, transfers or tasks that it
//! matches, from the `nth` on, `times` times.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::http::{Answer, Request, Service, request_id};
use super::state::{State, World};

/// One fault. A field that is absent matches everything; texts may hold `*`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `auth`, `transfer`, `flows` or `compute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `GET`, `POST`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path of the request, such as `/v0.10/task/*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Name or UUID of a collection (source or destination of a transfer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Label of a transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Path of a file in a transfer, at its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Acts from this match on, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// Acts this often; 0 until it is removed.
    #[serde(default = "one")]
    pub times: u64,
    /// What goes wrong.
    pub fault: Kind,
}

fn one() -> u64 {
    1
}

/// What goes wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// 429, with or without `Retry-After`.
    RateLimit {
        /// Seconds to tell.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Any other status.
    Status {
        /// Such as 503.
        status: u16,
        /// The service's error code.
        #[serde(default)]
        code: Option<String>,
        /// The message.
        #[serde(default)]
        message: Option<String>,
        /// Seconds to tell in `Retry-After`.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The request is carried out and the connection closed without an answer.
    LostAnswer,
    /// The connection is closed and nothing is done.
    LostRequest,
    /// The answer comes late.
    Slow {
        /// How late.
        milliseconds: u64,
    },
    /// 403: the endpoint denies it.
    Permission,
    /// 403 `ConsentRequired`.
    ConsentRequired {
        /// Scopes that would be needed.
        #[serde(default)]
        scopes: Vec<String>,
    },
    /// The presented token is forgotten: 401, until a new one is fetched.
    ExpiredToken,
    /// File operations fail and transfers wait, as long as this is armed.
    CollectionOffline,
    /// A file fails with this code (`PERMISSION_DENIED`, `FILE_NOT_FOUND`, `QUOTA_EXCEEDED`, ...); the
    /// transfer stays ACTIVE and tries again.
    FileFault {
        /// The event's code.
        code: String,
        /// Its text.
        #[serde(default)]
        details: String,
    },
    /// One byte of a file is changed on its way.
    Corrupt,
    /// A transfer is paused by an administrator, as long as this is armed.
    Paused,
    /// A transfer is INACTIVE (expired credentials), as long as this is armed.
    Inactive,
    /// A run of a flow is INACTIVE (a consent is missing), as long as this is armed.
    RunInactive,
    /// A transfer ends FAILED.
    TaskFailed {
        /// Code of its `fatal_error`.
        code: String,
        /// Text of its `fatal_error`.
        #[serde(default)]
        description: String,
    },
    /// A transfer moves no faster than this.
    SlowTransfer {
        /// Bytes in a second.
        bytes_per_second: u64,
    },
    /// The compute endpoint is offline and its tasks wait, as long as this is armed.
    EndpointOffline,
    /// The process of a compute task is killed.
    WorkerLost,
    /// A compute task fails with this text and is never run.
    JobFailed {
        /// In the manner of a Python traceback.
        message: String,
    },
    /// A compute task waits in the queue.
    SlowJob {
        /// How long.
        milliseconds: u64,
    },
}

impl Fault {
    /// A fault of this kind for the first thing that it can befall.
    pub fn new(kind: Kind) -> Self {
        Self {
            service: None,
            method: None,
            path: None,
            collection: None,
            label: None,
            file: None,
            nth: 1,
            times: 1,
            fault: kind,
        }
    }

    /// Only requests of this method and path.
    pub fn on(mut self, method: &str, path: &str) -> Self {
        self.method = Some(method.to_owned());
        self.path = Some(path.to_owned());
        self
    }

    /// Acts from the `nth` match on, `times` times (0: until removed).
    pub fn at(mut self, nth: u64, times: u64) -> Self {
        self.nth = nth;
        self.times = times;
        self
    }

    /// Only transfers from or to this collection.
    pub fn collection(mut self, name: &str) -> Self {
        self.collection = Some(name.to_owned());
        self
    }

    /// Only files whose path at the source fits this pattern.
    pub fn file(mut self, pattern: &str) -> Self {
        self.file = Some(pattern.to_owned());
        self
    }
}

/// A fault and how often it was met.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Armed {
    pub number: u64,
    pub fault: Fault,
    pub met: u64,
    pub acted: u64,
}

/// What a fault is held against.
#[derive(Default)]
pub struct Victim<'a> {
    pub request: Option<&'a Request>,
    pub collections: &'a [String],
    pub label: Option<&'a str>,
    pub file: Option<&'a str>,
}

impl Fault {
    fn fits(&self, victim: &Victim) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| match wanted {
            None => true,
            Some(pattern) => found.is_some_and(|found| glob(pattern, found)),
        };
        let request = victim.request;
        is(&self.service, request.map(|request| request.service.name()))
            && is(&self.method, request.map(|request| request.method.as_str()))
            && is(&self.path, request.map(|request| request.path.as_str()))
            && is(&self.label, victim.label)
            && is(&self.file, victim.file)
            && self
                .collection
                .as_ref()
                .is_none_or(|wanted| victim.collections.iter().any(|name| glob(wanted, name)))
    }
}

/// Does `text` fit a pattern in which `*` stands for anything and `?` for one character?
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '*' => (0..=text.len()).any(|at| text.is_char_boundary(at) && glob(rest, &text[at..])),
        _ => text
            .chars()
            .next()
            .is_some_and(|found| (first == '?' || found == first) && glob(rest, &text[found.len_utf8()..])),
    }
}

impl State {
    /// Consumes the first armed fault of the kinds that `wanted` accepts and that befalls `victim`.
    pub fn meet(&mut self, victim: &Victim, wanted: impl Fn(&Kind) -> bool) -> Option<(u64, Kind)> {
        for armed in self.faults.iter_mut() {
            if !wanted(&armed.fault.fault) || !armed.fault.fits(victim) {
                continue;
            }
            armed.met += 1;
            let first = armed.fault.nth.max(1);
            if armed.met >= first && (armed.fault.times == 0 || armed.met < first + armed.fault.times) {
                armed.acted += 1;
                return Some((armed.number, armed.fault.fault.clone()));
            }
        }
        None
    }

    /// Is a fault of this kind armed that befalls `victim`? Consumes nothing.
    pub fn under(&self, victim: &Victim, kind: &Kind) -> bool {
        self.faults.iter().any(|armed| armed.fault.fault == *kind && armed.fault.fits(victim))
    }
}

/// What a fault does to a request.
pub enum Effect {
    None,
    Wait(u64),
    Drop,
    LoseAnswer,
    Refuse(Answer),
}

impl World {
    /// Counts a request and says what befalls it.
    pub fn meet_request(&self, request: &Request) -> Effect {
        if request.service == Service::Control {
            return Effect::None;
        }
        let victim = Victim { request: Some(request), ..Victim::default() };
        let met = self.change(|state| {
            *state.calls.entry(format!("{} {}", request.method, pattern(&request.path))).or_default() += 1;
            let met = state.meet(&victim, |kind| {
                use Kind::*;
                matches!(
                    kind,
                    RateLimit { .. }
                        | Status { .. }
                        | LostAnswer
                        | LostRequest
                        | Slow { .. }
                        | Permission
                        | ConsentRequired { .. }
                        | ExpiredToken
                )
            });
            if matches!(met, Some((_, Kind::ExpiredToken))) {
                request.bearer().map(|token| state.tokens.remove(token));
            }
            met
        });
        let Some((_, kind)) = met else { return Effect::None };
        let refuse =
            |status, code: &str, message: &str| Effect::Refuse(request.refuse(status, code, message));
        match kind {
            Kind::Slow { milliseconds } => Effect::Wait(milliseconds),
            Kind::LostAnswer => Effect::LoseAnswer,
            Kind::LostRequest => Effect::Drop,
            Kind::RateLimit { retry_after } => {
                let mut answer = request.refuse(429, "TooManyRequests", "Too many requests; slow down");
                answer.retry_after = retry_after;
                Effect::Refuse(answer)
            }
            Kind::Status { status, code, message, retry_after } => {
                let code = code.as_deref().unwrap_or("ServiceUnavailable");
                let message = message.as_deref().unwrap_or("The service is not available; try again later");
                let mut answer = request.refuse(status, code, message);
                answer.retry_after = retry_after;
                Effect::Refuse(answer)
            }
            Kind::Permission => refuse(403, "EndpointPermissionDenied", "Denied by endpoint"),
            Kind::ConsentRequired { scopes } => Effect::Refuse(consent_required(request, scopes)),
            _ => refuse(401, "AuthenticationFailed", "Token is not active"),
        }
    }

    /// Arms a fault.
    pub fn arm(&self, fault: Fault) -> u64 {
        self.change(|state| {
            state.next_fault += 1;
            let number = state.next_fault;
            state.faults.push(Armed { number, fault, met: 0, acted: 0 });
            number
        })
    }

    /// Removes one fault, or all.
    pub fn disarm(&self, number: Option<u64>) {
        self.change(|state| state.faults.retain(|armed| number.is_some_and(|number| armed.number != number)));
    }
}

/// Transfer's answer to a call that lacks a consent.
pub fn consent_required(request: &Request, scopes: Vec<String>) -> Answer {
    Answer::of(
        403,
        json!({
            "code": "ConsentRequired",
            "message": "Missing required data_access consent",
            "request_id": request_id(),
            "resource": request.path,
            "required_scopes": scopes,
        }),
    )
}

/// A path with `{id}` for each UUID, to count calls by.
fn pattern(path: &str) -> String {
    let parts = path.split('/').map(|part| if uuid::Uuid::try_parse(part).is_ok() { "{id}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, text) in [("*.h5", "a.h5"), ("a?c", "aµc"), ("*", ""), ("a*b*c", "a-bb-c"), ("", "")] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("*.h5", "a.h5x"), ("a?c", "ac"), ("", "a"), ("a", "")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }
}
