//! CPU seconds per slice of Fourier-wavelet stripe removal, on synthetic data, one thread.
//!
//! `cargo run --release -p beamrail-tomo --example stripes_bench -- [columns] [angles] [calls]`
//! (default 2560 1313 5). A call removes the stripes of two sinograms in place, as TomoPy's `remove_stripe_fw` on two
//! slices does; plan and buffers are made before, as a job makes them once. After one call to warm up, the best and the
//! mean of so many are printed.

#![allow(clippy::print_stdout)]

#[path = "common/clock.rs"]
mod clock;

use clock::cpu_seconds;
use tomo::Aligned;
use tomo::stripes::{FourierWavelet, FourierWaveletOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let argument = |i: usize, default: usize| arguments.get(i).copied().unwrap_or(default);
    let (columns, angles, calls) = (argument(0, 2560), argument(1, 1313), argument(2, 5).max(1));
    let sinogram = |seed: f32| {
        let mut sinogram = Aligned::zeros(angles * columns);
        for (i, value) in sinogram.iter_mut().enumerate() {
            *value = 1.0 + ((i % columns) as f32 * 0.37 + (i / columns) as f32 * seed).sin();
        }
        sinogram
    };
    let mut sinograms = [sinogram(0.11), sinogram(0.23)];
    let before = cpu_seconds();
    let plan = FourierWavelet::new(FourierWaveletOptions::default(), angles, columns)?;
    let mut workspace = plan.workspace();
    let planned = cpu_seconds() - before;
    let mut times = Vec::with_capacity(calls);
    for _ in 0..=calls {
        let before = cpu_seconds();
        for sinogram in &mut sinograms {
            plan.remove(&mut workspace, sinogram)?;
        }
        times.push(0.5 * (cpu_seconds() - before));
    }
    let best = times[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let mean = times[1..].iter().sum::<f64>() / calls as f64;
    println!("{columns} columns, {angles} angles, {calls} calls on two sinograms, one thread");
    println!(
        "Fourier-wavelet: best {best:.5}, mean {mean:.5} CPU s per slice; plan {planned:.3} s; workspace {:.0} MB",
        plan.workspace_bytes() as f64 / 1e6
    );
    Ok(())
}
