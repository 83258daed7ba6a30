//! Taking values out of a table, with every mistake noted and its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;

/// The mistakes of a file.
pub(super) struct Problems<'a> {
    text: &'a str,
    pub found: Vec<Problem>,
    /// Relative paths in the file start here.
    pub folder: PathBuf,
}

impl<'a> Problems<'a> {
    pub fn new(text: &'a str, path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        Self { text, found: Vec::new(), folder }
    }

    /// The line of a place in the text.
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Notes a mistake at a place in the text.
    pub fn at(&mut self, at: usize, key: impl Into<String>, message: impl Into<String>) {
        let line = self.line(at);
        self.found.push(Problem { line, key: key.into(), message: message.into() });
    }

    /// Notes a mistake of the file as a whole.
    pub fn whole(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.found.push(Problem { line: 0, key: key.into(), message: message.into() });
    }
}

/// One table of the file. Keys are taken out by name; those that are left over at the end are unknown.
pub(super) struct Section<'t, 'i> {
    /// `sites.nersc`; empty for the file itself.
    pub name: String,
    /// Where it begins.
    pub at: usize,
    values: BTreeMap<&'t str, (usize, &'t Spanned<DeValue<'i>>)>,
    /// Where the keys are, also of those that were taken out.
    places: BTreeMap<&'t str, usize>,
    /// All keys that were asked for.
    known: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    pub fn new(name: impl Into<String>, at: usize, table: &'t DeTable<'i>) -> Self {
        let values = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), (key.span().start, value)))
            .collect::<BTreeMap<_, _>>();
        let places = values.iter().map(|(key, (at, _))| (*key, *at)).collect();
        Self { name: name.into(), at, values, places, known: Vec::new() }
    }

    /// `sites.nersc.root` for `root`.
    pub fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Where a key is, or would be.
    pub fn place(&self, key: &str) -> usize {
        self.places.get(key).copied().unwrap_or(self.at)
    }

    /// Whether a key is written, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Takes a value out.
    pub fn take(&mut self, key: &'static str) -> Option<(usize, &'t DeValue<'i>)> {
        self.known.push(key);
        self.values.remove(key).map(|(at, value)| (at, value.get_ref()))
    }

    /// The key's text.
    pub fn text(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<(usize, String)> {
        let (at, value) = self.take(key)?;
        match value {
            DeValue::String(text) if has_password(text) => {
                problems.at(at, self.key(key), "holds a user's password; give it in the environment");
                None
            }
            DeValue::String(text) if text.contains('\0') => {
                problems.at(at, self.key(key), "holds a NUL character");
                None
            }
            DeValue::String(text) if text.contains("${") && !EXPANDED.contains(&key) => {
                let message =
                    format!("${{...}} is replaced in {} only; write the value", EXPANDED.join(", "));
                problems.at(at, self.key(key), message);
                None
            }
            DeValue::String(text) if text.trim().is_empty() => {
                problems.at(at, self.key(key), "is empty; give a value, or leave the line out");
                None
            }
            DeValue::String(text) => Some((at, text.to_string())),
            _ => {
                problems.at(at, self.key(key), "must be text, in quotes");
                None
            }
        }
    }

    /// The key's text as what it stands for.
    pub fn parsed<T>(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let (at, text) = self.text(key, problems)?;
        text.parse().map_err(|error: T::Err| problems.at(at, self.key(key), error.to_string())).ok()
    }

    /// One of some words.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        all: &[(&'static str, T)],
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        let (at, text) = self.text(key, problems)?;
        let found = all.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            problems.at(at, self.key(key), format!("{text:?} is not one of {}", names.join(", ")));
        }
        found
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<bool> {
        let (at, value) = self.take(key)?;
        if let DeValue::Boolean(flag) = value {
            return Some(*flag);
        }
        problems.at(at, self.key(key), "must be true or false, without quotes");
        None
    }

    /// A whole number of at least `least`.
    pub fn count(&mut self, key: &'static str, least: u32, problems: &mut Problems<'_>) -> Option<u32> {
        let (at, value) = self.take(key)?;
        let number = match value {
            DeValue::Integer(integer) => u32::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        if number.is_none_or(|number| number < least) {
            problems.at(at, self.key(key), format!("must be a whole number, {least} or more"));
        }
        number.filter(|number| *number >= least)
    }

    /// A list of texts; one text is a list of one.
    pub fn texts(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Vec<(usize, String)> {
        let Some((at, value)) = self.take(key) else { return Vec::new() };
        let items: Vec<(usize, &DeValue<'_>)> = match value {
            DeValue::Array(items) => items.iter().map(|item| (item.span().start, item.get_ref())).collect(),
            one => vec![(at, one)],
        };
        let mut texts = Vec::new();
        for (at, item) in items {
            match item {
                DeValue::String(text) if text.trim().is_empty() || text.contains(['\0', '$']) => {
                    problems.at(at, self.key(key), format!("{text:?} cannot be used; write the value out"));
                }
                DeValue::String(text) => texts.push((at, text.to_string())),
                _ => problems.at(at, self.key(key), "must be a list of texts, such as [\"a\", \"b\"]"),
            }
        }
        texts
    }

    /// A folder; a relative one starts at the folder of the file.
    pub fn folder(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<PathBuf> {
        let (at, text) = self.text(key, problems)?;
        path(&text).map(|path| problems.folder.join(path)).or_else(|| {
            problems.at(at, self.key(key), "a path must not climb with \"..\"; write it out");
            None
        })
    }

    /// Names and values, as text: `{ "phase.method" = "paganin", "stripes.sigma" = 4 }`.
    pub fn settings(&mut self, key: &'static str, problems: &mut Problems<'_>) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        let Some((at, value)) = self.take(key) else { return settings };
        let DeValue::Table(table) = value else {
            problems.at(at, self.key(key), "must be a table, such as { name = \"value\" }");
            return settings;
        };
        // Names of parameters hold points, which TOML takes for tables in tables.
        flatten("", table, &mut |name, at, text| match text {
            Some(text) => drop(settings.insert(name, text)),
            None => problems.at(at, format!("{}.{key}.{name}", self.name), "must be a text, number or flag"),
        });
        settings
    }

    /// A table in this one.
    pub fn section(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<Section<'t, 'i>> {
        let (at, value) = self.take(key)?;
        if let DeValue::Table(table) = value {
            return Some(Section::new(self.key(key), at, table));
        }
        problems.at(
            at,
            self.key(key),
            format!("is a section; write [{}] on a line of its own", self.key(key)),
        );
        None
    }

    /// All tables in this one, by name.
    pub fn each(mut self, what: &str, problems: &mut Problems<'_>) -> Vec<(String, Section<'t, 'i>)> {
        let mut all = Vec::new();
        for (name, (at, value)) in std::mem::take(&mut self.values) {
            let key = self.key(name);
            match value.get_ref() {
                _ if !is_name(name) => {
                    let message = format!("{what} names are made of letters, digits, \"_\", \"-\" and \".\"");
                    problems.at(at, key, message);
                }
                DeValue::Table(table) => all.push((name.to_owned(), Section::new(key, at, table))),
                _ => problems.at(at, key, format!("must be a section: [{}.NAME] for each {what}", self.name)),
            }
        }
        all
    }

    /// Notes the keys that nobody asked for.
    pub fn finish(self, problems: &mut Problems<'_>) {
        for (name, (at, value)) in &self.values {
            let key = self.key(name);
            if secret(&self.name, name).is_some() {
                // Told by `no_secrets`, wherever it is.
                continue;
            }
            let what = if matches!(value.get_ref(), DeValue::Table(_)) { "section" } else { "key" };
            let message = match nearest(name, &self.known) {
                Some(near) => format!("no such {what}; did you mean {near}?"),
                None if self.known.is_empty() => format!("no such {what}; nothing can be set here"),
                None => {
                    let mut known = self.known.clone();
                    known.sort_unstable();
                    known.dedup();
                    format!("no such {what}; there are {}", known.join(", "))
                }
            };
            problems.at(*at, key, message);
        }
    }
}

/// The keys in which `${NAME}` stands for an environment variable.
const EXPANDED: [&str; 4] = ["endpoint", "collection", "function", "flow"];

/// The path, unless it climbs.
pub(super) fn path(text: &str) -> Option<&Path> {
    let path = Path::new(text);
    path.components().all(|part| part != std::path::Component::ParentDir).then_some(path)
}

/// Names of sites and the like go into paths, labels and commands.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.len() <= 64 && !text.starts_with(['.', '-']) && text.chars().all(plain)
}

/// The known name that was probably meant.
pub(super) fn nearest<'n, S: AsRef<str>>(name: &str, known: &'n [S]) -> Option<&'n str> {
    known
        .iter()
        .map(|known| (likeness(&name.to_lowercase(), &known.as_ref().to_lowercase()), known.as_ref()))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// 0 to 1: beginnings count more, and two letters that changed places are one slip, also in a short name.
fn likeness(one: &str, other: &str) -> f64 {
    let slips = strsim::osa_distance(one, other);
    let slip = if slips <= 1 && one.len() > 1 { 0.9 } else { 0.0 };
    strsim::jaro_winkler(one, other).max(slip)
}

/// Tells names in tables in tables with points between.
fn flatten(prefix: &str, table: &DeTable<'_>, tell: &mut impl FnMut(String, usize, Option<String>)) {
    for (key, value) in table {
        let name =
            if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let text = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten(&name, inner, tell);
                continue;
            }
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Boolean(flag) => Some(flag.to_string()),
            DeValue::Float(float) => Some(float.as_str().to_owned()),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number.to_string())
            }
            _ => None,
        };
        tell(name, key.span().start, text);
    }
}

/// Notes every key that looks like a secret, in whatever table. Values are never told.
pub(super) fn no_secrets(section: &str, table: &DeTable<'_>, problems: &mut Problems<'_>) {
    for (key, value) in table {
        let name = key.get_ref();
        let whole = if section.is_empty() { name.to_string() } else { format!("{section}.{name}") };
        if let Some(variable) = secret(section, name) {
            let message = format!(
                "secrets do not belong into this file; set the environment variable {variable}, or \
                 {variable}_FILE to the path of a file that only you can read, and take this line out"
            );
            problems.at(key.span().start, whole, message);
        } else if let DeValue::Table(inner) = value.get_ref() {
            no_secrets(&whole, inner, problems);
        }
    }
}

/// The environment variable for a key that looks like a secret.
fn secret(section: &str, key: &str) -> Option<&'static str> {
    let key = key.to_lowercase().replace('-', "_");
    let looks = ["secret", "passw", "token", "private_key", "api_key", "apikey", "credential", "pri_key"];
    if !looks.iter().any(|word| key.contains(word)) {
        return None;
    }
    Some(match (section, key.as_str()) {
        (_, key) if key.contains("private") || key.contains("pri_key") => "PATH_NERSC_PRI_KEY",
        (section, _) if section.contains("prefect") => "PREFECT_API_KEY",
        (section, _) if section.contains("scicat") || section.contains("catalogue") => {
            "SCICAT_INGEST_PASSWORD"
        }
        (section, _) if section.contains("facilities") => "GLOBUS_COMPUTE_CLIENT_SECRET",
        (_, key) if key.contains("passw") => "SCICAT_INGEST_PASSWORD",
        (_, key) if key.contains("key") => "API_KEY",
        _ => "GLOBUS_CLIENT_SECRET",
    })
}

/// Whether it is a URL with a password in it.
fn has_password(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.and_then(|text| text.split_once('@')).is_some_and(|(user, _)| user.contains(':'))
}
