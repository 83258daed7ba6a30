//! Times encoding one slab of noise in a disc into chunks that go nowhere: `encode [THREADS] [SIDE]`.

use std::sync::Arc;
use std::time::Instant;

use volume::{
    Batch, Compression, DataType, OmeVersion, OmeZarr, PagePool, Pyramid, Spent, VolumeSpec, VoxelsRef,
    WriteQueue,
};

#[allow(clippy::print_stdout, reason = "an example speaks to its user")]
fn main() -> volume::Result<()> {
    let number = |index: usize| std::env::args().nth(index).and_then(|text| text.parse::<usize>().ok());
    let (threads, side) = (number(1).unwrap_or(1), number(2).unwrap_or(2560));
    let Ok(folder) = tempfile::tempdir() else { return Ok(()) };
    let spec = VolumeSpec {
        shape: [64, side, side],
        first_row: 0,
        row_step: 1,
        voxel_um: None,
        dtype: DataType::F32,
        scaling: None,
        unit: "1/cm".into(),
        name: "noise".into(),
        provenance: serde_json::Value::Null,
    };
    let zarr =
        OmeZarr::create(&folder.path().join("rec.zarr"), &spec, OmeVersion::V04, Compression::default())?;
    let mut state = 1u32;
    let slices: Vec<Vec<f32>> = (0..32)
        .map(|_| {
            (0..side * side)
                .map(|i| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let [y, x] = [i / side, i % side].map(|n| n as f32 - side as f32 / 2.0);
                    let inside = x * x + y * y < (side * side) as f32 / 4.0;
                    if inside { 1.0 + 0.3 * (state >> 8) as f32 / 16_777_216.0 } else { 0.0 }
                })
                .collect()
        })
        .collect();
    let views: Vec<_> = slices.iter().map(|slice| VoxelsRef::F32(slice)).collect();
    let queue = WriteQueue::discarding()?;
    let (pool, batch, spent) = (
        PagePool::new(threads + 4, zarr.file_bytes()),
        Arc::new(Batch::default()),
        Arc::new(Spent::default()),
    );
    let Ok(workers) = rayon::ThreadPoolBuilder::new().num_threads(threads).build() else { return Ok(()) };
    let mut best = [f64::INFINITY; 2];
    for _ in 0..4 {
        let mut pyramid = Pyramid::new(&zarr, 0..2);
        let (before, began) = (spent.seconds().0, Instant::now());
        let sink = queue.sink(&pool, &batch, &spent);
        let mut bytes = 0;
        for slab in 0..2 {
            let files = workers.install(|| pyramid.write(slab, &views, &sink, &mut |_, _, _| {}))?;
            bytes += files.iter().map(|file| file.size).sum::<u64>();
        }
        batch.wait();
        let taken = [began.elapsed().as_secs_f64() / 64.0, (spent.seconds().0 - before) / 64.0];
        best = [best[0].min(taken[0]), best[1].min(taken[1])];
        println!("per slice: wall {:.4} s, CPU {:.4} s, {:.1} MB", taken[0], taken[1], bytes as f64 / 64e6);
    }
    println!("best: wall {:.4} s, CPU {:.4} s", best[0], best[1]);
    Ok(())
}
