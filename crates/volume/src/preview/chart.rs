//! The histogram with its contrast window, and numbers written the way people write them.

use super::canvas::{Canvas, Font};
use super::{ACCENT, MUTED, PANEL, TEXT};
use crate::histogram::{Histogram, Window};

/// Draws the distribution of values into `rect`, log counts, window marked.
pub(super) fn histogram(
    canvas: &mut Canvas,
    rect: [i64; 4],
    histogram: &Histogram,
    window: Window,
    unit: &str,
) {
    let [x, y, width, height] = rect;
    canvas.fill(rect, PANEL, 255);
    let pad = 12;
    let font = Font::Text;
    let header = font.height() + 10;
    let axis = font.height() + 12;
    let plot = [x + pad, y + pad + header, width - 2 * pad, height - 2 * pad - header - axis];
    let [px, py, pw, ph] = plot;
    if pw < 40 || ph < 20 {
        return;
    }
    // The window in the middle two thirds; beyond it only what is there.
    let margin = 0.25 * (window.end - window.start);
    let (low, high) = ((window.start - margin).max(window.min), (window.end + margin).min(window.max));
    let (low, high) = if low < high { (low, high) } else { (window.start, window.end) };
    let counts = histogram.resample(low, high, (pw / 3).max(1) as usize);
    let place = |v: f64| px + ((v - low) / (high - low) * pw as f64).round() as i64;
    let (from, to) = (place(window.start).max(px), place(window.end).min(px + pw));
    canvas.fill([from, py, to - from, ph], ACCENT, 26);
    let top = counts.iter().fold(0.0f64, |a, &b| a.max(b)).max(1.0);
    for (i, &count) in counts.iter().enumerate() {
        // ln(1 + n): one voxel still shows.
        let bar = ((1.0 + count).ln() / (1.0 + top).ln() * (ph - 4) as f64).round() as i64;
        let at = px + i as i64 * 3;
        let inside = at + 1 >= from && at < to;
        canvas.fill([at, py + ph - bar, 2, bar], if inside { TEXT } else { MUTED }, 255);
    }
    canvas.fill([px, py + ph, pw, 1], MUTED, 255);
    for at in [from, to - 1] {
        canvas.fill([at, py - 4, 2, ph + 8], ACCENT, 255);
    }
    canvas.text(x + pad, y + pad, "Histogram", Font::Strong, TEXT);
    let note = "log counts, zeros left out";
    let at = x + width - pad - font.width(note);
    if at > x + pad + Font::Strong.width("Histogram") + 16 {
        canvas.text(at, y + pad, note, font, MUTED);
    }
    let step = (window.end - window.start).abs() / 100.0;
    let (start, end) = (number(window.start, step), format!("{} {unit}", number(window.end, step)));
    let base = py + ph + 8;
    let start_at = (from - font.width(&start) / 2).clamp(px, px + pw - font.width(&start));
    let end_at = (to - font.width(&end) / 2).clamp(px, (px + pw - font.width(&end)).max(px));
    if start_at + font.width(&start) + 8 < end_at {
        canvas.text(start_at, base, &start, font, ACCENT);
    }
    canvas.text(end_at, base, &end, font, ACCENT);
}

/// A number with as many digits as a step of `step` asks for.
pub(super) fn number(value: f64, step: f64) -> String {
    let size = value.abs().max(step);
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = if step > 0.0 { (-step.log10()).ceil().clamp(0.0, 8.0) as usize } else { 3 };
    let text = format!("{value:.digits$}");
    if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) {
        text.replace('-', "")
    } else {
        text
    }
}

/// Decimals, three at most, that show all of `values`.
pub(super) fn digits(values: &[f64]) -> usize {
    let shows = |d: i32| {
        let unit = 10f64.powi(d);
        values.iter().all(|v| ((v * unit).round() / unit - v).abs() < 5e-4 || !v.is_finite())
    };
    (0..3).find(|&d| shows(d)).unwrap_or(3) as usize
}

/// The length 1, 2 or 5 × 10ⁿ that is at most `most`, and its text.
pub(super) fn nice_length(most: f64, micrometres: bool) -> Option<(f64, String)> {
    if !most.is_finite() || most <= 0.0 {
        return None;
    }
    let decade = 10f64.powf(most.log10().floor());
    let length = [5.0, 2.0, 1.0].map(|k| k * decade).into_iter().find(|&l| l <= most * (1.0 + 1e-9))?;
    let text = match (micrometres, length) {
        (false, l) => format!("{l} px"),
        (true, l) if l >= 10_000.0 => format!("{} cm", l / 10_000.0),
        (true, l) if l >= 1_000.0 => format!("{} mm", l / 1_000.0),
        (true, l) if l >= 1.0 => format!("{l} µm"),
        (true, l) => format!("{} nm", (l * 1_000.0 * 1e6).round() / 1e6),
    };
    Some((length, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_round() {
        for (most, text) in [
            (332.8, "200 µm"),
            (1999.0, "1 mm"),
            (50_000.0, "5 cm"),
            (0.7, "500 nm"),
            (1.0, "1 µm"),
            (9.9, "5 µm"),
        ] {
            assert_eq!(nice_length(most, true).unwrap().1, text);
        }
        assert_eq!(nice_length(130.0, false).unwrap().1, "100 px");
        assert!(nice_length(f64::NAN, true).is_none() && nice_length(0.0, true).is_none());
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(
            (digits(&[1283.25, 1284.0]), digits(&[3.0]), digits(&[0.125]), digits(&[1.0 / 3.0])),
            (2, 0, 3, 3)
        );
        assert_eq!(number(-0.0001, 0.01), "0.00");
        assert_eq!(number(1.5, 0.034), "1.50");
        assert_eq!(number(0.00001, 1e-7), "1.00e-5");
    }
}
