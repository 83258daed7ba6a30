//! A volume as a stack of TIFF files, one per slice.
//!
//! The header with all tags comes first, padded to a whole number of 4 KiB blocks; then the voxels as one
//! uncompressed little-endian strip. So the pixel data is a single run at an offset that is the same in
//! every file of a stack: it can be mapped, read with direct I/O, or cut out with `dd`. The `tiff` crate
//! lays out header, tags and directory; the voxels are written from the caller's memory without a copy.
//!
//! Resolution tags are in pixels per centimetre (the TIFF has no micrometres). The description holds
//! `key=value` lines: `unit=um` and `spacing=` as ImageJ names them, the unit of the values, the scaling of
//! integers, and the provenance as one line of JSON. It does not start with "ImageJ", because readers then
//! take the resolution as per `unit` and would be wrong by 10⁴.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::tiff::encoder::{Rational, TiffEncoder};
use ::tiff::tags::Tag;

use crate::error::{Error, Result};
use crate::fs::{self, FileRecord};
use crate::pages::Pooled;
use crate::queue::Sink;
use crate::spec::{DataType, VolumeSpec};
use crate::voxels::VoxelsRef;

/// The voxels start at a multiple of this many bytes.
const ALIGNMENT: usize = 4096;

/// Bytes that a digest takes at a time: the hash is quick for whole pieces of a power of two.
const PIECE: usize = 64 << 10;

/// A file of a stack whose voxels are being made: its digest is taken while they are in the cache.
#[derive(Debug)]
pub struct Growing {
    z: usize,
    header: usize,
    /// Bytes of the file that are in the digest.
    hashed: usize,
    hasher: blake3::Hasher,
}

impl Growing {
    /// The first voxels, as bytes; these are final. Of each call what came since the last one is looked at, in whole pieces.
    pub fn grow(&mut self, voxels: &[u8]) {
        let end = (self.header + voxels.len()) / PIECE * PIECE;
        if let Some(more) = voxels.get(self.hashed - self.header..end.saturating_sub(self.header)) {
            self.hasher.update(more);
            self.hashed += more.len();
        }
    }
}

/// A stack of TIFF files being written. Slices may be written in any order and by several threads.
#[derive(Debug, Clone)]
pub struct TiffStack {
    /// The results folder.
    root: PathBuf,
    /// The stack's folder within it.
    folder: String,
    /// First part of the file names.
    stem: String,
    spec: VolumeSpec,
    /// The header of slice 0; the others differ in `detector_row=` only, which has a fixed width.
    header_len: usize,
}

impl TiffStack {
    /// Starts a stack in `dir` (`.../rec<stem>`), which must not exist yet.
    ///
    /// # Errors
    /// [`Error::Exists`], a spec that cannot be written, or a folder that cannot be created.
    pub fn create(dir: &Path, stem: &str, spec: &VolumeSpec) -> Result<Self> {
        let stack = Self::describe(dir, stem, spec)?;
        if dir.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: dir.to_owned() });
        }
        fs::create_folder(dir)?;
        Ok(stack)
    }

    /// Goes on with a stack that another process or an earlier run started (or is about to).
    pub fn open_existing(dir: &Path, stem: &str, spec: &VolumeSpec) -> Result<Self> {
        let stack = Self::describe(dir, stem, spec)?;
        fs::create_folder(dir)?;
        Ok(stack)
    }

    /// The stack without touching the disk.
    fn describe(dir: &Path, stem: &str, spec: &VolumeSpec) -> Result<Self> {
        spec.validate()?;
        if stem.is_empty() || stem.contains(['/', '\0']) {
            return Err(Error::parameter("stem", stem, "must be the first part of a file name"));
        }
        let (root, folder) = fs::split_output(dir)?;
        let mut stack =
            Self { root, folder, stem: stem.to_owned(), spec: spec.clone(), header_len: ALIGNMENT };
        // The strip's offset is one of the tags, so the header is laid out twice; its length does not
        // depend on the value.
        let unpadded = stack.tags(0)?.len();
        stack.header_len = unpadded.div_ceil(ALIGNMENT) * ALIGNMENT;
        Ok(stack)
    }

    /// Where the voxels start in every file of this stack.
    pub fn data_offset(&self) -> usize {
        self.header_len
    }

    /// Path of slice `z` relative to the results folder; numbered by detector row.
    pub fn path(&self, z: usize) -> String {
        format!("{}/{}_{:05}.tiff", self.folder, self.stem, self.spec.row(z))
    }

    /// Writes slice `z` (0-based in the volume) from values of shape (y, x).
    pub fn write(&self, z: usize, slice: &[f32]) -> Result<FileRecord> {
        if self.spec.dtype == DataType::F32 {
            self.write_stored(z, VoxelsRef::F32(slice))
        } else {
            self.check(z, slice.len())?;
            self.write_stored(z, self.spec.store(slice).view())
        }
    }

    /// Bytes of every file of the stack.
    pub fn file_bytes(&self) -> usize {
        self.header_len + self.slice_bytes()
    }

    /// Begins the file of slice `z` in a buffer: puts the header before what will be its voxels, in their stored type,
    /// from [`TiffStack::data_offset`] on.
    pub fn begin(&self, z: usize, file: &mut [u8]) -> Result<Growing> {
        self.check(
            z,
            file.len().saturating_sub(self.header_len).min(self.slice_bytes()) / self.spec.dtype.bytes(),
        )?;
        self.write_header(z, file)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&file[..self.header_len]);
        Ok(Growing { z, header: self.header_len, hashed: self.header_len, hasher })
    }

    /// Takes a file that was begun, and has all its voxels now. It is one piece of memory, which goes to `sink`, where it
    /// may be written later.
    pub fn put(
        &self,
        mut begun: Growing,
        file: Pooled,
        sink: &dyn Sink,
    ) -> Result<(FileRecord, Arc<Pooled>)> {
        begun.hasher.update(&file[begun.hashed..self.file_bytes()]);
        let file = Arc::new(file);
        let record =
            sink.put(self.path(begun.z), file.clone(), self.file_bytes(), begun.hasher.finalize())?;
        Ok((record, file))
    }

    /// Writes slice `z` from voxels that are in their stored type already.
    pub fn write_stored(&self, z: usize, slice: VoxelsRef<'_>) -> Result<FileRecord> {
        self.check(z, slice.len())?;
        if slice.dtype() != self.spec.dtype {
            let reason = format!("the stack is {}", self.spec.dtype);
            return Err(Error::parameter("slice", slice.dtype(), reason));
        }
        let mut header = vec![0; self.header_len];
        self.write_header(z, &mut header)?;
        fs::write_file(&self.root, &self.path(z), &[&header, slice.bytes()])
    }

    /// Puts the header of slice `z` at the beginning of `file`.
    fn write_header(&self, z: usize, file: &mut [u8]) -> Result<()> {
        let tags = self.tags(z)?;
        if tags.len() > self.header_len {
            let reason = format!("the row number {} does not fit in the header", self.spec.row(z));
            return Err(Error::format(&self.root.join(self.path(z)), reason));
        }
        file[..tags.len()].copy_from_slice(&tags);
        file[tags.len()..self.header_len].fill(0);
        Ok(())
    }

    fn slice_bytes(&self) -> usize {
        self.spec.slice_voxels() * self.spec.dtype.bytes()
    }

    fn check(&self, z: usize, len: usize) -> Result<()> {
        if z >= self.spec.shape[0] {
            let reason = format!("the volume has {} slices", self.spec.shape[0]);
            return Err(Error::parameter("z", z, reason));
        }
        let expected = self.spec.slice_voxels();
        if len != expected {
            return Err(Error::Shape { what: format!("slice {z}"), expected, found: len });
        }
        Ok(())
    }

    /// The file up to the end of its directory: byte order, tags, values.
    fn tags(&self, z: usize) -> Result<Vec<u8>> {
        let path = self.root.join(self.path(z));
        let fail =
            |e: ::tiff::TiffError| Error::format(&path, format!("the TIFF header cannot be made: {e}"));
        let [_, height, width] = self.spec.shape;
        // `validate` keeps a slice below 4 GiB, and with it each of these numbers.
        let (height, width) = (height as u32, width as u32);
        let bytes = self.slice_bytes();
        let format: u16 = if self.spec.dtype == DataType::F32 { 3 } else { 1 };
        let (unit, x, y): (u16, _, _) = match self.spec.voxel_um {
            Some([_, y, x]) => (3, per_centimetre(x), per_centimetre(y)),
            None => (1, Rational { n: 1, d: 1 }, Rational { n: 1, d: 1 }),
        };
        let mut out = Cursor::new(Vec::with_capacity(ALIGNMENT));
        let mut encoder = TiffEncoder::new(&mut out).map_err(fail)?;
        let mut tags = encoder.image_directory().map_err(fail)?;
        let mut write = || {
            tags.write_tag(Tag::ImageWidth, width)?;
            tags.write_tag(Tag::ImageLength, height)?;
            tags.write_tag(Tag::BitsPerSample, self.spec.dtype.bytes() as u16 * 8)?;
            tags.write_tag(Tag::Compression, 1u16)?;
            // 0 is black.
            tags.write_tag(Tag::PhotometricInterpretation, 1u16)?;
            tags.write_tag(Tag::ImageDescription, self.description(z).as_str())?;
            tags.write_tag(Tag::StripOffsets, self.header_len as u32)?;
            tags.write_tag(Tag::SamplesPerPixel, 1u16)?;
            tags.write_tag(Tag::RowsPerStrip, height)?;
            tags.write_tag(Tag::StripByteCounts, bytes as u32)?;
            tags.write_tag(Tag::XResolution, x.clone())?;
            tags.write_tag(Tag::YResolution, y.clone())?;
            tags.write_tag(Tag::ResolutionUnit, unit)?;
            tags.write_tag(Tag::Software, concat!("beamrail ", env!("CARGO_PKG_VERSION")))?;
            tags.write_tag(Tag::SampleFormat, format)
        };
        write().map_err(fail)?;
        tags.finish().map_err(fail)?;
        Ok(out.into_inner())
    }

    /// The description tag: lines of `key=value`, ASCII.
    fn description(&self, z: usize) -> String {
        let spec = &self.spec;
        let mut lines = vec![
            format!("volume={}", spec.name),
            // Ten digits, so that all headers of a stack have one length.
            format!("detector_row={:010}", spec.row(z)),
            format!("value_unit={}", spec.unit),
        ];
        match spec.voxel_um {
            Some([_, y, x]) => lines.extend([
                "unit=um".to_owned(),
                format!("spacing={}", spec.scale()[0]),
                format!("pixel_size_y_um={y}"),
                format!("pixel_size_x_um={x}"),
            ]),
            None => lines.extend(["unit=pixel".to_owned(), format!("spacing={}", spec.scale()[0])]),
        }
        if let (Some(s), Some(maximum)) = (spec.scaling, spec.dtype.maximum()) {
            lines.extend([
                format!("scaling_min={}", s.min),
                format!("scaling_max={}", s.max),
                format!("stored_max={maximum}"),
                "value=scaling_min+stored/stored_max*(scaling_max-scaling_min)".to_owned(),
            ]);
        }
        if !spec.provenance.is_null() {
            lines.push(format!("provenance={}", spec.provenance));
        }
        // TIFF text is 7-bit ASCII; other characters become JSON escapes, which the provenance line keeps
        // readable by machines.
        let mut text = String::new();
        for c in lines
            .iter()
            .flat_map(|l| l.replace(['\n', '\r', '\0'], " ").chars().chain(['\n']).collect::<Vec<_>>())
        {
            if c.is_ascii() {
                text.push(c);
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        text
    }
}

/// Pixels per centimetre as the nearest fraction of 32-bit numbers (continued fraction).
fn per_centimetre(voxel_um: f64) -> Rational {
    let value = 10_000.0 / voxel_um;
    if value >= f64::from(u32::MAX) {
        return Rational { n: u32::MAX, d: 1 };
    }
    let (mut n, mut d, mut previous) = (1u64, 0u64, (0u64, 1u64));
    let mut rest = value;
    // 32-bit numbers are exhausted after at most 46 terms (Fibonacci); the loop ends well before.
    for _ in 0..46 {
        let term = rest.floor();
        let next = (term as u64 * n + previous.0, term as u64 * d + previous.1);
        if next.0 > u64::from(u32::MAX) || next.1 > u64::from(u32::MAX) {
            break;
        }
        previous = (n, d);
        (n, d) = next;
        let fraction = rest - term;
        if fraction < 1e-12 || (n as f64 / d as f64 - value).abs() <= value * 1e-15 {
            break;
        }
        rest = 1.0 / fraction;
    }
    // Voxels wider than 4e13 um end in 0 / 1; a resolution of 0 would be refused by readers.
    Rational { n: n.max(1) as u32, d: d.max(1) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::PagePool;
    use crate::queue::Immediate;

    /// However much of a slice is shown at a time, and if nothing is.
    #[test]
    fn the_digest_of_a_growing_file_is_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let spec = VolumeSpec {
            shape: [9, 200, 300],
            first_row: 0,
            row_step: 1,
            voxel_um: None,
            dtype: DataType::F32,
            scaling: None,
            unit: "1/cm".into(),
            name: "rec".into(),
            provenance: serde_json::Value::Null,
        };
        let stack = TiffStack::create(&folder.path().join("rec"), "rec", &spec).unwrap();
        let sink = Immediate::new(folder.path(), stack.file_bytes());
        for (z, step) in [1, 300, 65_536 / 4, 20_000, 59_999, 60_000, usize::MAX].into_iter().enumerate() {
            let mut pages = PagePool::new(1, stack.file_bytes()).take();
            let mut file = stack.begin(z, &mut pages).unwrap();
            let (bytes, whole) = (stack.data_offset(), stack.file_bytes());
            pages[bytes..whole].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * (z + 3) / 7) as u8);
            for end in (step.min(60_000)..=60_000).step_by(step.min(60_000)).filter(|_| step < usize::MAX) {
                file.grow(&pages[bytes..bytes + 4 * end]);
            }
            let (record, _) = stack.put(file, pages, &sink).unwrap();
            let written = std::fs::read(folder.path().join(&record.path)).unwrap();
            assert_eq!(record.blake3, blake3::hash(&written).to_hex().to_string(), "{step} voxels at a time");
        }
    }

    #[test]
    fn resolutions_are_exact_to_the_last_digit() {
        for um in [0.65, 0.3246, 1.0, 6.5, 9e3, 1e-2, 1.0 / 3.0, 0.0081, 12345.678] {
            let r = per_centimetre(um);
            let error = (f64::from(r.n) / f64::from(r.d) * um / 10_000.0 - 1.0).abs();
            // A fraction of 32-bit numbers near v is within 1 / d² of it, d at least 2^32 / v.
            assert!(error < 1e-9, "{um}: {}/{}", r.n, r.d);
        }
        assert_eq!((per_centimetre(0.65).n, per_centimetre(0.65).d), (200_000, 13));
        assert!(per_centimetre(1e-9).n > 0 && per_centimetre(1e30).d > 0);
    }
}
