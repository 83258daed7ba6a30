//! Recipes: the parameters of a reconstruction.
//!
//! A [`Recipe`] is a plain struct of sections. One table, [`PARAMETERS`], declares every parameter with
//! type, default, unit, range and help; recipe files (TOML), `--set key=value`, help, documentation and
//! error messages come from it.
//!
//! ```
//! use reconstruct::recipe::Recipe;
//! let recipe = Recipe::resolve("als832", &["stripes.sigma=4".to_owned()])?;
//! assert_eq!(recipe.stripes.sigma, 4.0);
//! # Ok::<(), reconstruct::recipe::Error>(())
//! ```

mod builtin;
mod check;
mod choices;
mod docs;
mod error;
mod parse;
mod table;
mod value;

pub use builtin::{BUILTINS, Builtin};
pub use choices::{
    AngleSign, CenterMethod, Decision, FilterName, FlatMethod, GridrecMode, OutlierMethod, OutputType,
    PaddingMethod, PhaseMethod, Region, RingMethod, ScanRange, StripeMethod, Wavelet, ZarrCompression,
};
pub use docs::markdown;
pub use error::{Error, Problem};
pub use table::{
    BeamHardening, Binning, Center, Flat, Geometry, Gridrec, Lens, Mask, Outliers, Output, PARAMETERS,
    Parameter, Phase, Recipe, Rings, SECTIONS, Section, Stripes, Tilt, Transmission, Zarr,
};
pub use value::{Choice, Kind, Limits, Setting, Value};

use std::path::Path;

impl Recipe {
    /// The built-in recipe of that name.
    ///
    /// # Errors
    /// When there is none; the error names the built-in recipes.
    pub fn builtin(name: &str) -> Result<Self, Error> {
        builtin::get(name)
    }

    /// The recipe of a TOML text, checked. `origin` names it in errors.
    ///
    /// # Errors
    /// For text that is not TOML, and for unknown keys, wrong types, values out of range and
    /// contradictions, all listed in one error.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        let recipe = parse::parse(text, origin)?;
        recipe.validate_as(origin)?;
        Ok(recipe)
    }

    /// The recipe of that name or path, with `key=value` settings applied, checked as a whole.
    ///
    /// A built-in's name wins over a file of the same name; write `./default` for the file.
    ///
    /// # Errors
    /// As [`Recipe::parse`], and when there is no such recipe or the file cannot be read.
    pub fn resolve(name_or_path: &str, settings: &[String]) -> Result<Self, Error> {
        let path = Path::new(name_or_path);
        let is_path = name_or_path.contains(std::path::MAIN_SEPARATOR)
            || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        let mut recipe = match builtin::get(name_or_path) {
            Ok(recipe) => recipe,
            Err(unknown) if !is_path && !path.is_file() => return Err(unknown),
            Err(_) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| Error::Read { path: path.into(), source })?;
                // Contradictions are judged below: a setting may resolve one that the file leaves open.
                parse::parse(&text, name_or_path)?
            }
        };
        recipe.apply(settings)?;
        recipe.validate_as(&format!("recipe {name_or_path}"))?;
        Ok(recipe)
    }

    /// Applies `key=value` settings: all of them, or none if one is wrong.
    ///
    /// Contradictions are not looked for; call [`Recipe::validate`] when everything is set.
    ///
    /// # Errors
    /// Lists every setting with an unknown key, a wrong type or a value out of range.
    pub fn apply(&mut self, settings: &[String]) -> Result<(), Error> {
        parse::apply(self, settings)
    }

    /// Checks every parameter's range and that no two contradict each other.
    ///
    /// # Errors
    /// Lists every problem.
    pub fn validate(&self) -> Result<(), Error> {
        self.validate_as(&format!("recipe {}", self.name))
    }

    fn validate_as(&self, origin: &str) -> Result<(), Error> {
        // Fields are public, so a caller may have put anything there: set each again, checked.
        let mut copy = Self::default();
        let mut problems: Vec<Problem> = PARAMETERS
            .iter()
            .filter_map(|parameter| {
                let message = parameter.set(&mut copy, &parameter.get(self)).err()?;
                Some(Problem { key: parameter.key.into(), place: String::new(), message })
            })
            .collect();
        problems.extend(check::contradictions(self));
        if problems.is_empty() { Ok(()) } else { Err(Error::Invalid { origin: origin.into(), problems }) }
    }

    /// The parameters in which this recipe differs from the defaults, in the table's order.
    pub fn changes(&self) -> Vec<(&'static str, Value)> {
        PARAMETERS
            .iter()
            .map(|parameter| (parameter.key, parameter.get(self), parameter.default_value()))
            .filter(|(_, value, default)| value != default)
            .map(|(key, value, _)| (key, value))
            .collect()
    }
}

impl Gridrec {
    /// Columns added on each side of a sinogram of so many columns; 0 without padding.
    ///
    /// `auto` pads to the diagonal as the production script does: (ceil(n√2) - n) / 2, rounded down.
    pub fn padding_columns(&self, columns: usize) -> usize {
        match (self.padding, self.pad_columns) {
            (PaddingMethod::None, _) => 0,
            (_, Some(given)) => given,
            (_, None) => {
                let diagonal = (columns as f64 * std::f64::consts::SQRT_2).ceil() as usize;
                diagonal.saturating_sub(columns) / 2
            }
        }
    }
}

/// The name most like `word`, if any is like it enough to be what was meant.
fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
