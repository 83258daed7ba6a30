//! The floors of a reconstruction on this machine, to hold measurements against: the transforms that a
//! Fourier method cannot avoid, the memory traffic, and writing the same bytes to the same disk.
//!
//! `floors COLUMNS ANGLES BYTES_PER_ROW FOLDER ROWS` prints JSON, seconds per detector row (one slice). The file that is
//! written is as large as the results of so many rows, and removed.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex32;

/// Best of some runs of `work`, in seconds.
fn best(runs: usize, mut work: impl FnMut()) -> f64 {
    (0..runs)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// The smallest length at or above `n` without prime factors beyond 5.
fn smooth(n: usize) -> usize {
    (n..)
        .find(|&length| {
            let mut rest = length;
            for prime in [2, 3, 5] {
                while rest % prime == 0 {
                    rest /= prime;
                }
            }
            rest == 1
        })
        .unwrap_or(n)
}

/// Seconds of one complex transform of `length`, from cache.
fn transform(length: usize) -> f64 {
    let fft = FftPlanner::<f32>::new().plan_fft_forward(length);
    let mut data = vec![Complex32::new(1.0, 0.5); length];
    let mut scratch = vec![Complex32::default(); fft.get_inplace_scratch_len()];
    let repeats = (4_000_000 / length).max(1);
    best(5, || {
        for _ in 0..repeats {
            fft.process_with_scratch(black_box(&mut data), &mut scratch);
        }
    }) / repeats as f64
}

/// How much faster two threads are than one at transforms that never leave their caches: what no program
/// can beat. Virtual processors that share one core give far less than 2.
fn two_threads(length: usize) -> f64 {
    let one = transform(length);
    let two = std::thread::scope(|scope| {
        let other = scope.spawn(|| transform(length));
        let mine = transform(length);
        other.join().map_or(mine, |theirs| mine.max(theirs))
    });
    2.0 * one / two
}

/// Bytes a second that memory copies, read and write counted together.
fn memory() -> f64 {
    let source = vec![1u8; 256 << 20];
    let mut target = vec![0u8; 256 << 20];
    2.0 * source.len() as f64 / best(5, || black_box(&mut target).copy_from_slice(black_box(&source)))
}

/// Seconds to write `bytes` to a file in `folder`, until the last call returns and until the disk has it; past
/// the system's cache if `direct`, which not every file system does.
fn disk(folder: &str, bytes: usize, direct: bool) -> std::io::Result<(f64, f64)> {
    let path = std::path::Path::new(folder).join("floor.bin");
    let mut piece = volume::Pages::zeroed(8 << 20);
    // Bytes that nobody on the way to the disk can take for zeros.
    let mut state = 1u32;
    for byte in piece.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    let mut flags = rustix::fs::OFlags::empty();
    flags.set(rustix::fs::OFlags::DIRECT, direct);
    let began = Instant::now();
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags.bits() as i32)
        .open(&path)?;
    let mut left = bytes.next_multiple_of(volume::pages::PAGE);
    while left > 0 {
        let part = left.min(piece.len());
        file.write_all(&piece[..part])?;
        left -= part;
    }
    let handed = began.elapsed().as_secs_f64();
    file.sync_all()?;
    let synced = began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok((handed, synced))
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to its user")]
fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<usize>().ok());
    let (Some(columns), Some(angles), Some(bytes_per_row), Some(folder), Some(rows)) =
        (number(0), number(1), number(2), arguments.get(3), number(4))
    else {
        eprintln!("usage: floors COLUMNS ANGLES BYTES_PER_ROW FOLDER ROWS");
        return Ok(());
    };
    // Two real rows share every complex transform. Filtering linearly needs twice the columns; the plane
    // needs a quarter more than the image, its rows all and of its columns those in the image.
    let (line, grid) = (smooth(2 * columns), smooth(columns * 5 / 4));
    let lines = angles as f64 * transform(line) / 2.0;
    let plane = (grid + columns) as f64 * transform(grid) / 2.0;
    // Counts in, sinogram out and in, image out, and once more through both writers.
    let traffic = angles * columns * (2 + 4 + 4) + columns * columns * 4 * (1 + 2 + 2);
    let bandwidth = memory();
    let total = bytes_per_row * rows;
    let (handed, synced) = disk(folder, total, false)?;
    let direct = disk(folder, total, true).ok().map(|(_, synced)| synced);
    let rows = rows as f64;
    println!(
        "{}",
        serde_json::json!({
            "fft_lines_s": lines, "fft_plane_s": plane, "line_length": line, "grid": grid,
            "memory_s": traffic as f64 / bandwidth, "memory_bytes_per_s": bandwidth, "traffic_bytes": traffic,
            "two_threads": two_threads(line), "disk_handed_s": handed / rows, "disk_synced_s": synced / rows, "disk_bytes": total,
            "disk_direct_s": direct.map(|seconds| seconds / rows),
        })
    );
    Ok(())
}
