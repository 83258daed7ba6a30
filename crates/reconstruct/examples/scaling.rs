//! How the stream scales with threads, output discarded after encoding: what is left when the disk is no
//! limit. `scaling SCAN.h5 [THREADS]...` prints seconds per slice for each number of threads.

use reconstruct::measure;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to its user")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((scan, threads)) = arguments.split_first() else {
        eprintln!("usage: scaling SCAN.h5 [THREADS]...");
        return Ok(());
    };
    let threads: Vec<usize> = threads.iter().filter_map(|text| text.parse().ok()).collect();
    let recipe = reconstruct::Recipe::default();
    let mut first = None;
    for count in threads {
        let folder = tempfile::tempdir()?;
        let measured = measure::stream(scan.as_ref(), &recipe, 2 << 30, count, folder.path())?;
        let per = |seconds: f64| seconds / measured.slices.max(1) as f64;
        let wall = per(measured.wall_s);
        let ratio = *first.get_or_insert(wall) / wall;
        println!(
            "{count} threads: {wall:.4} s wall, {:.4} s CPU per slice; {ratio:.2} x the first; cores busy {:.2}",
            per(measured.cpu_s),
            measured.cpu_s / measured.wall_s
        );
        for stage in &measured.stages {
            println!("  {:<10} {:.4} {:.4}", stage.stage, per(stage.cpu_s), per(stage.busy_s));
        }
    }
    Ok(())
}
