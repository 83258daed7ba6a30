//! Metadata of a scan: small datasets and attributes, cleaned, by path.

use std::collections::BTreeMap;

use crate::h5::group::Target;
use crate::h5::tree::{Object, Opener};
use crate::h5::value::Value;

/// Entries that are collected from one file.
const MAX_ENTRIES: usize = 5_000;
/// Groups below the one where collecting begins.
const MAX_DEPTH: usize = 10;
/// Characters kept of a text.
const MAX_TEXT: usize = 2_000;

/// Values by path (datasets), by `path@name` (attributes).
#[derive(Debug, Default)]
pub(crate) struct Meta {
    values: BTreeMap<String, Value>,
    seen: std::collections::HashSet<u64>,
}

impl Meta {
    /// Collects what lies below a group. What cannot be read is left out.
    pub(crate) fn collect(&mut self, group: &Object, open: Opener<'_>, depth: usize) {
        if depth > MAX_DEPTH || self.values.len() > MAX_ENTRIES || !self.seen.insert(group.address) {
            return;
        }
        let Ok(links) = group.links() else { return };
        for link in links.iter().take(MAX_ENTRIES) {
            if matches!(link.target, Target::External { .. }) {
                continue;
            }
            let Ok(object) = group.follow_link(link, open) else { continue };
            if object.is_group() {
                self.collect(&object, open, depth + 1);
            } else if let Ok(dataset) = object.dataset()
                && dataset.space.elements().is_ok_and(|n| n <= 4096)
                && let Ok(value) = dataset.value(&object.file)
            {
                if let Some(unit) = object.attribute("units").as_ref().and_then(Value::text) {
                    self.insert(format!("{}@units", object.path), Value::Texts(vec![unit.to_string()]));
                }
                self.insert(object.path.clone(), value);
            }
        }
    }

    pub(crate) fn insert(&mut self, path: String, value: Value) {
        if self.values.len() <= MAX_ENTRIES && value != Value::Other {
            self.values.insert(path, value);
        }
    }

    /// A number that may be stored as an array, as text, or with a zero before the true value: the
    /// first element, or the second where the first is 0.
    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        match self.values.get(path)? {
            Value::Numbers(v) => match v[..] {
                [] => None,
                [first] => Some(first),
                [first, second, ..] => Some(if first == 0.0 || first.is_nan() { second } else { first }),
            },
            Value::Texts(v) => v.first().and_then(|t| leading_number(t)),
            Value::Other => None,
        }
    }

    /// The first of several paths that holds a finite number.
    pub(crate) fn first_number(&self, paths: &[&str]) -> Option<f64> {
        paths.iter().find_map(|p| self.number(p).filter(|v| v.is_finite()))
    }

    /// A non-negative count.
    pub(crate) fn count(&self, path: &str) -> Option<usize> {
        self.number(path).filter(|v| (0.0..1e9).contains(v)).map(|v| v.round() as usize)
    }

    /// The first of several paths that holds text with something in it.
    pub(crate) fn first_text(&self, paths: &[&str]) -> Option<String> {
        let text = |p: &&str| self.values.get(*p).and_then(Value::text).map(clean).filter(|t| !t.is_empty());
        paths.iter().find_map(text)
    }

    pub(crate) fn unit(&self, path: &str) -> Option<String> {
        self.first_text(&[&format!("{path}@units")])
    }

    /// Everything as text for the report.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        let show = |v: &Value| match v {
            Value::Texts(t) => t.iter().take(16).map(|t| clean(t)).collect::<Vec<_>>().join(", "),
            Value::Numbers(n) if n.len() > 8 => {
                let head: Vec<String> = n.iter().take(3).map(f64::to_string).collect();
                format!("{}, ... ({} values)", head.join(", "), n.len())
            }
            Value::Numbers(n) => n.iter().map(f64::to_string).collect::<Vec<_>>().join(", "),
            Value::Other => String::new(),
        };
        self.values.iter().map(|(k, v)| (clean(k), show(v).chars().take(MAX_TEXT).collect())).collect()
    }
}

/// Text without padding, quotes, stray commas and control characters, as control systems leave them.
pub(crate) fn clean(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let edge = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ',' | ';' | '\u{fffd}');
    plain.trim_matches(edge).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The number that a text begins with: `"0.00065 mm"` is 0.00065.
pub(crate) fn leading_number(text: &str) -> Option<f64> {
    let text = clean(text);
    let word = text.split([' ', ',']).next()?;
    if let Ok(number) = word.parse::<f64>() {
        return Some(number);
    }
    let end = word.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E')))?;
    word[..end].trim_end_matches(['e', 'E', '+', '-']).parse().ok()
}

/// Micrometres in a unit of length; `None` for a unit that is no length.
pub(crate) fn micrometres(unit: &str) -> Option<f64> {
    Some(match unit.trim().to_lowercase().as_str() {
        "m" | "meter" | "metre" | "meters" | "metres" => 1e6,
        "cm" | "centimeter" | "centimetre" => 1e4,
        "mm" | "millimeter" | "millimetre" | "millimeters" | "millimetres" => 1e3,
        "um" | "µm" | "μm" | "micron" | "microns" | "micrometer" | "micrometre" | "micrometers" => 1.0,
        "nm" | "nanometer" | "nanometre" => 1e-3,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dirty_texts_come_clean() {
        assert_eq!(clean(" '8.3.2', "), "8.3.2");
        assert_eq!(clean("dcm1_bragg\n\t\t\t\t"), "dcm1_bragg");
        assert_eq!(leading_number("0.00065 mm"), Some(0.00065));
        assert_eq!(leading_number("'1313',"), Some(1313.0));
        assert_eq!(leading_number("25keV"), Some(25.0));
        assert_eq!(leading_number("none"), None);
    }

    #[test]
    fn arrays_with_a_leading_zero_give_the_second() {
        let mut meta = Meta::default();
        meta.insert("/a".into(), Value::Numbers(vec![0.0, 75.0]));
        meta.insert("/b".into(), Value::Numbers(vec![3.0, 4.0]));
        meta.insert("/c".into(), Value::Texts(vec!["7".into()]));
        assert_eq!(meta.number("/a"), Some(75.0));
        assert_eq!(meta.number("/b"), Some(3.0));
        assert_eq!(meta.number("/c"), Some(7.0));
    }
}
