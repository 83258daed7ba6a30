//! The built-in recipes.

use super::error::Error;
use super::table::Recipe;
use super::{nearest, parse};

/// A recipe that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

/// All built-in recipes; the first is used where none is named.
pub const BUILTINS: &[Builtin] = &[
    Builtin { name: "default", text: include_str!("recipes/default.toml") },
    Builtin { name: "als832", text: include_str!("recipes/als832.toml") },
];

/// The built-in recipe of that name.
pub(super) fn get(name: &str) -> Result<Recipe, Error> {
    match BUILTINS.iter().find(|builtin| builtin.name == name) {
        Some(builtin) => parse::parse(builtin.text, builtin.name),
        None => {
            let known: Vec<&str> = BUILTINS.iter().map(|builtin| builtin.name).collect();
            let near = nearest(name, known.iter().copied());
            Err(Error::Unknown { name: name.into(), known, near })
        }
    }
}
