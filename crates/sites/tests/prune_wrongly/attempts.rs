//! The attempts, and what goes wrong in them.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

/// What is tried, for which reason it must be refused, on which copies, when, and how.
pub const ATTEMPTS: &[(&str, &str, Case, When, Act)] = &[
    // The witness is not what it was.
    ("witness: file missing", "changed", Raw, AfterPlan, |w| std::fs::remove_file(w.witness_file()).unwrap()),
    ("witness: file shorter", "changed", Raw, AfterPlan, |w| resize(&w.witness_file(), -1)),
    ("witness: file longer", "changed", Raw, AfterPlan, |w| resize(&w.witness_file(), 1)),
    ("witness: file emptied", "changed", Raw, AfterPlan, |w| resize(&w.witness_file(), -5000)),
    ("witness: byte changed, time kept", "changed", Raw, AfterPlan, |w| flip(&w.witness_file(), true)),
    ("witness: byte changed", "changed", Raw, AfterPlan, |w| flip(&w.witness_file(), false)),
    ("witness: touched", "changed", Raw, AfterPlan, |w| touch(&w.witness_file(), 1)),
    ("witness: time in the future", "changed", Raw, AfterPlan, |w| touch(&w.witness_file(), 30 * 86_400)),
    ("witness: a link", "changed", Raw, AfterPlan, |w| link(w, &w.witness_file())),
    ("witness: a link to the doomed file", "changed", Raw, AfterPlan, |w| {
        replace(&w.witness_file(), |path| symlink(w.doomed_file(), path).unwrap());
    }),
    ("witness: the doomed file by another name", "same-file", Raw, AfterPlan, |w| {
        replace(&w.witness_file(), |path| std::fs::hard_link(w.doomed_file(), path).unwrap());
    }),
    ("witness: a folder", "changed", Raw, AfterPlan, |w| {
        replace(&w.witness_file(), |path| std::fs::create_dir(path).unwrap());
    }),
    ("witness: a pipe", "changed", Raw, AfterPlan, |w| replace(&w.witness_file(), fifo)),
    ("witness: its folder is a link", "unreachable", Raw, AfterPlan, |w| {
        link(w, &w.witness_file().parent().unwrap().to_owned());
    }),
    ("witness: its folder was renamed", "changed", Raw, AfterPlan, |w| {
        let folder = w.witness_file().parent().unwrap().to_owned();
        std::fs::rename(&folder, folder.with_extension("old")).unwrap();
    }),
    ("witness: site vanished", "unreachable", Raw, AfterPlan, |w| unmount(w, "nersc")),
    ("witness: a slice missing", "changed", Tiff, AfterPlan, |w| {
        std::fs::remove_file(w.witness_file()).unwrap()
    }),
    ("witness: a slice shorter", "changed", Tiff, AfterPlan, |w| resize(&w.witness_file(), -1)),
    ("witness: an extra slice", "changed", Tiff, AfterPlan, |w| {
        std::fs::write(w.witness_file().with_file_name("extra.tiff"), "x").unwrap();
    }),
    // The doomed copy is not what was verified.
    ("doomed: byte changed, time kept", "changed", Raw, AfterPlan, |w| flip(&w.doomed_file(), true)),
    ("doomed: byte changed before the plan", "changed", Raw, BeforePlan, |w| flip(&w.doomed_file(), false)),
    ("doomed: touched", "changed", Raw, AfterPlan, |w| touch(&w.doomed_file(), 1)),
    ("doomed: shorter", "changed", Raw, AfterPlan, |w| resize(&w.doomed_file(), -1)),
    ("doomed: missing", "changed", Raw, AfterPlan, |w| std::fs::remove_file(w.doomed_file()).unwrap()),
    ("doomed: a link out of the root", "changed", Raw, AfterPlan, |w| link(w, &w.doomed_file())),
    ("doomed: its folder is a link out of the root", "unreachable", Raw, AfterPlan, |w| {
        link(w, &w.doomed_file().parent().unwrap().to_owned());
    }),
    ("doomed: a folder", "changed", Raw, AfterPlan, |w| {
        replace(&w.doomed_file(), |path| std::fs::create_dir(path).unwrap());
    }),
    ("doomed: site vanished", "unreachable", Raw, AfterPlan, |w| unmount(w, "als")),
    ("doomed: an extra file", "changed", Tiff, AfterPlan, |w| {
        std::fs::write(w.doomed_file().with_file_name("notes.txt"), "mine").unwrap();
    }),
    ("doomed: an extra file in a new folder", "changed", Tiff, BeforePlan, |w| {
        let folder = w.doomed_file().with_file_name("segmentation");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("mask.tiff"), "mine").unwrap();
    }),
    ("doomed: a copy is being written into it", "changed", Tiff, AfterPlan, |w| {
        std::fs::write(w.doomed_file().with_file_name(".new.tiff.part"), "half").unwrap();
    }),
    ("doomed: a slice missing", "changed", Tiff, AfterPlan, |w| {
        std::fs::remove_file(w.doomed_file()).unwrap()
    }),
    ("doomed: a slice rewritten", "changed", Tiff, AfterPlan, |w| flip(&w.doomed_file(), false)),
    ("doomed: a link planted in it", "changed", Tiff, AfterPlan, |w| {
        symlink("/etc", w.doomed_file().with_file_name("etc")).unwrap();
    }),
    ("doomed: the result's folder is a link", "changed", Tiff, AfterPlan, |w| {
        link(w, &w.doomed_file().parent().unwrap().to_owned());
    }),
    // People, runs and transfers.
    ("held", "held", Raw, BeforePlan, |w| w.hold(None)),
    ("held after the plan", "held", Raw, AfterPlan, |w| w.hold(None)),
    ("held for a week", "held", Tiff, AfterPlan, |w| w.hold(Some(7))),
    ("held after it was announced", "held", Last, BeforePlan, |w| w.hold(None)),
    ("used by a run", "in-use", Raw, BeforePlan, |w| w.use_it()),
    ("used by a run that began after the plan", "in-use", Tiff, AfterPlan, |w| w.use_it()),
    ("being written", "being-written", Raw, AfterPlan, |w| w.transfer("nersc", "als")),
    ("being read", "being-read", Raw, AfterPlan, |w| w.transfer("als", "alcf")),
    ("the witness is being written", "being-written", Raw, AfterPlan, |w| w.transfer("als", "nersc")),
    // The witness does not count.
    ("witness: back and not verified", "not-present", Raw, BeforePlan, |w| w.witness_only(None)),
    ("witness: verified by name only", "not-verified", Raw, BeforePlan, |w| {
        w.witness_only(Some(Level::Listed))
    }),
    ("witness: verified by size only", "not-verified", Raw, BeforePlan, |w| {
        w.witness_only(Some(Level::Sized))
    }),
    ("witness: verification failed", "not-present", Raw, AfterPlan, |w| {
        flip(&w.witness_file(), false);
        w.verify(w.witness, Level::Digested);
    }),
    ("witness: lost", "last-copy", Raw, AfterPlan, |w| {
        w.custody().mark_lost(w.witness, "the disk died", "test", w.bench.now).unwrap();
    }),
    ("witness: being deleted itself", "being-deleted", Raw, BeforePlan, |w| {
        w.retention("nersc", "raw", "1 day");
        w.plan = Some(w.custody().plan(w.bench.now).unwrap());
        let plan = w.plan.as_ref().unwrap().id;
        let evidence = Evidence { doomed: w.look(w.witness), witnesses: vec![w.look(w.doomed)] };
        let _permit = w.custody().permit(plan, w.witness, &evidence, w.bench.now).unwrap();
    }),
    ("witness: at a site that does not count", "not-counted", Raw, BeforePlan, |w| {
        w.change_settings(|s| s.sites.get_mut("nersc").unwrap().counted = false);
    }),
    ("witness: a site that left the policy", "unknown-place", Raw, BeforePlan, |w| {
        w.change_settings(|s| {
            s.sites.remove("nersc");
            s.export.allowed_sites.remove("nersc");
        });
    }),
    ("witness: verified long ago", "needs-scrub", Raw, BeforePlan, |w| w.bench.days(40)),
    ("witness: other results", "differs-there", Tiff, BeforePlan, |w| {
        let mut files = tiffs();
        files[0].1 = bytes(77, 900);
        w.bench.write("nersc", Kind::Tiff, &files);
        let digest = |bytes: &[u8]| Some(blake3::hash(bytes).to_hex().to_string());
        let entry =
            |(path, bytes): &(String, Vec<u8>)| FileEntry::new(path.as_str(), 900, digest(bytes)).unwrap();
        let list = FileList::new(files.iter().map(entry).collect()).unwrap();
        w.witness = w.runtime.block_on(w.bench.adopt("nersc", Kind::Tiff, &list));
    }),
    ("only the name is there", "last-copy", Raw, BeforePlan, |w| {
        // The incumbent's check: a file of that name exists at the other site.
        w.custody().mark_lost(w.witness, "not registered", "test", w.bench.now).unwrap();
        std::fs::write(w.witness_file(), "").unwrap();
    }),
    ("export-controlled, the witness where it may not be", "not-allowed-there", Raw, BeforePlan, |w| {
        w.change_settings(|s| s.export.allowed_sites = ["als".to_owned()].into());
        w.custody().set_mark(&scan(), true, "the officer", "test", w.bench.now).unwrap();
    }),
    ("export-controlled after the plan", "not-allowed-there", Raw, AfterPlan, |w| {
        w.change_settings(|s| s.export.allowed_sites = ["als".to_owned()].into());
        w.custody().set_mark(&scan(), true, "the officer", "test", w.bench.now).unwrap();
    }),
    // The doomed copy does not qualify.
    ("doomed: back and not verified", "not-present", Raw, BeforePlan, |w| {
        std::mem::swap(&mut w.doomed, &mut w.witness);
        w.witness_only(None);
        std::mem::swap(&mut w.doomed, &mut w.witness);
        w.retention("als", "raw", "0 days");
    }),
    ("doomed: verification failed", "not-present", Raw, AfterPlan, |w| {
        flip(&w.doomed_file(), false);
        w.verify(w.doomed, Level::Digested);
    }),
    ("doomed: already deleted by the records", "not-present", Raw, AfterPlan, |w| {
        w.custody().mark_lost(w.doomed, "gone", "test", w.bench.now).unwrap();
    }),
    ("doomed: a permit is out already", "being-deleted", Raw, AfterPlan, |w| {
        let evidence = w.honest();
        let plan = w.plan.as_ref().unwrap().id;
        let _permit = w.custody().permit(plan, w.doomed, &evidence, w.bench.now).unwrap();
    }),
    // Policy, switch, plan.
    ("switched off", "switched-off", Raw, BeforePlan, |w| {
        w.custody().switch_deletion(false, "test", w.bench.now).unwrap();
    }),
    ("switched off after the plan", "switched-off", Tiff, AfterPlan, |w| {
        w.custody().switch_deletion(false, "test", w.bench.now).unwrap();
    }),
    ("policy: longer since the plan", "not-due", Raw, AfterPlan, |w| w.retention("als", "raw", "30 days")),
    ("policy: changed elsewhere since the plan", "policy-changed", Raw, AfterPlan, |w| {
        w.retention("alcf", "scratch", "5 days");
    }),
    ("policy: never", "never-due", Raw, BeforePlan, |w| w.retention("als", "raw", "never")),
    ("policy: waits for a copy that is not there", "waits-for", Raw, BeforePlan, |w| {
        w.retention("als", "raw", "1 day after the copy at alcf is verified");
    }),
    ("policy: the area moved", "outside-area", Raw, BeforePlan, |w| {
        w.change_settings(|s| area_of(s, "als", "raw").path = rel("elsewhere"));
    }),
    ("policy: the area is gone", "no-such-area", Raw, BeforePlan, |w| {
        w.change_settings(|s| drop(s.sites.get_mut("als").unwrap().areas.remove("raw")));
    }),
    ("an old plan", "plan-too-old", Raw, AfterPlan, |w| w.pass(25 * 3600)),
    ("a plan that does not name it", "not-in-plan", Raw, AfterPlan, |w| {
        w.hold(None);
        w.plan = Some(w.custody().plan(w.bench.now).unwrap());
        w.custody().release(&scan(), "Ada", w.bench.now).unwrap();
    }),
    ("not due", "not-due", Raw, BeforePlan, |w| w.retention("als", "raw", "9 days")),
    // The clock.
    ("clock: back before the plan", "clock-went-back", Raw, BeforePlan, |w| {
        w.custody().plan(w.bench.now).unwrap();
        w.pass(-3600);
    }),
    ("clock: back after the plan", "clock-went-back", Raw, AfterPlan, |w| w.pass(-3600)),
    ("clock: back to before the copies", "not-due", Raw, BeforePlan, |w| w.bench.days(-20)),
    ("clock: it had run ahead, the verification is in the future", "time-in-future", Raw, BeforePlan, |w| {
        w.bench.days(400);
        w.verify(w.witness, Level::Digested);
        w.bench.days(-400);
        w.custody().accept_clock("test", w.bench.now).unwrap();
    }),
    // What custody is shown.
    ("evidence: old", "evidence-old", Raw, InEvidence, |w| shift(&mut evidence(w).doomed, -601)),
    ("evidence: old, of the witness", "evidence-old", Raw, InEvidence, |w| {
        evidence(w).witnesses.iter_mut().for_each(|seen| shift(seen, -601));
    }),
    ("evidence: from the future", "evidence-old", Raw, InEvidence, |w| shift(&mut evidence(w).doomed, 3600)),
    ("evidence: none of the witness", "evidence-missing", Raw, InEvidence, |w| evidence(w).witnesses.clear()),
    ("evidence: of the witness twice", "evidence-elsewhere", Raw, InEvidence, |w| {
        evidence(w).doomed = evidence(w).witnesses[0].clone();
    }),
    ("evidence: of another folder", "evidence-elsewhere", Raw, InEvidence, |w| {
        evidence(w).doomed.base = rel("raw/ALS-00002_u");
    }),
    ("evidence: the witness's digest not read", "changed", Raw, InEvidence, |w| {
        if let Reach::Seen(seen) = &mut evidence(w).witnesses[0].reach {
            seen[0].blake3 = None;
        }
    }),
    ("evidence: a path with ..", "changed", Tiff, InEvidence, |w| {
        let path = format!("rec{}/../../victim", scan().stem());
        add_seen(&mut evidence(w).doomed, Seen::file(path, 900));
    }),
    ("evidence: a file named twice", "changed", Tiff, InEvidence, |w| {
        add_seen(&mut evidence(w).doomed, Seen::file(tiffs()[0].0.clone(), 900));
    }),
    ("evidence: a name that is not text", "changed", Tiff, AfterPlan, |w| {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"slice\xff.tiff");
        std::fs::write(w.doomed_file().with_file_name(name), "mine").unwrap();
    }),
    // The last copy of derived data.
    ("last: the recipe is not kept", "paper-missing", Tiff, BeforePlan, |w| {
        w.custody().mark_lost(w.witness, "for this test", "test", w.bench.now).unwrap();
        for paper in ["report", "manifest"] {
            w.custody().keep_paper(&scan(), paper, "run", b"text", w.bench.now).unwrap();
        }
    }),
    ("last: not announced", "not-announced", Tiff, BeforePlan, |w| {
        w.custody().mark_lost(w.witness, "for this test", "test", w.bench.now).unwrap();
        for paper in PAPERS {
            w.custody().keep_paper(&scan(), paper, "run", b"text", w.bench.now).unwrap();
        }
    }),
    ("last: announced less than 48 hours ago", "announced-too-late", Tiff, BeforePlan, |w| {
        w.custody().mark_lost(w.witness, "for this test", "test", w.bench.now).unwrap();
        for paper in PAPERS {
            w.custody().keep_paper(&scan(), paper, "run", b"text", w.bench.now).unwrap();
        }
        w.custody().announced(w.doomed, w.bench.now, "test", w.bench.now).unwrap();
        w.pass(48 * 3600 - 1);
    }),
    ("last: it was the last but one at the plan", "not-announced", Tiff, AfterPlan, |w| {
        for paper in PAPERS {
            w.custody().keep_paper(&scan(), paper, "run", b"text", w.bench.now).unwrap();
        }
        w.custody().mark_lost(w.witness, "the disk died", "test", w.bench.now).unwrap();
    }),
    ("last: the policy keeps one", "keep-one", Last, BeforePlan, |w| {
        w.change_settings(|s| area_of(s, "nersc", "scratch").derived = Keep::KeepOne);
    }),
    ("last: the raw scan is lost", "raw-not-safe", Last, AfterPlan, |w| {
        w.custody().mark_lost(w.witness, "the disk died", "test", w.bench.now).unwrap();
    }),
    ("last: the raw scan is not verified", "raw-not-safe", Last, BeforePlan, |w| w.witness_only(None)),
    ("last: the raw scan is at no site that counts", "raw-not-safe", Last, BeforePlan, |w| {
        w.change_settings(|s| s.sites.get_mut("nersc").unwrap().counted = false);
    }),
    ("last: a byte of the raw scan changed", "changed", Last, AfterPlan, |w| flip(&w.witness_file(), true)),
    ("last: the raw scan is missing", "changed", Last, AfterPlan, |w| {
        std::fs::remove_file(w.witness_file()).unwrap();
    }),
    ("last: a failed verification voids the announcement", "not-announced", Last, BeforePlan, |w| {
        let path = w.doomed_file();
        let away = path.with_file_name("../away");
        std::fs::rename(&path, &away).unwrap();
        w.verify(w.doomed, Level::Digested);
        std::fs::rename(&away, &path).unwrap();
        w.verify(w.doomed, Level::Digested);
        w.retention("nersc", "scratch", "0 days");
    }),
];

pub fn area_of<'a>(settings: &'a mut Settings, site: &str, area: &str) -> &'a mut AreaPolicy {
    settings.sites.get_mut(site).unwrap().areas.get_mut(area).unwrap()
}

pub fn tiffs() -> Vec<(String, Vec<u8>)> {
    (0..12).map(|z| (format!("rec{0}/{0}_{z:05}.tiff", scan().stem()), bytes(z, 900))).collect()
}

/// Changes a byte; the time stays if asked.
fn flip(path: &PathBuf, keep_time: bool) {
    let time = path.metadata().unwrap().modified().unwrap();
    let mut content = std::fs::read(path).unwrap();
    content[7] ^= 1;
    std::fs::write(path, content).unwrap();
    if keep_time {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
}

fn resize(path: &PathBuf, by: i64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let time = path.metadata().unwrap().modified().unwrap();
    let size = i64::try_from(file.metadata().unwrap().len()).unwrap() + by;
    file.set_len(u64::try_from(size).unwrap()).unwrap();
    file.set_modified(time).unwrap();
}

/// Puts a link in the place of a file or folder, which is moved out of the sites.
fn link(world: &World, path: &PathBuf) {
    let away = world.bench.folder.path().join("away");
    std::fs::rename(path, &away).unwrap();
    symlink(&away, path).unwrap();
}

fn replace(path: &PathBuf, make: impl FnOnce(&PathBuf)) {
    std::fs::remove_file(path).unwrap();
    make(path);
}

fn fifo(path: &PathBuf) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn touch(path: &PathBuf, seconds: i64) {
    let time = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds.unsigned_abs());
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn unmount(world: &World, site: &str) {
    std::fs::rename(world.bench.path(site, ""), world.bench.folder.path().join("unmounted")).unwrap();
}

fn evidence(world: &mut World) -> &mut Evidence {
    world.evidence.as_mut().unwrap()
}

fn shift(observation: &mut Observation, seconds: i64) {
    observation.observed_at =
        observation.observed_at.checked_add(SignedDuration::from_secs(seconds)).unwrap();
}

fn add_seen(observation: &mut Observation, one: Seen) {
    if let Reach::Seen(seen) = &mut observation.reach {
        seen.push(one);
    }
}
