//! The files of a TIFF stack by their names: which belong together, and in which order.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Number of the first file, and the step from number to number.
pub(super) fn numbering(files: &[(u64, PathBuf)]) -> (u64, u64) {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let first = files.first().map_or(0, |file| file.0);
    (first, files.iter().fold(0, |step, (number, _)| gcd(number - first, step)).max(1))
}

/// How many slices lie between the first and the last file, both included.
pub(super) fn slots(files: &[(u64, PathBuf)], (first, step): (u64, u64)) -> usize {
    files.last().map_or(0, |(last, _)| ((last - first) / step) as usize + 1)
}

/// The TIFF files of a folder with their numbers, in order, and without gaps unless they may have some.
pub(super) fn sorted_files(folder: &Path, gaps: bool) -> Result<Vec<(u64, PathBuf)>> {
    let mut files: Vec<((String, String), u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))? {
        let entry = entry.map_err(|e| Error::io("list", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let lower = name.to_ascii_lowercase();
        if name.starts_with('.') || !(lower.ends_with(".tif") || lower.ends_with(".tiff")) {
            continue;
        }
        let (frame, number) = split_number(&name);
        files.push((frame, number, entry.path()));
    }
    files.sort();
    let Some(((prefix, suffix), _, first)) = files.first() else {
        return Err(Error::format(folder, "it holds no .tif or .tiff files"));
    };
    if let Some((_, _, other)) = files.iter().find(|((p, s), ..)| p != prefix || s != suffix) {
        let reason = format!(
            "it holds files of more than one stack, {:?} and {:?}; keep one of them",
            first.file_name().unwrap_or_default(),
            other.file_name().unwrap_or_default()
        );
        return Err(Error::format(folder, reason));
    }
    let step = if files.len() > 1 { files[1].1 - files[0].1 } else { 1 };
    if let Some(pair) = files.windows(2).find(|p| {
        let apart = p[1].1 - p[0].1;
        apart == 0 || if gaps { apart > 100_000 } else { apart != step }
    }) {
        let reason = format!(
            "slices are missing or numbered unevenly between {:?} and {:?}",
            pair[0].2.file_name().unwrap_or_default(),
            pair[1].2.file_name().unwrap_or_default()
        );
        return Err(Error::format(folder, reason));
    }
    Ok(files.into_iter().map(|(_, number, path)| (number, path)).collect())
}

/// Splits a name at its last number: (before, after), number. Without a number it is 0.
fn split_number(name: &str) -> ((String, String), u64) {
    let stem_end = name.rfind('.').unwrap_or(name.len());
    let Some(end) = name[..stem_end].rfind(|c: char| c.is_ascii_digit()) else {
        return ((name.to_owned(), String::new()), 0);
    };
    let start = name[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |i| i + name[i..].chars().next().map_or(1, char::len_utf8));
    let number = name[start..=end].parse().unwrap_or(u64::MAX);
    ((name[..start].to_owned(), name[end + 1..].to_ascii_lowercase()), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_their_last_number() {
        let split = |n: &str| split_number(n);
        assert_eq!(split("rec_00012.tiff"), (("rec_".into(), ".tiff".into()), 12));
        assert_eq!(split("a1_7_µ.tif"), (("a1_".into(), "_µ.tif".into()), 7));
        assert_eq!(split("µ7.tif"), (("µ".into(), ".tif".into()), 7));
        assert_eq!(split("rec_00000-1.tiff").0.0, "rec_00000-");
        assert_eq!(split("x.tif").1, 0);
        assert_eq!(split("123.TIF"), ((String::new(), ".tif".into()), 123));
    }
}
