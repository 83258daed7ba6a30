//! A foam: a cylinder full of spheres that do not overlap.
//!
//! Feature-rich at every scale, so that centre finding, resolution and ring removal have something
//! to work on, and still exactly projectable. (The idea of foam phantoms: Pelt, Hendriksen and
//! Batenburg, J. Synchrotron Rad. 29, 254 (2022); the placement here is plain random sequential
//! addition, larger spheres first.)

use super::phantom::Ellipsoid;
use super::random::{Purpose, stream};

/// Part of the volume that the spheres fill, as far as random placement gets.
const FILL: f64 = 0.33;
/// Smallest and largest sphere, relative to the cylinder's radius; the smallest is at least 1.5 pixels.
const SIZES: (f64, f64) = (0.013, 0.095);
/// Attempts to place one sphere before it is given up.
const ATTEMPTS: usize = 400;
/// Bound for the number of spheres, whatever the size of the scan.
const MAXIMUM: usize = 400_000;

/// The foam with matrix attenuation 1: an endless cylinder of the given radius (pixels) around the rotation
/// axis, with spheres in the rows 0 to `rows` − 1 and just beyond, so that the end rows look like the others.
///
/// Of the spheres, 80 % are empty, 12 % half as dense as the matrix and 8 % grains of 2.5 times its density.
pub(crate) fn foam(radius: f64, rows: usize, seed: u64) -> Vec<Ellipsoid> {
    let mut shapes = vec![Ellipsoid::cylinder(0.0, 0.0, radius, 1.0)];
    let largest = SIZES.1 * radius;
    let smallest = (SIZES.0 * radius).max(1.5);
    if largest <= smallest {
        return shapes;
    }
    let mut random = stream(seed, Purpose::Foam, 0, 0);
    let (bottom, top) = (-largest, rows as f64 - 1.0 + largest);
    let wall = 0.985 * radius;
    let mut wanted = FILL * std::f64::consts::PI * wall * wall * (top - bottom);

    let mut radii = Vec::new();
    while wanted > 0.0 && radii.len() < MAXIMUM {
        // Density ∝ r^−2.5: many small ones, most of the volume in the large ones.
        let u = random.uniform();
        let (low, high) = (smallest.powf(-1.5), largest.powf(-1.5));
        let r = (low + u * (high - low)).powf(-1.0 / 1.5);
        wanted -= 4.0 / 3.0 * std::f64::consts::PI * r.powi(3);
        radii.push(r);
    }
    radii.sort_by(|a, b| b.total_cmp(a));

    let mut cells = Cells::new(wall, bottom, top, 2.0 * largest + 0.5);
    for r in radii {
        for _ in 0..ATTEMPTS {
            let reach = wall - r;
            let distance = reach * random.uniform().sqrt();
            let (sin, cos) = random.between(0.0, std::f64::consts::TAU).sin_cos();
            let center = [distance * cos, distance * sin, random.between(bottom, top)];
            if cells.is_free(center, r) {
                cells.insert(center, r);
                let kind = random.uniform();
                let value = if kind < 0.80 {
                    -1.0
                } else if kind < 0.92 {
                    -0.5
                } else {
                    1.5
                };
                shapes.push(Ellipsoid::sphere(center, r, value));
                break;
            }
        }
    }
    shapes
}

/// Spheres sorted into cubic cells as wide as the largest sphere, so that neighbours are found in 27 cells.
struct Cells {
    width: f64,
    origin: [f64; 3],
    shape: [usize; 3],
    spheres: Vec<Vec<([f64; 3], f64)>>,
}

impl Cells {
    fn new(wall: f64, bottom: f64, top: f64, width: f64) -> Self {
        let across = (2.0 * wall / width) as usize + 1;
        let shape = [across, across, ((top - bottom) / width) as usize + 1];
        let count = shape.iter().product();
        Self { width, origin: [-wall, -wall, bottom], shape, spheres: vec![Vec::new(); count] }
    }

    /// Cell of a point along one axis.
    fn index(&self, axis: usize, position: f64) -> usize {
        let cell = ((position - self.origin[axis]) / self.width).max(0.0) as usize;
        cell.min(self.shape[axis] - 1)
    }

    fn cell(&self, index: [usize; 3]) -> usize {
        (index[2] * self.shape[1] + index[1]) * self.shape[0] + index[0]
    }

    /// Whether a sphere touches none of those placed before; a gap of half a pixel is kept.
    fn is_free(&self, center: [f64; 3], radius: f64) -> bool {
        let range = |axis: usize| {
            self.index(axis, center[axis] - self.width)..=self.index(axis, center[axis] + self.width)
        };
        for k in range(2) {
            for j in range(1) {
                for i in range(0) {
                    for (other, other_radius) in &self.spheres[self.cell([i, j, k])] {
                        let square: f64 = (0..3).map(|a| (center[a] - other[a]).powi(2)).sum();
                        if square < (radius + other_radius + 0.5).powi(2) {
                            return false;
                        }
                    }
                }
            }
        }
        true
    }

    fn insert(&mut self, center: [f64; 3], radius: f64) {
        let index = [0, 1, 2].map(|axis| self.index(axis, center[axis]));
        let cell = self.cell(index);
        self.spheres[cell].push((center, radius));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spheres_lie_inside_the_cylinder_and_apart() {
        let foam = foam(200.0, 40, 5);
        assert!(foam.len() > 200, "{}", foam.len());
        let spheres = &foam[1..];
        for (i, a) in spheres.iter().enumerate() {
            let r = a.half_axes[0];
            assert!(a.center[0].hypot(a.center[1]) + r <= 0.985 * 200.0 + 1e-9);
            for b in &spheres[i + 1..] {
                let d: f64 = (0..3).map(|k| (a.center[k] - b.center[k]).powi(2)).sum::<f64>().sqrt();
                assert!(d >= r + b.half_axes[0] + 0.499, "{a:?} {b:?}");
            }
        }
        let volume: f64 =
            spheres.iter().map(|s| 4.0 / 3.0 * std::f64::consts::PI * s.half_axes[0].powi(3)).sum();
        let whole = std::f64::consts::PI * 200.0 * 200.0 * (39.0 + 2.0 * 0.095 * 200.0);
        assert!(volume / whole > 0.25, "filled {}", volume / whole);
    }

    #[test]
    fn a_foam_too_small_for_spheres_is_a_cylinder() {
        assert_eq!(foam(5.0, 1, 0).len(), 1);
        assert_eq!(foam(0.5, 0, 0).len(), 1);
    }
}
