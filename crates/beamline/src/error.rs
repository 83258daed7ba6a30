//! The errors of this crate, and what they mean to a run.

use engine::Failure;

/// What can go wrong at a beamline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value cannot be used.
    #[error("{name} {value:?}: {reason}")]
    Value {
        /// What it is for.
        name: &'static str,
        /// The value given.
        value: String,
        /// Why it cannot be used, and what can.
        reason: String,
    },
    /// A name that the configuration does not have.
    #[error("there is no {what} {name:?}; {hint}")]
    Unknown {
        /// What was looked for: a site, an area, a facility, a flow.
        what: &'static str,
        /// Its name.
        name: String,
        /// What there is.
        hint: String,
    },
    /// Custody refused or could not be read.
    #[error(transparent)]
    Custody(#[from] custody::Error),
    /// A site or a facility failed.
    #[error(transparent)]
    Sites(#[from] sites::Error),
    /// The journal failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Custody(error) => error.retry_helps(),
            Self::Sites(error) => error.retry_helps(),
            Self::Engine(error) => error.retry_helps(),
            _ => false,
        }
    }

    /// Custody's refusal, from wherever it came.
    pub fn refusal(&self) -> Option<&custody::Refusal> {
        match self {
            Self::Custody(error) | Self::Sites(sites::Error::Custody(error)) => error.refusal(),
            _ => None,
        }
    }

    /// A short name for programs, where there is one.
    fn code(&self) -> Option<&'static str> {
        if let Some(refusal) = self.refusal() {
            return Some(match is_export_control(refusal) {
                true => EXPORT_CONTROLLED,
                false => "refused",
            });
        }
        match self {
            Self::Sites(sites::Error::Unreachable { .. }) => Some("site-unreachable"),
            Self::Sites(sites::Error::Globus(error)) if error.is_denied() => Some("globus-denied"),
            Self::Sites(sites::Error::Globus(globus::Error::Task(_))) => Some("globus-task"),
            Self::Sites(sites::Error::Globus(_)) => Some("globus"),
            Self::Sites(sites::Error::Full { .. }) => Some("disk-full"),
            Self::Custody(custody::Error::Unreachable { .. }) => Some("site-unreachable"),
            Self::Custody(custody::Error::Verification { .. }) => Some("not-verified"),
            _ => None,
        }
    }
}

/// The code of a failure that is a refusal for export control.
pub const EXPORT_CONTROLLED: &str = "export-controlled";

/// Whether a refusal is for export control (among other reasons, perhaps).
pub fn is_export_control(refusal: &custody::Refusal) -> bool {
    refusal.reasons.iter().any(|reason| matches!(reason, custody::Reason::ExportControlled { .. }))
}

/// An error is tried again where that helps, and ends the step where not.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = match error.retry_helps() {
            true => Self::retryable(error.to_string()),
            false => Self::fatal(error.to_string()),
        };
        match error.code() {
            Some(code) => failure.with_code(code),
            None => failure,
        }
    }
}
