//! What goes to stdout: tables for people, JSON for programs.

use std::io::Write;

use serde::Serialize;

use crate::exit::{Exit, Failure};

/// Prints text to stdout and makes sure that it got there.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    Ok(stdout.flush()?)
}

/// Prints one JSON document to stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write the result as JSON: {error}")))?;
    print(&text)
}

/// Names and values below each other, the values aligned.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<(String, String)>,
}

impl Table {
    /// Adds a line.
    pub(crate) fn row(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.rows.push((name.into(), value.into()));
        self
    }

    /// Adds a line where there is a value.
    pub(crate) fn maybe(&mut self, name: &str, value: Option<impl Into<String>>) -> &mut Self {
        if let Some(value) = value {
            self.row(name, value);
        }
        self
    }

    /// The table as text; lines of a value after its first are indented below it.
    pub(crate) fn text(&self) -> String {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.rows {
            let mut name = name.as_str();
            for line in value.lines() {
                text += format!("{name:width$}  {line}").trim_end();
                text.push('\n');
                name = "";
            }
        }
        text
    }
}

/// Bytes for people, in decimal units with one decimal: `8.5 GB`.
pub(crate) fn bytes(count: u64) -> String {
    let value = count as f64;
    // The next unit begins where one decimal would round to 1000.0 of the smaller one.
    for (unit, size) in [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if value >= 0.999_95 * size {
            return format!("{:.1} {unit}", value / size);
        }
    }
    format!("{count} B")
}

/// A span of time for people: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..=9 => format!("{seconds:.1} s"),
        10..=119 => format!("{whole} s"),
        120..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_as_people_say_them() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (8_510_000_000, "8.5 GB"),
            (999_999_999, "1.0 GB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (span, text) in [
            (0.04, "0.0 s"),
            (9.4, "9.4 s"),
            (59.6, "60 s"),
            (200.0, "3 min 20 s"),
            (3900.0, "1 h 05 min"),
            (f64::NAN, "unknown"),
            (f64::INFINITY, "unknown"),
            (-1.0, "unknown"),
        ] {
            assert_eq!(seconds(span), text);
        }
    }

    #[test]
    fn values_are_aligned() {
        let mut table = Table::default();
        table.row("a", "1\n2").row("long name", "x").row("empty", "").maybe("absent", None::<String>);
        assert_eq!(table.text(), "a          1\n           2\nlong name  x\n");
    }
}
