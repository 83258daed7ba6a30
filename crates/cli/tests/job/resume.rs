//! Killed at any moment, a job goes on where it was and the result is the same.

use std::time::{Duration, Instant};

use crate::support::{Bench, long};

fn manifest(bench: &Bench, folder: &str) -> String {
    std::fs::read_to_string(bench.path(&format!("{folder}/recscan.manifest.json"))).unwrap()
}

/// Kills at moments spread at random over the time that the whole job takes, then resumes to the end.
fn kill_and_resume(kills: u32, size: &[&str]) {
    let bench = Bench::new();
    bench.simulate("scan.h5", size);
    let began = Instant::now();
    bench.ok(&["reconstruct", "scan.h5", "-o", "whole"]);
    let whole_time = began.elapsed();
    let whole = manifest(&bench, "whole");
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let (mut killed, mut work_found) = (0, 0);
    for kill in 0..kills {
        let folder = format!("killed{kill}");
        // xorshift: moments that are the same in every run of this test.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let share = (state >> 11) as f64 / (1u64 << 53) as f64;
        let arguments = ["reconstruct", "scan.h5", "-o", &folder, "--resume"];
        // Killed twice: a resumed job can be killed too.
        for share in [share, share * 0.7] {
            let mut child = bench.start(&arguments);
            std::thread::sleep(Duration::from_secs_f64(whole_time.as_secs_f64() * share));
            if child.try_wait().unwrap().is_none() {
                killed += 1;
            }
            let _ = child.kill();
            let _ = child.wait();
            let committed = bench.path(&format!("{folder}/recscan.manifest.json")).exists();
            let work = bench.path(&format!("{folder}/recscan.work"));
            work_found += u32::from(work.exists());
            if committed {
                bench.ok(&["verify", &format!("{folder}/recscan.manifest.json")]);
            }
        }
        bench.ok(&arguments);
        assert_eq!(manifest(&bench, &folder), whole, "killed after {share:.3} of the time");
        bench.ok(&["verify", &format!("{folder}/recscan.manifest.json")]);
        assert!(!bench.path(&format!("{folder}/recscan.work")).exists());
        std::fs::remove_dir_all(bench.path(&folder)).unwrap();
    }
    println!("{killed} kills, {work_found} of them with an unfinished job left");
    assert!(killed > 0 && work_found > 0, "the kills came too late to test anything");
}

#[test]
fn killed_a_few_times() {
    kill_and_resume(4, &["--width", "192", "--rows", "130", "--angles", "181"]);
}

#[test]
fn killed_at_twenty_random_moments() {
    if long("twenty random kills") {
        kill_and_resume(20, &["--width", "384", "--rows", "200", "--angles", "361"]);
    }
}

#[test]
fn results_that_exist_are_an_error_unless_told() {
    let bench = Bench::new();
    bench.simulate("scan.h5", &["--width", "96", "--rows", "40", "--angles", "91"]);
    bench.ok(&["reconstruct", "scan.h5", "-o", "out"]);
    let first = manifest(&bench, "out");
    let ran = bench.run(&["reconstruct", "scan.h5", "-o", "out"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("--overwrite") && ran.stderr.contains("--resume"), "{}", ran.stderr);
    assert_eq!(manifest(&bench, "out"), first);
    // Resuming what is complete changes nothing.
    let tiff = bench.path("out/recscan/scan_00000.tiff");
    let before = std::fs::metadata(&tiff).unwrap().modified().unwrap();
    bench.ok(&["reconstruct", "scan.h5", "-o", "out", "--resume"]);
    assert_eq!(std::fs::metadata(&tiff).unwrap().modified().unwrap(), before);
    // A foreign file survives an overwrite; ours are replaced.
    std::fs::write(bench.path("out/recscan/notes.txt"), "mine").unwrap();
    bench.ok(&["reconstruct", "scan.h5", "-o", "out", "--overwrite", "--rows", "0:20"]);
    assert!(bench.path("out/recscan/notes.txt").exists());
    assert!(!bench.path("out/recscan/scan_00039.tiff").exists());
    assert_ne!(manifest(&bench, "out"), first);
}

#[test]
fn another_recipe_does_not_go_on_with_an_unfinished_job() {
    let bench = Bench::new();
    bench.simulate("scan.h5", &["--width", "96", "--rows", "40", "--angles", "91"]);
    bench.ok(&["reconstruct", "scan.h5", "-o", "out", "--plan"]);
    let ran = bench.run(&["reconstruct", "scan.h5", "-o", "out", "--resume", "--set", "stripes.sigma=5"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    bench.ok(&["reconstruct", "scan.h5", "-o", "out", "--resume"]);
}

#[test]
fn a_cancel_file_stops_the_job_and_leaves_it_resumable() {
    let bench = Bench::new();
    bench.simulate("scan.h5", &["--width", "256", "--rows", "200", "--angles", "361"]);
    std::fs::create_dir(bench.path("job")).unwrap();
    let mut child = bench.start(&["reconstruct", "scan.h5", "-o", "out", "--job-dir", "job"]);
    let limit = Instant::now() + Duration::from_secs(60);
    while !bench.path("out/recscan.work/plan.json").exists() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::write(bench.path("job/cancel"), "").unwrap();
    let code = child.wait().unwrap().code();
    let status: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path("job/status.json")).unwrap()).unwrap();
    assert_eq!(status["exit_code"].as_i64(), code.map(i64::from));
    assert_eq!(code, Some(130), "{status}");
    bench.ok(&["reconstruct", "scan.h5", "-o", "out", "--job-dir", "job", "--resume"]);
    let status: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path("job/status.json")).unwrap()).unwrap();
    assert_eq!(status["exit_code"], 0);
    let lock: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path("job/lock")).unwrap()).unwrap();
    assert_eq!(lock["attempt"], 2);
    assert!(std::fs::read_to_string(bench.path("job/progress.jsonl")).unwrap().lines().count() > 3);
}

/// Somebody else fills the disk while the job runs: exit code 1, and the job goes on once there is room.
#[test]
fn a_disk_that_fills_up_fails_resumably() {
    let bench = Bench::new();
    bench.simulate("scan.h5", &["--width", "256", "--rows", "130", "--angles", "181"]);
    bench.ok(&["reconstruct", "scan.h5", "-o", "whole"]);
    std::fs::create_dir(bench.path("small")).unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(bench.path("small")).output()
    };
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs"]);
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: a small file system (mounting a tmpfs needs root)");
        return;
    }
    let arguments = ["reconstruct", "scan.h5", "-o", "small/out", "--resume"];
    let mut child = bench.start(&arguments);
    let limit = Instant::now() + Duration::from_secs(60);
    while !bench.path("small/out/recscan.work/plan.json").exists() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Fills what is left; the write fails when it is full.
    let _ = std::fs::write(bench.path("small/filler"), vec![1u8; 110 << 20]);
    let code = child.wait().unwrap().code();
    let committed = bench.path("small/out/recscan.manifest.json").exists();
    std::fs::remove_file(bench.path("small/filler")).unwrap();
    let ran = bench.run(&arguments);
    let same = std::fs::read(bench.path("small/out/recscan.manifest.json")).ok()
        == std::fs::read(bench.path("whole/recscan.manifest.json")).ok();
    let _ = mount(&["umount"]);
    assert_eq!(code, Some(1), "a full disk is a failure");
    assert!(!committed, "nothing may be committed on a full disk");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(same, "the resumed volume differs");
}
