//! The simple phantoms: Shepp and Logan's head, unit discs for gain tests, a plain cylinder.

use super::phantom::Ellipsoid;

/// The head of ten ellipsoids: half axes a, b, c; centre x, y, z; rotation about z in degrees; the
/// original density; the density with raised contrast. Lengths are relative to the head's sphere.
///
/// Geometry and original densities: Kak and Slaney, Principles of Computerized Tomographic Imaging
/// (1988), table 3.2 (their y points up). Raised contrast: Toft, The Radon Transform (1996), table B.3.
#[rustfmt::skip]
const HEAD: [[f64; 9]; 10] = [
    [0.6900, 0.920, 0.900,  0.00,  0.000,  0.000,   0.0,  2.00,  1.0],
    [0.6624, 0.874, 0.880,  0.00,  0.000,  0.000,   0.0, -0.98, -0.8],
    [0.4100, 0.160, 0.210, -0.22,  0.000, -0.250, 108.0, -0.02, -0.2],
    [0.3100, 0.110, 0.220,  0.22,  0.000, -0.250,  72.0, -0.02, -0.2],
    [0.2100, 0.250, 0.500,  0.00,  0.350, -0.250,   0.0,  0.02,  0.1],
    [0.0460, 0.046, 0.046,  0.00,  0.100, -0.250,   0.0,  0.02,  0.1],
    [0.0460, 0.023, 0.020, -0.08, -0.650, -0.250,   0.0,  0.01,  0.1],
    [0.0460, 0.023, 0.020,  0.06, -0.650, -0.250,  90.0,  0.01,  0.1],
    [0.0560, 0.040, 0.100,  0.06, -0.105,  0.625,  90.0,  0.02,  0.1],
    [0.0560, 0.056, 0.100,  0.00,  0.100,  0.625,   0.0,  0.02,  0.1],
];

/// Height of the middle detector row in the head: the plane that every textbook shows.
const HEAD_PLANE: f64 = -0.25;

/// Shepp and Logan's head in a sphere of `radius` pixels, crown up, the middle of `rows` at the
/// plane z = −0.25. `raised` chooses the contrast that the eye can see; else the original 1 to 2 %.
pub(crate) fn shepp_logan(radius: f64, rows: usize, raised: bool) -> Vec<Ellipsoid> {
    let middle = (rows.max(1) - 1) as f64 / 2.0;
    HEAD.iter()
        .map(|&[a, b, c, x, y, z, degrees, original, contrast]| Ellipsoid {
            // The image's y points down, the table's up; so does z against the detector rows.
            center: [x * radius, -y * radius, middle - (z - HEAD_PLANE) * radius],
            half_axes: [a * radius, b * radius, c * radius],
            rotation: -degrees.to_radians(),
            value: if raised { contrast } else { original },
        })
        .collect()
}

/// Distances of the unit discs' middles from the axis, relative to the radius of the field.
pub const DISC_DISTANCES: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// Upright unit discs of 2 % of `radius`, in vacuum, at [`DISC_DISTANCES`] on a spiral of golden angles:
/// wherever a reconstruction's gain depends on the radius, it shows.
pub(crate) fn discs(radius: f64) -> Vec<Ellipsoid> {
    let golden = std::f64::consts::PI * (3.0 - 5f64.sqrt());
    DISC_DISTANCES
        .iter()
        .enumerate()
        .map(|(i, distance)| {
            let (sin, cos) = (golden * i as f64).sin_cos();
            Ellipsoid::cylinder(distance * radius * cos, distance * radius * sin, 0.02 * radius, 1.0)
        })
        .collect()
}
