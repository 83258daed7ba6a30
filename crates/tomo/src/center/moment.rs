//! Centres of mass: the second opinion for a sample that lies wholly within the field of view.
//!
//! The centre of mass of a projection moves as c + A cos θ + B sin θ with the centre of mass of the sample
//! (the first Helgason–Ludwig condition). It uses all projections and all columns, so it is hardly touched by
//! noise; and it is useless, but knows it not, when the sample is cut off. Hence [`is_cut_off`].

use super::pairs::Coverage;
use super::prepare::median;

/// Part of the columns at either side that must be air.
const MARGIN: f64 = 0.02;
/// Most that the sides may show of the middle's attenuation.
const AIR: f64 = 0.04;

/// Whether the sample reaches beyond either side of the detector: the outermost columns show, at some angle,
/// more than a few per cent of what the sample's middle does.
pub(super) fn is_cut_off(sinogram: &[f32], columns: usize) -> bool {
    let margin = ((MARGIN * columns as f64) as usize).max(2);
    let mut inner = Vec::new();
    let mut sides = Vec::new();
    for row in sinogram.chunks_exact(columns) {
        let mean = |part: &[f32]| {
            part.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)).sum::<f64>() / part.len() as f64
        };
        sides.push(mean(&row[..margin]));
        sides.push(mean(&row[columns - margin..]));
        inner.push(row.chunks(margin).map(mean).fold(f64::NEG_INFINITY, f64::max));
    }
    // The loudest tenth of the sides: an edge cut off at some angles only still spoils the moments.
    let typical = median(&mut inner);
    let at = sides.len() - 1 - sides.len() / 20;
    let loud = *sides.select_nth_unstable_by(at, f64::total_cmp).1;
    let quiet = median(&mut sides);
    loud > AIR * typical || quiet.abs() > AIR * typical
}

/// The centre by least squares over all projections; `None` when the angles or the sample do not determine it.
pub(super) fn center(sinogram: &[f32], columns: usize, coverage: &Coverage) -> Option<f64> {
    let margin = ((MARGIN * columns as f64) as usize).max(2);
    // What is left in the air is the same at all angles (flat field, scatter): its mean is subtracted.
    let (mut left, mut right, mut count) = (0.0, 0.0, 0.0);
    for row in sinogram.chunks_exact(columns) {
        left += row[..margin].iter().map(|&v| f64::from(v)).sum::<f64>();
        right += row[columns - margin..].iter().map(|&v| f64::from(v)).sum::<f64>();
        count += margin as f64;
    }
    let (left, right) = (left / count, right / count);
    let middle = 0.5 * (columns as f64 - 1.0);
    // Unknowns (c − middle), A, B; equations  m₁ = (c − middle) m₀ + A cos θ + B sin θ.
    let mut normal = [[0.0; 4]; 3];
    for (&index, &angle) in coverage.order.iter().zip(&coverage.angles) {
        let row = sinogram.get(index * columns..(index + 1) * columns)?;
        let (mut m0, mut m1) = (0.0, 0.0);
        for (c, &v) in row.iter().enumerate() {
            let x = (c as f64 - middle) / columns as f64;
            let v = f64::from(v) - (left + (right - left) * (x + 0.5));
            m0 += v;
            m1 += v * x;
        }
        let (sin, cos) = angle.sin_cos();
        let equation = [m0, cos, sin, m1];
        for i in 0..3 {
            for j in 0..4 {
                normal[i][j] += equation[i] * equation[j];
            }
        }
    }
    // Scale the first unknown so that the pivots can be compared.
    let size = (normal[0][0] / coverage.order.len() as f64).sqrt();
    if size <= 0.0 || !size.is_finite() {
        return None;
    }
    for j in 0..4 {
        normal[0][j] /= size;
    }
    for line in &mut normal {
        line[0] /= size;
    }
    let solution = solve(normal, 1e-6 * coverage.order.len() as f64)?;
    let center = middle + solution / size * columns as f64;
    (0.0..=columns as f64 - 1.0).contains(&center).then_some(center)
}

/// First unknown of three equations by elimination from the last; `None` when a pivot is not above `least`.
fn solve(mut m: [[f64; 4]; 3], least: f64) -> Option<f64> {
    for k in (1..3).rev() {
        if m[k][k] <= least {
            return None;
        }
        for i in 0..k {
            let factor = m[i][k] / m[k][k];
            for j in 0..4 {
                m[i][j] -= factor * m[k][j];
            }
        }
    }
    (m[0][0] > least).then(|| m[0][3] / m[0][0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disc_off_the_axis() {
        // Line integrals of a disc of radius 9 at (6, −4), centre 30.3.
        let angles: Vec<f64> = (0..90).map(|i| i as f64 * std::f64::consts::PI / 90.0).collect();
        let columns = 64;
        let mut data = Vec::new();
        for a in &angles {
            let at = 30.3 + 6.0 * a.cos() - 4.0 * a.sin();
            data.extend(
                (0..columns).map(|c| 0.3 + 2.0 * (81.0 - (c as f64 - at).powi(2)).max(0.0).sqrt() as f32),
            );
        }
        let c = center(&data, columns, &Coverage::new(&angles)).unwrap();
        assert!((c - 30.3).abs() < 0.02, "{c}");
        assert!(is_cut_off(
            &data[10..10 + columns * 80].iter().map(|v| v + 3.0).collect::<Vec<_>>(),
            columns
        ));
        let air: Vec<f32> = data.iter().map(|v| v - 0.3).collect();
        assert!(!is_cut_off(&air, columns));
        assert_eq!(center(&vec![0.0; data.len()], columns, &Coverage::new(&angles)), None);
    }
}
