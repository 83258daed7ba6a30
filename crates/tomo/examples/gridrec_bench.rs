//! CPU seconds per slice of both gridrec modes, on synthetic data, one thread.
//!
//! `cargo run --release -p beamrail-tomo --example gridrec_bench -- [columns] [angles] [edge padding] [pairs] [mode]`
//! (default 2560 1313 530 3; mode 1 is exact, 2 TomoPy's, 0 both). Each mode runs a warm-up pair, then the given number of pairs; the best and the mean are
//! printed.

#![allow(clippy::print_stdout)]

#[path = "common/clock.rs"]
mod clock;

use clock::cpu_seconds;
use tomo::gridrec::{Filter, Gridrec, GridrecOptions, Mode, Padding};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let argument = |i: usize, default: usize| arguments.get(i).copied().unwrap_or(default);
    let (columns, angles) = (argument(0, 2560), argument(1, 1313));
    let (pad, pairs) = (argument(2, 530), argument(3, 3).max(1));
    let theta: Vec<f64> = (0..angles)
        .map(|i| -std::f64::consts::PI * i as f64 / angles.max(2).saturating_sub(1) as f64)
        .collect();
    let sinogram = |seed: f32| -> Vec<f32> {
        (0..angles * columns)
            .map(|i| ((i % columns) as f32 * 0.37 + (i / columns) as f32 * seed).sin())
            .collect()
    };
    let sinograms = [sinogram(0.11), sinogram(0.23)];
    println!("{columns} columns, {angles} angles, edge padding {pad}, {pairs} pairs, one thread");
    let modes = [Mode::Exact, Mode::Tomopy]
        .into_iter()
        .zip(1..)
        .filter(|(_, number)| [0, *number].contains(&argument(4, 0)));
    for (mode, _) in modes {
        let mut options = GridrecOptions::new(columns, theta.clone(), columns as f64 / 2.0 + 3.25);
        options.mode = mode;
        options.filter = Filter::Butterworth { cutoff: 0.25, order: 2.0 };
        options.padding = Padding::Edge(pad);
        options.mask_ratio = Some(1.0);
        let before = cpu_seconds();
        let gridrec = Gridrec::new(&options)?;
        let mut workspace = gridrec.workspace();
        let planned = cpu_seconds() - before;
        let mut images = [vec![0.0f32; columns * columns], vec![0.0f32; columns * columns]];
        let mut times = Vec::with_capacity(pairs);
        for _ in 0..=pairs {
            let before = cpu_seconds();
            let [a, b] = &mut images;
            gridrec.reconstruct_pair(&mut workspace, [&sinograms[0], &sinograms[1]], [a, b])?;
            times.push(0.5 * (cpu_seconds() - before));
        }
        let best = times[1..].iter().copied().fold(f64::INFINITY, f64::min);
        let mean = times[1..].iter().sum::<f64>() / pairs as f64;
        println!(
            "{mode:?}: best {best:.4}, mean {mean:.4} CPU s per slice; plan {planned:.3} s; workspace {:.0} MB, shared {:.1} MB",
            gridrec.workspace_bytes() as f64 / 1e6,
            gridrec.shared_bytes() as f64 / 1e6
        );
    }
    Ok(())
}
