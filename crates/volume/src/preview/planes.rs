//! The three orthogonal planes of a volume.

use super::middle::Middle;
use crate::error::{Error, Result};
use crate::reader::VolumeReader;

/// A plane through a volume: values and the size of what they show.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Pixels along the plane's horizontal axis.
    pub width: usize,
    /// Pixels along its vertical axis.
    pub height: usize,
    /// Values, row-major.
    pub values: Vec<f32>,
    /// Where the plane lies, e.g. "z = 512".
    pub place: String,
}

/// Up to three planes with a common scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    /// z = const: x to the right, y down.
    pub xy: Plane,
    /// y = const: x to the right, z down; absent for a volume of one slice.
    pub xz: Option<Plane>,
    /// x = const: z to the right, y down; absent for a volume of one slice.
    pub yz: Option<Plane>,
    /// Extent of the volume along z, y, x in `unit`s.
    pub extent: [f64; 3],
    /// Whether extents are in micrometres (else: pixels).
    pub micrometres: bool,
}

impl Planes {
    /// The planes through the middle of a volume, from the coarsest level that still has `pixels` along its
    /// longest side: reads a small part of the volume.
    pub fn middle(reader: &VolumeReader, pixels: usize) -> Result<Self> {
        let middle = Middle::new(reader.levels(), pixels, reader.scaling())
            .ok_or_else(|| Error::format(&reader.path(), "it has no levels"))?;
        Self::collected(reader, middle)
    }

    /// The same where some of it, or all, was collected while the volume was made: reads the rest.
    ///
    /// # Errors
    /// A volume that cannot be read, or of another shape than the one that `middle` was made for.
    pub fn collected(reader: &VolumeReader, middle: Middle) -> Result<Self> {
        let ([nz, ny, nx], [z, y, x]) = (middle.shape(), middle.place());
        let fine = &reader.levels()[0];
        // Places are told in voxels of the finest level.
        let tell = |axis: usize, i: usize, n: usize| {
            ((i as f64 + 0.5) * fine.shape[axis] as f64 / n as f64) as usize
        };
        let [xy, xz, zy] = middle.planes(reader)?;
        let xy = Plane { width: nx, height: ny, values: xy, place: format!("z = {}", tell(0, z, nz)) };
        let (mut upright, mut across) = (None, None);
        if nz > 1 {
            let place = format!("y = {}", tell(1, y, ny));
            across = Some(Plane { width: nx, height: nz, values: xz, place });
            let values = (0..ny * nz).map(|i| zy[(i % nz) * ny + i / nz]).collect();
            let place = format!("x = {}", tell(2, x, nx));
            upright = Some(Plane { width: nz, height: ny, values, place });
        }
        let extent = [0, 1, 2].map(|a| fine.scale[a] * fine.shape[a] as f64);
        Ok(Self { xy, xz: across, yz: upright, extent, micrometres: reader.has_units() })
    }

    /// The quick-look form: one slice (y, x) of pixels of `um` micrometres.
    pub fn single(values: Vec<f32>, width: usize, um: Option<f64>, place: String) -> Result<Self> {
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            let expected = values.len().div_ceil(width.max(1)).max(1) * width.max(1);
            return Err(Error::Shape { what: "the slice".into(), expected, found: values.len() });
        }
        let height = values.len() / width;
        let size = um.filter(|v| v.is_finite() && *v > 0.0);
        let extent = [1.0, height as f64, width as f64].map(|n| n * size.unwrap_or(1.0));
        let xy = Plane { width, height, values, place };
        Ok(Self { xy, xz: None, yz: None, extent, micrometres: size.is_some() })
    }
}
