//! Ring removal on reconstructed slices in polar coordinates (J. Sijbers and A. Postnov, Phys. Med. Biol. 49,
//! 2004, N247), as TomoPy's `remove_ring` in its "wrap" mode.
//!
//! The slice is sampled on a polar grid; along the radius a median filter (its width grows outwards in three
//! zones) separates rings from the object, along the angle a moving mean keeps what is constant over an arc;
//! the result is taken from the slice.

use crate::error::{Error, Result, check_len};
use std::f64::consts::{PI, TAU};

/// Parameters of [`polar_ring_removal`]; the default is the production script's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingOptions {
    /// Smallest arc of a ring artefact in degrees, 0 to 179.
    pub arc: usize,
    /// Largest width of a ring in pixels.
    pub width: usize,
    /// Largest offset of a ring; larger differences are taken for object.
    pub threshold: f32,
    /// Values of the slice are held above this while looking for rings.
    pub min: f32,
    /// Values of the slice are held below this while looking for rings.
    pub max: f32,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self { arc: 30, width: 100, threshold: 3000.0, min: -3000.0, max: 3000.0 }
    }
}

/// Removes rings from a slice (rows, columns) in place. `center` is the rotation axis as (x, y), by default the
/// middle ((columns − 1)/2, (rows − 1)/2) as in TomoPy.
pub fn polar_ring_removal(
    image: &mut [f32],
    rows: usize,
    columns: usize,
    center: Option<(f32, f32)>,
    options: &RingOptions,
) -> Result<()> {
    check_len("slice", image.len(), rows.saturating_mul(columns))?;
    let RingOptions { arc, width, threshold, min, max } = *options;
    if arc >= 180 {
        return Err(Error::parameter("ring arc", arc, "it must lie between 0 and 179 degrees (30 is usual)"));
    }
    if !(1..=2000).contains(&width) {
        return Err(Error::parameter(
            "ring width",
            width,
            "it must lie between 1 and 2000 pixels (100 is usual)",
        ));
    }
    let ordered = min.partial_cmp(&max) == Some(std::cmp::Ordering::Less);
    if threshold.is_nan() || threshold <= 0.0 || !ordered {
        let given = format!("{threshold}, {min} to {max}");
        return Err(Error::parameter(
            "ring thresholds",
            given,
            "the threshold must be positive and min below max",
        ));
    }
    let (cx, cy) = center.unwrap_or(((columns as f32 - 1.0) / 2.0, (rows as f32 - 1.0) / 2.0));
    let inside = |c: f32, n: usize| c >= 0.0 && c <= n as f32 - 1.0;
    if !inside(cx, columns) || !inside(cy, rows) {
        return Err(Error::parameter("ring centre", format!("({cx}, {cy})"), "it must lie inside the slice"));
    }
    let reach = (cx + 1.0).min(cy + 1.0).min(columns as f32 - cx).min(rows as f32 - cy) as usize;
    let height = round(TAU * reach as f64) as usize;
    let mut polar = to_polar(image, columns, (cx, cy), reach, height, |x| x.min(max).max(min));
    let zones = |widest: usize| {
        [
            (0..reach / 3, widest / 3),
            (reach / 3..2 * reach / 3, 2 * widest / 3),
            (2 * reach / 3..reach, widest),
        ]
    };

    let mut filtered = vec![0.0f32; polar.len()];
    for (zone, radius) in zones(2 * width + 1) {
        median_along_radius(&polar, &mut filtered, (reach, height), zone, radius);
    }
    for (value, smooth) in polar.iter_mut().zip(&filtered) {
        let ring = *value - smooth;
        *value = if ring.abs() <= threshold { ring } else { 0.0 };
    }
    let azimuthal = (height as f32 / 360.0).ceil() as usize * arc;
    for (zone, radius) in zones(azimuthal) {
        mean_along_angle(&polar, &mut filtered, (reach, height), zone, radius);
    }
    for (row, line) in image.chunks_exact_mut(columns).enumerate() {
        let dy = row as f32 - cy;
        for (column, value) in line.iter_mut().enumerate() {
            let dx = column as f32 - cx;
            let angle = f64::from(dy).atan2(f64::from(dx) - PI / height as f64);
            let angle = if angle < 0.0 { angle + TAU } else { angle } as f32;
            let (i, r) =
                (round(f64::from(angle) * height as f64 / TAU), round(f64::from((dx * dx + dy * dy).sqrt())));
            let (i, r) = (i as usize, r as usize);
            if i < height && r < reach {
                *value -= filtered[i * reach + r];
            }
        }
    }
    Ok(())
}

fn round(x: f64) -> f64 {
    (x + 0.5).floor()
}

/// Nearest pixels on the polar grid (angle, radius).
fn to_polar(
    image: &[f32],
    columns: usize,
    (cx, cy): (f32, f32),
    reach: usize,
    height: usize,
    hold: impl Fn(f32) -> f32,
) -> Vec<f32> {
    let rows = image.len() / columns.max(1);
    let mut out = Vec::with_capacity(reach * height);
    for i in 0..height {
        let angle = (i as f64 * TAU / height as f64) as f32;
        let (sin, cos) = (f64::from(angle) + PI / height as f64).sin_cos();
        for r in 0..reach {
            let at = |direction: f64, center: f32, n: usize| {
                let x = round(f64::from((r as f64 * direction) as f32 + center));
                (x.max(0.0) as usize).min(n.saturating_sub(1))
            };
            out.push(hold(image[at(sin, cy, rows) * columns + at(cos, cx, columns)]));
        }
    }
    out
}

/// Median over 2 · `radius` + 1 radii; across the centre the line of the opposite angle goes on, beyond the
/// outer end zeros.
fn median_along_radius(
    polar: &[f32],
    out: &mut [f32],
    (reach, height): (usize, usize),
    zone: std::ops::Range<usize>,
    radius: usize,
) {
    let mut sorted: Vec<f32> = Vec::with_capacity(2 * radius + 2);
    for i in 0..height {
        let opposite = if i < height / 2 { i + height / 2 } else { i - height / 2 };
        let at = |r: isize| {
            let line = if r < 0 { opposite } else { i };
            let r = r.unsigned_abs();
            if r < reach { polar[line * reach + r] } else { 0.0 }
        };
        sorted.clear();
        let window = radius as isize;
        for r in zone.clone() {
            let r = r as isize;
            if sorted.is_empty() {
                sorted.extend((r - window..=r + window).map(at));
                sorted.sort_unstable_by(f32::total_cmp);
            } else {
                let gone = at(r - window - 1);
                let place = sorted.partition_point(|x| x.total_cmp(&gone).is_lt());
                if place < sorted.len() {
                    sorted.remove(place);
                }
                let next = at(r + window);
                let place = sorted.partition_point(|x| x.total_cmp(&next).is_lt());
                sorted.insert(place, next);
            }
            out[i * reach + r as usize] = sorted[radius];
        }
    }
}

/// Mean over 2 · `radius` + 1 angles (at most a full turn); where the input is exactly 0 the result is 0, as the
/// incumbent has it, except at the first angle.
fn mean_along_angle(
    polar: &[f32],
    out: &mut [f32],
    (reach, height): (usize, usize),
    zone: std::ops::Range<usize>,
    radius: usize,
) {
    let radius = radius.min(height.saturating_sub(1) / 2);
    let count = (2 * radius + 1) as f64;
    let line = |i: isize| {
        let i = i.rem_euclid(height as isize) as usize;
        &polar[i * reach..(i + 1) * reach]
    };
    let window = radius as isize;
    let mut sums = vec![0.0f64; zone.len()];
    for i in -window..=window {
        sums.iter_mut().zip(&line(i)[zone.clone()]).for_each(|(s, x)| *s += f64::from(*x));
    }
    for i in 0..height as isize {
        if i > 0 {
            let (gone, next) = (&line(i - 1 - window)[zone.clone()], &line(i + window)[zone.clone()]);
            for ((s, gone), next) in sums.iter_mut().zip(gone).zip(next) {
                *s += f64::from(*next) - f64::from(*gone);
            }
        }
        let here = &line(i)[zone.clone()];
        let start = i as usize * reach;
        let results = out[start + zone.start..start + zone.end].iter_mut();
        for ((o, s), x) in results.zip(&sums).zip(here) {
            *o = if i == 0 || *x != 0.0 { (s / count) as f32 } else { 0.0 };
        }
    }
}
