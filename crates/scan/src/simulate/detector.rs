//! Beam and detector: from attenuation to counts.
//!
//! For a pixel (row r, column c) of a frame taken at the time t (0 at the first projection, 1 at the last):
//!
//! ```text
//! photons  = Poisson( P · F(r, c, t) · exp(−attenuation) · (1 + ring(r, c)) )
//! counts   = photons · L/P + dark(r, c) + read noise, + zinger, saturated, rounded
//! ```
//!
//! with P photons and L counts in the mean open beam and F the flat field, F = (1 − t) F₀ + t F₁. `ring`
//! acts on projections only: it stands for what flats do not show (response that is not linear).

use super::kernels;
use super::options::SimulateOptions;
use super::phantom::{Cut, project};
use super::random::{Purpose, Stream, stream};

/// Photon numbers below this are drawn from Poisson's distribution itself, above it from a normal one with
/// mean, variance and third moment put right.
const EXACT_BELOW: f64 = 30.0;

/// A pixel type as the detector writes it.
pub(crate) trait Pixel: hdf5_metno::H5Type + Copy + Default + Send + Sync {
    /// Rounds counts that are already within the type's range.
    fn from_counts(counts: f64) -> Self;
}
impl Pixel for u8 {
    #[inline(always)]
    fn from_counts(counts: f64) -> Self {
        (counts + 0.5) as i32 as u8
    }
}
impl Pixel for u16 {
    #[inline(always)]
    fn from_counts(counts: f64) -> Self {
        (counts + 0.5) as i32 as u16
    }
}
impl Pixel for f32 {
    #[inline(always)]
    fn from_counts(counts: f64) -> Self {
        counts as f32
    }
}

/// Which frame is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Dark frame, by number.
    Dark(usize),
    /// Flat frame: number over all groups, projection index at which it is taken.
    Flat(usize, usize),
    /// Projection, by index.
    Projection(usize),
}

/// Everything fixed about beam and detector. Maps are (rows, columns), row-major.
pub(crate) struct Detector {
    options: SimulateOptions,
    center: f64,
    theta_radians: Vec<f64>,
    blank: Vec<bool>,
    flat_before: Vec<f32>,
    flat_after: Vec<f32>,
    dark: Vec<f32>,
    /// Gain error by pixel; empty without rings.
    rings: Vec<f32>,
    /// Columns that read 0, ascending.
    pub(crate) dead_columns: Vec<usize>,
    /// Pixels (row · columns + column) that read saturation, ascending.
    pub(crate) hot_pixels: Vec<usize>,
}

/// Buffers of one thread.
#[derive(Default)]
pub(crate) struct Workspace {
    line: Vec<f64>,
    edges: Vec<f64>,
    shot: Vec<f32>,
    read: Vec<f32>,
    words: Vec<u32>,
}

impl Detector {
    /// Draws the maps from the seed.
    pub(crate) fn new(options: &SimulateOptions) -> Self {
        let (rows, columns) = (options.rows, options.width);
        let (flat_before, flat_after) = super::flat_field::flat_fields(options);
        let seed = options.seed;
        let dark = by_row(rows, columns, |row, normal| {
            let mut random = stream(seed, Purpose::DarkField, 0, row);
            let level = options.dark_level();
            normal(&mut random)
                .iter()
                .map(|g| (level * (1.0 + options.dark_structure * f64::from(*g)).max(0.0)) as f32)
                .collect()
        });
        let mut blank = vec![false; options.angles];
        for &index in &options.blank_projections {
            blank[index] = true;
        }
        Self {
            center: options.center(),
            theta_radians: options.theta_degrees().iter().map(|theta| theta.to_radians()).collect(),
            blank,
            flat_before,
            flat_after,
            dark,
            rings: ring_map(options),
            dead_columns: choose(seed, 0, options.dead_columns, columns),
            hot_pixels: choose(seed, 1, options.hot_pixels, rows * columns),
            options: options.clone(),
        }
    }

    /// One row of one frame. `cuts` is the object in the plane of the row.
    pub(crate) fn row<T: Pixel>(
        &self,
        frame: Frame,
        row: usize,
        cuts: &[Cut],
        ws: &mut Workspace,
        out: &mut [T],
    ) {
        if let Frame::Projection(index) = frame
            && self.blank[index]
        {
            out.fill(T::default());
            return;
        }
        pulp::Arch::new().dispatch(Expose { detector: self, frame, row, cuts, ws, out });
        self.spoil(row, out);
    }

    /// Beam, object, noise and digitisation of one row; vectorised.
    #[inline(always)]
    fn expose<T: Pixel>(&self, frame: Frame, row: usize, cuts: &[Cut], ws: &mut Workspace, out: &mut [T]) {
        let o = &self.options;
        let columns = out.len();
        let pixels = row * columns..(row + 1) * columns;
        let dark = &self.dark[pixels.clone()];
        let Workspace { line, edges, shot, read, words } = ws;
        line.resize(columns, 0.0);
        edges.resize(columns + 1, 0.0);
        let (purpose, number, position) = match frame {
            Frame::Dark(number) => (Purpose::DarkFrame, number, 0),
            Frame::Flat(number, position) => (Purpose::FlatFrame, number, position),
            Frame::Projection(index) => (Purpose::Projection, index, index),
        };
        let mut random = stream(o.seed, purpose, number, row);

        // Expected counts, first in units of the mean open beam.
        match frame {
            Frame::Dark(_) => line.fill(0.0),
            Frame::Flat(..) => line.fill(1.0),
            Frame::Projection(index) => {
                project(cuts, self.theta_radians[index].sin_cos(), self.center, line, edges);
                kernels::transmit(line);
                if let Some(rings) = self.rings.get(pixels.clone()) {
                    for (value, &ring) in line.iter_mut().zip(rings) {
                        *value *= (1.0 + f64::from(ring)).max(0.0);
                    }
                }
            }
        }
        let lit = !matches!(frame, Frame::Dark(_));
        if lit {
            let time = position as f64 / (o.angles.max(2) - 1) as f64;
            let (before, after) = (&self.flat_before[pixels.clone()], &self.flat_after[pixels]);
            for ((value, &f0), &f1) in line.iter_mut().zip(before).zip(after) {
                *value *= (1.0 - time) * f64::from(f0) + time * f64::from(f1);
            }
        }
        if lit && o.photons > 0.0 {
            random.normals(shot, words, columns);
            shoot(line, shot, o.photons, &mut random);
        }
        if o.read_noise > 0.0 {
            random.normals(read, words, columns);
        } else {
            read.clear();
            read.resize(columns, 0.0);
        }
        let (level, noise) = (o.flat_level(), o.read_noise);
        for ((value, &dark), &g) in line.iter_mut().zip(dark).zip(read.iter()) {
            *value = level * *value + f64::from(dark) + noise * f64::from(g);
        }
        if lit && o.zingers > 0.0 {
            zing(line, o.zingers, level, &mut random);
        }
        let most = o.saturation().min(match o.pixel_type {
            super::PixelType::U8 => 255.0,
            super::PixelType::U16 => 65_535.0,
            super::PixelType::F32 => f64::MAX,
        });
        for (out, &value) in out.iter_mut().zip(line.iter()) {
            *out = T::from_counts(value.clamp(0.0, most));
        }
    }

    /// Dead columns and hot pixels of one row.
    fn spoil<T: Pixel>(&self, row: usize, out: &mut [T]) {
        for &column in &self.dead_columns {
            out[column] = T::default();
        }
        let (start, end) = (row * out.len(), (row + 1) * out.len());
        let first = self.hot_pixels.partition_point(|&pixel| pixel < start);
        let last = self.hot_pixels.partition_point(|&pixel| pixel < end);
        for pixel in &self.hot_pixels[first..last] {
            out[pixel - start] = T::from_counts(self.options.saturation());
        }
    }
}

/// A call of [`Detector::expose`], to be compiled for each set of vector instructions. (A closure would
/// do, were it certain to be inlined.)
struct Expose<'a, T> {
    detector: &'a Detector,
    frame: Frame,
    row: usize,
    cuts: &'a [Cut],
    ws: &'a mut Workspace,
    out: &'a mut [T],
}
impl<T: Pixel> pulp::WithSimd for Expose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.detector.expose(self.frame, self.row, self.cuts, self.ws, self.out);
    }
}

/// Replaces mean transmissions by those of drawn photon numbers. `normals` gives the draws for large numbers.
#[inline(always)]
fn shoot(line: &mut [f64], normals: &[f32], photons: f64, random: &mut Stream) {
    let mut fewest = f64::INFINITY;
    for (value, &g) in line.iter_mut().zip(normals) {
        let mean = *value * photons;
        fewest = fewest.min(mean);
        let g = f64::from(g);
        // Cornish and Fisher's first correction gives Poisson's third moment.
        let drawn = mean + mean.sqrt() * g + (g * g - 1.0) / 6.0;
        // Small numbers are kept negative, as a mark, and drawn exactly below.
        *value = if mean >= EXACT_BELOW { drawn.max(0.0) } else { -mean - 1.0 };
    }
    if fewest < EXACT_BELOW {
        for value in line.iter_mut().filter(|value| **value < 0.0) {
            *value = random.poisson(-*value - 1.0);
        }
    }
    for value in line {
        *value /= photons;
    }
}

/// Adds zingers: scattered photons of high energy that hit one or two neighbours, 0.3 to 3 times the open beam.
fn zing(line: &mut [f64], probability: f64, level: f64, random: &mut Stream) {
    let columns = line.len();
    // `poisson` is exact up to a mean of 100; a row of 65,536 pixels at 10 % is split.
    let mean = probability * columns as f64;
    let parts = (mean / 50.0).ceil().max(1.0);
    let hits: f64 = (0..parts as usize).map(|_| random.poisson(mean / parts)).sum();
    for _ in 0..hits as usize {
        let column = (random.uniform() * columns as f64) as usize;
        let strength = level * random.between(0.3, 3.0);
        line[column.min(columns - 1)] += strength;
        if random.uniform() < 0.3 && column + 1 < columns {
            line[column + 1] += 0.5 * strength;
        }
    }
}

/// Gain errors by pixel: of every column a small one, of 2 % of them one four times as large, both varying
/// slowly along the column (scratches of the scintillator are rarely straight).
fn ring_map(options: &SimulateOptions) -> Vec<f32> {
    if options.rings == 0.0 {
        return Vec::new();
    }
    let (mut words, mut base, mut wave) = (Vec::new(), Vec::new(), Vec::new());
    let mut random = stream(options.seed, Purpose::Rings, 0, 0);
    random.normals(&mut base, &mut words, options.width);
    random.normals(&mut wave, &mut words, options.width);
    let columns: Vec<(f64, f64, f64)> = (0..options.width)
        .map(|c| {
            let strong = if random.uniform() < 0.02 { 4.0 } else { 1.0 };
            let phase = random.between(0.0, std::f64::consts::TAU);
            (options.rings * strong * f64::from(base[c]), 0.3 * f64::from(wave[c]), phase)
        })
        .collect();
    let mut map = Vec::with_capacity(options.rows * options.width);
    for row in 0..options.rows {
        let turn = row as f64 / 200.0 * std::f64::consts::TAU;
        map.extend(
            columns.iter().map(|(gain, wave, phase)| (gain * (1.0 + wave * (turn + phase).sin())) as f32),
        );
    }
    map
}

/// `count` different numbers below `range`, ascending.
fn choose(seed: u64, which: usize, count: usize, range: usize) -> Vec<usize> {
    let mut random = stream(seed, Purpose::Defects, which, 0);
    let mut chosen = std::collections::BTreeSet::new();
    // Floyd's sampling: exactly `count` draws.
    for top in range - count..range {
        let candidate = ((random.uniform() * (top + 1) as f64) as usize).min(top);
        if !chosen.insert(candidate) {
            chosen.insert(top);
        }
    }
    chosen.into_iter().collect()
}

/// A (rows, columns) map whose rows are made by `make` from their own normals, in parallel.
pub(crate) fn by_row(
    rows: usize,
    columns: usize,
    make: impl Fn(usize, &dyn Fn(&mut Stream) -> Vec<f32>) -> Vec<f32> + Sync,
) -> Vec<f32> {
    use rayon::prelude::*;
    let normals = |random: &mut Stream| {
        let (mut out, mut words) = (Vec::new(), Vec::new());
        random.normals(&mut out, &mut words, columns);
        out.truncate(columns);
        out
    };
    (0..rows).into_par_iter().flat_map_iter(|row| make(row, &normals)).collect()
}
