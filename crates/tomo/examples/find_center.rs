//! Looks for the rotation centre of a block of −log projections kept as NumPy files.
//!
//! `find_center BLOCK.npy THETA.npy [ROW...]`: the block is (angles, rows, columns) f32, theta f64 radians.
//! Without rows, five spread over the middle of the detector are used.
#![allow(clippy::print_stdout)] // an example's output is what it is for

use std::error::Error;
use std::time::Instant;
use tomo::center::{Input, Method, Options, find, pair_180};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [block, theta, rows @ ..] = arguments.as_slice() else {
        return Err("usage: find_center BLOCK.npy THETA.npy [ROW...]".into());
    };
    let (shape, bytes) = read_npy(block)?;
    let data: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let (_, bytes) = read_npy(theta)?;
    let angles: Vec<f64> = bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    let [count, height, columns] = shape[..] else { return Err("the block must have three axes".into()) };
    let mut chosen: Vec<usize> = rows.iter().map(|r| r.parse()).collect::<Result<_, _>>()?;
    if chosen.is_empty() {
        chosen = (1..=5).map(|k| k * height / 6).collect();
        chosen.dedup();
    }
    let sinograms: Vec<(usize, Vec<f32>)> = chosen
        .iter()
        .map(|&row| {
            (row, (0..count).flat_map(|a| data[(a * height + row) * columns..][..columns].to_vec()).collect())
        })
        .collect();
    let pair = pair_180(&angles);
    println!("{count} angles, {height} rows, {columns} columns; rows {chosen:?}; pair {pair:?}");
    let projection = |i: usize| &data[i * height * columns..(i + 1) * height * columns];
    let pair = pair.map(|(a, b, _)| (projection(a), projection(b), height));
    let input = Input { columns, angles: &angles, sinograms: &sinograms, pair };
    for method in [Method::Auto, Method::PhaseCorrelation, Method::Vo, Method::Entropy, Method::Overlap] {
        let start = Instant::now();
        match find(&input, &Options { method, search: None }) {
            Ok(e) => {
                println!(
                    "\n{method:?}: {:.3} ± {:.3} {:?} confidence {:.2} [{:.2?}]",
                    e.center,
                    e.uncertainty,
                    e.verdict,
                    e.confidence,
                    start.elapsed()
                );
                println!("  {}", e.reason);
                for row in &e.per_row {
                    println!("  row {}: {:.3} ({:.2})", row.row, row.center, row.confidence);
                }
            }
            Err(error) => println!("\n{method:?}: {error}"),
        }
    }
    Ok(())
}

/// Shape and raw little-endian values of a NumPy file of version 1.
fn read_npy(path: &str) -> Result<(Vec<usize>, Vec<u8>), Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length])?;
    let inside = header.split('(').nth(1).and_then(|s| s.split(')').next()).ok_or("no shape")?;
    let shape = inside
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok((shape, bytes[10 + length..].to_vec()))
}
