//! How fast a folder's disk takes files, measured by writing some.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::pages::PagePool;
use crate::queue::{Batch, Sink, Spent, WriteQueue};

/// Size of each file, about a slice.
const FILE: usize = 16 << 20;

/// What a disk takes, and what it costs to hand it over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disk {
    /// Bytes a second, synced.
    pub bytes_per_s: f64,
    /// CPU seconds a byte of the threads that write, without the digest.
    pub cpu_s_per_byte: f64,
}

/// Measures the disk under `folder`, written as a job does and synced. Writes about `bytes` in temporary files and
/// removes them.
///
/// # Errors
/// A folder that is absent, read-only or full.
pub fn disk(folder: &Path, bytes: u64) -> Result<Disk> {
    let own = folder.join(format!(".beamrail-speed-{}", std::process::id()));
    std::fs::create_dir(&own).map_err(|e| Error::io("measure the disk in", &own, e))?;
    let speed = measure(&own, bytes);
    std::fs::remove_dir(&own).map_err(|e| Error::io("remove the folder", &own, e))?;
    speed
}

fn measure(own: &Path, bytes: u64) -> Result<Disk> {
    let count = (bytes / FILE as u64).max(1);
    let queue = WriteQueue::new(own.to_owned(), 2)?;
    let pool = PagePool::new(4, FILE);
    let (batch, spent) = (Arc::new(Batch::default()), Arc::new(Spent::default()));
    // No zeros, which a clever disk would not store; all buffers are held at once, so that each is filled.
    let mut buffers: Vec<_> = (0..4).map(|_| pool.take()).collect();
    for pages in &mut buffers {
        pages.iter_mut().zip(0u32..).for_each(|(b, i)| *b = (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    }
    let digest = blake3::hash(&buffers[0][..FILE]);
    drop(buffers);
    let began = Instant::now();
    let sink = queue.sink(&pool, &batch, &spent);
    let names: Vec<_> = (0..count).map(|index| format!("{index}.bin")).collect();
    let files: Vec<_> = names.iter().map(|name| own.join(name)).collect();
    let put =
        names.into_iter().try_for_each(|name| sink.put(name, Arc::new(sink.pages()), FILE, digest).map(drop));
    batch.wait();
    let synced = put.and(queue.failure().map_or(Ok(()), Err)).and_then(|()| crate::fs::sync_files(&files));
    let seconds = began.elapsed().as_secs_f64();
    for file in &files {
        // One that was never written is not there.
        let _ = std::fs::remove_file(file);
    }
    synced?;
    let written = (count * FILE as u64) as f64;
    Ok(Disk { bytes_per_s: written / seconds, cpu_s_per_byte: spent.seconds().0 / written })
}
