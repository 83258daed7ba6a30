//! Looking, small files, folders, names, deletions.

use custody::{DeletePermit, Kind, Level, Reach, RelPath, SeenKind};
use sites::{Digests, Error, GlobusStorage, ListLimits, Storage};

use super::bench::{Globe, id, until};
use super::common::{Bench, raw_name, rel, zarr_files};

#[tokio::test]
async fn a_collection_shows_what_the_disk_holds() {
    let globe = Globe::new();
    let files = globe.bench.write("nersc", Kind::Zarr, &zarr_files());
    let base = Bench::base(Kind::Zarr);
    let (there, here) = (globe.site("nersc"), globe.bench.storage("nersc"));
    let strip = |seen: Vec<custody::Seen>| {
        let one = |seen: custody::Seen| {
            // A folder's size is the file system's affair.
            let size = if seen.kind == SeenKind::File { seen.size } else { 0 };
            (seen.path, seen.kind, size, seen.mtime_ns.map(|time| time / 1_000_000_000))
        };
        seen.into_iter().map(one).collect::<Vec<_>>()
    };
    let limits = ListLimits::default();
    let listed = there.list(&base, limits).await.unwrap();
    assert_eq!(strip(listed), strip(here.list(&base, limits).await.unwrap()));
    let (ours, theirs) = (
        there.observe(&base, &files, Digests::None, globe.bench.now).await.reach,
        here.observe(&base, &files, Digests::None, globe.bench.now).await.reach,
    );
    let (Reach::Seen(mut ours), Reach::Seen(mut theirs)) = (ours, theirs) else { panic!("not reached") };
    ours.sort_by(|a, b| a.path.cmp(&b.path));
    theirs.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(strip(ours), strip(theirs));
    assert_eq!(there.stat(&rel("nothing/here")).await.unwrap(), None);
    let error = there.list(&rel("nothing"), limits).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let error = there.list(&base, ListLimits { entries: 3, ..limits }).await.unwrap_err();
    assert!(matches!(error, Error::TooMany { limit: 3, .. }), "{error}");
    assert!(
        there.digest(&base, &Default::default()).await.unwrap_err().to_string().contains("beamrail verify")
    );
}

#[tokio::test]
async fn a_collection_that_is_away_is_not_an_empty_one() {
    let globe = Globe::new();
    let files = globe.raw("nersc", 10);
    globe
        .standin
        .fault(standin::globus::Fault::new(standin::globus::Kind::CollectionOffline).collection("nersc"));
    let seen =
        globe.site("nersc").observe(&Bench::base(Kind::Raw), &files, Digests::None, globe.bench.now).await;
    assert!(matches!(seen.reach, Reach::Unreachable(_)), "{seen:?}");
    assert!(globe.site("nersc").stat(&rel("raw")).await.is_err());
}

#[tokio::test]
async fn small_files_pass_through_the_folder_that_this_host_sees() {
    let globe = Globe::new();
    let site = globe.site("alcf");
    let path = rel("jobs/run µ/cancel");
    site.make_folder(&rel("jobs/run µ")).await.unwrap();
    site.make_folder(&rel("jobs/run µ")).await.unwrap();
    site.write_small(&path, b"one").await.unwrap();
    site.write_small(&path, b"two").await.unwrap();
    assert_eq!(std::fs::read(globe.bench.path("alcf", path.as_str())).unwrap(), b"two");
    assert_eq!(site.read_small(&path, 3).await.unwrap(), b"two");
    let error = site.read_small(&path, 2).await.unwrap_err();
    assert!(matches!(error, Error::TooMany { what: "bytes", .. }), "{error}");
    let error = site.read_small(&rel("jobs/none"), 2).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let left = std::fs::read_dir(globe.bench.path("als", ".beamrail/exchange")).unwrap().count();
    assert_eq!(left, 0, "files stay in the exchange");

    let without = std::sync::Arc::new(Globe::link_of(&globe.bench, &globe.standin, false));
    let site = GlobusStorage::new("alcf", without, id("alcf"), "/");
    let error = site.read_small(&path, 9).await.unwrap_err().to_string();
    assert!(error.contains("local = \"FOLDER\""), "{error}");
}

#[tokio::test]
async fn names_change_and_nothing_is_overwritten() {
    let globe = Globe::new();
    let site = globe.site("nersc");
    globe.raw("nersc", 10);
    let base = Bench::base(Kind::Raw);
    let from = base.join(&rel(&raw_name()));
    let to = base.join(&rel("other.h5"));
    site.rename(&from, &to).await.unwrap();
    assert!(site.stat(&from).await.unwrap().is_none() && site.stat(&to).await.unwrap().is_some());
    globe.raw("nersc", 20);
    let error = site.rename(&from, &to).await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(site.stat(&to).await.unwrap().unwrap().size, 10);
    // The answer is lost; the name tells that it was done.
    globe
        .standin
        .fault(standin::globus::Fault::new(standin::globus::Kind::LostAnswer).on("POST", "*/rename"));
    site.rename(&to, &base.join(&rel("third.h5"))).await.unwrap();
    let error = site.rename(&to, &base.join(&rel("fourth.h5"))).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. } | Error::Globus(_)), "{error}");
}

#[tokio::test]
async fn a_mapped_collection_needs_its_consent() {
    let globe = Globe::with(|config| config.needs_consent("nersc"));
    let error = globe.site("nersc").stat(&rel("raw")).await.unwrap_err();
    assert!(error.to_string().contains("data_access = true for collection"), "{error}");
    assert!(!error.retry_helps());
    globe.site("nersc").with_data_access(true).stat(&rel("raw")).await.unwrap();
}

/// A permit to delete a dataset at nersc, whose witness is at als.
async fn permit(globe: &mut Globe, kind: Kind) -> DeletePermit {
    let files = match kind {
        Kind::Raw => globe.raw("als", 100_000),
        _ => globe.bench.write("als", kind, &zarr_files()),
    };
    let bench = &globe.bench;
    bench.adopt("als", kind, &files).await;
    let there: Vec<(String, Vec<u8>)> = match kind {
        Kind::Raw => vec![(raw_name(), super::common::bytes(7, 100_000))],
        _ => zarr_files(),
    };
    bench.write("nersc", kind, &there);
    bench.adopt("nersc", kind, &files).await;
    globe.bench.days(8);
    let bench = &globe.bench;
    let plan = bench.custody.plan(bench.now).unwrap();
    let item = plan.items.iter().find(|item| item.site == "nersc" && item.dataset.kind == kind).unwrap();
    let mut evidence = bench.evidence(item).await;
    // The doomed copy as Globus shows it.
    let list = bench.custody.files(item.copy).unwrap();
    evidence.doomed = globe.site("nersc").observe(&item.base, &list, Digests::None, bench.now).await;
    bench.custody.permit(plan.id, item.copy, &evidence, bench.now).unwrap()
}

#[tokio::test]
async fn exactly_the_permitted_files_are_deleted() {
    let mut globe = Globe::new();
    let permit = permit(&mut globe, Kind::Zarr).await;
    let top = format!("{}/{}", Bench::base(Kind::Zarr), zarr_files()[0].0.split('/').next().unwrap());
    let folder = globe.bench.path("nersc", &top);
    // Since the permit: one file changed, one came.
    std::fs::write(folder.join("big"), b"changed").unwrap();
    std::fs::write(folder.join("0/new"), b"new").unwrap();
    let receipt = globe.site("nersc").delete(permit, globe.bench.now).await.unwrap();
    assert_eq!(receipt.deleted() as usize, zarr_files().len() - 1, "{:?}", receipt.failed());
    assert_eq!(receipt.failed().len(), 1);
    assert!(receipt.failed()[0].0.as_str().ends_with("/big"), "{:?}", receipt.failed());
    let left: Vec<String> = super::common::tree(&folder).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["0/new", "big"]);
}

#[tokio::test]
async fn folders_go_once_they_are_empty() {
    let mut globe = Globe::new();
    let permit = permit(&mut globe, Kind::Zarr).await;
    let receipt = globe.site("nersc").delete(permit, globe.bench.now).await.unwrap();
    assert!(receipt.failed().is_empty(), "{:?}", receipt.failed());
    let base = globe.bench.path("nersc", Bench::base(Kind::Zarr).as_str());
    until("the folders to go", || std::fs::read_dir(&base).unwrap().count() == 0).await;
}

#[tokio::test]
async fn a_site_that_this_host_sees_is_read_for_digests() {
    let globe = Globe::new();
    let files = globe.raw("als", 1000);
    let base = Bench::base(Kind::Raw);
    let seen = globe.site("als").observe(&base, &files, Digests::All, globe.bench.now).await;
    let Reach::Seen(seen) = seen.reach else { panic!("not reached") };
    assert!(seen.iter().any(|one| one.blake3.is_some()));
    // Level and path types, for the compiler's sake where a collection has none of its own.
    let _: (Level, RelPath) = (Level::Sized, base);
}
