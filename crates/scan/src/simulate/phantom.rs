//! Objects made of ellipsoids, their exact parallel projections and their exact slices.
//!
//! **Frame.** x, y and z in detector pixels, the rotation axis at x = y = 0, z = detector row (row 0
//! has z = 0). A point is seen at the angle θ in detector column
//!
//! ```text
//! u = center + x cos θ + y sin θ
//! ```
//!
//! and lies in the output image of size n at column n/2 + x, row n/2 − 1 + y (integer division).
//! That is the frame in which TomoPy's gridrec puts a scan reconstructed with the angles −θ.
//!
//! **What a pixel holds.** Attenuation per pixel length, averaged over the pixel's width in u (closed form,
//! no sampling) in the plane through the middle of the detector row. The attenuation is averaged, not
//! the transmission, and not over the row's height: so a row is the exact Radon transform of the
//! slice that [`Phantom::slice`] returns, and what a reconstruction misses is its own error.

use rayon::prelude::*;

use super::kernels;

/// One ellipsoid of constant attenuation. Attenuations of overlapping ellipsoids add up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ellipsoid {
    /// x, y (from the rotation axis) and z (detector row) of the middle, in pixels.
    pub center: [f64; 3],
    /// The three half axes in pixels; the third one, along z, may be infinite (a cylinder).
    pub half_axes: [f64; 3],
    /// Rotation about z in radians, from the x axis towards the y axis.
    pub rotation: f64,
    /// Attenuation per pixel.
    pub value: f64,
}

impl Ellipsoid {
    /// A sphere.
    pub fn sphere(center: [f64; 3], radius: f64, value: f64) -> Self {
        Self { center, half_axes: [radius; 3], rotation: 0.0, value }
    }

    /// An endless upright cylinder.
    pub fn cylinder(x: f64, y: f64, radius: f64, value: f64) -> Self {
        Self { center: [x, y, 0.0], half_axes: [radius, radius, f64::INFINITY], rotation: 0.0, value }
    }

    /// The ellipse in the plane z, if the ellipsoid reaches it.
    fn cut(&self, z: f64) -> Option<Cut> {
        let height = (z - self.center[2]) / self.half_axes[2];
        let shrink = 1.0 - height * height;
        if shrink <= 0.0 {
            return None;
        }
        let shrink = shrink.sqrt();
        let (sin, cos) = self.rotation.sin_cos();
        Some(Cut {
            x: self.center[0],
            y: self.center[1],
            a: self.half_axes[0] * shrink,
            b: self.half_axes[1] * shrink,
            sin,
            cos,
            value: self.value,
        })
    }
}

/// An ellipse in the plane of one detector row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    x: f64,
    y: f64,
    a: f64,
    b: f64,
    sin: f64,
    cos: f64,
    value: f64,
}

impl Cut {
    /// The interval of x that the ellipse covers on the line y.
    fn span(&self, y: f64) -> Option<(f64, f64)> {
        let y = y - self.y;
        let (aa, bb) = (1.0 / (self.a * self.a), 1.0 / (self.b * self.b));
        let quadratic = self.cos * self.cos * aa + self.sin * self.sin * bb;
        let half_linear = self.cos * self.sin * (aa - bb) * y;
        let constant = y * y * (self.sin * self.sin * aa + self.cos * self.cos * bb) - 1.0;
        let discriminant = half_linear * half_linear - quadratic * constant;
        if discriminant <= 0.0 {
            return None;
        }
        let root = discriminant.sqrt();
        Some((self.x + (-half_linear - root) / quadratic, self.x + (-half_linear + root) / quadratic))
    }
}

/// A list of ellipsoids; see the [module](self) for the frame.
#[derive(Debug, Clone, Default)]
pub struct Phantom {
    ellipsoids: Vec<Ellipsoid>,
}

impl Phantom {
    /// A phantom of the given ellipsoids; those with an axis that is not positive, or a number that is not
    /// finite (but an infinite height), are left out.
    pub fn new(ellipsoids: Vec<Ellipsoid>) -> Self {
        let usable = |e: &Ellipsoid| {
            e.center.iter().all(|v| v.is_finite())
                && e.half_axes.iter().all(|v| *v > 0.0)
                && e.half_axes[..2].iter().all(|v| v.is_finite())
                && e.rotation.is_finite()
                && e.value.is_finite()
        };
        Self { ellipsoids: ellipsoids.into_iter().filter(usable).collect() }
    }

    /// The ellipsoids, in the order in which their attenuations are added.
    pub fn ellipsoids(&self) -> &[Ellipsoid] {
        &self.ellipsoids
    }

    /// The same phantom with every attenuation multiplied by `factor`.
    pub fn scaled(mut self, factor: f64) -> Self {
        for ellipsoid in &mut self.ellipsoids {
            ellipsoid.value *= factor;
        }
        self
    }

    /// The ellipses of the plane z = `row`, in the order of the ellipsoids.
    pub(crate) fn cuts(&self, row: usize) -> Vec<Cut> {
        self.ellipsoids.iter().filter_map(|e| e.cut(row as f64)).collect()
    }

    /// Integral of the attenuation over the plane of a detector row (per pixel × pixels²). It is also the
    /// sum over any projection of that row which shows the whole object.
    pub fn mass(&self, row: usize) -> f64 {
        self.cuts(row).iter().map(|c| std::f64::consts::PI * c.a * c.b * c.value).sum()
    }

    /// Exact line integrals of one detector row at the angle `theta` (radians): `width` columns.
    ///
    /// `center` is the column of the rotation axis.
    pub fn line_integrals(&self, row: usize, theta: f64, center: f64, width: usize) -> Vec<f32> {
        self.sinogram(row, &[theta], center, width)
    }

    /// Exact line integrals of one detector row at all angles: (angles, columns), row-major.
    pub fn sinogram(&self, row: usize, thetas: &[f64], center: f64, width: usize) -> Vec<f32> {
        let cuts = self.cuts(row);
        let mut sinogram = vec![0f32; thetas.len() * width];
        if width == 0 {
            return sinogram;
        }
        sinogram.par_chunks_mut(width).zip(thetas).for_each_init(
            || (vec![0.0; width], vec![0.0; width + 1]),
            |(line, edges), (out, &theta)| {
                pulp::Arch::new().dispatch(Project { cuts: &cuts, theta, center, line, edges });
                for (out, &value) in out.iter_mut().zip(line.iter()) {
                    *out = value as f32;
                }
            },
        );
        sinogram
    }

    /// The true slice of detector row `row` in the output frame: (size, size), attenuation per pixel.
    ///
    /// Each voxel is averaged over its area in x and y: exactly in x, by `supersample` lines per voxel
    /// in y (at least one; 8 is plenty).
    pub fn slice(&self, row: usize, size: usize, supersample: usize) -> Vec<f32> {
        let cuts = self.cuts(row);
        let lines = supersample.max(1);
        let mut image = vec![0f32; size * size];
        if size == 0 {
            return image;
        }
        let axis_x = (size / 2) as f64;
        let axis_y = (size / 2) as f64 - 1.0;
        image.par_chunks_mut(size).enumerate().for_each_init(
            || vec![0f64; size],
            |sum, (i, out)| {
                sum.fill(0.0);
                let middle = i as f64 - axis_y;
                for cut in cuts.iter().filter(|c| (c.y - middle).abs() < c.a.max(c.b) + 1.0) {
                    let value = cut.value / lines as f64;
                    for line in 0..lines {
                        let y = middle - 0.5 + (line as f64 + 0.5) / lines as f64;
                        if let Some((begin, end)) = cut.span(y) {
                            add_span(sum, begin + axis_x + 0.5, end + axis_x + 0.5, value);
                        }
                    }
                }
                for (out, &value) in out.iter_mut().zip(sum.iter()) {
                    *out = value as f32;
                }
            },
        );
        image
    }
}

/// Line integrals of one row at one angle, given as (sine, cosine); `line` is overwritten, `edges` is scratch one longer.
#[inline(always)]
pub(crate) fn project(
    cuts: &[Cut],
    (sin, cos): (f64, f64),
    center: f64,
    line: &mut [f64],
    edges: &mut [f64],
) {
    line.fill(0.0);
    for cut in cuts {
        let along = cos * cut.cos + sin * cut.sin;
        let across = sin * cut.cos - cos * cut.sin;
        let half_width = (cut.a * cut.a * along * along + cut.b * cut.b * across * across).sqrt();
        // An ellipse projects like a disc of its half width with the ellipse's area.
        kernels::add_shadow(
            line,
            center + cut.x * cos + cut.y * sin,
            half_width,
            cut.value * cut.a * cut.b,
            edges,
        );
    }
}

/// A call of [`project`], to be compiled for each set of vector instructions.
struct Project<'a> {
    cuts: &'a [Cut],
    theta: f64,
    center: f64,
    line: &'a mut [f64],
    edges: &'a mut [f64],
}
impl pulp::WithSimd for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        project(self.cuts, self.theta.sin_cos(), self.center, self.line, self.edges);
    }
}

/// Adds `value` times the covered part of each cell [j, j + 1) to `cells`.
fn add_span(cells: &mut [f64], begin: f64, end: f64, value: f64) {
    let (begin, end) = (begin.max(0.0), end.min(cells.len() as f64));
    if end <= begin {
        return;
    }
    let (first, last) = (begin as usize, (end as usize).min(cells.len() - 1));
    if first == last {
        cells[first] += value * (end - begin);
        return;
    }
    cells[first] += value * ((first + 1) as f64 - begin);
    for cell in &mut cells[first + 1..last] {
        *cell += value;
    }
    cells[last] += value * (end - last as f64);
}
