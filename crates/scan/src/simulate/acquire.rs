//! Takes the frames block by block and hands them to the file's layout, writing one block while the next
//! is computed.

use rayon::prelude::*;

use super::detector::{Detector, Frame, Pixel, Workspace};
use super::error::Result;
use super::phantom::{Cut, Phantom};

/// Bytes of one block of frames; two blocks exist at a time.
const BLOCK_BYTES: usize = 48 << 20;

/// A stack of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    /// Dark frames.
    Darks,
    /// Flat frames of all groups, in order.
    Flats,
    /// Projections.
    Projections,
}

/// Where frames go: one implementation for each layout.
pub(crate) trait Sink<T>: Send {
    /// Stores frames (n, rows, columns) of a stack, the first of them number `first`.
    fn write(&mut self, stack: Stack, first: usize, frames: &[T]) -> Result<()>;

    /// Frames that the layout likes to get at once (a chunk's height).
    fn frames_at_once(&self) -> usize;
}

/// Takes all frames: darks, flats, projections. `progress` hears the part done, 0 to 1.
///
/// Each row of each frame has its own random numbers, so neither threads nor blocks change a bit.
pub(crate) fn acquire<T: Pixel>(
    detector: &Detector,
    phantom: &Phantom,
    shape: [usize; 2],
    stacks: &[(Stack, Vec<Frame>)],
    sink: &mut dyn Sink<T>,
    progress: &mut dyn FnMut(f64),
) -> Result<()> {
    let [rows, columns] = shape;
    let frame_pixels = rows * columns;
    let cuts: Vec<Vec<Cut>> = (0..rows).into_par_iter().map(|row| phantom.cuts(row)).collect();

    let step = sink.frames_at_once().max(1);
    let fitting = BLOCK_BYTES / (frame_pixels * size_of::<T>()).max(1);
    let block = (fitting / step).max(1) * step;
    let blocks: Vec<(Stack, usize, &[Frame])> = stacks
        .iter()
        .flat_map(|(stack, frames)| {
            frames.chunks(block).enumerate().map(move |(i, part)| (*stack, i * block, part))
        })
        .collect();
    let total: usize = stacks.iter().map(|(_, frames)| frames.len()).sum();

    let expose = |frames: &[Frame], buffer: &mut Vec<T>| {
        buffer.resize(frames.len() * frame_pixels, T::default());
        buffer.par_chunks_mut(columns).enumerate().for_each_init(Workspace::default, |ws, (i, out)| {
            let (frame, row) = (frames[i / rows], i % rows);
            detector.row(frame, row, &cuts[row], ws, out);
        });
    };
    let (mut ready, mut next) = (Vec::new(), Vec::new());
    if let Some((_, _, frames)) = blocks.first() {
        expose(frames, &mut ready);
    }
    let mut done = 0;
    for (i, (stack, first, frames)) in blocks.iter().enumerate() {
        let (written, ()) = rayon::join(
            || sink.write(*stack, *first, &ready),
            || {
                if let Some((_, _, frames)) = blocks.get(i + 1) {
                    expose(frames, &mut next);
                }
            },
        );
        written?;
        std::mem::swap(&mut ready, &mut next);
        done += frames.len();
        progress(done as f64 / total as f64);
    }
    Ok(())
}
