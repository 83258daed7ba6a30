//! What custody lets go and when, with time moved by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod world;

use custody::*;
use world::*;

fn raw(n: u64) -> DatasetId {
    DatasetId::new(scan(n), Kind::Raw)
}

fn tiff(n: u64) -> DatasetId {
    DatasetId::new(scan(n), Kind::Tiff)
}

fn keep_papers(world: &World, n: u64) {
    for paper in PAPERS {
        world.custody.keep_paper(&scan(n), paper, "run", b"text", world.now).unwrap();
    }
}

fn codes(error: &Error) -> Vec<String> {
    error.refusal().expect("a refusal").reasons.iter().map(Reason::code).collect()
}

#[test]
fn the_production_periods_of_two_three_and_seven_days_are_kept_to_the_day() {
    let mut world = World::new();
    let at_als = world.put("als", &raw(1));
    let at_nersc = world.put("nersc", &raw(1));
    let at_alcf = world.put("alcf", &raw(1));
    let t_alcf = world.put("alcf", &tiff(1));
    let t_nersc = world.put("nersc", &tiff(1));
    let t_als = world.put("als", &tiff(1));
    keep_papers(&world, 1);
    let mut went = std::collections::BTreeMap::new();
    for hour in 0..24 * 12 {
        for id in world.prune() {
            went.insert(id, hour);
        }
        world.pass(3600);
    }
    let expected =
        [(at_alcf, 48), (t_alcf, 48), (t_als, 72), (at_als, 168), (t_nersc, 168)].into_iter().collect();
    assert_eq!(went, expected);
    assert!(world.holds("nersc", &raw(1)));
    assert_eq!(world.custody.copy(at_nersc).unwrap().state, State::Present);
    // The ledger tells each deletion, with its bytes.
    let filter = LedgerFilter { event: Some(Event::Deleted), ..LedgerFilter::default() };
    let deleted = world.custody.ledger(&filter).unwrap();
    assert_eq!(deleted.len(), 5);
    assert!(deleted.iter().all(|entry| entry.bytes > Some(0) && entry.scan == Some(scan(1))));
}

#[test]
fn the_last_copy_of_derived_data_waits_for_its_notice_and_its_papers() {
    let mut world = World::new();
    world.put("nersc", &raw(1));
    let id = world.put("nersc", &tiff(1));
    world.days(8);
    let plan = world.custody.plan(world.now).unwrap();
    assert!(plan.items.is_empty() && plan.announce.is_empty());
    let text = plan.refused[0].refusal.to_string();
    assert!(text.contains("no recipe") && text.contains("not announced"), "{text}");
    keep_papers(&world, 1);
    assert_eq!(world.prune(), []);
    world.pass(48 * 3600 - 1);
    assert_eq!(world.prune(), []);
    world.pass(1);
    assert_eq!(world.prune(), [id]);
}

#[test]
fn two_copies_do_not_vouch_for_each_other() {
    let mut world = World::new();
    let mut settings = settings();
    settings.sites.get_mut("nersc").unwrap().areas.get_mut("raw").unwrap().retention =
        Rule::After(Age::days(2));
    world.custody.configure(&settings, "test", world.now).unwrap();
    world.put("als", &raw(1));
    world.put("nersc", &raw(1));
    world.days(9);
    let plan = world.custody.plan(world.now).unwrap();
    assert_eq!(plan.items.len(), 2, "each may go as long as the other stays");
    let first = world.ask(&plan, plan.items[0].copy).unwrap();
    let refused = world.ask(&plan, plan.items[1].copy).unwrap_err();
    assert_eq!(codes(&refused), ["last-copy", "being-deleted"]);
    world.delete(first);
    assert_eq!(codes(&world.ask(&plan, plan.items[1].copy).unwrap_err()), ["last-copy"]);
}

#[test]
fn a_permit_is_for_now_and_an_unused_one_leaves_a_copy_that_does_not_count() {
    let mut world = World::new();
    let als = world.put("als", &raw(1));
    world.put("nersc", &raw(1));
    world.days(8);
    let plan = world.custody.plan(world.now).unwrap();
    let permit = world.ask(&plan, als).unwrap();
    world.pass(121);
    assert!(permit.redeem(world.now).unwrap_err().to_string().contains("expired"));
    // Whether files went is not known; it may be gone on with, and it is no witness.
    assert_eq!(world.custody.copy(als).unwrap().state, State::Deleting);
    let plan = world.custody.plan(world.now).unwrap();
    let gone = format!("raw/ALS-00001_u/{}.h5", scan(1).stem());
    world.disks.get_mut("als").unwrap().remove(&gone);
    let permit = world.ask(&plan, als).unwrap();
    world.delete(permit);
    assert_eq!(world.custody.copy(als).unwrap().state, State::Deleted);
}

#[test]
fn a_failed_verification_and_a_lost_copy_stop_counting() {
    let mut world = World::new();
    let als = world.put("als", &raw(1));
    let nersc = world.put("nersc", &raw(1));
    world.days(8);
    let path = format!("raw/ALS-00001_u/{}.h5", scan(1).stem());
    let good = world.disks["nersc"][&path];
    world.disks.get_mut("nersc").unwrap().get_mut(&path).unwrap().content = 99;
    let error = world.verify(nersc, Level::Digested).unwrap_err().to_string();
    assert!(error.contains("has another content"), "{error}");
    assert_eq!(world.custody.copy(nersc).unwrap().state, State::Suspect);
    assert!(world.custody.plan(world.now).unwrap().items.is_empty());
    world.disks.get_mut("nersc").unwrap().insert(path, good);
    world.verify(nersc, Level::Digested).unwrap();
    // Its age counts from today again, and with it the rule of the copy at als.
    assert!(world.custody.plan(world.now).unwrap().items.is_empty());
    world.days(8);
    assert_eq!(world.custody.plan(world.now).unwrap().items[0].copy, als);
    world.custody.mark_lost(nersc, "the disk died", "test", world.now).unwrap();
    assert!(world.custody.plan(world.now).unwrap().items.is_empty());
}

#[test]
fn an_old_verification_asks_for_a_scrub() {
    let mut world = World::new();
    world.put("als", &raw(1));
    let nersc = world.put("nersc", &raw(1));
    world.days(40);
    let plan = world.custody.plan(world.now).unwrap();
    assert_eq!((plan.items.len(), plan.scrub.as_slice()), (0, [nersc].as_slice()));
    assert!(plan.refused[0].refusal.to_string().contains("verify it in full"));
    world.verify(nersc, Level::Digested).unwrap();
    assert_eq!(world.custody.plan(world.now).unwrap().items.len(), 1);
}

#[test]
fn export_control_is_decided_at_first_sight_and_asked_by_every_transfer() {
    let mut world = World::new();
    let request = |folder: &str, to: &str| TransferRequest {
        dataset: DatasetId::new(ScanName::new(folder, "s").unwrap(), Kind::Raw),
        from: "als".into(),
        from_base: rel("raw").join(&rel(folder)),
        to: to.into(),
        to_base: rel("raw").join(&rel(folder)),
        files: FileList::new(vec![FileEntry::new("s.h5", 1, None).unwrap()]).unwrap(),
        run: "run".into(),
    };
    let ask = |folder: &str, to: &str| world.custody.permit_transfer(&request(folder, to), world.now);
    let free = ask("ALS-1_u", "nersc").unwrap();
    assert_eq!(free.redeem(world.now).unwrap().request().to, "nersc");
    assert_eq!(codes(&ask("EC-1_u", "nersc").unwrap_err()), ["export-controlled"]);
    assert_eq!(codes(&ask("ec-2_u", "alcf").unwrap_err()), ["export-controlled"]);
    assert_eq!(codes(&ask("ALS-1_u", "elsewhere").unwrap_err()), ["unknown-place"]);
    assert_eq!(codes(&ask("EC-1_u", "catalogue").unwrap_err()), ["unknown-place"]);
    // A flag decides where no folder does; it can be raised later, and not lowered.
    let (controlled, free) = (ScanName::new("ALS-3_u", "s").unwrap(), ScanName::new("ALS-4_u", "s").unwrap());
    assert!(world.custody.sight(&controlled, Some(true), "run", world.now).unwrap().controlled);
    assert!(world.custody.sight(&controlled, Some(false), "run", world.now).unwrap().controlled);
    assert_eq!(codes(&ask("ALS-3_u", "nersc").unwrap_err()), ["export-controlled"]);
    assert!(!world.custody.sight(&free, Some(false), "run", world.now).unwrap().controlled);
    assert!(world.custody.sight(&free, Some(true), "run", world.now).unwrap().controlled);
    assert!(world.custody.set_mark(&free, false, "", "", world.now).is_err());
    world.custody.set_mark(&free, false, "the officer", "declassified", world.now).unwrap();
    let _permit = ask("ALS-4_u", "nersc").unwrap();
    // A change of the patterns does not change a mark.
    let mut settings = settings();
    settings.export.folders.clear();
    world.custody.configure(&settings, "test", world.now).unwrap();
    world.pass(1);
    assert_eq!(
        codes(&world.custody.permit_transfer(&request("EC-1_u", "nersc"), world.now).unwrap_err()),
        ["export-controlled"]
    );
    let filter = LedgerFilter { event: Some(Event::Refused), ..LedgerFilter::default() };
    assert_eq!(world.custody.ledger(&filter).unwrap().len(), 6);
}

#[test]
fn reconcile_finds_what_was_missed_what_vanished_and_what_nobody_registered() {
    let mut world = World::new();
    let known = world.put("als", &raw(1));
    let vanished = world.put("als", &raw(2));
    world.write("als", &raw(3));
    world.write("als", &raw(4));
    world.pass(60);
    let file = |n: u64| format!("raw/ALS-00001_u/{}.h5", scan(n).stem());
    world.disks.get_mut("als").unwrap().remove(&file(2));
    world.disks.get_mut("als").unwrap().get_mut(&file(1)).unwrap().size += 1;
    let seen = world.disks["als"].iter().map(|(path, real)| Seen {
        mtime_ns: Some(real.mtime_ns),
        ..Seen::file(path.strip_prefix("raw/").unwrap(), real.size)
    });
    let mut seen: Vec<Seen> = seen.collect();
    seen.push(Seen::file("ALS-00001_u/notes.txt", 3));
    seen.push(Seen::file("ALS-00001_u/.half.h5.part", 3));
    let listing =
        |reach| SiteListing { site: "als".into(), area: "raw".into(), observed_at: world.now, reach };
    let listings = [listing(Reach::Seen(seen))];
    let found = world.custody.reconcile(&listings, "als", &|scan_| *scan_ == scan(4)).unwrap();
    let names = |found: &[Found]| found.iter().map(|f| f.path.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&found.missed), [file(3)]);
    assert_eq!(found.vanished, [vanished]);
    assert_eq!(found.changed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [known]);
    assert_eq!(names(&found.unregistered), [file(3), file(4), "raw/ALS-00001_u/notes.txt".into()]);
    // Nothing is concluded from silence.
    let silent = [listing(Reach::Unreachable("no route".into()))];
    let found = world.custody.reconcile(&silent, "als", &|_| false).unwrap();
    assert!(found.vanished.is_empty() && found.missed.is_empty() && found.unreachable.len() == 1);
    // What was missed can be adopted, if it is what it seems.
    let new = World::new_copy("als", &raw(3));
    let seen = world.look("als", &new.base, &new.dataset);
    let how = Verification { level: Level::Digested, seen, by: "reconcile".into() };
    assert_eq!(world.custody.adopt(&new, &how, world.now).unwrap().level, Some(Level::Digested));
}

#[test]
fn records_survive_reopening_and_the_ledger_cannot_be_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("custody.db");
    {
        let custody = Custody::open(&path).unwrap();
        custody.configure(&settings(), "me", start()).unwrap();
        custody.hold(&scan(1), "Ada", "a paper", None, start()).unwrap();
    }
    let custody = Custody::open(&path).unwrap();
    assert_eq!(custody.settings().unwrap(), (1, settings()));
    assert!(!custody.deletion_is_on().unwrap(), "a new database is plan-only");
    assert_eq!(custody.holds(Some(&scan(1))).unwrap()[0].who, "Ada");
    let other = rusqlite::Connection::open(&path).unwrap();
    assert!(other.execute("DELETE FROM ledger", []).is_err());
    assert!(other.execute("UPDATE ledger SET text = ''", []).is_err());
    other.pragma_update(None, "user_version", 99).unwrap();
    let Err(error) = Custody::open(&path) else { unreachable!() };
    assert!(error.to_string().contains("newer beamrail"), "{error}");
}

#[test]
fn a_file_has_one_owner_and_a_scan_one_raw_file() {
    let mut world = World::new();
    world.put("als", &raw(1));
    // The same again changes nothing.
    let again = world.custody.register(&World::new_copy("als", &raw(1)), world.now).unwrap();
    assert_eq!(world.custody.copies(&scan(1)).unwrap().len(), 1);
    assert_eq!(world.custody.copy(again).unwrap().level, Some(Level::Digested));
    // Another file under the same name is refused.
    let mut other = World::new_copy("nersc", &raw(1));
    other.files =
        FileList::new(vec![FileEntry::new(format!("{}.h5", scan(1).stem()), 5, None).unwrap()]).unwrap();
    let error = world.custody.register(&other, world.now).unwrap_err().to_string();
    assert!(error.contains("find out which is right"), "{error}");
    // A dataset within another one's folder is refused.
    world.put("als", &tiff(1));
    let mut inside = World::new_copy("als", &tiff(2));
    inside.base = inside.base.join(&rel(&format!("rec{}", scan(1).stem())));
    let error = world.custody.register(&inside, world.now).unwrap_err().to_string();
    assert!(error.contains("belongs to"), "{error}");
    // Outside the area too.
    let mut outside = World::new_copy("als", &tiff(3));
    outside.base = rel("raw/ALS-00001_u");
    assert!(
        world.custody.register(&outside, world.now).unwrap_err().to_string().contains("outside the area")
    );
}

#[test]
fn a_permit_is_void_when_something_was_decided_since_it_was_minted() {
    type Meanwhile = fn(&mut World);
    let cases: [(&str, Meanwhile, &[&str]); 7] = [
        ("nothing", |_| (), &[]),
        ("switched off", |w| w.custody.switch_deletion(false, "operator", w.now).unwrap(), &["switched-off"]),
        ("held", |w| w.custody.hold(&scan(1), "Ada", "look", None, w.now).map(drop).unwrap(), &["held"]),
        ("used", |w| w.custody.begin_use(&raw(1), "als", "run", None, w.now).unwrap(), &["in-use"]),
        ("clock back", |w| w.pass(-3600), &["clock-went-back"]),
        (
            "witness lost",
            |w| {
                let nersc = w.custody.copies(&scan(1)).unwrap().into_iter().find(|copy| copy.site == "nersc");
                w.custody.mark_lost(nersc.unwrap().id, "gone", "operator", w.now).unwrap();
            },
            &["waits-for", "last-copy"],
        ),
        (
            "witness not counted",
            |w| {
                let mut settings = settings();
                settings.sites.get_mut("nersc").unwrap().counted = false;
                w.custody.configure(&settings, "operator", w.now).unwrap();
            },
            &["policy-changed", "last-copy", "not-counted"],
        ),
    ];
    for (what, meanwhile, reasons) in cases {
        let mut world = World::new();
        let als = world.put("als", &raw(1));
        world.put("nersc", &raw(1));
        world.days(8);
        let plan = world.custody.plan(world.now).unwrap();
        let permit = world.ask(&plan, als).unwrap();
        meanwhile(&mut world);
        match permit.redeem(world.now) {
            Ok(_) => assert!(reasons.is_empty(), "{what}: it could be used"),
            Err(error) => {
                assert_eq!(codes(&error), reasons, "{what}");
                let refusals = LedgerFilter { event: Some(Event::Refused), ..LedgerFilter::default() };
                let refusals = world.custody.ledger(&refusals).unwrap();
                assert!(
                    refusals.last().is_some_and(|one| one.scan == Some(scan(1))),
                    "{what}: not in the ledger"
                );
            }
        }
    }
}

#[test]
fn a_transfer_permit_is_void_when_the_scan_was_marked_since() {
    let world = World::new();
    let request = TransferRequest {
        dataset: raw(1),
        from: "als".into(),
        from_base: World::base(&raw(1)),
        to: "nersc".into(),
        to_base: World::base(&raw(1)),
        files: World::new_copy("als", &raw(1)).files,
        run: "run".into(),
    };
    let permit = world.custody.permit_transfer(&request, world.now).unwrap();
    world.custody.set_mark(&scan(1), true, "the officer", "controlled after all", world.now).unwrap();
    assert_eq!(codes(&permit.redeem(world.now).unwrap_err()), ["export-controlled"]);
    world.custody.set_mark(&scan(1), false, "the officer", "it is not", world.now).unwrap();
    // The same run asking again closes its earlier transfer, whose permit is void from then on.
    let first = world.custody.permit_transfer(&request, world.now).unwrap();
    let second = world.custody.permit_transfer(&request, world.now).unwrap();
    assert_eq!(codes(&first.redeem(world.now).unwrap_err()), ["permit-void"]);
    assert!(second.redeem(world.now).is_ok());
}

#[test]
fn while_settings_that_are_kept_elsewhere_are_not_known_nothing_goes() {
    let mut world = World::new();
    world.put("nersc", &raw(1));
    let id = world.put("alcf", &raw(1));
    world.days(3);
    let source = "Prefect at http://h/api";
    world.custody.authority_heard(source, &serde_json::json!({}), world.now).unwrap();
    world.custody.authority_silent(source, "no answer", None, world.now).unwrap();
    assert_eq!(world.prune(), [], "silent");
    // Said once, however often it is tried.
    world.custody.authority_silent(source, "no answer", None, world.now).unwrap();
    let silent = LedgerFilter { event: Some(Event::SettingsSilent), ..LedgerFilter::default() };
    assert_eq!(world.custody.ledger(&silent).unwrap().len(), 1);
    let refused = LedgerFilter { event: Some(Event::Refused), ..LedgerFilter::default() };
    let refused = world.custody.ledger(&refused).unwrap();
    assert!(
        refused.last().unwrap().reasons.iter().any(|reason| reason.code() == "settings-unknown"),
        "{refused:?}"
    );
    // What was said long ago does not count either.
    world.custody.authority_heard(source, &serde_json::json!({}), world.now).unwrap();
    world.pass(601);
    assert_eq!(world.prune(), [], "not read lately");
    world.custody.authority_heard(source, &serde_json::json!({}), world.now).unwrap();
    assert_eq!(world.prune(), [id]);
}
