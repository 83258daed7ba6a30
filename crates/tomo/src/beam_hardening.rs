//! Beam-hardening correction by a polynomial on −log values (G. T. Herman, Phys. Med. Biol. 24, 1979, 81).

use crate::error::{Error, Result};

/// y = a₀ + a₁ x + … + a₅ x⁵ on every value of a −log sinogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Polynomial {
    coefficients: [f32; 6],
}

impl Default for Polynomial {
    /// The production script's coefficients, (0, 1, 0, 0, 0, 0.004).
    fn default() -> Self {
        Self { coefficients: [0.0, 1.0, 0.0, 0.0, 0.0, 0.004] }
    }
}

impl Polynomial {
    /// Coefficients from the constant upwards.
    pub fn new(coefficients: [f32; 6]) -> Result<Self> {
        if coefficients.iter().all(|a| a.is_finite()) {
            return Ok(Self { coefficients });
        }
        Err(Error::parameter(
            "beam-hardening coefficients",
            format!("{coefficients:?}"),
            "all must be finite numbers",
        ))
    }

    /// Corrects in place.
    pub fn apply(&self, values: &mut [f32]) {
        let [a0, a1, a2, a3, a4, a5] = self.coefficients;
        for x in values {
            *x = ((((a5 * *x + a4) * *x + a3) * *x + a2) * *x + a1) * *x + a0;
        }
    }
}
