//! How a command ends: exit codes, and errors as people read them.
//!
//! An error is printed as `error: what failed`, then a line `why:` for each cause that the first line
//! does not tell already, then a line `try:` for each thing to do about it.

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use reconstruct::Kind;

/// The exit codes of the command line; a contract with scripts and schedulers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done, and checked.
    Done,
    /// Something outside failed: a full disk, a vanished file, a damaged result.
    Failed,
    /// The command line was not understood, or contradicts itself.
    Usage,
    /// The scan, the recipe or another input cannot be used; nothing was made.
    BadInput,
    /// A site, facility or service could not be reached, or refused.
    Service,
    /// Stopped by a signal.
    Interrupted,
}

impl Exit {
    /// The code that the process returns.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::BadInput => 3,
            Self::Service => 4,
            Self::Interrupted => 130,
        }
    }
}

impl Exit {
    /// How a job ends that failed with this error.
    pub(crate) fn of(error: &reconstruct::Error) -> Self {
        match error.kind() {
            Kind::BadInput => Self::BadInput,
            Kind::Usage => Self::Usage,
            Kind::Failed => Self::Failed,
            Kind::Interrupted => Self::Interrupted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// The message; empty for an end that needs none (stdout was closed by its reader).
    what: String,
    why: Vec<String>,
    hints: Vec<String>,
}

impl Failure {
    /// A failure with its message.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: Vec::new(), hints: Vec::new() }
    }

    /// The command line contradicts itself.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// An error with its causes.
    pub(crate) fn from_error(exit: Exit, error: &dyn Error) -> Self {
        let mut failure = Self::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many messages quote their cause already.
            if !failure.what.contains(&text) && !failure.why.contains(&text) {
                failure.why.push(text);
            }
            cause = error.source();
        }
        failure
    }

    /// Adds something to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The failure as it is printed; empty for a silent end.
    pub(crate) fn text(&self) -> String {
        if self.what.is_empty() {
            return String::new();
        }
        let mut text = format!("error: {}\n", self.what);
        for why in &self.why {
            text += &format!("  why: {why}\n");
        }
        for hint in &self.hints {
            text += &format!("  try: {hint}\n");
        }
        text
    }

    /// Prints to stderr. A closed stderr is nobody to tell.
    pub(crate) fn print(&self) {
        let _ = std::io::stderr().write_all(self.text().as_bytes());
    }
}

/// An error while printing results. A reader that has seen enough (`| head`) is no failure.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            Self::new(Exit::Done, "")
        } else {
            Self::new(Exit::Failed, format!("cannot write to stdout: {error}"))
        }
    }
}

impl From<scan::Error> for Failure {
    fn from(error: scan::Error) -> Self {
        let exit = match &error {
            scan::Error::Parameter { .. } => Exit::Usage,
            bad if bad.is_bad_input() => Exit::BadInput,
            _ => Exit::Failed,
        };
        Self::from_error(exit, &error)
    }
}

impl From<reconstruct::recipe::Error> for Failure {
    fn from(error: reconstruct::recipe::Error) -> Self {
        let failure = Self::from_error(Exit::BadInput, &error);
        if error.problems().is_empty() {
            failure.hint("beamrail recipes")
        } else {
            failure.hint("beamrail recipes show default, which lists every parameter with its range")
        }
    }
}

impl From<volume::Error> for Failure {
    fn from(error: volume::Error) -> Self {
        let exit = match &error {
            volume::Error::Parameter { .. } => Exit::Usage,
            volume::Error::Exists { .. } | volume::Error::Format { .. } => Exit::BadInput,
            volume::Error::Cancelled { .. } => Exit::Interrupted,
            // What was named on the command line is not there, or not for us to read.
            volume::Error::Io { source, action, .. }
                if ["read", "open", "list"].iter().any(|verb| action.starts_with(verb))
                    && matches!(
                        source.kind(),
                        ErrorKind::NotFound
                            | ErrorKind::PermissionDenied
                            | ErrorKind::IsADirectory
                            | ErrorKind::NotADirectory
                            | ErrorKind::InvalidData
                    ) =>
            {
                Exit::BadInput
            }
            _ => Exit::Failed,
        };
        Self::from_error(exit, &error)
    }
}

impl From<reconstruct::Error> for Failure {
    fn from(error: reconstruct::Error) -> Self {
        let exit = Exit::of(&error);
        match error {
            reconstruct::Error::Recipe(error) => error.into(),
            error => {
                let failure = Self::from_error(exit, &error);
                let resumable = exit == Exit::Failed && error.retry_helps();
                if resumable {
                    failure.hint("the same command with --resume, once the cause is gone")
                } else {
                    failure
                }
            }
        }
    }
}

impl From<beamline::config::Error> for Failure {
    fn from(error: beamline::config::Error) -> Self {
        use beamline::config::Error;
        match error {
            Error::Custody(error) => error.into(),
            Error::Engine(error) => error.into(),
            error => {
                let found = !matches!(error, Error::NotFound { .. });
                let failure = Self::from_error(Exit::BadInput, &error);
                if found { failure } else { failure.hint("--config FILE, or beamrail init") }
            }
        }
    }
}

impl From<beamline::Error> for Failure {
    fn from(error: beamline::Error) -> Self {
        let exit = match &error {
            beamline::Error::Value { .. } | beamline::Error::Unknown { .. } => Exit::BadInput,
            error if error.refusal().is_some() => Exit::Service,
            beamline::Error::Sites(
                sites::Error::Unreachable { .. } | sites::Error::NoWay { .. } | sites::Error::Globus(_),
            ) => Exit::Service,
            _ => Exit::Failed,
        };
        Self::from_error(exit, &error)
    }
}

impl From<beamline::backup::Error> for Failure {
    fn from(error: beamline::backup::Error) -> Self {
        use beamline::backup::Error;
        let exit = match &error {
            Error::Foreign { .. } | Error::Nothing { .. } | Error::Damaged { .. } => Exit::BadInput,
            Error::InUse { .. } => Exit::Service,
            _ => Exit::Failed,
        };
        Self::from_error(exit, &error)
    }
}

impl From<globus::Error> for Failure {
    fn from(error: globus::Error) -> Self {
        let exit = match &error {
            globus::Error::Value { .. } | globus::Error::Missing { .. } => Exit::BadInput,
            _ => Exit::Service,
        };
        Self::from_error(exit, &error)
    }
}

impl From<prefect::Error> for Failure {
    fn from(error: prefect::Error) -> Self {
        let exit =
            if matches!(error, prefect::Error::Setting { .. }) { Exit::BadInput } else { Exit::Service };
        Self::from_error(exit, &error)
    }
}

impl From<worker::Error> for Failure {
    fn from(error: worker::Error) -> Self {
        match error {
            worker::Error::Prefect(error) => error.into(),
            worker::Error::Engine(error) => error.into(),
            error @ worker::Error::NoDeployment { .. } => Self::from_error(Exit::Service, &error),
            error @ worker::Error::WrongPool { .. } => Self::from_error(Exit::BadInput, &error),
            error => Self::from_error(Exit::Failed, &error),
        }
    }
}

impl From<sites::Error> for Failure {
    fn from(error: sites::Error) -> Self {
        match error {
            sites::Error::Globus(error) => error.into(),
            sites::Error::Custody(error) => error.into(),
            error => beamline::Error::from(error).into(),
        }
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        let exit = if error.is_bad_input() { Exit::BadInput } else { Exit::Failed };
        Self::from_error(exit, &error)
    }
}

impl From<web::Error> for Failure {
    fn from(error: web::Error) -> Self {
        let exit = match &error {
            web::Error::Listen { .. } => Exit::Failed,
            _ => Exit::BadInput,
        };
        Self::from_error(exit, &error)
    }
}

impl From<custody::Error> for Failure {
    fn from(error: custody::Error) -> Self {
        let exit = match &error {
            custody::Error::Value { .. } | custody::Error::Unknown { .. } => Exit::BadInput,
            error if error.refusal().is_some() => Exit::Service,
            _ => Exit::Failed,
        };
        Self::from_error(exit, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|inner| inner as _)
        }
    }

    #[test]
    fn causes_are_told_once_and_hints_last() {
        let disk = Layer("no space left", None);
        let write = Layer("cannot write slice 3: no space left", Some(Box::new(disk)));
        let job = Layer("the job stopped", Some(Box::new(write)));
        let text = Failure::from_error(Exit::Failed, &job).hint("--resume").text();
        assert_eq!(
            text,
            "error: the job stopped\n  why: cannot write slice 3: no space left\n  why: no space left\n  try: --resume\n"
        );
        let quoted = Layer("cannot write: no space left", Some(Box::new(Layer("no space left", None))));
        assert_eq!(Failure::from_error(Exit::Failed, &quoted).text(), "error: cannot write: no space left\n");
    }

    #[test]
    fn a_closed_pipe_is_a_silent_end() {
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.text().as_str()), (Exit::Done, ""));
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(failure.exit, Exit::Failed);
    }
}
