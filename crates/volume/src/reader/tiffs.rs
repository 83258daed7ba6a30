//! A folder of TIFF slices opened for reading: 8, 16 or 32-bit grey, any writer.
//!
//! Slices are ordered by the last number in their names. Names that do not belong together, gaps in the
//! numbers and files of another shape are errors, because each of them would silently shift the volume.
//! uint8, uint16 and float32 are kept; int8, int16, int32, uint32 and float64 become float32.

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{SampleFormat, Tag};

use crate::error::{Error, Result};
use crate::spec::{DataType, Scaling};
use crate::voxels::{Voxels, with_voxels};
use crate::zarr::LevelGeometry;

use super::names::{numbering, slots, sorted_files};

/// A stack of TIFF files on disk.
#[derive(Debug)]
pub struct TiffStackReader {
    path: PathBuf,
    /// The files in order; `None` for a slice that is not there yet.
    files: Vec<Option<PathBuf>>,
    /// Number in the first file's name, and from name to name.
    numbers: (u64, u64),
    /// The volume as its only level.
    level: [LevelGeometry; 1],
    dtype: DataType,
    voxel_um: Option<[f64; 3]>,
    description: String,
    row_step: usize,
}

/// What one file says about its image.
struct Header {
    height: usize,
    width: usize,
    /// Bits and format of a voxel.
    sample: (u8, SampleFormat),
    /// Where the voxels are, if they are one uncompressed little-endian run.
    run: Option<u64>,
}

impl TiffStackReader {
    /// Opens all `.tif` and `.tiff` files of a folder (hidden files are skipped).
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_files(path, sorted_files(path, false)?)
    }

    /// Opens a stack that is being written: slices may be missing, and come later when it is opened again.
    pub fn open_growing(path: &Path) -> Result<Self> {
        Self::open_files(path, sorted_files(path, true)?)
    }

    fn open_files(path: &Path, files: Vec<(u64, PathBuf)>) -> Result<Self> {
        let first = &files[0].1;
        let (header, mut decoder) = header(first)?;
        let dtype = match header.sample {
            (8, SampleFormat::Uint) => DataType::U8,
            (16, SampleFormat::Uint) => DataType::U16,
            _ => DataType::F32,
        };
        let description = decoder.get_tag_ascii_string(Tag::ImageDescription).unwrap_or_default();
        let row = |text: &str| -> Option<usize> { key(text, "detector_row")?.parse().ok() };
        let numbers = numbering(&files);
        let row_step = match (row(&description), files.get(1)) {
            (Some(a), Some((number, second))) => {
                let (_, mut decoder) = self::header(second)?;
                let text = decoder.get_tag_ascii_string(Tag::ImageDescription).unwrap_or_default();
                let slices = ((number - numbers.0) / numbers.1).max(1) as usize;
                row(&text)
                    .and_then(|b| Some(b.checked_sub(a)? / slices))
                    .filter(|&step| step > 0)
                    .unwrap_or(1)
            }
            _ => 1,
        };
        let voxel_um = voxel_size(&mut decoder, &description).map(|[z, y, x]| [z / row_step as f64, y, x]);
        let [z, y, x] = voxel_um.unwrap_or([1.0; 3]);
        let first_row = row(&description).unwrap_or(0);
        let mut slots = vec![None; slots(&files, numbers)];
        for (number, file) in files {
            if let Some(slot) = slots.get_mut(((number - numbers.0) / numbers.1) as usize) {
                *slot = Some(file);
            }
        }
        let level = LevelGeometry {
            shape: [slots.len(), header.height, header.width],
            scale: [z * row_step as f64, y, x],
            translation: [first_row as f64 * z, 0.0, 0.0],
        };
        Ok(Self {
            path: path.to_owned(),
            files: slots,
            numbers,
            level: [level],
            dtype,
            voxel_um,
            description,
            row_step,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn levels(&self) -> &[LevelGeometry] {
        &self.level
    }

    /// Index of the slice whose file's name ends in `number`.
    pub fn index_of(&self, number: u64) -> Option<usize> {
        let slots = number.checked_sub(self.numbers.0)?;
        slots.is_multiple_of(self.numbers.1).then_some((slots / self.numbers.1) as usize)
    }

    /// Whether slice `z` is there.
    pub fn has_slice(&self, z: usize) -> bool {
        self.files.get(z).is_some_and(Option::is_some)
    }

    /// Reads a window of slice `z`, every `step`-th line and column of it, straight from the file. `None` if
    /// the file is compressed or otherwise not one run of voxels: then only [`read_rows`](Self::read_rows) helps.
    pub fn read_window(&self, z: usize, [y, x]: [Range<usize>; 2], step: usize) -> Result<Option<Voxels>> {
        let file = self.file(z)?;
        let (header, mut decoder) = header(file)?;
        let [_, ny, nx] = self.shape();
        if (header.height, header.width) != (ny, nx) || header.sample.0 as usize != self.dtype.bytes() * 8 {
            return Err(self.differs(file));
        }
        if y.end > ny || x.end > nx || y.is_empty() || x.is_empty() {
            return Err(Error::parameter("window", format!("{y:?}, {x:?}"), "it must lie in the slice"));
        }
        let plain = matches!(header.sample, (8 | 16, SampleFormat::Uint) | (32, SampleFormat::IEEEFP));
        let Some(offset) = header.run.filter(|_| plain) else { return Ok(None) };
        let (bytes, step) = (self.dtype.bytes(), step.max(1));
        let file_at = decoder.inner().get_ref();
        let at = |row: usize, column: usize| offset + ((row * nx + column) * bytes) as u64;
        let fail = |e| Error::io("read the voxels of", file, e);
        let mut out = Voxels::empty(self.dtype);
        out.resize(y.len().div_ceil(step) * x.len().div_ceil(step));
        let memory = with_voxels!(&mut out, Voxels, v => bytemuck::cast_slice_mut::<_, u8>(v));
        if step == 1 && x.len() == nx {
            file_at.read_exact_at(memory, at(y.start, 0)).map_err(fail)?;
            return Ok(Some(out));
        }
        let mut line = vec![0; x.len() * bytes];
        let width = x.len().div_ceil(step) * bytes;
        for (row, share) in y.step_by(step).zip(memory.chunks_exact_mut(width)) {
            if step == 1 {
                file_at.read_exact_at(share, at(row, x.start)).map_err(fail)?;
                continue;
            }
            file_at.read_exact_at(&mut line, at(row, x.start)).map_err(fail)?;
            for (to, from) in share.chunks_exact_mut(bytes).zip(line.chunks(bytes * step)) {
                to.copy_from_slice(&from[..bytes]);
            }
        }
        Ok(Some(out))
    }

    fn file(&self, z: usize) -> Result<&PathBuf> {
        match self.files.get(z) {
            Some(Some(file)) => Ok(file),
            Some(None) => Err(Error::Incomplete { path: self.path.join(format!("slice {z}")) }),
            None => Err(Error::parameter("z", z, format!("the stack has {} slices", self.files.len()))),
        }
    }

    /// Voxels along z, y, x.
    pub fn shape(&self) -> [usize; 3] {
        self.level[0].shape
    }

    /// How voxels are read.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Voxel size along z, y, x for a step of one row, in micrometres, if the files tell.
    pub fn voxel_um(&self) -> Option<[f64; 3]> {
        self.voxel_um
    }

    /// Detector row of the first slice, if recorded.
    pub fn first_row(&self) -> Option<usize> {
        key(&self.description, "detector_row")?.parse().ok()
    }

    /// Rows from slice to slice (1 if not recorded).
    pub fn row_step(&self) -> usize {
        self.row_step
    }

    /// What stored integers stand for, if recorded.
    pub fn scaling(&self) -> Option<Scaling> {
        let number = |name| key(&self.description, name)?.parse::<f32>().ok();
        let scaling = Scaling { min: number("scaling_min")?, max: number("scaling_max")? };
        (self.dtype != DataType::F32 && scaling.max > scaling.min).then_some(scaling)
    }

    /// Unit of the values, if recorded.
    pub fn value_unit(&self) -> Option<&str> {
        key(&self.description, "value_unit")
    }

    /// The provenance, if recorded.
    pub fn provenance(&self) -> Option<serde_json::Value> {
        serde_json::from_str(key(&self.description, "provenance")?).ok()
    }

    /// Reads whole slices (rows, y, x), several files at a time, into `out`.
    pub fn read_rows(&self, rows: Range<usize>, out: &mut Voxels) -> Result<()> {
        let [nz, ny, nx] = self.shape();
        let slice = ny * nx;
        if rows.end > nz {
            return Err(Error::parameter("rows", format!("{rows:?}"), format!("the stack has {nz} slices")));
        }
        let files: Vec<&PathBuf> = rows.map(|z| self.file(z)).collect::<Result<_>>()?;
        let files = files.as_slice();
        let n = files.len() * slice;
        if out.view().dtype() != self.dtype {
            *out = Voxels::empty(self.dtype);
        }
        match out {
            Voxels::F32(v) => fill(v, n, slice, files, |f, s| self.read_f32(f, s)),
            Voxels::U16(v) => fill(v, n, slice, files, |f, s| {
                self.read_plain(f, s, |r| if let DecodingResult::U16(v) = r { Some(v) } else { None })
            }),
            Voxels::U8(v) => fill(v, n, slice, files, |f, s| {
                self.read_plain(f, s, |r| if let DecodingResult::U8(v) = r { Some(v) } else { None })
            }),
        }
    }

    pub(super) fn read(&self, [z, y, x]: [Range<usize>; 3]) -> Result<Voxels> {
        let [_, _, nx] = self.shape();
        let mut out = Voxels::empty(self.dtype);
        let mut slice = Voxels::empty(self.dtype);
        for row in z {
            self.read_rows(row..row + 1, &mut slice)?;
            for line in y.clone() {
                let range = line * nx + x.start..line * nx + x.end;
                let part = match &slice {
                    Voxels::F32(v) => crate::VoxelsRef::F32(&v[range]),
                    Voxels::U16(v) => crate::VoxelsRef::U16(&v[range]),
                    Voxels::U8(v) => crate::VoxelsRef::U8(&v[range]),
                };
                // Both have the stack's type.
                let _ = out.extend(part);
            }
        }
        Ok(out)
    }

    /// One file whose samples are stored in the type they are read in.
    fn read_plain<T: bytemuck::Pod>(
        &self,
        file: &Path,
        out: &mut [T],
        pick: impl Fn(DecodingResult) -> Option<Vec<T>>,
    ) -> Result<()> {
        let mut decoder = match self.read_run(file, bytemuck::cast_slice_mut(out))? {
            None => return Ok(()),
            Some(decoder) => decoder,
        };
        let image = pick(decode(&mut decoder, file)?).filter(|v| v.len() == out.len());
        out.copy_from_slice(&image.ok_or_else(|| self.differs(file))?);
        Ok(())
    }

    /// One file of a stack that is read as float32.
    fn read_f32(&self, file: &Path, out: &mut [f32]) -> Result<()> {
        let (header, mut decoder) = header(file)?;
        if header.sample == (32, SampleFormat::IEEEFP) {
            return self.read_plain(
                file,
                out,
                |r| if let DecodingResult::F32(v) = r { Some(v) } else { None },
            );
        }
        let image: Vec<f32> = match decode(&mut decoder, file)? {
            DecodingResult::I8(v) => v.into_iter().map(f32::from).collect(),
            DecodingResult::I16(v) => v.into_iter().map(f32::from).collect(),
            DecodingResult::I32(v) => v.into_iter().map(|v| v as f32).collect(),
            DecodingResult::U32(v) => v.into_iter().map(|v| v as f32).collect(),
            DecodingResult::F64(v) => v.into_iter().map(|v| v as f32).collect(),
            _ => return Err(self.differs(file)),
        };
        if image.len() != out.len() || (header.height, header.width) != (self.shape()[1], self.shape()[2]) {
            return Err(self.differs(file));
        }
        out.copy_from_slice(&image);
        Ok(())
    }

    /// Reads the voxels directly if the file holds them as one run; else hands back its decoder.
    fn read_run(&self, file: &Path, out: &mut [u8]) -> Result<Option<Decoder<BufReader<File>>>> {
        let (header, mut decoder) = header(file)?;
        let same_type = header.sample.0 as usize == self.dtype.bytes() * 8;
        if !same_type || (header.height, header.width) != (self.shape()[1], self.shape()[2]) {
            return Err(self.differs(file));
        }
        let Some(offset) = header.run else { return Ok(Some(decoder)) };
        let inner = decoder.inner().get_ref();
        inner.read_exact_at(out, offset).map_err(|e| Error::io("read the voxels of", file, e))?;
        Ok(None)
    }

    fn differs(&self, file: &Path) -> Error {
        let [_, ny, nx] = self.shape();
        Error::format(
            file,
            format!("it is not {ny} x {nx} voxels of {} as the first slice of its stack is", self.dtype),
        )
    }
}

/// Reads slices in parallel into one buffer, which is used again.
fn fill<T: Copy + Default + Send>(
    out: &mut Vec<T>,
    n: usize,
    slice: usize,
    files: &[&PathBuf],
    read: impl Fn(&Path, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    out.resize(n, T::default());
    out.par_chunks_mut(slice.max(1)).zip(files).try_for_each(|(out, file)| read(file, out))
}

/// Opens a file and reads its tags; one grey image per file.
fn header(path: &Path) -> Result<(Header, Decoder<BufReader<File>>)> {
    let fail = |e: tiff::TiffError| Error::format(path, format!("not a TIFF that can be read: {e}"));
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let size = file.metadata().map_err(|e| Error::io("read", path, e))?.len();
    let mut decoder = Decoder::new(BufReader::new(file)).map_err(fail)?;
    let (width, height) = decoder.dimensions().map_err(fail)?;
    let (width, height) = (width as usize, height as usize);
    let ColorType::Gray(bits @ (8 | 16 | 32 | 64)) = decoder.colortype().map_err(fail)? else {
        let reason = "it is not grey with 8, 16 or 32 bits; convert it first".to_owned();
        return Err(Error::format(path, reason));
    };
    if width == 0 || height == 0 {
        return Err(Error::format(path, "it has no voxels"));
    }
    if decoder.more_images() {
        return Err(Error::format(path, "it holds several images; write one slice per file"));
    }
    let format = decoder.find_tag_unsigned::<u16>(Tag::SampleFormat).map_err(fail)?;
    let format = format.map_or(SampleFormat::Uint, SampleFormat::from_u16_exhaustive);
    let voxels = width.checked_mul(height).filter(|&n| (n as u64) < u64::from(u32::MAX));
    let Some(bytes) = voxels.map(|n| n as u64 * u64::from(bits) / 8) else {
        return Err(Error::format(path, format!("{width} x {height} voxels are too many")));
    };
    // Deflate packs at most 1032 to 1; a file that claims more would only make us ask for memory.
    if bytes / 1100 > size {
        let reason = format!("it claims {width} x {height} voxels but has {size} bytes");
        return Err(Error::format(path, reason));
    }
    let run = run_offset(&mut decoder, bytes).filter(|o| o.checked_add(bytes).is_some_and(|end| end <= size));
    let mut limits = Limits::default();
    limits.decoding_buffer_size = limits.decoding_buffer_size.max(bytes as usize);
    limits.intermediate_buffer_size = limits.intermediate_buffer_size.max(bytes as usize);
    let decoder = decoder.with_limits(limits);
    Ok((Header { height, width, sample: (bits, format), run }, decoder))
}

/// Where the voxels are, if they are stored as they are in memory, in one run.
fn run_offset(decoder: &mut Decoder<BufReader<File>>, bytes: u64) -> Option<u64> {
    let mut plain = |tag, default: u16| {
        decoder.find_tag_unsigned::<u16>(tag).ok().is_some_and(|v| v.unwrap_or(default) == default)
    };
    // Black is 0 must be stated: the tag has no default.
    let plain = plain(Tag::Compression, 1) && plain(Tag::Predictor, 1) && plain(Tag::FillOrder, 1);
    let black = decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).ok()? == Some(1);
    if !plain || !black || decoder.byte_order() != tiff::tags::ByteOrder::LittleEndian {
        return None;
    }
    let offsets = decoder.find_tag_unsigned_vec::<u64>(Tag::StripOffsets).ok()??;
    let counts = decoder.find_tag_unsigned_vec::<u64>(Tag::StripByteCounts).ok()??;
    let start = *offsets.first()?;
    let mut end = start;
    for (&offset, &count) in offsets.iter().zip(&counts) {
        if offset != end {
            return None;
        }
        end = end.checked_add(count)?;
    }
    (offsets.len() == counts.len() && end - start == bytes).then_some(start)
}

/// Decodes a file that is compressed, tiled, big-endian or in pieces.
fn decode(decoder: &mut Decoder<BufReader<File>>, path: &Path) -> Result<DecodingResult> {
    decoder.read_image().map_err(|e| Error::format(path, format!("its voxels cannot be decoded: {e}")))
}

/// Voxel size in micrometres along z, y, x from resolution tags and description.
fn voxel_size(decoder: &mut Decoder<BufReader<File>>, description: &str) -> Option<[f64; 3]> {
    let mut per = |tag| -> Option<f64> {
        let value = decoder.find_tag(tag).ok()??;
        let size = match value {
            tiff::decoder::ifd::Value::Rational(n, d) => f64::from(d) / f64::from(n),
            _ => return None,
        };
        (size.is_finite() && size > 0.0).then_some(size)
    };
    let (x, y) = (per(Tag::XResolution)?, per(Tag::YResolution)?);
    let unit = decoder.find_tag_unsigned::<u16>(Tag::ResolutionUnit).ok()?;
    let micron = key(description, "unit").is_some_and(|u| {
        matches!(u, "um" | "micron" | "microns" | "micrometer" | "\\u00B5m" | "\\u00b5m" | "µm")
    });
    let spacing = key(description, "spacing").and_then(|s| s.parse::<f64>().ok()).filter(|s| *s > 0.0);
    let factor = match unit {
        // Pixels per centimetre. Dots per inch are not believed: most writers fill in 72.
        Some(3) => 10_000.0,
        // ImageJ: pixels per unit of its description.
        _ if description.starts_with("ImageJ") && micron => 1.0,
        _ => return None,
    };
    Some([spacing.filter(|_| micron).unwrap_or(x * factor), y * factor, x * factor])
}

/// The value of a `key=value` line of a description.
fn key<'a>(description: &'a str, name: &str) -> Option<&'a str> {
    description.lines().find_map(|line| line.trim_end_matches('\0').strip_prefix(name)?.strip_prefix('='))
}
