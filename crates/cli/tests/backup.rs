//! Backup and restore of journal and records, with the real binary: while a worker works, and after the disk is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "tests show figures")]

mod common;
#[path = "common/sites.rs"]
mod sites;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Dir;
use sites::{SCAN, scan, sites};

/// A worker in a process of its own, that is ended with the test.
struct Worker(Child);

impl Worker {
    fn start(dir: &Dir) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.file("worker.log")).unwrap();
        let mut command = dir.command(&["worker"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// With -9.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The job folders at the facility, with what says how often and when each was started.
fn jobs(dir: &Dir) -> Vec<(PathBuf, String)> {
    let Ok(folders) = std::fs::read_dir(dir.file("alcf/.beamrail/jobs")) else { return Vec::new() };
    let mut all: Vec<_> = folders
        .map(|folder| {
            let folder = folder.unwrap().path();
            let handle = std::fs::read_to_string(folder.join("launch.json")).unwrap_or_default();
            (folder, handle)
        })
        .collect();
    all.sort();
    all
}

fn state(dir: &Dir, run: &str) -> String {
    dir.json(&["runs", "show", run, "--json"])["run"]["state"]["type"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_backup_during_a_run_is_put_back_and_the_run_goes_on() {
    let dir = Dir::new();
    sites(&dir);
    scan(&dir);
    dir.refused(&["backup", "backups"], 3, &["nothing to back up"]);
    let run = dir.json(&["run", "dispatcher", "--file", SCAN, "--json"])["run"].as_str().unwrap().to_owned();
    let mut worker = Worker::start(&dir);
    // The raw scan is on its way; the reconstruction was not asked for.
    until("the copy at nersc", || dir.file("nersc/raw").join(SCAN).exists());
    let taken = dir.json(&["backup", "backups", "--json"]);
    let backup = taken["folder"].as_str().unwrap().to_owned();
    let names: Vec<&str> = taken["backup"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["runs.db", "custody.db"]);
    assert_eq!(taken["backup"]["files"][0]["rows"]["runs"].as_u64().map(|runs| runs > 0), Some(true));
    assert!(dir.ok(&["restore", &backup, "--verify"]).contains("all right"));
    // Nobody may be at work on what is replaced.
    dir.refused(&["restore", &backup], 4, &["in use", "stop"]);
    assert!(
        !dir.file("state")
            .read_dir()
            .unwrap()
            .any(|one| { one.unwrap().file_name().to_string_lossy().starts_with("before-restore") })
    );
    // After the backup the run ends: there is a job that the backup does not know of.
    until("the end of the run", || state(&dir, &run) == "COMPLETED");
    dir.ok(&["prune", "on"]);
    worker.kill();
    let ended = jobs(&dir);
    assert!(!ended.is_empty(), "a job was done");

    // The disk with the records is lost.
    std::fs::rename(dir.file("state"), dir.file("lost")).unwrap();
    let restored = dir.json(&["restore", &backup, "--json"]);
    assert!(restored["open_runs"].as_u64().unwrap() > 0, "{restored}");
    assert_eq!(restored["before"], serde_json::Value::Null);
    assert_ne!(state(&dir, &run), "COMPLETED");
    assert!(dir.ok(&["runs", "logs", &run]).contains("restored from the backup"));
    assert!(dir.ok(&["prune", "plan"]).contains("deletion is off"));
    // The lease of the worker of then ends, and the run goes on where the backup has it.
    let mut again = Worker::start(&dir);
    until("the end of the restored run", || state(&dir, &run) == "COMPLETED");
    again.kill();
    assert_eq!(jobs(&dir), ended, "the job was found, not started again");
    for home in ["nersc", "als"] {
        let folder = format!("{home}/scratch/BLS-00564_dyparkinson");
        assert!(dir.ok(&["verify", &folder]).contains("digests match"));
    }
    assert!(dir.ok(&["reconcile"]).contains("nothing else"));
    let show = dir.json(&["custody", "show", SCAN, "--json"]);
    assert_eq!(show["copies"].as_array().unwrap().iter().filter(|copy| copy["kind"] == "raw").count(), 3);

    // Put back once more, over what is there: that is kept.
    let restored = dir.json(&["restore", &backup, "--json"]);
    let before = restored["before"].as_str().expect("what was there is kept");
    assert!(Path::new(before).join("runs.db").exists() || dir.file(before).join("runs.db").exists());
}

#[test]
fn damaged_and_foreign_backups_are_refused_and_old_ones_thinned_out() {
    let dir = Dir::new();
    sites(&dir);
    dir.ok(&["run", "transfer_check", "--in", "2 hours"]);
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(dir.ok(&["backup", "kept", "--keep", "2"]).trim().to_owned());
        // They are named by the second.
        std::thread::sleep(Duration::from_millis(1100));
    }
    assert!(!dir.file(&made[0]).exists() && dir.file(&made[1]).exists() && dir.file(&made[2]).exists());
    // Something that somebody put there is not ours to delete.
    std::fs::write(dir.file(&made[1]).join("notes.txt"), "mine").unwrap();
    dir.ok(&["backup", "kept", "--keep", "1"]);
    assert!(dir.file(&made[1]).join("notes.txt").exists() && !dir.file(&made[1]).join("runs.db").exists());

    let whole = dir.ok(&["backup", "kept2"]).trim().to_owned();
    let file = dir.file(&whole).join("runs.db");
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    dir.refused(&["restore", &whole], 3, &["runs.db", "digest"]);
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    dir.refused(&["restore", &whole, "--verify"], 3, &["runs.db", "bytes"]);
    std::fs::remove_file(&file).unwrap();
    dir.refused(&["restore", &whole], 1, &["runs.db"]);
    std::fs::write(&file, &good).unwrap();
    dir.ok(&["restore", &whole, "--verify"]);
    dir.refused(&["restore", "kept"], 1, &["backup.json"]);

    let config = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    std::fs::write(dir.file("beamrail.toml"), config.replace("\"8.3.2\"", "\"7.0.1\"")).unwrap();
    dir.refused(&["restore", &whole], 3, &["8.3.2", "7.0.1"]);
    let list = dir.file(&whole).join("backup.json");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("\"runs.db\"", "\"../runs.db\"")).unwrap();
    dir.refused(&["restore", &whole], 3, &["../runs.db"]);
}

/// A disk that is full ends it with a message, and leaves nothing that looks like a backup.
#[test]
fn a_full_disk_leaves_no_half_backup() {
    let dir = Dir::new();
    sites(&dir);
    dir.ok(&["run", "transfer_check", "--in", "2 hours"]);
    let full = dir.file("full");
    std::fs::create_dir(&full).unwrap();
    let mount = |arguments: &[&str]| {
        Command::new("mount").args(arguments).output().is_ok_and(|done| done.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs", full.to_str().unwrap()]) {
        println!("skipped: no right to mount a small file system");
        return;
    }
    let run = dir.run(&["backup", "full"]);
    let left: Vec<_> = std::fs::read_dir(&full).unwrap().collect();
    let unmounted = Command::new("umount").arg(&full).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("full"), "{}", run.stderr);
    assert!(left.is_empty(), "{left:?}");
}
