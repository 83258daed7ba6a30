//! Reconstruction filters: windows of the ramp, and the band-limited ramp itself.
//!
//! Frequencies `x` are in cycles per pixel, 0 to 0.5 (Nyquist).

use std::f64::consts::PI;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

use crate::error::{Error, Result};

/// A reconstruction filter by its name in the field.
///
/// The named windows are TomoPy's. Hann and Hamming have a parameter there whose default (0.5) makes them come up again
/// towards Nyquist; `tomopy` mode does the same, `exact` mode uses the textbook windows, which fall until Nyquist. A
/// parameter given through [`Filter::WithCutoff`] means the same in both.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// No ramp at all: plain back-projection (of half the data, TomoPy's amplitude).
    None,
    /// The ramp alone (Ram-Lak).
    Ramlak,
    /// Shepp-Logan: ramp times sinc.
    Shepp,
    /// Ramp times a quarter cosine that ends at Nyquist.
    Cosine,
    /// Ramp times the Hann window.
    Hann,
    /// Ramp times the Hamming window.
    Hamming,
    /// Ramp times the Parzen window, a cube that reaches zero at Nyquist.
    Parzen,
    /// Ramp times 1 / (1 + (x / cutoff)^(2 order)), `cutoff` in cycles per pixel.
    Butterworth {
        /// Frequency at which the window is one half, cycles per pixel.
        cutoff: f64,
        /// Steepness.
        order: f64,
    },
    /// A window with the parameter that TomoPy calls `filter_par[0]`.
    WithCutoff {
        /// Which window.
        window: Window,
        /// Its parameter in cycles per pixel: the period for Hann and Hamming, the zero for Parzen.
        cutoff: f64,
    },
}

/// The windows that take a cutoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// (1 + cos(2πx/cutoff)) / 2
    Hann,
    /// 0.54 + 0.46 cos(2πx/cutoff)
    Hamming,
    /// (1 − x/cutoff)³
    Parzen,
}

impl Window {
    fn at(self, x: f64, cutoff: f64) -> f64 {
        match self {
            Self::Hann => 0.5 * (1.0 + (2.0 * PI * x / cutoff).cos()),
            Self::Hamming => 0.54 + 0.46 * (2.0 * PI * x / cutoff).cos(),
            Self::Parzen => (1.0 - x / cutoff).powi(3),
        }
    }
}

impl Filter {
    /// Refuses parameters that make no filter.
    pub fn validate(&self) -> Result<()> {
        let (cutoff, order) = match *self {
            Self::Butterworth { cutoff, order } => (cutoff, order),
            Self::WithCutoff { cutoff, .. } => (cutoff, 1.0),
            _ => return Ok(()),
        };
        if !(cutoff.is_finite() && cutoff > 0.0) {
            return Err(Error::parameter(
                "filter cutoff",
                cutoff,
                "give a positive frequency in cycles per pixel",
            ));
        }
        if !(order.is_finite() && order >= 0.0) {
            return Err(Error::parameter("filter order", order, "give a number of at least 0"));
        }
        Ok(())
    }

    /// Window applied to the ramp in `exact` mode, at `x` cycles per pixel (0 to 0.5).
    ///
    /// [`Filter::None`] has no ramp; its window here is meaningless and returned as 1.
    pub fn window(&self, x: f64) -> f64 {
        let x = x.abs();
        match *self {
            Self::None | Self::Ramlak => 1.0,
            Self::Shepp if x == 0.0 => 1.0,
            Self::Shepp => (PI * x).sin() / (PI * x),
            Self::Cosine => (PI * x).cos(),
            Self::Hann => Window::Hann.at(x, 1.0),
            Self::Hamming => Window::Hamming.at(x, 1.0),
            Self::Parzen => Window::Parzen.at(x, 0.5),
            Self::Butterworth { cutoff, order } => 1.0 / (1.0 + (x / cutoff).powf(2.0 * order)),
            Self::WithCutoff { window, cutoff } => window.at(x, cutoff),
        }
    }

    /// TomoPy's filter at `x` cycles per pixel: its sampled ramp |2x| times the window with TomoPy's default parameter.
    pub fn tomopy(&self, x: f64) -> f64 {
        let window = match *self {
            Self::None => return 1.0,
            Self::Hann => Window::Hann.at(x, 0.5),
            Self::Hamming => Window::Hamming.at(x, 0.5),
            _ => self.window(x),
        };
        2.0 * x.abs() * window
    }
}

/// The band-limited filter in real space, in f64: element `d` is its value at a lag of `d` pixels, 0 to `reach`.
///
/// The ramp is designed where it is exact (h\[0\] = 1/4, h\[odd\] = −1/(π²d²), h\[even\] = 0; Kak and Slaney 1988,
/// eq. 3.61), so its mean over a finite detector is right; sampling |x| instead loses the constant term. Windows are
/// applied in the frequency domain on a grid at least four times as long as the filter, so that they do not wrap.
pub fn real_space(filter: &Filter, reach: usize) -> Vec<f64> {
    let ramp = |d: usize| match d {
        0 => 0.25,
        d if d % 2 == 1 => -1.0 / (PI * PI * (d as f64) * (d as f64)),
        _ => 0.0,
    };
    match filter {
        Filter::None => return (0..=reach).map(|d| if d == 0 { 0.5 } else { 0.0 }).collect(),
        Filter::Ramlak => return (0..=reach).map(ramp).collect(),
        _ => {}
    }
    let length = (8 * (reach + 1)).next_power_of_two();
    let mut planner = FftPlanner::<f64>::new();
    let mut h: Vec<Complex64> = (0..length).map(|i| Complex64::new(ramp(i.min(length - i)), 0.0)).collect();
    planner.plan_fft_forward(length).process(&mut h);
    for (i, value) in h.iter_mut().enumerate() {
        let x = i.min(length - i) as f64 / length as f64;
        *value *= filter.window(x) / length as f64;
    }
    planner.plan_fft_inverse(length).process(&mut h);
    h[..=reach].iter().map(|value| value.re).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_sums_to_zero_over_all_lags() {
        // Sum over |d| <= D of the ramp is 1/(π² D) to first order: the constant term of a finite detector.
        let h = real_space(&Filter::Ramlak, 1001);
        let sum = h[0] + 2.0 * h[1..].iter().sum::<f64>();
        assert!((sum * PI * PI * 1002.0 - 1.0).abs() < 1e-3, "{sum}");
    }

    #[test]
    fn windows_are_one_at_zero_frequency() {
        for filter in [
            Filter::Ramlak,
            Filter::Shepp,
            Filter::Cosine,
            Filter::Hann,
            Filter::Hamming,
            Filter::Parzen,
            Filter::Butterworth { cutoff: 0.25, order: 2.0 },
        ] {
            assert!((filter.window(0.0) - 1.0).abs() < 1e-12, "{filter:?}");
            filter.validate().unwrap();
        }
    }

    #[test]
    fn a_shepp_filter_matches_its_closed_form() {
        // Shepp and Logan 1974: h(d) = 2 / (π² (1 − 4d²)) for the sinc-windowed ramp without its band edge's sampling,
        // up to the design's own truncation.
        let h = real_space(&Filter::Shepp, 64);
        for (d, value) in h.iter().enumerate() {
            let exact = 2.0 / (PI * PI * (1.0 - 4.0 * (d * d) as f64));
            assert!((value - exact / 1.0).abs() < 2e-4, "{d}: {value} {exact}");
        }
    }

    #[test]
    fn senseless_parameters_are_refused() {
        assert!(Filter::Butterworth { cutoff: 0.0, order: 2.0 }.validate().is_err());
        assert!(Filter::Butterworth { cutoff: 0.2, order: f64::NAN }.validate().is_err());
        assert!(Filter::WithCutoff { window: Window::Hann, cutoff: -1.0 }.validate().is_err());
    }
}
