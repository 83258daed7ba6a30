//! How Globus Compute writes functions, arguments and results.
//!
//! A payload is a header of two characters and a newline, then the content. Payloads are packed one after the
//! other, each behind its length in Unicode code points (not bytes) and a newline.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::pickle;
use crate::error::{Error, Result};

/// Source text, by name.
const SOURCE: &str = "st\n";
/// Pickled name and source, for workers before 4.0.
const PICKLED_SOURCE: &str = "04\n";
/// JSON.
const JSON: &str = "11\n";
/// Pickle, for workers before 4.0.
const PICKLE: &str = "00\n";

/// How a worker wants to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Source text and JSON: endpoints from 4.0 on, whatever their Python.
    #[default]
    Text,
    /// Pickles of text and plain values: older endpoints.
    Pickle,
}

impl Dialect {
    /// What an endpoint of this version ("2.30.1") understands. One that does not tell is taken for a new one.
    pub fn of(version: Option<&str>) -> Self {
        let major = version.and_then(|text| text.trim().split('.').next()?.parse::<u32>().ok());
        if major.is_some_and(|major| major < 4) { Self::Pickle } else { Self::Text }
    }

    /// The name under which a function of this dialect says how it is written.
    pub fn identifier(self) -> &'static str {
        match self {
            Self::Text => "st",
            Self::Pickle => "04",
        }
    }
}

/// Packs payloads.
pub fn pack<S: AsRef<str>>(payloads: &[S]) -> String {
    let one = |payload: &S| format!("{}\n{}", payload.as_ref().chars().count(), payload.as_ref());
    payloads.iter().map(one).collect()
}

/// Unpacks payloads.
///
/// # Errors
/// A length is none, or goes beyond the end.
pub fn unpack(packed: &str) -> Result<Vec<String>> {
    let bad = |reason: &str| Error::Payload { what: "a packed payload", reason: reason.to_owned() };
    let (mut rest, mut payloads) = (packed, Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_once('\n').ok_or_else(|| bad("a length without an end"))?;
        let length: usize = length.parse().map_err(|_| bad("a length that is no number"))?;
        // The byte behind that many characters.
        let end = match after.char_indices().nth(length) {
            Some((at, _)) => at,
            None if after.chars().count() == length => after.len(),
            None => return Err(bad("it is cut short")),
        };
        let (payload, tail) = after.split_at(end);
        payloads.push(payload.to_owned());
        rest = tail;
    }
    Ok(payloads)
}

/// A function as it is registered: `source` defines `name` and needs nothing but the standard library.
pub fn function(name: &str, source: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Text => pack(&[format!("{SOURCE}{name}:{source}")]),
        Dialect::Pickle => {
            let bytes = pickle::pair(name, source);
            pack(&[format!("{PICKLED_SOURCE}{}", lines(&bytes))])
        }
    }
}

/// The arguments of one call.
pub fn arguments(args: &[Value], kwargs: &serde_json::Map<String, Value>, dialect: Dialect) -> String {
    match dialect {
        Dialect::Text => {
            let args = Value::Array(args.to_vec());
            pack(&[format!("{JSON}{args}"), format!("{JSON}{}", Value::Object(kwargs.clone()))])
        }
        Dialect::Pickle => {
            let args = format!("{PICKLE}{}", lines(&pickle::write(&Value::Array(args.to_vec()))));
            let kwargs = format!("{PICKLE}{}", lines(&pickle::write(&Value::Object(kwargs.clone()))));
            pack(&[args, kwargs])
        }
    }
}

/// The value that a function returned: JSON, or a pickle of plain values.
///
/// # Errors
/// It is written in another way, or damaged.
pub fn result(text: &str) -> Result<Value> {
    let bad = |reason: String| Error::Payload { what: "a task's result", reason };
    if let Some(json) = text.strip_prefix(JSON) {
        return serde_json::from_str(json).map_err(|e| bad(format!("it is no JSON: {e}")));
    }
    if let Some(pickled) = text.strip_prefix(PICKLE) {
        let compact: String = pickled.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let bytes = STANDARD.decode(compact).map_err(|e| bad(format!("it is no base64: {e}")))?;
        return pickle::read(&bytes);
    }
    let start: String = text.chars().take(40).collect();
    Err(bad(format!("it begins with {start:?}, which is neither JSON nor a plain pickle")))
}

/// Base64 in lines of 76 characters, as Python's codec writes it.
fn lines(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let mut broken = String::with_capacity(text.len() + text.len() / 76 + 1);
    for (at, c) in text.chars().enumerate() {
        if at > 0 && at % 76 == 0 {
            broken.push('\n');
        }
        broken.push(c);
    }
    broken.push('\n');
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    #[test]
    fn lengths_count_characters_and_not_bytes() {
        assert_eq!(pack(&["µm", "𝄞"]), "2\nµm1\n𝄞");
        assert_eq!(unpack("2\nµm1\n𝄞0\n").unwrap(), ["µm", "𝄞", ""]);
        for wrong in ["3\nµm", "x\nab", "12", "-1\na", "99999999999999999999\na"] {
            assert!(unpack(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn payloads_have_the_bytes_that_the_real_worker_took() {
        // From the reference: what was executed by endpoint 4.19.
        let kwargs: Map<String, Value> = [("walltime".to_owned(), json!(20))].into_iter().collect();
        assert_eq!(arguments(&[], &kwargs, Dialect::Text), "5\n11\n[]18\n11\n{\"walltime\":20}");
        assert!(function("f", "def f(): pass", Dialect::Text).starts_with("18\nst\nf:def f(): pass"));
        assert_eq!(result("11\n{\"rc\": 0}").unwrap(), json!({"rc": 0}));
        assert!(result("10000").unwrap_err().to_string().contains("neither JSON"));
        assert_eq!(Dialect::of(Some("2.30.1")), Dialect::Pickle);
        assert_eq!(Dialect::of(Some("4.19.0")), Dialect::Text);
        assert_eq!(Dialect::of(None), Dialect::Text);
    }

    #[test]
    fn a_pickled_payload_comes_back() {
        let args = [json!("scan µ"), json!([1, -2, 3.5, null, true, {"a": "b"}])];
        let packed = arguments(&args, &Map::new(), Dialect::Pickle);
        let parts = unpack(&packed).unwrap();
        assert_eq!(result(&parts[0]).unwrap(), json!(args));
        assert_eq!(result(&parts[1]).unwrap(), json!({}));
    }
}
