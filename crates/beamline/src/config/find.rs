//! Where the configuration is.

use std::path::{Path, PathBuf};

use super::Error;

/// What the file is called.
pub const FILE_NAME: &str = "beamrail.toml";

/// The places that are looked at when nobody names a file, in order.
pub fn places() -> Vec<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let user = folder("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| folder("HOME").map(|home| home.join(".config")));
    let mut places = vec![PathBuf::from(FILE_NAME)];
    places.extend(user.map(|user| user.join("beamrail").join(FILE_NAME)));
    places.push(Path::new("/etc/beamrail").join(FILE_NAME));
    places
}

/// The file to read: `flag`, else `$BEAMRAIL_CONFIG`, else the first of [`places`] that is there.
///
/// # Errors
/// None is there. A file that was named is not looked for elsewhere.
pub fn find(flag: Option<&Path>) -> Result<PathBuf, Error> {
    let named = std::env::var_os("BEAMRAIL_CONFIG").filter(|text| !text.is_empty()).map(PathBuf::from);
    if let Some(named) = flag.map(Path::to_path_buf).or(named) {
        return Ok(named);
    }
    let looked = places();
    looked.iter().find(|path| path.is_file()).cloned().ok_or(Error::NotFound { looked })
}
