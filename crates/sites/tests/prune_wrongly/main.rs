//! Attempts to make prune delete wrongly. Each begins with copies that may rightly be deleted, then something goes
//! wrong: on a disk, in the records, with the clock, or in what custody is shown. Each must be refused, for the
//! right reason, with that reason in the ledger and every byte still on its disk.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod attempts;
#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;

use attempts::{ATTEMPTS, area_of, tiffs};
use common::*;
use custody::*;
use jiff::SignedDuration;
use sites::{Digests, Storage};

/// Which copy is to be deleted, and what else there is.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    /// The raw scan at als; another verified copy is at nersc.
    Raw,
    /// The TIFF stack at als; another verified copy is at nersc.
    Tiff,
    /// The TIFF stack at nersc, the last one, duly announced; the raw scan is at nersc and als.
    Last,
}

/// When things go wrong.
#[derive(Clone, Copy, PartialEq)]
enum When {
    BeforePlan,
    AfterPlan,
    InEvidence,
}

use Case::*;
use When::*;

struct World {
    bench: Bench,
    runtime: tokio::runtime::Runtime,
    doomed: CopyId,
    /// The copy on which the deletion rests.
    witness: CopyId,
    plan: Option<Plan>,
    evidence: Option<Evidence>,
}

type Act = fn(&mut World);

impl World {
    fn new(case: Case) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // In memory where there is such a place: nothing here depends on the disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut bench = Bench::within(folder);
        let put = |site: &str, kind, files: &[(String, Vec<u8>)]| {
            let list = bench.write(site, kind, files);
            runtime.block_on(bench.adopt(site, kind, &list))
        };
        let raw = [(raw_name(), bytes(1, 5000))];
        let (als, nersc) = (put("als", Kind::Raw, &raw), put("nersc", Kind::Raw, &raw));
        let (doomed, witness) = match case {
            Raw => (als, nersc),
            Tiff => (put("als", Kind::Tiff, &tiffs()), put("nersc", Kind::Tiff, &tiffs())),
            Last => (put("nersc", Kind::Tiff, &tiffs()), nersc),
        };
        if case == Last {
            for paper in PAPERS {
                bench.custody.keep_paper(&scan(), paper, "run", b"text", bench.now).unwrap();
            }
            bench.custody.mark_lost(als, "for this test", "test", bench.now).unwrap();
            bench.days(5);
            let plan = bench.custody.plan(bench.now).unwrap();
            assert_eq!(plan.announce.len(), 1);
            bench.custody.announced(doomed, plan.announce[0].due, "test", bench.now).unwrap();
            bench.days(3);
        } else {
            bench.days(8);
        }
        Self { bench, runtime, doomed, witness, plan: None, evidence: None }
    }

    /// The files of a copy on the disk; the first of them.
    fn file(&self, id: CopyId) -> PathBuf {
        let copy = self.bench.custody.copy(id).unwrap();
        let files = self.bench.custody.files(id).unwrap();
        self.bench.path(&copy.site, copy.base.join(&files.entries()[0].path).as_str())
    }

    fn doomed_file(&self) -> PathBuf {
        self.file(self.doomed)
    }

    fn witness_file(&self) -> PathBuf {
        self.file(self.witness)
    }

    fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = settings();
        change(&mut settings);
        self.bench.custody.configure(&settings, "test", self.bench.now).unwrap();
    }

    fn retention(&self, site: &str, area: &str, rule: &str) {
        self.change_settings(|s| area_of(s, site, area).retention = rule.parse().unwrap());
    }

    fn pass(&mut self, seconds: i64) {
        self.bench.now = self.bench.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn custody(&self) -> &Custody {
        &self.bench.custody
    }

    fn transfer(&self, from: &str, to: &str) {
        let copy = self.custody().copy(self.doomed).unwrap();
        let files = self.custody().files(self.doomed).unwrap();
        let request = self.bench.request(copy.dataset.kind, &files, from, to);
        let _open = self.custody().permit_transfer(&request, self.bench.now).unwrap();
    }

    fn hold(&self, days: Option<i64>) {
        let until = days.map(|d| self.bench.now.checked_add(SignedDuration::from_hours(24 * d)).unwrap());
        self.custody().hold(&scan(), "Ada", "a paper", until, self.bench.now).unwrap();
    }

    fn use_it(&self) {
        let copy = self.custody().copy(self.doomed).unwrap();
        self.custody().begin_use(&copy.dataset, &copy.site, "run-9", None, self.bench.now).unwrap();
    }

    fn look(&self, id: CopyId) -> Observation {
        let copy = self.custody().copy(id).unwrap();
        let files = self.custody().files(id).unwrap();
        let storage = self.bench.storage(&copy.site);
        self.runtime.block_on(storage.observe(&copy.base, &files, Digests::All, self.bench.now))
    }

    fn verify(&self, id: CopyId, level: Level) {
        let seen = self.look(id);
        let how = Verification { level, seen, by: "test".into() };
        let _may_fail = self.custody().verify(id, &how, self.bench.now);
    }

    /// The witness as if it had never been verified better than this.
    fn witness_only(&mut self, level: Option<Level>) {
        let copy = self.custody().copy(self.witness).unwrap();
        let files = self.custody().files(self.witness).unwrap();
        self.custody().mark_lost(self.witness, "for this test", "test", self.bench.now).unwrap();
        let area = copy.area.clone();
        let new = NewCopy {
            dataset: copy.dataset,
            site: copy.site,
            area,
            base: copy.base,
            files,
            by: "test".into(),
        };
        self.witness = self.custody().register(&new, self.bench.now).unwrap();
        if let Some(level) = level {
            self.verify(self.witness, level);
        }
    }

    /// Everything there is to see, honestly.
    fn honest(&self) -> Evidence {
        let copies = self.custody().copies(&scan()).unwrap();
        let others = copies.iter().filter(|copy| copy.id != self.doomed && copy.state.is_there());
        Evidence {
            doomed: self.look(self.doomed),
            witnesses: others.map(|copy| self.look(copy.id)).collect(),
        }
    }

    /// Plans and asks, with things going wrong at the given moment.
    fn attempt(&mut self, when: When, act: Act) -> Result<DeletePermit> {
        if when == BeforePlan {
            act(self);
        }
        if self.plan.is_none() {
            self.plan = Some(self.custody().plan(self.bench.now).unwrap());
        }
        if when == AfterPlan {
            act(self);
        }
        self.evidence = Some(self.honest());
        if when == InEvidence {
            act(self);
        }
        let plan = self.plan.as_ref().unwrap().id;
        self.custody().permit(plan, self.doomed, self.evidence.as_ref().unwrap(), self.bench.now)
    }
}

/// Every byte at the sites, and outside of them.
fn everything(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut all = tree(world.bench.folder.path());
    all.retain(|(name, _)| !name.starts_with("custody.db"));
    all
}

#[test]
fn none_of_them_deletes_anything_and_each_leaves_its_reason_in_the_ledger() {
    assert!(ATTEMPTS.len() >= 60);
    let mut wrong = vec![];
    for (name, code, case, when, act) in ATTEMPTS {
        let mut world = World::new(*case);
        let error = world.attempt(*when, *act).expect_err(name);
        let before = everything(&world);
        let refusal = error.refusal().unwrap_or_else(|| unreachable!("{name}: {error}"));
        let codes: Vec<String> = refusal.reasons.iter().map(Reason::code).collect();
        if !codes.iter().any(|c| c == code) {
            wrong.push(format!("{name}: expected {code}, got {error}"));
        }
        let filter = LedgerFilter { event: Some(Event::Refused), ..LedgerFilter::default() };
        let ledger = world.custody().ledger(&filter).unwrap();
        let last = ledger.last().expect(name);
        assert_eq!(last.reasons, refusal.reasons, "{name}");
        assert_eq!(last.text, error.to_string(), "{name}");
        let deleted = LedgerFilter { event: Some(Event::Deleted), ..LedgerFilter::default() };
        assert!(world.custody().ledger(&deleted).unwrap().is_empty(), "{name}");
        assert_eq!(everything(&world), before, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} attempts refused", ATTEMPTS.len());
}

#[test]
fn without_the_tampering_each_case_is_permitted_and_done() {
    for case in [Raw, Tiff, Last] {
        let mut world = World::new(case);
        let permit = world.attempt(BeforePlan, |_| ()).unwrap();
        let site = world.custody().copy(world.doomed).unwrap().site;
        let storage = world.bench.storage(&site);
        let receipt = world.runtime.block_on(storage.delete(permit, world.bench.now)).unwrap();
        assert!(receipt.failed().is_empty() && receipt.deleted() > 0);
        world.custody().record_deleted(&receipt, world.bench.now).unwrap();
        assert!(!world.doomed_file().exists());
    }
}
