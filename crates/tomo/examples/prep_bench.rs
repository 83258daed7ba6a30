//! CPU seconds per detector row of the steps before the reconstruction, on one thread.
//!
//!     cargo run --release -p beamrail-tomo --example prep_bench [ANGLES COLUMNS [ROWS]]

#![allow(clippy::print_stdout)]

#[path = "common/clock.rs"]
mod clock;

use std::hint::black_box;

use clock::cpu_seconds;
use tomo::Aligned;
use tomo::normalize::{FlatGroup, FlatMethod, NormalizeOptions, Normalizer};
use tomo::stripes::{
    FourierWavelet, FourierWaveletOptions, Smoothing, SmoothingOptions, Titarenko, TitarenkoOptions,
};

fn main() -> tomo::Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let size = |i: usize, default| numbers.get(i).copied().unwrap_or(default);
    let (angles, columns, rows) = (size(0, 1313), size(1, 2560), size(2, 4));
    println!("{angles} angles × {columns} columns, {rows} rows, 1 thread; CPU seconds per row (best of 3)");

    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u16
    };
    let block: Vec<u16> = (0..angles * rows * columns).map(|_| 12_000 + 32 * random()).collect();
    let dark = vec![100.0; rows * columns];
    let flat = |level: f32| (0..rows * columns).map(|i| level + (i % 97) as f32).collect::<Vec<f32>>();
    let flats = vec![FlatGroup::new(0.0, flat(30_000.0)), FlatGroup::new(angles as f64, flat(29_000.0))];
    let mut sinograms: Vec<Aligned> = (0..rows).map(|_| Aligned::zeros(angles * columns)).collect();
    for (name, method) in
        [("normalise, mean flat", FlatMethod::Mean), ("normalise, interpolated", FlatMethod::Interpolated)]
    {
        let options = NormalizeOptions { method, ..Default::default() };
        let normalizer = Normalizer::new(options, columns, rows, angles, dark.clone(), flats.clone())?;
        time(name, rows, || {
            for (row, sinogram) in sinograms.iter_mut().enumerate() {
                normalizer.sinogram(&block, row, sinogram)?;
            }
            Ok(())
        })?;
    }

    let plan = FourierWavelet::new(FourierWaveletOptions::default(), angles, columns)?;
    let mut workspace = plan.workspace();
    time("Fourier-wavelet", rows, || sinograms.iter_mut().try_for_each(|s| plan.remove(&mut workspace, s)))?;
    let plan = Titarenko::new(TitarenkoOptions::default(), angles, columns)?;
    let mut workspace = plan.workspace();
    time("Titarenko", rows, || sinograms.iter_mut().try_for_each(|s| plan.remove(&mut workspace, s)))?;
    let plan = Smoothing::new(SmoothingOptions::default(), angles, columns)?;
    let mut workspace = plan.workspace();
    time("smoothing filter", rows, || sinograms.iter_mut().try_for_each(|s| plan.remove(&mut workspace, s)))?;
    black_box(&sinograms);
    Ok(())
}

fn time(name: &str, rows: usize, mut work: impl FnMut() -> tomo::Result<()>) -> tomo::Result<()> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = cpu_seconds();
        work()?;
        best = best.min((cpu_seconds() - start) / rows as f64);
    }
    println!("{name:<26}{best:.5}");
    Ok(())
}
