//! Whatever happens in whatever order: the last verified counted raw copy is never deleted, derived data never
//! goes outside the rules of `expire`, and what policy says must go does go.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod world;

use custody::*;
use jiff::Timestamp;
use proptest::prelude::*;
use world::*;

const SITES: [&str; 3] = ["als", "nersc", "alcf"];

/// Something that happens. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Op {
    Put {
        site: usize,
        kind: usize,
    },
    Register {
        site: usize,
        kind: usize,
    },
    Verify {
        copy: usize,
        level: usize,
    },
    Lose {
        copy: usize,
    },
    Damage {
        site: usize,
        file: usize,
        how: usize,
    },
    Forget {
        copy: usize,
    },
    Hold {
        days: Option<i64>,
    },
    Release,
    Use {
        site: usize,
        kind: usize,
    },
    EndUses,
    Transfer {
        from: usize,
        to: usize,
        kind: usize,
    },
    Policy {
        site: usize,
        area: usize,
        rule: usize,
        keep: bool,
        counted: bool,
    },
    Mark {
        controlled: bool,
    },
    Papers,
    Pass {
        hours: i64,
    },
    ClockBack {
        hours: i64,
    },
    AcceptClock,
    Switch {
        on: bool,
    },
    Away {
        site: usize,
    },
    Back,
    Plan,
    Announce,
    /// Acts on a plan, perhaps an old one; perhaps the permit is not used.
    Act {
        plan: usize,
        item: usize,
        uses: bool,
    },
    /// Takes up all permits that are out, in the order in which they were minted.
    Redeem,
}

fn op() -> impl Strategy<Value = Op> {
    use Op::*;
    let site = || 0usize..3;
    prop_oneof![
        14 => (site(), 0usize..2).prop_map(|(site, kind)| Put { site, kind }),
        1 => (site(), 0usize..2).prop_map(|(site, kind)| Register { site, kind }),
        8 => (0usize..9, 1usize..5).prop_map(|(copy, level)| Verify { copy, level }),
        1 => (0usize..9).prop_map(|copy| Lose { copy }),
        2 => (site(), 0usize..9, 0usize..4).prop_map(|(site, file, how)| Damage { site, file, how }),
        1 => (0usize..9).prop_map(|copy| Forget { copy }),
        1 => proptest::option::of(0i64..9).prop_map(|days| Hold { days }),
        5 => Just(Release),
        1 => (site(), 0usize..2).prop_map(|(site, kind)| Use { site, kind }),
        5 => Just(EndUses),
        1 => (site(), site(), 0usize..2).prop_map(|(from, to, kind)| Transfer { from, to, kind }),
        2 => (site(), 0usize..2, 0usize..5, any::<bool>(), any::<bool>())
            .prop_map(|(site, area, rule, keep, counted)| Policy { site, area, rule, keep, counted }),
        1 => any::<bool>().prop_map(|controlled| Mark { controlled }),
        5 => Just(Papers),
        24 => (1i64..100).prop_map(|hours| Pass { hours }),
        1 => (1i64..400).prop_map(|hours| ClockBack { hours }),
        4 => Just(AcceptClock),
        2 => prop::bool::weighted(0.8).prop_map(|on| Switch { on }),
        1 => site().prop_map(|site| Away { site }),
        6 => Just(Back),
        24 => Just(Plan),
        12 => Just(Announce),
        30 => (0usize..3, 0usize..4, prop::bool::weighted(0.8)).prop_map(|(plan, item, uses)| Act { plan, item, uses }),
        8 => Just(Redeem),
    ]
}

/// The world, and what is true of it whatever custody believes.
struct Model {
    world: World,
    plans: Vec<Plan>,
    permits: Vec<(DeletePermit, CopyId)>,
    /// Whether files were damaged or lost behind custody's back since the oldest permit that is out was minted.
    disturbed: bool,
    /// When the deletion of a copy was announced.
    announced: Vec<(CopyId, Timestamp)>,
    papers: bool,
    held: Vec<Option<Timestamp>>,
    settings: Settings,
    deleted: usize,
}

fn dataset(kind: usize) -> DatasetId {
    DatasetId::new(scan(1), [Kind::Raw, Kind::Tiff][kind % 2])
}

impl Model {
    fn new() -> Self {
        let mut world = World::new();
        // Most histories should get somewhere: they begin with good copies.
        for site in SITES {
            world.put(site, &dataset(0));
        }
        world.put("nersc", &dataset(1));
        Self {
            world,
            plans: vec![],
            permits: vec![],
            disturbed: false,
            announced: vec![],
            papers: false,
            held: vec![],
            settings: settings(),
            deleted: 0,
        }
    }

    fn copies(&self) -> Vec<CopyRecord> {
        self.world.custody.copies(&scan(1)).unwrap()
    }

    fn pick(&self, n: usize) -> Option<CopyRecord> {
        let copies = self.copies();
        copies.get(n % copies.len().max(1)).cloned()
    }

    /// Whether a good raw copy really is at a counted site (the clock and the records left aside).
    fn raw_is_safe(&self) -> bool {
        self.raw_is_safe_without(&[])
    }

    /// The same with the raw copies at some sites gone.
    fn raw_is_safe_without(&self, gone: &[String]) -> bool {
        self.settings.sites.iter().any(|(site, policy)| {
            policy.counted && !gone.contains(site) && self.world.holds(site, &dataset(0))
        })
    }

    fn apply(&mut self, op: &Op) {
        let now = self.world.now;
        match op {
            Op::Put { site, kind } => {
                let (site, dataset) = (SITES[*site], dataset(*kind));
                if !self.world.disks[site].keys().any(|path| path.starts_with(World::base(&dataset).as_str()))
                {
                    self.world.write(site, &dataset);
                    if let Ok(id) = self.world.custody.register(&World::new_copy(site, &dataset), now) {
                        let _may_fail = self.world.verify(id, Level::Digested);
                    }
                }
            }
            Op::Register { site, kind } => {
                let new = World::new_copy(SITES[*site], &dataset(*kind));
                let _may_fail = self.world.custody.register(&new, now);
            }
            Op::Verify { copy, level } => {
                if let Some(copy) = self.pick(*copy) {
                    let _may_fail = self.world.verify(copy.id, Level::ALL[(*level).min(3)]);
                }
            }
            Op::Lose { copy } => {
                self.disturbed = true;
                if let Some(copy) = self.pick(*copy) {
                    let disk = self.world.disks.get_mut(&copy.site).unwrap();
                    let below = copy.base.to_string();
                    disk.retain(|path, _| !path.starts_with(&below));
                }
            }
            Op::Damage { site, file, how } => {
                self.disturbed = true;
                let disk = self.world.disks.get_mut(SITES[*site]).unwrap();
                let count = disk.len().max(1);
                if let Some((_, real)) = disk.iter_mut().nth(file % count) {
                    match how {
                        0 => real.content += 1000,
                        1 => real.size -= 1,
                        2 => real.mtime_ns += 7,
                        _ => (real.content, real.mtime_ns) = (real.content + 1000, real.mtime_ns + 7),
                    }
                }
            }
            Op::Forget { copy } => {
                if let Some(copy) = self.pick(*copy) {
                    self.world.custody.mark_lost(copy.id, "test", "test", now).unwrap();
                }
            }
            Op::Hold { days } => {
                let until = days.map(|days| Age::days(days).after(now));
                self.world.custody.hold(&scan(1), "Ada", "test", until, now).unwrap();
                self.held.push(until);
            }
            Op::Release => {
                self.world.custody.release(&scan(1), "Ada", now).unwrap();
                self.held.clear();
            }
            Op::Use { site, kind } => {
                self.world.custody.begin_use(&dataset(*kind), SITES[*site], "run", None, now).unwrap();
            }
            Op::EndUses => self.world.custody.end_uses("run", now).unwrap(),
            Op::Transfer { from, to, kind } => {
                let dataset = dataset(*kind);
                let base = World::base(&dataset);
                let request = TransferRequest {
                    dataset: dataset.clone(),
                    from: SITES[*from].into(),
                    from_base: base.clone(),
                    to: SITES[*to].into(),
                    to_base: base,
                    files: World::new_copy("als", &dataset).files,
                    run: "run".into(),
                };
                let _may_fail = self.world.custody.permit_transfer(&request, now);
            }
            Op::Policy { site, area, rule, keep, counted } => {
                let rules =
                    ["never", "0 days", "1 day", "3 days", "2 days after the copy at nersc is verified"];
                let site_name = SITES[*site];
                let rule = if *rule == 4 && site_name == "nersc" { rules[0] } else { rules[*rule] };
                let site = self.settings.sites.get_mut(site_name).unwrap();
                site.counted = *counted;
                let area = site.areas.get_mut(["raw", "scratch"][*area]).unwrap();
                area.retention = rule.parse().unwrap();
                area.derived = if *keep { Keep::KeepOne } else { Keep::Expire };
                self.world.custody.configure(&self.settings, "test", now).unwrap();
            }
            Op::Mark { controlled } => {
                self.world.custody.set_mark(&scan(1), *controlled, "officer", "test", now).unwrap();
            }
            Op::Papers => {
                for paper in PAPERS {
                    self.world.custody.keep_paper(&scan(1), paper, "run", b"x", now).unwrap();
                }
                self.papers = true;
            }
            Op::Pass { hours } => self.world.pass(hours * 3600),
            Op::ClockBack { hours } => self.world.pass(-hours * 3600),
            Op::AcceptClock => self.world.custody.accept_clock("test", now).unwrap(),
            Op::Switch { on } => self.world.custody.switch_deletion(*on, "test", now).unwrap(),
            Op::Away { site } => self.world.away.push(SITES[*site].into()),
            Op::Back => self.world.away.clear(),
            Op::Plan => self.plans.push(self.world.custody.plan(now).unwrap()),
            Op::Announce => {
                for one in self.plans.last().into_iter().flat_map(|plan| plan.announce.clone()) {
                    if self.world.custody.announced(one.copy, one.due, "test", now).is_ok() {
                        self.announced.push((one.copy, now));
                    }
                }
            }
            Op::Act { plan, item, uses } => self.act(*plan, *item, *uses),
            Op::Redeem => {
                let disturbed = std::mem::take(&mut self.disturbed);
                for (permit, copy) in std::mem::take(&mut self.permits) {
                    self.redeem(permit, copy, disturbed);
                }
            }
        }
    }

    fn act(&mut self, plan: usize, item: usize, uses: bool) {
        let Some(plan) = self.plans.iter().rev().nth(plan).cloned() else { return };
        if plan.items.is_empty() {
            return;
        }
        let item = &plan.items[item % plan.items.len()];
        if let Ok(permit) = self.world.ask(&plan, item.copy) {
            assert!(!self.world.away.contains(&item.site), "nobody could look at it");
            self.check(item.copy);
            match uses {
                // Nothing can come between.
                true => self.redeem(permit, item.copy, false),
                false => {
                    // What happened before was seen when this one was minted, but not by those before it.
                    self.disturbed &= !self.permits.is_empty();
                    self.permits.push((permit, item.copy));
                }
            }
        }
    }

    /// What must be true when a permit is minted, and when it is used.
    fn check(&self, id: CopyId) {
        let (copy, now) = (self.world.custody.copy(id).unwrap(), self.world.now);
        assert!(self.world.custody.deletion_is_on().unwrap());
        let held = |until: &Option<Timestamp>| until.is_none_or(|until| until >= now);
        assert!(!self.held.iter().any(held), "it is held");
        let uses = self.world.custody.uses().unwrap();
        assert!(uses.iter().all(|one| one.site != copy.site || one.dataset != copy.dataset), "it is in use");
        if copy.dataset.kind == Kind::Raw && self.raw_is_safe() {
            // Copies whose deletion has begun are as good as gone.
            let raw = self.copies().into_iter().filter(|other| other.dataset == copy.dataset);
            let going = raw.filter(|other| other.state == State::Deleting).map(|other| other.site);
            let gone: Vec<String> = going.chain([copy.site.clone()]).collect();
            assert!(
                self.raw_is_safe_without(&gone),
                "no good raw copy would be left beside that at {}",
                copy.site
            );
        }
        if copy.dataset.kind == Kind::Tiff {
            let another = self.copies().iter().any(|other| {
                other.dataset == copy.dataset
                    && other.id != id
                    && other.state == State::Present
                    && self.world.holds(&other.site, &other.dataset)
            });
            let area = &self.settings.sites[&copy.site].areas["scratch"];
            let told = self.announced.iter().any(|(one, at)| *one == id && Age::hours(48).after(*at) <= now);
            let may_expire = self.raw_is_safe() && self.papers && told && area.derived == Keep::Expire;
            assert!(another || may_expire, "the last copy of derived data outside the rules");
        }
    }

    /// Uses a permit, if it is still good, against the world as it is now. Where the world was `disturbed` after
    /// the witnesses were read, which nobody can know who does not read them again, only what custody itself
    /// allowed can be judged, and was when the permit was minted.
    fn redeem(&mut self, permit: DeletePermit, copy: CopyId, disturbed: bool) {
        let record = self.world.custody.copy(copy).unwrap();
        let was_safe = self.raw_is_safe();
        let Ok(order) = permit.redeem(self.world.now) else { return };
        if !disturbed {
            self.check(copy);
        }
        let mut gone = vec![];
        for file in order.files() {
            let path = order.base().join(&file.path);
            let disk = self.world.disks.get_mut(order.site()).unwrap();
            // The storage deletes only what looks as it was seen.
            if disk.get(path.as_str()).is_none_or(|real| Some(real.mtime_ns) == file.mtime_ns) {
                disk.remove(path.as_str());
                gone.push(file.path.clone());
            }
        }
        self.world.custody.record_deleted(&order.receipt(&gone, vec![]), self.world.now).unwrap();
        self.deleted += 1;
        if record.dataset.kind == Kind::Raw && was_safe && !disturbed {
            assert!(self.raw_is_safe(), "the last good raw copy was deleted, at {}", record.site);
        }
    }
}

fn config(short: u32, long: u32) -> ProptestConfig {
    let cases = if std::env::var_os("BEAMRAIL_LONG").is_some() { long } else { short };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(150, 5000))]

    #[test]
    fn no_sequence_of_operations_deletes_what_must_stay(ops in prop::collection::vec(op(), 10..120)) {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
    }

}

proptest! {
    #![proptest_config(config(5, 300))]

    #[test]
    fn what_policy_says_must_go_goes(
        rules in prop::collection::vec((0usize..3, 0usize..3, 0usize..2), 1..5),
        puts in prop::collection::vec((0usize..3, 0usize..2, 0i64..80), 1..8),
        trouble in prop::collection::vec((0i64..240, 0usize..4), 0..5),
    ) {
        let mut world = World::new();
        let mut settings = settings();
        for (site, days, area) in rules {
            let area = settings.sites.get_mut(SITES[site]).unwrap().areas.get_mut(["raw", "scratch"][area]).unwrap();
            area.retention = Rule::After(Age::days([2, 3, 7][days]));
        }
        // One site keeps the raw data, or there would be nothing to rest on.
        settings.sites.get_mut("nersc").unwrap().areas.get_mut("raw").unwrap().retention = Rule::Never;
        world.custody.configure(&settings, "test", world.now).unwrap();
        world.put("nersc", &dataset(0));
        for paper in PAPERS {
            world.custody.keep_paper(&scan(1), paper, "run", b"x", world.now).unwrap();
        }
        // Twenty-five days, an hour at a time, with interruptions in the first ten.
        for hour in 0..24 * 25 {
            for (site, kind, at) in &puts {
                let known = world.custody.copies(&scan(1)).unwrap();
                let new = dataset(*kind);
                let away = world.away.iter().any(|away| away == SITES[*site]);
                if *at <= hour && !away && !known.iter().any(|one| one.site == SITES[*site] && one.dataset == new) {
                    world.put(SITES[*site], &new);
                }
            }
            for (at, what) in &trouble {
                if *at == hour {
                    match what {
                        0 => drop(world.custody.hold(&scan(1), "Ada", "test", Some(Age::hours(30).after(world.now)), world.now)),
                        1 => world.away.push("nersc".into()),
                        2 => world.away.push("als".into()),
                        _ => world.custody.switch_deletion(false, "test", world.now).unwrap(),
                    }
                } else if *at + 20 == hour {
                    world.away.clear();
                    world.custody.switch_deletion(true, "test", world.now).unwrap();
                }
            }
            if hour % 6 == 0 {
                let plan = world.custody.plan(world.now).unwrap();
                for id in plan.scrub {
                    let _may_fail = world.verify(id, Level::Digested);
                }
                world.prune();
            }
            world.pass(3600);
        }
        for copy in world.custody.present(None).unwrap() {
            let area = settings.area(&copy.site, &copy.area).unwrap();
            assert!(area.retention == Rule::Never, "{} is still at {}: {}", copy.dataset, copy.site, area.retention);
        }
        assert!(world.holds("nersc", &dataset(0)));
    }
}

#[test]
fn the_random_histories_do_delete() {
    // A property that holds because nothing ever happens would prove nothing.
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut deleted = 0;
    for _ in 0..40 {
        let ops = prop::collection::vec(op(), 60..120).new_tree(&mut runner).unwrap().current();
        let mut model = Model::new();
        ops.iter().for_each(|op| model.apply(op));
        deleted += model.deleted;
    }
    assert!(deleted >= 5, "{deleted} deletions in 40 histories");
    println!("{deleted} deletions in 40 histories");
}
