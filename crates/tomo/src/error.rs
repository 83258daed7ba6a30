//! The one error type of the numerics.

/// What a numeric routine can refuse. Nothing in this crate panics on its input; it returns one of these.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// An array does not have the length its shape demands.
    #[error(
        "{what} has {actual} values where {expected} are needed; check that all arrays belong to the same scan"
    )]
    Shape {
        /// The array in words, e.g. "sinogram".
        what: &'static str,
        /// Number of values that the shape demands.
        expected: usize,
        /// Number of values that were given.
        actual: usize,
    },
    /// A parameter is outside what the method can work with.
    #[error("{name} = {value} cannot be used: {reason}")]
    Parameter {
        /// Name of the parameter, e.g. "center".
        name: &'static str,
        /// The refused value as text.
        value: String,
        /// Why it is refused and what would be accepted.
        reason: String,
    },
    /// The data itself cannot be worked with (all blank, not finite, without features ...).
    #[error("{what} cannot be used: {reason}")]
    Data {
        /// The array in words, e.g. "flat field".
        what: &'static str,
        /// What is wrong with it and what to do next.
        reason: String,
    },
}

/// Result of this crate's routines.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A refused parameter; `reason` says what would be accepted.
    pub fn parameter(name: &'static str, value: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Parameter { name, value: value.to_string(), reason: reason.into() }
    }

    /// Data that cannot be worked with; `reason` says what to do next.
    pub fn data(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Data { what, reason: reason.into() }
    }
}

/// Checks that an array has the length its shape demands.
pub fn check_len(what: &'static str, actual: usize, expected: usize) -> Result<()> {
    if actual == expected { Ok(()) } else { Err(Error::Shape { what, expected, actual }) }
}
