//! Completeness without opening the HDF5: superblocks 0 to 3, user blocks, flags, locks, lengths.

// Helpers outside test functions assert by panicking too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Dx, Format, array, create};
use hdf5_metno::FileBuilder;
use scan::{Verdict, completeness};

#[test]
fn whole_files_of_every_version_and_user_block() {
    let folder = tempfile::tempdir().unwrap();
    for (format, version) in [(Format::Old, 0), (Format::V18, 2), (Format::Newest, 3)] {
        let path = folder.path().join("a.h5");
        Dx { format, ..Dx::default() }.write::<u16>(&path, |_| ());
        let answer = completeness(&path).unwrap();
        assert_eq!(answer.verdict, Verdict::Complete, "{format:?}");
        assert_eq!(answer.superblock_version, Some(version));
        assert_eq!(
            (answer.size, answer.end_of_file),
            (std::fs::metadata(&path).unwrap().len(), Some(answer.size))
        );
    }
    for block in [512, 1024, 4096] {
        let path = folder.path().join("block.h5");
        let file = FileBuilder::new().with_fcpl(|p| p.userblock(block)).create(&path).unwrap();
        common::stack::<u16>(
            &file.create_group("exchange").unwrap(),
            "data",
            [5, 2, 4],
            0,
            &common::How::default(),
        );
        array(&file, "exchange/theta", &[0.0, 45.0, 90.0, 135.0, 180.0]);
        file.close().unwrap();
        let answer = completeness(&path).unwrap();
        assert_eq!((answer.verdict, answer.user_block), (Verdict::Complete, block));
        let scan = scan::open(&path).unwrap();
        let mut rows = scan::Samples::empty(scan::DataType::U16);
        scan.read_rows(0..2, &mut rows).unwrap();
        assert!(rows.to_f32() == common::expected(0..5, 0..2, 4));
        // A block put in front of a finished file.
        let mut moved = vec![b'#'; 512];
        moved.extend(std::fs::read(folder.path().join("a.h5")).unwrap());
        let path = folder.path().join("moved.h5");
        std::fs::write(&path, &moved).unwrap();
        assert_eq!(completeness(&path).unwrap().verdict, Verdict::Complete);
        assert!(scan::open(&path).is_ok());
        std::fs::write(&path, &moved[..moved.len() - 1]).unwrap();
        assert!(matches!(completeness(&path).unwrap().verdict, Verdict::Truncated(_)));
    }
}

#[test]
fn files_under_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("open.h5");
    let file = create(&path, Format::Newest);
    common::stack::<u16>(
        &file.create_group("exchange").unwrap(),
        "data",
        [5, 2, 4],
        0,
        &common::How::default(),
    );
    file.flush().unwrap();
    let held = completeness(&path).unwrap();
    assert!(matches!(held.verdict, Verdict::StillOpen(_)), "{held:?}");
    let error = scan::open(&path).unwrap_err();
    assert!(error.is_bad_input() && error.retry_helps(), "{error}");
    // What a killed writer leaves behind: the flag stays.
    let left = folder.path().join("left.h5");
    std::fs::copy(&path, &left).unwrap();
    assert!(matches!(completeness(&left).unwrap().verdict, Verdict::StillOpen(_)));
    file.close().unwrap();
    assert_eq!(completeness(&path).unwrap().verdict, Verdict::Complete);

    // Old files have no flag, but their writer holds a lock.
    let path = folder.path().join("old.h5");
    let file = create(&path, Format::Old);
    common::stack::<u16>(
        &file.create_group("exchange").unwrap(),
        "data",
        [5, 2, 4],
        0,
        &common::How::default(),
    );
    file.flush().unwrap();
    let held = completeness(&path).unwrap();
    assert!(matches!(&held.verdict, Verdict::StillOpen(why) if why.contains("locked")), "{held:?}");
    file.close().unwrap();
    assert_eq!(completeness(&path).unwrap().verdict, Verdict::Complete);

    // Single writer, multiple readers.
    let path = folder.path().join("swmr.h5");
    let file = create(&path, Format::Newest);
    let data = file.new_dataset::<u16>().chunk(4).shape(0..).create("x").unwrap();
    file.start_swmr().unwrap();
    let held = completeness(&path).unwrap();
    assert!(matches!(&held.verdict, Verdict::StillOpen(why) if why.contains("multiple-reader")), "{held:?}");
    drop((data, file));
}

#[test]
fn files_that_are_cut_or_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(Dx::default().in_folder::<u16>(folder.path(), |_| ())).unwrap();
    let path = folder.path().join("cut.h5");
    for cut in [1, 7, 8, 9, 40, 95, 96, 512, 2048, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let verdict = completeness(&path).unwrap().verdict;
        assert!(matches!(verdict, Verdict::Truncated(_)), "cut at {cut}: {verdict:?}");
        assert!(scan::open(&path).unwrap_err().retry_helps());
    }
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b"PK\x03\x04zip", "zip"),
        (b"II*\0tiff here", "TIFF"),
        (&[0u8; 5000], "zeros"),
        (b"hello, this is no HDF5 file at all", "hello"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let Verdict::NotHdf5(why) = completeness(&path).unwrap().verdict else { panic!("{says} accepted") };
        assert!(why.contains(says), "{why}");
    }
    assert!(completeness(folder.path()).unwrap_err().is_bad_input(), "a folder");
    let absent = completeness(folder.path().join("absent.h5")).unwrap_err();
    assert!(absent.is_bad_input() && absent.retry_helps() && absent.to_string().contains("absent.h5"));
}
