//! Stripe (ring) removal on sinograms (angles, columns), in place. Plans are built once for a size and
//! shared by threads; each thread keeps a workspace. Non-finite input is refused, since it would spread.

mod fourier_wavelet;
mod fw_analysis;
mod fw_transform;
mod kernels;
mod kernels_up;
mod smoothing;
mod titarenko;
pub mod wavelet;

pub use fourier_wavelet::{FourierWavelet, FourierWaveletOptions, FourierWaveletWorkspace};
pub use fw_transform::Fill;
pub use smoothing::{Smoothing, SmoothingOptions, SmoothingWorkspace};
pub use titarenko::{Titarenko, TitarenkoOptions, TitarenkoWorkspace};
