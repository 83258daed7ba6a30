//! Scans that appear, whole and in pieces, before and after restarts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod common;
#[path = "common/sites.rs"]
mod sites;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::Dir;
use serde_json::Value;
use sites::{SCAN, sites};

/// A watch of als/raw, and its lines.
struct Watch {
    child: Child,
    lines: Receiver<Value>,
    /// Lines about other files, for later.
    kept: RefCell<VecDeque<Value>>,
}

impl Watch {
    fn start(dir: &Dir) -> Self {
        let arguments = ["watch", "als/raw", "--json", "--quiet", "1 s", "--poll", "1 s"];
        let mut child = dir.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = serde_json::from_str(&line.unwrap()).unwrap();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, kept: RefCell::default() }
    }

    /// The next line in this state about a file.
    #[track_caller]
    fn wait(&self, state: &str, file: &str) -> Value {
        let fits = |line: &Value| line["state"] == state && line["path"].as_str().unwrap().ends_with(file);
        let mut kept = self.kept.borrow_mut();
        if let Some(line) = kept.iter().position(fits).and_then(|at| kept.remove(at)) {
            return line;
        }
        loop {
            let line = match self.lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line) => line,
                Err(error) => panic!("no {state} for {file}: {error}; there were {kept:?}"),
            };
            if fits(&line) {
                return line;
            }
            kept.push_back(line);
        }
    }

    fn stop(mut self) {
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "a watch that is told to stop ends well");
    }
}

#[test]
fn a_scan_starts_its_run_once_when_it_is_complete() {
    let dir = Dir::new();
    sites(&dir);
    dir.ok(&["simulate", "whole.h5", "--width", "96", "--rows", "16", "--angles", "91"]);
    let whole = std::fs::read(dir.file("whole.h5")).unwrap();
    let folder = dir.file("als/raw/BLS-00564_dyparkinson");
    let watch = Watch::start(&dir);

    // The folder appears while watching; temporary names and other files are not looked at.
    std::fs::create_dir_all(&folder).unwrap();
    for name in [".20230224_132553_sea_shell.h5", "x.h5.part", "x.tmp.h5", "notes.txt"] {
        std::fs::write(folder.join(name), &whole).unwrap();
    }
    // A file that is being written: first a part, then more, then all.
    let file = dir.file("als/raw").join(SCAN);
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let line = watch.wait("waiting", SCAN);
    assert!(line["why"].as_str().unwrap().starts_with("still"), "{line}");
    let line = watch.wait("waiting", SCAN);
    assert!(line["why"].as_str().unwrap().contains("incomplete"), "{line}");
    std::fs::write(&file, &whole).unwrap();
    let started = watch.wait("started", SCAN);
    assert_eq!(started["new"], true);

    // What is no scan is refused with a reason, and harms nothing.
    std::fs::create_dir_all(folder.join("deeper")).unwrap();
    std::fs::write(folder.join("deeper/20230224_132554_x.h5"), &whole).unwrap();
    let line = watch.wait("refused", "deeper/20230224_132554_x.h5");
    assert!(line["why"].as_str().unwrap().contains("deeper"), "{line}");
    std::fs::write(folder.join("20230224_132555_y.h5"), "hello").unwrap();
    let mut why = String::new();
    while !why.contains("incomplete") {
        why = watch.wait("waiting", "20230224_132555_y.h5")["why"].as_str().unwrap().to_owned();
    }
    watch.stop();

    // While nobody watches, another arrives. After the restart it is started, and the first is known.
    let other = SCAN.replace("sea_shell", "other");
    std::fs::write(dir.file("als/raw").join(&other), &whole).unwrap();
    let watch = Watch::start(&dir);
    assert_eq!(watch.wait("started", SCAN)["run"], started["run"]);
    assert_eq!(watch.wait("started", &other)["new"], true);
    watch.stop();
    let runs = dir.json(&["runs", "list", "--json"]);
    let runs = runs["items"].as_array().unwrap();
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(runs.iter().all(|run| run["flow"] == "new_832_file_flow"));

    // How all stands, at a glance.
    let table = dir.ok(&["watch", "--once", "--quiet", "1 s"]);
    for words in ["known", "refused", "waiting"] {
        assert!(table.contains(words), "'{words}' is not in {table}");
    }
    assert!(!table.contains(".part") && !table.contains("notes.txt"), "{table}");
}

#[test]
fn old_scans_are_left_to_reconcile() {
    let dir = Dir::new();
    sites(&dir);
    sites::scan(&dir);
    let old = std::time::SystemTime::now() - Duration::from_secs(86_400 * 30);
    let file = std::fs::File::options().write(true).open(dir.file("als/raw").join(SCAN)).unwrap();
    file.set_modified(old).unwrap();
    assert!(dir.ok(&["watch", "--once", "--quiet", "1 s"]).contains("old"));
    assert!(dir.json(&["runs", "--json"])["items"].as_array().unwrap().is_empty());
    // With a longer look back it is taken up.
    let all = dir.json(&["watch", "--once", "--quiet", "1 s", "--backlog", "60 days", "--json"]);
    assert_eq!(all[0]["state"], "started", "{all}");
}

#[test]
fn folders_that_no_flow_would_find_are_refused() {
    let dir = Dir::new();
    sites(&dir);
    std::fs::create_dir(dir.file("elsewhere")).unwrap();
    dir.refused(&["watch", "elsewhere", "--once"], 3, &["no site's raw folder", "als/raw"]);
    dir.refused(&["watch", "nowhere", "--once"], 3, &["cannot watch nowhere"]);
    dir.refused(&["watch", "--flow", "reconcile", "--once"], 2, &["takes no scan"]);
    dir.refused(&["watch", "--flow", "nonsense", "--once"], 2, &["no flow nonsense"]);
}
