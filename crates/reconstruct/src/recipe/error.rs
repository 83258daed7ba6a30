//! What can be wrong with a recipe.

use std::path::PathBuf;

/// One mistake in a recipe: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key of the parameter, or of the section.
    pub key: String,
    /// Where it was written: `line 4`, `--set`, or empty for a contradiction between parameters.
    pub place: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.place.is_empty() {
            write!(f, "{}: {}", self.key, self.message)
        } else {
            write!(f, "{} ({}): {}", self.key, self.place, self.message)
        }
    }
}

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a built-in nor a file.
    #[error(
        "there is no recipe \"{name}\"{}; built in: {}; or give the path of a .toml file",
        near.map(|near| format!(" (did you mean \"{near}\"?)")).unwrap_or_default(),
        known.join(", ")
    )]
    Unknown {
        /// As asked for.
        name: String,
        /// The built-in recipes.
        known: Vec<&'static str>,
        /// The one that was probably meant.
        near: Option<&'static str>,
    },
    /// The file cannot be read.
    #[error("cannot read the recipe {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{origin} is not valid TOML: {message}")]
    Syntax {
        /// The file, or the built-in.
        origin: String,
        /// What the TOML parser says, with line and column.
        message: String,
    },
    /// TOML, but not a usable recipe. Every problem is listed.
    #[error("{origin} cannot be used: {}", list(problems))]
    Invalid {
        /// The file, the built-in, or the command line.
        origin: String,
        /// At least one.
        problems: Vec<Problem>,
    },
}

impl Error {
    /// The mistakes, one by one; empty for errors that are not about single parameters.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems, .. } => problems,
            _ => &[],
        }
    }
}

/// One problem on the same line, several on a line each.
fn list(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        many => many.iter().map(|problem| format!("\n  {problem}")).collect(),
    }
}
