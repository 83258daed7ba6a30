//! What is wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; 0 where it is about what is missing as a whole.
    pub line: usize,
    /// The key, with its section: `sites.nersc.root`.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None was found.
    #[error(
        "there is no configuration; looked for {}; `beamrail init` writes one",
        looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotFound {
        /// The places, in order.
        looked: Vec<PathBuf>,
    },
    /// It cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{}: this is not TOML\n{message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, with the place.
        message: String,
    },
    /// It is TOML, and wrong.
    #[error("{}", List(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong, by line.
        problems: Vec<Problem>,
    },
    /// The beamline's own records cannot be opened.
    #[error(transparent)]
    Custody(#[from] custody::Error),
    /// The journal of runs cannot be opened.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// Something is configured that this version cannot do.
    #[error("{what}: kind {kind:?} is not in this version; there are \"local\" and \"globus-compute\"")]
    NotYet {
        /// The site or facility.
        what: String,
        /// Its kind.
        kind: String,
    },
}

struct List<'a>(&'a std::path::Path, &'a [Problem]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.1.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.0.display())?;
            if problem.line > 0 {
                write!(f, ":{}", problem.line)?;
            }
            write!(f, ": {}: {}", problem.key, problem.message)?;
        }
        Ok(())
    }
}
