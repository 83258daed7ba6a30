//! Small helpers around the HDF5 library that both layouts share.
//!
//! No object records its time, so that the same options give the same file, byte for byte.

use hdf5_metno::filters::BloscShuffle;
use hdf5_metno::types::{FixedAscii, VarLenUnicode};
use hdf5_metno::{Dataset, DatasetBuilderEmptyShape, Group, H5Type, Location};

use super::options::{Compression, SimulateOptions};

/// A string as control systems store it: fixed length, padded with zeros. Characters beyond ASCII become `?`,
/// what is longer than 255 is cut.
pub(crate) fn ascii(value: &str) -> FixedAscii<256> {
    let plain: String =
        value.chars().take(255).map(|c| if c.is_ascii() && c != '\0' { c } else { '?' }).collect();
    FixedAscii::from_ascii(&plain).unwrap_or_default()
}

/// An empty image stack (frames, rows, columns), stored as the options say; chunks are clipped to the stack.
pub(crate) fn image_dataset<T: H5Type>(
    group: &Group,
    name: &str,
    shape: [usize; 3],
    options: &SimulateOptions,
) -> hdf5_metno::Result<Dataset> {
    let builder: DatasetBuilderEmptyShape =
        group.new_dataset_builder().obj_track_times(false).empty::<T>().shape((shape[0], shape[1], shape[2]));
    let chunk = match (options.chunk, options.compression) {
        (None, Compression::None) => return builder.no_chunk().create(name),
        (None, _) => [1, shape[1], shape[2]],
        (Some(chunk), _) => chunk,
    };
    let chunk: Vec<usize> = chunk.iter().zip(&shape).map(|(c, s)| (*c).min(*s)).collect();
    let builder = builder.chunk(chunk);
    let builder = match options.compression {
        Compression::None => builder,
        Compression::Gzip => builder.shuffle().deflate(4),
        Compression::Lzf => builder.shuffle().lzf(),
        Compression::BloscLz4 => builder.blosc_lz4(5, BloscShuffle::Byte),
        Compression::BloscZstd => builder.blosc_zstd(3, BloscShuffle::Bit),
    };
    builder.create(name)
}

/// A one-dimensional dataset at `path`, with the groups on the way to it.
pub(crate) fn array<T: H5Type>(root: &Group, path: &str, values: &[T]) -> hdf5_metno::Result<Dataset> {
    root.new_dataset_builder()
        .obj_track_times(false)
        .with_link_create_plist(|links| links.create_intermediate_group(true))
        .with_data(values)
        .create(path)
}

/// A scalar dataset at `path`.
pub(crate) fn scalar<T: H5Type>(root: &Group, path: &str, value: &T) -> hdf5_metno::Result<Dataset> {
    root.new_dataset_builder()
        .obj_track_times(false)
        .with_link_create_plist(|links| links.create_intermediate_group(true))
        .with_data(ndarray::aview0(value))
        .create(path)
}

/// A scalar attribute with a string of fixed length.
pub(crate) fn attribute(of: &Location, name: &str, value: &str) -> hdf5_metno::Result<()> {
    of.new_attr_builder().with_data(ndarray::aview0(&ascii(value))).create(name)?;
    Ok(())
}

/// A string of any length.
pub(crate) fn unicode(value: &str) -> hdf5_metno::Result<VarLenUnicode> {
    value.parse().map_err(|_| hdf5_metno::Error::from(format!("{value:?} cannot be stored as a string")))
}
