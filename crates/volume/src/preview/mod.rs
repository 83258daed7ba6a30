//! The preview: one PNG that answers "did it work?" at a glance.
//!
//! Title; three orthogonal slices at one scale with a scale bar; the same row at candidate rotation
//! centres, the chosen one marked; the histogram with its contrast window. The quick-look form has the
//! middle slice only. No times, no hosts: the same results give the same bytes.

mod canvas;
mod chart;
mod middle;
mod planes;

use canvas::{Canvas, Color, Font};
pub use middle::Middle;
pub use planes::{Plane, Planes};

use crate::error::{Error, Result};
use crate::histogram::{Histogram, Window};

const BACKGROUND: Color = [14, 17, 22];
const PANEL: Color = [22, 27, 34];
const LINE: Color = [48, 56, 66];
const TEXT: Color = [226, 232, 240];
const MUTED: Color = [125, 136, 150];
const ACCENT: Color = [240, 168, 60];

/// Width of the picture.
const WIDTH: i64 = 1440;
/// Space around everything.
const MARGIN: i64 = 32;
/// Space between things.
const GAP: i64 = 16;
/// The xy slice is not higher than this.
const SLICE_HEIGHT: i64 = 1000;
/// Width that a quick look's slice leaves for the histogram.
const SIDE: i64 = 400;
/// Evidence tiles per line at most.
const TILES: usize = 7;

/// The same detector row reconstructed at candidate centres.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceStrip<'a> {
    /// Candidate centres in pixels.
    pub candidates: &'a [f64],
    /// Side of a tile in pixels.
    pub size: usize,
    /// A tile per candidate, (size, size).
    pub tiles: &'a [Vec<f32>],
    /// The centre that was chosen; the nearest candidate is marked.
    pub chosen: f64,
    /// What is shown, e.g. "Rotation centre, row 540: confidence 0.93, found".
    pub caption: &'a str,
}

/// All that a preview shows.
#[derive(Debug, Clone, Copy)]
pub struct Preview<'a> {
    /// First line, usually the name of the scan.
    pub title: &'a str,
    /// Second line: what the reader must know (size, voxel, recipe).
    pub subtitle: &'a str,
    /// More facts, (name, value), listed beside the slices as far as there is room.
    pub facts: &'a [(&'a str, String)],
    /// The slices.
    pub planes: &'a Planes,
    /// Contrast window of the slices, in values.
    pub window: Window,
    /// Unit of the values.
    pub unit: &'a str,
    /// Distribution of the values.
    pub histogram: Option<&'a Histogram>,
    /// The rotation centre's evidence.
    pub evidence: Option<EvidenceStrip<'a>>,
}

/// Where the slices go.
struct Layout {
    xy: [i64; 4],
    xz: Option<[i64; 4]>,
    yz: Option<[i64; 4]>,
    /// Pixels per unit of length.
    scale: f64,
    /// Lowest pixel of the block.
    bottom: i64,
}

/// Draws a preview and returns the PNG file's bytes.
pub fn png(preview: &Preview<'_>) -> Result<Vec<u8>> {
    check(preview)?;
    let top = MARGIN + Font::Title.height() + 8 + Font::Text.height() + GAP + 4;
    let layout = lay_out(preview.planes, preview.histogram.is_some(), top);
    let (chart, after) = chart_place(preview, &layout, top);
    let tiles = preview.evidence.map(|e| tile_places(&e, after));
    let end = tiles.as_ref().map_or(after, |(_, end)| *end);
    let mut canvas = Canvas::new(WIDTH as usize, (end - GAP + MARGIN) as usize, BACKGROUND);
    canvas.text(MARGIN, MARGIN, &clip(preview.title, Font::Title), Font::Title, TEXT);
    let below = MARGIN + Font::Title.height() + 8;
    canvas.text(MARGIN, below, &clip(preview.subtitle, Font::Text), Font::Text, MUTED);
    draw_planes(&mut canvas, preview, &layout);
    if let (Some(rect), Some(histogram)) = (chart, preview.histogram) {
        chart::histogram(&mut canvas, rect, histogram, preview.window, preview.unit);
        if rect[1] + rect[3] < layout.bottom {
            draw_facts(&mut canvas, preview.facts, [rect[0], rect[1] + rect[3] + GAP], layout.bottom);
        }
    }
    if let (Some(evidence), Some((places, _))) = (&preview.evidence, &tiles) {
        draw_evidence(&mut canvas, evidence, places, after);
    }
    canvas.png()
}

/// Sizes must fit the data, so that drawing cannot go wrong.
fn check(preview: &Preview<'_>) -> Result<()> {
    let planes = preview.planes;
    for plane in [Some(&planes.xy), planes.xz.as_ref(), planes.yz.as_ref()].into_iter().flatten() {
        let expected = plane.width.saturating_mul(plane.height);
        if expected == 0 || plane.values.len() != expected {
            return Err(Error::Shape { what: plane.place.clone(), expected, found: plane.values.len() });
        }
    }
    if !planes.extent.iter().all(|e| e.is_finite() && *e > 0.0) {
        return Err(Error::parameter("extent", format!("{:?}", planes.extent), "must be positive"));
    }
    if let Some(e) = preview.evidence {
        let expected = e.candidates.len().saturating_mul(e.size.saturating_mul(e.size));
        let found = e.tiles.iter().map(Vec::len).sum();
        if e.tiles.len() != e.candidates.len() || expected != found || found == 0 {
            return Err(Error::Shape { what: "the centre's evidence".into(), expected, found });
        }
        if let Some(tile) = e.tiles.iter().find(|t| t.len() != e.size * e.size) {
            let what = "an evidence tile".to_owned();
            return Err(Error::Shape { what, expected: e.size * e.size, found: tile.len() });
        }
    }
    let w = preview.window;
    if ![w.min, w.max, w.start, w.end].iter().all(|v| v.is_finite()) || w.start >= w.end {
        return Err(Error::parameter("window", format!("{w:?}"), "start must be below end, all finite"));
    }
    Ok(())
}

/// Fits the slices: yz right of xy, xz below it, all at one scale.
fn lay_out(planes: &Planes, chart: bool, top: i64) -> Layout {
    let [z, y, x] = planes.extent;
    let full = (WIDTH - 2 * MARGIN) as f64;
    let three = planes.xz.is_some() && planes.yz.is_some();
    let scale = if three {
        (full - GAP as f64) / (x + z)
    } else {
        (full - if chart { (SIDE + GAP) as f64 } else { 0.0 }) / x
    };
    let scale = scale.min(SLICE_HEIGHT as f64 / y);
    // Very thin planes still get a few pixels.
    let pixels = |length: f64| ((length * scale).round() as i64).max(6);
    let xy = [MARGIN, top, pixels(x), pixels(y)];
    if !three {
        return Layout { xy, xz: None, yz: None, scale, bottom: top + xy[3] };
    }
    let yz = [MARGIN + xy[2] + GAP, top, pixels(z), xy[3]];
    let xz = [MARGIN, top + xy[3] + GAP, xy[2], pixels(z)];
    Layout { xy, xz: Some(xz), yz: Some(yz), scale, bottom: xz[1] + xz[3] }
}

/// The histogram's place (right of the slices, in their corner, or below), and where the next thing goes.
fn chart_place(preview: &Preview<'_>, layout: &Layout, top: i64) -> (Option<[i64; 4]>, i64) {
    let below = layout.bottom + GAP;
    if preview.histogram.is_none() {
        return (None, below);
    }
    let right = layout.yz.map_or(layout.xy[0] + layout.xy[2], |yz| yz[0] + yz[2]) + GAP;
    let room = WIDTH - MARGIN - right;
    if room >= 320 {
        let height = 280.min((layout.bottom - top).max(200));
        return (Some([right, top, room, height]), below.max(top + height + GAP));
    }
    if let (Some(yz), Some(xz)) = (layout.yz, layout.xz)
        && yz[2] >= 320
        && xz[3] >= 170
    {
        return (Some([yz[0], xz[1], WIDTH - MARGIN - yz[0], xz[3].min(320)]), below);
    }
    (Some([MARGIN, below, WIDTH - 2 * MARGIN, 210]), below + 210 + GAP)
}

/// Draws the slices, their labels, the marks of the other planes, and the scale bar.
fn draw_planes(canvas: &mut Canvas, preview: &Preview<'_>, layout: &Layout) {
    let planes = preview.planes;
    let window = (preview.window.start, preview.window.end);
    let all = [
        ("xy", Some(&planes.xy), Some(layout.xy)),
        ("xz", planes.xz.as_ref(), layout.xz),
        ("yz", planes.yz.as_ref(), layout.yz),
    ];
    for (name, plane, rect) in all {
        let (Some(plane), Some(rect)) = (plane, rect) else { continue };
        canvas.image(rect, &plane.values, plane.width, window);
        canvas.frame(rect, 1, LINE);
        let [x, y, width, height] = rect;
        if layout.xz.is_some() {
            // Where the other two planes cut this one: ticks at the borders.
            for at in [x, x + width - 8] {
                canvas.fill([at, y + height / 2, 8, 1], ACCENT, 255);
            }
            for at in [y, y + height - 8] {
                canvas.fill([x + width / 2, at, 1, 8], ACCENT, 255);
            }
        }
        let text = format!("{name}  {}", plane.place);
        if Font::Text.width(&text) + 28 < width && height > 44 {
            canvas.label(x + 8, y + 8, &text, Font::Text, TEXT);
        }
    }
    let [x, y, width, height] = layout.xy;
    let most = f64::from(width as i32) * 0.28 / layout.scale;
    if let Some((length, text)) = chart::nice_length(most, planes.micrometres)
        && height > 80
    {
        let bar = (length * layout.scale).round() as i64;
        let plate = (bar + 24).max(Font::Strong.width(&text) + 24);
        let [left, low] = [x + 10, y + height - 10];
        canvas.fill([left, low - 42, plate, 42], [0, 0, 0], 150);
        canvas.fill([left + (plate - bar) / 2, low - 12, bar, 4], [255; 3], 255);
        let at = left + (plate - Font::Strong.width(&text)) / 2;
        canvas.text(at, low - 36, &text, Font::Strong, [255; 3]);
    }
}

/// Lists facts from `at` down to `bottom`.
fn draw_facts(canvas: &mut Canvas, facts: &[(&str, String)], [x, mut y]: [i64; 2], bottom: i64) {
    let font = Font::Text;
    let column = facts.iter().map(|(name, _)| font.width(name)).max().unwrap_or(0) + 20;
    let room = ((WIDTH - MARGIN - x - 12 - column) / font.width("x")).max(8) as usize;
    for (name, value) in facts {
        if y + font.height() > bottom {
            break;
        }
        canvas.text(x + 12, y, name, font, MUTED);
        let value = if value.chars().count() > room {
            value.chars().take(room - 3).chain("...".chars()).collect()
        } else {
            value.clone()
        };
        canvas.text(x + 12 + column, y, &value, font, TEXT);
        y += font.height() + 10;
    }
}

/// The candidates shown (all, or those around the chosen one), each with its place; and what comes below.
fn tile_places(evidence: &EvidenceStrip<'_>, top: i64) -> (Vec<(usize, [i64; 4])>, i64) {
    let chosen = nearest(evidence);
    let shown = evidence.candidates.len().min(TILES);
    let first = chosen.saturating_sub(shown / 2).min(evidence.candidates.len() - shown);
    let side = ((WIDTH - 2 * MARGIN - GAP * (shown as i64 - 1)) / shown as i64).min(330);
    let y = top + Font::Strong.height() + 14;
    let places = (0..shown).map(|i| (first + i, [MARGIN + i as i64 * (side + GAP), y, side, side])).collect();
    (places, y + side + Font::Text.height() + 8 + GAP)
}

/// The candidate nearest to the chosen centre.
fn nearest(evidence: &EvidenceStrip<'_>) -> usize {
    let distance = |i: &usize| (evidence.candidates[*i] - evidence.chosen).abs();
    (0..evidence.candidates.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
}

/// Draws the evidence: caption, tiles with one common window, candidate values.
fn draw_evidence(canvas: &mut Canvas, evidence: &EvidenceStrip<'_>, places: &[(usize, [i64; 4])], top: i64) {
    canvas.text(MARGIN, top, &clip(evidence.caption, Font::Strong), Font::Strong, TEXT);
    let mut all = Histogram::new();
    places.iter().for_each(|(i, _)| all.add(&evidence.tiles[*i]));
    let window = all.window();
    let chosen = nearest(evidence);
    let digits = chart::digits(evidence.candidates);
    for (i, rect) in places {
        canvas.image(*rect, &evidence.tiles[*i], evidence.size, (window.start, window.end));
        let [x, y, side, height] = *rect;
        let marked = *i == chosen;
        if marked {
            canvas.frame(*rect, 3, ACCENT);
        } else {
            canvas.frame(*rect, 1, LINE);
        }
        let text = format!("{:.digits$}", evidence.candidates[*i]);
        let (font, color) = if marked { (Font::Strong, ACCENT) } else { (Font::Text, MUTED) };
        canvas.text(x + (side - font.width(&text)) / 2, y + height + 8, &text, font, color);
    }
}

/// Shortens a text to the width of the picture.
fn clip(text: &str, font: Font) -> String {
    let most = ((WIDTH - 2 * MARGIN) / font.width("x")) as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 3).chain("...".chars()).collect()
}
