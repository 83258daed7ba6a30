//! What the tests share: specs, values, and a folder listing.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use volume::{DataType, Scaling, VolumeSpec};

/// A float32 volume of 0.65 µm voxels.
pub fn spec(shape: [usize; 3]) -> VolumeSpec {
    VolumeSpec {
        shape,
        first_row: 0,
        row_step: 1,
        voxel_um: Some([0.65; 3]),
        dtype: DataType::F32,
        scaling: None,
        unit: "1/cm".into(),
        name: "rectest".into(),
        provenance: serde_json::json!({ "recipe": "default", "centre": 12.5 }),
    }
}

/// The same with integers spanning -1..4.
pub fn integers(shape: [usize; 3], dtype: DataType) -> VolumeSpec {
    VolumeSpec { dtype, scaling: Some(Scaling { min: -1.0, max: 4.0 }), ..spec(shape) }
}

/// Values without any pattern, -1 to 4, the same for the same index.
pub fn values(range: std::ops::Range<usize>) -> Vec<f32> {
    range
        .map(|i| {
            let hash = (i as u32 ^ 0x9e37_79b9).wrapping_mul(0x85eb_ca6b);
            let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
            (f64::from(hash ^ (hash >> 16)) / f64::from(u32::MAX) * 5.0 - 1.0) as f32
        })
        .collect()
}

/// All files below a folder: relative path and content.
pub fn listing(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut stack = vec![folder.to_owned()];
    while let Some(path) = stack.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                stack.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// The records must be the files, each once.
pub fn assert_records(folder: &Path, records: &[volume::FileRecord]) {
    let files = listing(folder);
    let mut names: Vec<_> = records.iter().map(|r| r.path.clone()).collect();
    names.sort();
    assert_eq!(names, files.keys().cloned().collect::<Vec<_>>());
    for r in records {
        let bytes = &files[&r.path];
        assert_eq!((r.size, &r.blake3), (bytes.len() as u64, &blake3::hash(bytes).to_hex().to_string()));
    }
}
