//! The one bounded scratch: projections that had to pass through a filter on whole projections, or
//! that lie in compressed chunks, are written once in projection order and read back row by row.
//! Kept in memory where the budget allows, else in a file of the work folder that has no name any more
//! as soon as it is open (so a killed job leaves nothing behind).

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Projections as float32 in the order (projection, row, column), of a range of detector rows.
pub struct Spool {
    rows: Range<usize>,
    columns: usize,
    projections: usize,
    store: Store,
}

enum Store {
    Memory(Vec<f32>),
    File { file: File, path: PathBuf },
}

impl Spool {
    /// Bytes that a spool takes.
    pub fn bytes(projections: usize, rows: usize, columns: usize) -> u64 {
        projections as u64 * rows as u64 * columns as u64 * 4
    }

    /// An empty spool in memory.
    pub fn in_memory(projections: usize, rows: Range<usize>, columns: usize) -> Self {
        let store = Store::Memory(vec![0.0; projections * rows.len() * columns]);
        Self { rows, columns, projections, store }
    }

    /// An empty spool in a scratch file.
    pub fn in_file(path: &Path, projections: usize, rows: Range<usize>, columns: usize) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| Error::io("cannot create", path, source))?;
        let bytes = Self::bytes(projections, rows.len(), columns);
        file.set_len(bytes).map_err(|source| Error::io("cannot extend", path, source))?;
        std::fs::remove_file(path).map_err(|source| Error::io("cannot unlink", path, source))?;
        Ok(Self { rows, columns, projections, store: Store::File { file, path: path.to_path_buf() } })
    }

    /// Stores consecutive filtered projections, each given with the spool's rows only.
    pub fn write(&mut self, first: usize, data: &[f32]) -> Result<()> {
        let frame = self.rows.len() * self.columns;
        match &mut self.store {
            Store::Memory(all) => {
                all[first * frame..first * frame + data.len()].copy_from_slice(data);
                Ok(())
            }
            Store::File { file, path } => file
                .write_all_at(bytemuck::cast_slice(data), (first * frame * 4) as u64)
                .map_err(|source| Error::io("cannot write the scratch file", &*path, source)),
        }
    }

    /// Reads `rows` (detector rows) of all projections into `into`, resized to (projections, rows, columns).
    pub fn read_rows(&self, rows: Range<usize>, into: &mut Vec<f32>) -> Result<()> {
        let (frame, part) = (self.rows.len() * self.columns, rows.len() * self.columns);
        let offset = (rows.start - self.rows.start) * self.columns;
        into.resize(self.projections * part, 0.0);
        for (projection, target) in into.chunks_exact_mut(part.max(1)).enumerate() {
            let start = projection * frame + offset;
            match &self.store {
                Store::Memory(all) => target.copy_from_slice(&all[start..start + part]),
                Store::File { file, path } => file
                    .read_exact_at(bytemuck::cast_slice_mut(target), (start * 4) as u64)
                    .map_err(|source| Error::io("cannot read the scratch file", path, source))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_file_give_back_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (projections, rows, columns) = (5, 10..18, 7);
        let mut spools = [
            Spool::in_memory(projections, rows.clone(), columns),
            Spool::in_file(&folder.path().join("s"), projections, rows, columns).unwrap(),
        ];
        let data: Vec<f32> = (0..5 * 8 * 7).map(|value| value as f32).collect();
        for spool in &mut spools {
            spool.write(0, &data[..3 * 56]).unwrap();
            spool.write(3, &data[3 * 56..]).unwrap();
            let mut block = Vec::new();
            spool.read_rows(12..14, &mut block).unwrap();
            assert_eq!(block.len(), 5 * 2 * 7);
            assert_eq!(block[0], (2 * 7) as f32);
            assert_eq!(block[2 * 14], (2 * 56 + 2 * 7) as f32);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the scratch file has no name");
    }
}
