//! Any bytes open as a scan or give an error; what opens can be read or gives an error.
#![no_main]

use std::io::Write as _;

use libfuzzer_sys::fuzz_target;

/// Values that one read may ask for: a damaged header may claim any shape.
const MOST: usize = 1 << 22;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(bytes).is_err() {
        return;
    }
    let Ok(scan) = scan::open(file.path()) else { return };
    let info = scan.info();
    let row = info.projections.saturating_mul(info.columns);
    let frame = info.rows.saturating_mul(info.columns);
    if row <= MOST && info.rows > 0 {
        let _ = scan.read_flats(0..1);
        let _ = scan.read_darks(0..1);
        let _ = scan.read_rows(0..1, &mut scan::Samples::empty(info.dtype));
    }
    if frame <= MOST && info.projections > 0 {
        let _ = scan.read_projections(0..1, &mut scan::Samples::empty(info.dtype));
    }
});
