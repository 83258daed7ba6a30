//! The ALCF flow through Globus: three collections and an endpoint of the stand-in, the real binary on both sides.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say what they skip"
)]

mod common;
#[path = "common/globus.rs"]
mod globus;

use common::Run;
use globus::{CLIENT, SCAN, SECRET, World, clean};
use serde_json::Value;
use standin::globus::{Fault, Kind};

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

    // What Globus says of each file is kept for good, and which task said it.
    let shown: Value = serde_json::from_str(&world.ok(&["custody", "show", SCAN, "--json"])).unwrap();
    let home = shown["copies"]
        .as_array()
        .unwrap()
        .iter()
        .find(|copy| copy["site"] == "nersc" && copy["kind"] == "tiff");
    assert_eq!(home.unwrap()["level"], "transfer-checksummed");
    let by = home.unwrap()["verified_by"].as_str().unwrap();
    let paper: Value =
        serde_json::from_str(&world.ok(&["custody", "show", SCAN, "--paper", "transfer-tiff-nersc"]))
            .unwrap();
    assert!(by.contains(&format!("Globus Transfer task {}", paper["task"].as_str().unwrap())), "{by}");
    let sums = paper["checksums"].as_object().unwrap();
    assert_eq!((sums.len(), &paper["verified"], paper.get("missing")), (16, &Value::Bool(true), None));
    let file = world.dir.file("nersc/scratch/BLS-00564_dyparkinson").join(sums.keys().next().unwrap());
    let md5 = std::process::Command::new("md5sum").arg(&file).output().unwrap().stdout;
    let told = sums.values().next().unwrap();
    assert_eq!(told["algorithm"], "MD5");
    assert!(String::from_utf8(md5).unwrap().starts_with(told["value"].as_str().unwrap()), "{told}");

    // What a person looks at.
    assert!(world.ok(&["globus", "whoami"]).contains(CLIENT));
    let listed = world.ok(&["globus", "ls", "nersc:scratch/BLS-00564_dyparkinson"]);
    assert!(listed.contains("rec20230224_132553_sea_shell.zarr/"), "{listed}");
    let tasks: Value = serde_json::from_str(&world.ok(&["globus", "task", "--json"])).unwrap();
    let task = tasks[0]["task_id"].as_str().unwrap();
    assert!(world.ok(&["globus", "task", task]).contains("SUCCEEDED"));
    assert!(world.ok(&["globus", "endpoint", "status"]).contains("online"));
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
    for words in [
        "folder, write, read, rename, delete",
        "credentials",
        "endpoint",
        "online",
        "Python 3",
        "function",
        "none is needed beside the client's own",
        "0 of 100 transfers that may wait",
        "beamrail check polaris asks there",
        "site's space",
    ] {
        assert!(table.contains(words), "{words} is not in\n{table}");
    }
    assert!(!table.contains("FAULT"), "{table}");
    // A collection that may not be written, an endpoint that is away, credentials that are wrong.
    let number = world.standin.fault(Fault::new(Kind::Permission).on("POST", "*/mkdir").at(1, 0));
    let run = world.run(&["check", "nersc"]);
    assert_eq!(run.code, 4, "{}", run.stdout);
    assert!(run.stdout.contains("give this client read and write permission"), "{}", run.stdout);
    world.standin.disarm(number);
    // A consent that is missing, a disk that is full.
    let scopes = vec!["urn:globus:auth:scope:transfer.api.globus.org:all[*x]".to_owned()];
    let number =
        world.standin.fault(Fault::new(Kind::ConsentRequired { scopes }).on("GET", "*/stat").at(1, 0));
    let run = world.run(&["check", "alcf"]);
    assert!(run.code == 4 && run.stdout.contains("consent") && run.stdout.contains(CLIENT), "{}", run.stdout);
    world.standin.disarm(number);
    let full = Kind::FileFault { code: "QUOTA_EXCEEDED".into(), details: "disk quota".into() };
    let number = world.standin.fault(Fault::new(full).collection("alcf").at(1, 0));
    let run = world.run(&["check", "alcf"]);
    assert!(run.code == 4 && run.stdout.contains("make room there"), "{}", run.stdout);
    world.standin.disarm(number);
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
}

#[test]
fn the_program_is_brought_and_believed_by_its_digest() {
    let world = World::new();
    let bring = |binary: &str| ["globus", "setup", "--binary", binary, "--patience", "60"].map(str::to_owned);
    let told = |binary: &str| world.run(&bring(binary).each_ref().map(String::as_str));
    let config = || std::fs::read_to_string(world.dir.file("beamrail.toml")).unwrap();
    // It runs there and says what it is: something else, so the command stays.
    let other = told("/bin/true");
    assert!(
        other.code == 0 && other.stdout.contains("bring the same version"),
        "{}{}",
        other.stdout,
        other.stderr
    );
    assert!(config().contains(env!("CARGO_BIN_EXE_beamrail")));

    let file = world.dir.file("beamrail-built");
    let say = |version: &str| std::fs::write(&file, format!("#!/bin/sh\necho {version}\n")).unwrap();
    let own = format!("beamrail {}", env!("CARGO_PKG_VERSION"));
    say(&own);
    let sum = std::process::Command::new("sha256sum").arg(&file).output().unwrap().stdout;
    let beside = world.dir.file("beamrail-built.sha256");
    std::fs::write(&beside, &sum).unwrap();
    let sum = String::from_utf8(sum).unwrap();
    let mine = told(file.to_str().unwrap());
    assert!(mine.stdout.contains(sum.split(' ').next().unwrap()), "{}{}", mine.stdout, mine.stderr);
    let there = world.dir.file("alcf/bin/beamrail");
    assert!(config().contains(&format!("command = \"{}\"", there.display())), "{}", config());
    assert!(told(file.to_str().unwrap()).stdout.contains("the command is it"));

    // Another file than its checksum says goes nowhere; one that does not run does not replace the one that does.
    say("broken; exit 7");
    let run = told(file.to_str().unwrap());
    assert!(run.code == 3 && run.stderr.contains("says another"), "{}", run.stderr);
    std::fs::remove_file(&beside).unwrap();
    let run = told(file.to_str().unwrap());
    assert!(run.code == 4 && run.stderr.contains("does not run"), "{}", run.stderr);
    assert!(std::fs::read_to_string(&there).unwrap().contains(&own));
}

#[test]
fn results_that_stay_at_the_facility_are_read_there() {
    for whole in [true, false] {
        let world = World::new();
        world.scan();
        let config = world.dir.file("beamrail.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        // A command that damages a result before it is asked to look at it.
        let command = world.dir.file("alcf/beamrail");
        let damage = "if [ \"$1\" = verify ]; then f=$(find \"$(dirname \"$5\")\" -name '*.tif*' | head -n 1); \
                      printf X | dd of=\"$f\" bs=1 seek=400 conv=notrunc; fi 2>/dev/null";
        let script = format!(
            "#!/bin/sh\n{}\nexec {} \"$@\"\n",
            if whole { "" } else { damage },
            env!("CARGO_BIN_EXE_beamrail")
        );
        std::fs::write(&command, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&command, mode).unwrap();
        let text = text.replace("return_to = [\"nersc\", \"als\"]", "return_to = []");
        let text = text.replace(
            &format!("command = {:?}", env!("CARGO_BIN_EXE_beamrail")),
            &format!("command = {command:?}"),
        );
        std::fs::write(&config, text).unwrap();
        let run = world.reconstruct();
        assert_eq!(run.code == 0, whole, "{}", run.stderr);
        assert_eq!(world.standin.counts()["jobs"]["accepted"], 2, "the reconstruction, and the look");
        let shown: Value = serde_json::from_str(&world.ok(&["custody", "show", SCAN, "--json"])).unwrap();
        let copies = shown["copies"].as_array().unwrap().iter();
        let made: Vec<&Value> =
            copies.filter(|copy| copy["site"] == "alcf" && copy["kind"] != "raw").collect();
        assert_eq!(made.len(), 3, "{}", shown["copies"]);
        for copy in made {
            let by = copy["verified_by"].as_str().unwrap();
            assert_eq!(copy["level"] == "digested", whole, "{copy}");
            assert_eq!(by.contains("(beamrail verify at polaris)"), whole, "{copy}");
        }
        if !whole {
            assert!(run.stderr.contains("beamrail verify there says"), "{}", run.stderr);
            assert!(run.stderr.contains("reconstruct again"), "{}", run.stderr);
        }
    }
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

#[test]
fn no_core_is_left_of_a_process_that_holds_the_secret() {
    use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    let world = World::new();
    let all = |program: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh", program]);
        shell
    };
    // Whether this machine leaves cores at all: of a process of another kind it must.
    let mut other = all("sleep").arg("60").current_dir(world.dir.path()).spawn().unwrap();
    let pid = |child: &std::process::Child| Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    kill_process(pid(&other), Signal::ABORT).unwrap();
    if !other.wait().unwrap().core_dumped() {
        println!("skipped: this machine leaves no cores, whoever dies");
        return;
    }
    for raised in [false, true] {
        let worker = world.command(&["worker"]);
        let mut command = all(worker.get_program().to_str().unwrap());
        command.arg("worker").current_dir(world.dir.path()).process_group(0);
        command.envs(worker.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let limits = || std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let core = |text: &str| text.lines().find(|line| line.starts_with("Max core")).unwrap().to_owned();
        let begun = std::time::Instant::now();
        // From the shell that it begins as, with every core wanted, to itself.
        while core(&limits()).contains("unlimited") && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(!core(&limits()).contains("unlimited"), "{}", limits());
        std::thread::sleep(std::time::Duration::from_millis(300));
        // A limit that is raised from outside does not help: the process is not dumpable.
        let unlimited = Rlimit { current: None, maximum: None };
        if raised && prlimit(Some(pid(&child)), Resource::Core, unlimited).is_err() {
            println!("skipped: only root may raise the limit of a process");
        }
        kill_process(pid(&child), Signal::ABORT).unwrap();
        let status = child.wait().unwrap();
        assert!(status.signal() == Some(6) && !status.core_dumped(), "{raised}: {status:?}");
    }
}

#[test]
fn a_process_that_is_killed_is_taken_up_where_it_was() {
    if std::env::var_os("BEAMRAIL_LONG").is_none() {
        println!("skipped: waits for leases of 30 s; set BEAMRAIL_LONG=1");
        return;
    }
    // In the middle of the transfer, and in the middle of the job.
    type Moment = fn(&World) -> bool;
    let moments: [(Moment, Fault); 2] = [
        (
            |world| !world.posts().is_empty(),
            Fault::new(Kind::SlowTransfer { bytes_per_second: 40_000 }).at(1, 0),
        ),
        (
            |world| world.standin.counts()["jobs"]["accepted"] == 1,
            Fault::new(Kind::SlowJob { milliseconds: 3000 }),
        ),
    ];
    for (moment, fault) in moments {
        let world = World::new();
        world.scan();
        world.killed_and_taken_up(moment, fault);
        let counts = world.standin.counts();
        let jobs = (&counts["jobs"]["accepted"], &counts["jobs"]["started"]);
        assert_eq!(jobs, (&Value::from(1), &Value::from(1)));
    }
}
