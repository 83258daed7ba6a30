//! Progress on stderr, in the form that `--progress` asks for.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reconstruct::progress::{Event, Observer};

use crate::output::{bytes, seconds};

/// Shortest time between two plain lines about the same stage; its beginning and end are always told.
const PLAIN_PERIOD: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A bar on a terminal, plain lines otherwise.
    Auto,
    /// A bar.
    Bar,
    /// One line an event.
    Plain,
    /// One JSON object an event.
    Json,
    /// Nothing but errors.
    None,
}

/// Shows the events of a job, and the progress of simpler work.
pub(crate) struct Progress {
    mode: Mode,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    /// When the last plain line about the stage at work was written.
    told: Option<Instant>,
}

impl Progress {
    /// Progress in that form; `auto` is settled here.
    pub(crate) fn new(mode: Mode) -> Self {
        let mode = match mode {
            Mode::Auto if std::io::stderr().is_terminal() => Mode::Bar,
            Mode::Auto => Mode::Plain,
            other => other,
        };
        Self { mode, state: Mutex::default() }
    }

    /// Begins a piece of work and returns what takes its progress as a fraction, 0 to 1.
    pub(crate) fn fraction(&self, stage: &'static str, message: &str) -> impl FnMut(f64) {
        const STEPS: u64 = 1000;
        self.event(&Event::Stage { name: stage, message: message.to_owned() });
        let began = Instant::now();
        move |fraction: f64| {
            let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
            let elapsed = began.elapsed().as_secs_f64().max(1e-6);
            let left_s = if fraction > 0.0 { elapsed * (1.0 - fraction) / fraction } else { 0.0 };
            let done = (fraction * STEPS as f64) as u64;
            let rate = done as f64 / elapsed;
            self.event(&Event::Progress { stage, done, total: STEPS, rate, left_s, bytes: 0 });
        }
    }

    /// Takes the bar away, so that what follows on stderr stands by itself.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn show_bar(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Stage { message, .. } => {
                if let Some(bar) = state.bar.take() {
                    bar.finish_and_clear();
                }
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
                    .with_style(style("{spinner} {msg} ({elapsed})"))
                    .with_message(message.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                state.bar = Some(bar);
            }
            Event::Progress { done, total, .. } => {
                if let Some(bar) = &state.bar {
                    if bar.length().is_none() {
                        bar.set_style(style("{msg} {wide_bar} {percent:>3} % {prefix}"));
                    }
                    bar.set_length(*total);
                    bar.set_position(*done);
                    bar.set_prefix(rest(event));
                }
            }
            other => {
                let text = line(other);
                match &state.bar {
                    Some(bar) => bar.suspend(|| write_line(&text)),
                    None => write_line(&text),
                }
            }
        }
    }

    fn show_plain(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Stage { .. } => state.told = Some(Instant::now()),
            Event::Progress { done, total, .. } => {
                let recent = state.told.is_some_and(|when| when.elapsed() < PLAIN_PERIOD);
                if recent && done < total {
                    return;
                }
                state.told = Some(Instant::now());
            }
            _ => {}
        }
        write_line(&line(event));
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event) {
        match self.mode {
            Mode::None => {}
            Mode::Json => {
                if let Ok(text) = serde_json::to_string(event) {
                    write_line(&text);
                }
            }
            Mode::Bar => self.show_bar(event),
            Mode::Plain | Mode::Auto => self.show_plain(event),
        }
    }
}

/// One line to stderr; whether anybody reads it does not matter to the work.
fn write_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A template that is wrong falls back to indicatif's default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

/// An event in one line for people.
fn line(event: &Event) -> String {
    match event {
        Event::Stage { message, .. } => message.clone(),
        Event::Warning { code, message } => format!("warning: {message} [{code}]"),
        Event::Center { center, confidence, verdict } => {
            format!("rotation centre at column {center:.2} ({verdict}, confidence {confidence:.2})")
        }
        Event::QuickLook { preview, seconds: after } => {
            format!("quick look after {}: {}", seconds(*after), preview.display())
        }
        Event::Progress { stage, done, total, .. } => {
            let percent = if *total > 0 { done * 100 / total } else { 100 };
            format!("{stage}: {percent} %, {}", rest(event))
        }
        Event::Done { manifest, seconds: after, .. } => {
            format!("done in {}: {}", seconds(*after), manifest.display())
        }
    }
}

/// How far, how fast and how long still; fractions (of a thousand) and counts alike.
fn rest(event: &Event) -> String {
    let Event::Progress { done, total, rate, left_s, bytes: written, stage } = event else {
        return String::new();
    };
    let mut text = String::new();
    if *stage == "reconstruct" {
        text += &format!("{done} of {total} slices, {rate:.1} slices/s, ");
    }
    if *written > 0 {
        text += &format!("{} written, ", bytes(*written));
    }
    if done == total { text + "complete" } else { format!("{text}{} left", seconds(*left_s)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_far_how_fast_and_how_long() {
        let event = Event::Progress {
            stage: "reconstruct",
            done: 320,
            total: 980,
            rate: 12.34,
            left_s: 53.5,
            bytes: 8_510_000_000,
        };
        let text = "reconstruct: 32 %, 320 of 980 slices, 12.3 slices/s, 8.5 GB written, 54 s left";
        assert_eq!(line(&event), text);
        let event = Event::Progress { stage: "levels", done: 7, total: 7, rate: 1.0, left_s: 0.0, bytes: 0 };
        assert_eq!(line(&event), "levels: 100 %, complete");
        let event = Event::Progress { stage: "levels", done: 0, total: 0, rate: 0.0, left_s: 0.0, bytes: 0 };
        assert_eq!(line(&event), "levels: 100 %, complete");
    }

    #[test]
    fn fractions_that_make_no_sense_are_bounded() {
        let progress = Progress::new(Mode::None);
        let mut report = progress.fraction("simulate", "simulating");
        for fraction in [f64::NAN, -1.0, 0.5, 2.0, f64::INFINITY] {
            report(fraction);
        }
    }
}
