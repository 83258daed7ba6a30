//! The ALCF flow through Globus: three collections and an endpoint of the stand-in, the real binary on both sides.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say what they skip"
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Dir, Run};
use serde_json::Value;
use standin::globus::{Config, Fault, Kind, Standin};

const CLIENT: &str = "11111111-1111-4111-8111-111111111111";
const SECRET: &str = "correct-horse-battery-staple";
const SCAN: &str = "BLS-00564_dyparkinson/20230224_132553_sea_shell";

fn id(site: &str) -> String {
    let digit = match site {
        "als" => "a",
        "nersc" => "b",
        _ => "c",
    };
    format!("{}-0000-4000-8000-000000000000", digit.repeat(8))
}

/// A beamline whose sites are collections, of which this host sees als.
struct World {
    dir: Dir,
    standin: Standin,
}

impl World {
    fn new() -> Self {
        let dir = Dir::new();
        let mut config = Config::new(dir.file("standin")).client(CLIENT, SECRET);
        config = config.retry_delay(std::time::Duration::from_millis(50));
        for site in ["als", "nersc", "alcf"] {
            for area in ["raw", "scratch"] {
                std::fs::create_dir_all(dir.file(site).join(area)).unwrap();
            }
            config = config.collection(site, &id(site), dir.file(site));
        }
        let standin = Standin::start(config).unwrap();
        let mut text =
            "[beamline]\nid = \"8.3.2\"\ndata_host = \"als\"\n[state]\nfolder = \"state\"\n".to_owned();
        for site in ["als", "nersc", "alcf"] {
            text += &format!(
                "[sites.{site}]\nkind = \"globus\"\ncollection = \"{}\"\nroot = \"/\"\nraw = \"raw\"\nscratch = \"scratch\"\n",
                id(site)
            );
            if site == "als" {
                text += "local = \"als\"\n";
            }
        }
        text += &format!(
            "[facilities.polaris]\nkind = \"globus-compute\"\nsite = \"alcf\"\nsite_root = {:?}\n\
             endpoint = \"${{GLOBUS_COMPUTE_ENDPOINT}}\"\ncommand = {:?}\npoll = \"1 s\"\nthreads = 1\n\
             account = \"IRIBeta\"\nqueue = \"demand\"\n\
             [flows.alcf_recon_flow]\nsource = \"nersc\"\nfacility = \"polaris\"\nreturn_to = [\"nersc\", \"als\"]\n",
            dir.file("alcf"),
            env!("CARGO_BIN_EXE_beamrail")
        );
        std::fs::write(dir.file("beamrail.toml"), text).unwrap();
        Self { dir, standin }
    }

    /// A small scan at nersc.
    fn scan(&self) {
        std::fs::create_dir_all(self.dir.file("nersc/raw").join(SCAN).parent().unwrap()).unwrap();
        let out = format!("nersc/raw/{SCAN}.h5");
        self.dir.ok(&[
            "simulate",
            &out,
            "--width",
            "96",
            "--rows",
            "16",
            "--angles",
            "91",
            "--progress",
            "none",
        ]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.dir.command(arguments);
        command.envs(self.standin.env()).env("GLOBUS_CLIENT_ID", CLIENT).env("GLOBUS_CLIENT_SECRET", SECRET);
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let run = Run::of(self.command(arguments), arguments);
        for text in [&run.stdout, &run.stderr] {
            assert!(!text.contains(SECRET), "{arguments:?} shows the secret");
        }
        run
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}\n{}", run.stderr, run.stdout);
        run.stdout
    }

    fn reconstruct(&self) -> Run {
        self.run(&[
            "run",
            "alcf_recon_flow",
            "--file",
            &format!("{SCAN}.h5"),
            "--wait",
            "--progress",
            "plain",
        ])
    }

    /// Posts of each submission whose label names the scan.
    fn posts(&self) -> Vec<u64> {
        let counts = self.standin.counts();
        let all = counts["submissions"].as_object().unwrap().values();
        let mine = all.filter(|one| {
            one["label"].as_str().is_some_and(|label| label.contains("sea_shell") && label.contains(" run "))
        });
        mine.map(|one| one["posts"].as_u64().unwrap()).collect()
    }

    /// The results are home, and every file is what the manifest says.
    #[track_caller]
    fn sound(&self) {
        for site in ["als", "nersc"] {
            let folder = format!("{site}/scratch/{}", Path::new(SCAN).parent().unwrap().display());
            let manifest = format!("{folder}/rec20230224_132553_sea_shell.manifest.json");
            self.dir.ok(&["verify", &manifest, "--progress", "none"]);
        }
    }
}

/// No file below a folder holds the secret.
fn clean(folder: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += clean(&path);
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!found, "{} holds the secret", path.display());
            files += 1;
        }
    }
    files
}

#[test]
fn the_alcf_flow_goes_through_globus() {
    let world = World::new();
    world.scan();
    let run = world.reconstruct();
    assert_eq!(run.code, 0, "{}", run.stderr);
    world.sound();
    // Raw to alcf; tiff, zarr and sidecars to two homes: each submitted once, and one job.
    assert_eq!(world.posts(), [1; 7]);
    let counts = world.standin.counts();
    assert_eq!((&counts["jobs"]["accepted"], &counts["jobs"]["started"]), (&Value::from(1), &Value::from(1)));
    let list = world.ok(&["custody", "list"]);
    assert!(list.contains("sea_shell"), "{list}");
    assert!(clean(&world.dir.file("state")) > 2);

    // What a person looks at.
    assert!(world.ok(&["globus", "whoami"]).contains(CLIENT));
    let listed = world.ok(&["globus", "ls", "nersc:scratch/BLS-00564_dyparkinson"]);
    assert!(listed.contains("rec20230224_132553_sea_shell.zarr/"), "{listed}");
    let tasks: Value = serde_json::from_str(&world.ok(&["globus", "task", "--json"])).unwrap();
    let task = tasks[0]["task_id"].as_str().unwrap();
    assert!(world.ok(&["globus", "task", task]).contains("SUCCEEDED"));
    assert!(world.ok(&["globus", "endpoint"]).contains("online"));
}

#[test]
fn faults_on_the_way_end_right_and_nothing_is_submitted_twice() {
    let world = World::new();
    world.scan();
    for (method, path, fault) in [
        ("POST", "/v0.10/transfer", Kind::LostAnswer),
        ("POST", "/v3/endpoints/*/submit", Kind::LostAnswer),
        ("GET", "/v0.10/task/*", Kind::RateLimit { retry_after: Some(1) }),
        ("GET", "/v2/tasks/*", Kind::Status { status: 503, code: None, message: None, retry_after: None }),
        ("GET", "*/stat", Kind::ExpiredToken),
        ("POST", "/v3/functions", Kind::LostAnswer),
    ] {
        world.standin.fault(Fault::new(fault).on(method, path));
    }
    let run = world.reconstruct();
    assert_eq!(run.code, 0, "{}", run.stderr);
    world.sound();
    assert_eq!(world.posts().len(), 7, "{:?}", world.posts());
    let counts = world.standin.counts();
    assert_eq!((&counts["jobs"]["accepted"], &counts["jobs"]["started"]), (&Value::from(1), &Value::from(1)));
}

#[test]
fn a_fault_that_stays_is_red_with_advice() {
    let world = World::new();
    world.scan();
    let denied = Kind::FileFault { code: "PERMISSION_DENIED".into(), details: "Path not allowed".into() };
    world.standin.fault(Fault::new(denied).collection("alcf").at(1, 0));
    let run = world.reconstruct();
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("give this client read permission"), "{}", run.stderr);
}

#[test]
fn check_tries_everything_and_says_who_must_do_what() {
    let world = World::new();
    let table = world.ok(&["check"]);
    for words in
        ["folder, write, read, rename, delete", "credentials", "endpoint", "online", "Python 3", "function"]
    {
        assert!(table.contains(words), "{words} is not in\n{table}");
    }
    assert!(!table.contains("FAULT"), "{table}");
    // A collection that may not be written, an endpoint that is away, credentials that are wrong.
    world.standin.fault(Fault::new(Kind::Permission).on("POST", "*/mkdir").at(1, 0));
    let run = world.run(&["check", "nersc"]);
    assert_eq!(run.code, 4, "{}", run.stdout);
    assert!(run.stdout.contains("give this client read and write permission"), "{}", run.stdout);
    world.standin.fault(Fault::new(Kind::EndpointOffline).at(1, 0));
    let run = world.run(&["check", "polaris"]);
    assert!(run.code == 4 && run.stdout.contains("globus-compute-endpoint start"), "{}", run.stdout);
    let mut command = world.command(&["check", "nersc"]);
    command.env("GLOBUS_CLIENT_SECRET", "wrong");
    let run = Run::of(command, &["check", "nersc"]);
    assert!(run.code == 4 && run.stdout.contains("does not accept the client"), "{}", run.stdout);
}

#[test]
fn setup_registers_the_function_once_and_prints_the_endpoints_configuration() {
    let world = World::new();
    let first = world.ok(&["globus", "setup"]);
    assert!(first.contains("registered and written to"), "{first}");
    let written = std::fs::read_to_string(world.dir.file("beamrail.toml")).unwrap();
    assert_eq!(written.matches("function = \"").count(), 1);
    assert!(world.ok(&["globus", "setup"]).contains("as it should be"));
    assert!(!first.contains(SECRET) && first.contains("GLOBUS_CLIENT_SECRET"));
    let text = world.ok(&["globus", "setup", "--endpoint-config"]);
    assert_eq!(text.matches("strategy_period: 60").count(), 2, "{text}");
    assert!(text.contains("account: \"IRIBeta\"") && text.contains("user_config_template.yaml.j2"));
    // The program is brought there, runs there, and says what it is.
    let brought = world.ok(&["globus", "setup", "--binary", "/bin/true", "--patience", "30"]);
    assert!(brought.contains("bytes; set command to it"), "{brought}");
}

#[test]
fn a_person_copies_through_the_same_gate() {
    let world = World::new();
    world.scan();
    let text = world.ok(&["globus", "transfer", &format!("nersc:raw/{SCAN}.h5"), "als"]);
    assert!(text.contains("1 files"), "{text}");
    let at = |site: &str| std::fs::read(world.dir.file(site).join(format!("raw/{SCAN}.h5"))).unwrap();
    assert_eq!(at("als"), at("nersc"));
    let run = world.run(&["globus", "transfer", "nersc:elsewhere/x", "als"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let without = Run::of(world.dir.command(&["globus", "whoami"]), &["globus", "whoami"]);
    assert!(
        without.code == 3 && without.stderr.contains("GLOBUS_CLIENT_ID is not set"),
        "{}",
        without.stderr
    );
}

/// Kills the process that runs the flow at this moment, and lets another take it up.
#[track_caller]
fn killed(when: impl Fn(&World) -> bool, fault: Fault) {
    let world = World::new();
    world.scan();
    let number = world.standin.fault(fault);
    let arguments = [
        "run",
        "alcf_recon_flow",
        "--file",
        &format!("{SCAN}.h5"),
        "--key",
        "k",
        "--wait",
        "--progress",
        "plain",
    ];
    let mut command = world.command(&arguments);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while !when(&world) {
        if begun.elapsed() > std::time::Duration::from_secs(60) {
            let _ = child.kill();
            let _ = child.wait();
            assert!(begun.elapsed().is_zero(), "the moment did not come");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.standin.disarm(number);
    let run = world.run(&arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    world.sound();
    // A lost answer would be posted again under its number; a second submission would be one more entry.
    assert_eq!(world.posts().len(), 7, "{:?}", world.posts());
    let counts = world.standin.counts();
    assert_eq!((&counts["jobs"]["accepted"], &counts["jobs"]["started"]), (&Value::from(1), &Value::from(1)));
    assert!(clean(&world.dir.file("state")) > 2);
}

#[test]
fn a_process_that_is_killed_is_taken_up_where_it_was() {
    if std::env::var_os("BEAMRAIL_LONG").is_none() {
        println!("skipped: waits for leases of 30 s; set BEAMRAIL_LONG=1");
        return;
    }
    // In the middle of the transfer, and in the middle of the job.
    killed(
        |world| !world.posts().is_empty(),
        Fault::new(Kind::SlowTransfer { bytes_per_second: 40_000 }).at(1, 0),
    );
    let accepted = |world: &World| world.standin.counts()["jobs"]["accepted"] == 1;
    killed(accepted, Fault::new(Kind::SlowJob { milliseconds: 3000 }));
}
