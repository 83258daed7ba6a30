//! Numbers, times and states as people read them.

use engine::{Run, StateType};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde::Serialize;

/// Bytes in decimal units with one decimal: `8.5 GB`.
pub fn bytes(count: u64) -> String {
    let value = count as f64;
    // The next unit begins where one decimal would round to 1000.0 of the smaller one.
    for (unit, size) in [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if value >= 0.999_95 * size {
            return format!("{:.1} {unit}", value / size);
        }
    }
    format!("{count} B")
}

/// A rate: GB/s with two decimals where it is that fast, else MB/s.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 1e9 => format!("{:.2} GB/s", r / 1e9),
        r if r >= 1e5 => format!("{:.1} MB/s", r / 1e6),
        r => format!("{:.1} kB/s", r / 1e3),
    }
}

/// A span of time: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`, `4 d 03 h`.
pub fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..=9 => format!("{seconds:.1} s"),
        10..=119 => format!("{whole} s"),
        120..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..=172_799 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A count with its noun: `1 scan`, `6 scans`.
pub fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A time to the second, with its zone.
pub fn absolute(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The time of day.
pub fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%H:%M").to_string()
}

/// How long ago, or in how long.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let ahead = seconds < 0;
    let text = match seconds.unsigned_abs() {
        0..=4 => return "now".into(),
        s @ 5..=89 => format!("{s} s"),
        s @ 90..=5399 => format!("{} min", (s + 30) / 60),
        s @ 5400..=129_599 => format!("{} h", (s + 1800) / 3600),
        s => format!("{} d", (s + 43_200) / 86_400),
    };
    if ahead { format!("in {text}") } else { format!("{text} ago") }
}

/// The day and time of something to come: `today 09:00`, `tomorrow 09:00`, `Fri 12 Jun 09:00`.
pub fn ahead(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (then, today) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let day = match then.date() {
        date if date == today.date() => "today".to_owned(),
        date if today.date().tomorrow().is_ok_and(|tomorrow| tomorrow == date) => "tomorrow".to_owned(),
        _ => then.strftime("%a %-d %b").to_string(),
    };
    format!("{day} {}", then.strftime("%H:%M"))
}

/// A relative time whose absolute one is shown on hover; the script keeps it true.
pub fn ago(at: Timestamp, now: Timestamp, zone: &TimeZone) -> Markup {
    html! {
        time datetime=(at) data-ago title=(absolute(at, zone)) { (relative(at, now)) }
    }
}

/// How something stands: one of four colours, each with its shape and word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mood {
    /// At work.
    Running,
    /// Ended well.
    Done,
    /// Waits: for its time, a queue, a person.
    Waiting,
    /// Ended badly, or needs somebody.
    Failed,
    /// Nothing is asked of it.
    Idle,
}

impl Mood {
    /// The mood of a state.
    pub fn of(kind: StateType) -> Self {
        match kind {
            StateType::Running | StateType::Cancelling | StateType::Pending => Mood::Running,
            StateType::Completed => Mood::Done,
            StateType::Scheduled | StateType::Paused => Mood::Waiting,
            StateType::Failed | StateType::Crashed => Mood::Failed,
            StateType::Cancelled => Mood::Idle,
        }
    }

    /// The word, which is also its class in the style sheet.
    pub fn word(self) -> &'static str {
        match self {
            Mood::Running => "running",
            Mood::Done => "done",
            Mood::Waiting => "waiting",
            Mood::Failed => "failed",
            Mood::Idle => "idle",
        }
    }

    /// The shape.
    pub fn sign(self) -> &'static str {
        match self {
            Mood::Running => "▸",
            Mood::Done => "✓",
            Mood::Waiting => "◌",
            Mood::Failed => "✕",
            Mood::Idle => "–",
        }
    }
}

/// A state as a badge: shape, colour and word.
pub fn badge(mood: Mood, word: &str) -> Markup {
    html! {
        span class={ "badge " (mood.word()) } { span class="sign" aria-hidden="true" { (mood.sign()) } " " (word) }
    }
}

/// The word for a run's state.
pub fn state(run: &Run) -> &str {
    match run.state.kind {
        StateType::Completed => "done",
        StateType::Paused => "waits for you",
        StateType::Failed if run.state.name == "TimedOut" => "timed out",
        StateType::Failed => "failed",
        StateType::Crashed => "crashed",
        StateType::Cancelled => "cancelled",
        StateType::Cancelling => "being cancelled",
        StateType::Running | StateType::Pending => "running",
        StateType::Scheduled => match run.state.name.as_str() {
            "AwaitingRetry" => "tried again soon",
            "AwaitingSubrun" => "running",
            "AwaitingConcurrencySlot" => "waits for a slot",
            "Late" => "late",
            "Sleeping" => "waits",
            "Resuming" => "goes on soon",
            _ => "scheduled",
        },
    }
}

/// The mood of a run: one that waits for what it started is at work.
pub fn mood(run: &Run) -> Mood {
    match run.state.kind {
        StateType::Scheduled if run.state.name == "AwaitingSubrun" => Mood::Running,
        StateType::Paused => Mood::Failed,
        kind => Mood::of(kind),
    }
}

/// The first line of a message, at most so long.
pub fn first_line(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rates_and_spans() {
        let all = [bytes(0), bytes(999_960), bytes(8_510_000_000)];
        assert_eq!(all, ["0 B", "1.0 MB", "8.5 GB"]);
        assert_eq!([rate(2.5e9), rate(2.5e8), rate(512.0)], ["2.50 GB/s", "250.0 MB/s", "0.5 kB/s"]);
        let spans = [0.04, 12.3, 200.0, 3900.0, 360_000.0, f64::NAN].map(span);
        assert_eq!(spans, ["0.0 s", "12 s", "3 min 20 s", "1 h 05 min", "4 d 04 h", "unknown"]);
    }

    #[test]
    fn times_near_and_far() {
        let now: Timestamp = "2026-07-04T12:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(relative(at("2026-07-04T11:59:58Z"), now), "now");
        assert_eq!(relative(at("2026-07-04T11:57:00Z"), now), "3 min ago");
        assert_eq!(relative(at("2026-07-04T14:00:00Z"), now), "in 2 h");
        assert_eq!(relative(at("2026-06-30T12:00:00Z"), now), "4 d ago");
        let zone = TimeZone::UTC;
        assert_eq!(ahead(at("2026-07-04T23:00:00Z"), now, &zone), "today 23:00");
        assert_eq!(ahead(at("2026-07-05T09:00:00Z"), now, &zone), "tomorrow 09:00");
        assert_eq!(ahead(at("2026-07-10T09:00:00Z"), now, &zone), "Fri 10 Jul 09:00");
        assert_eq!(first_line("äöü\nx", 2), "äö…");
    }
}
