//! The files of packaging/: systemd units and the container file, judged by systemd where it is here, and by the binary
//! that they start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "tests say what they skipped")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Dir;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

fn units() -> BTreeMap<String, String> {
    let folder = packaging().join("systemd");
    let files =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

/// The values of a key, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Whether the binary knows these arguments. It is asked for its help, so nothing is done.
fn understood(arguments: &str) {
    let dir = Dir::new();
    let mut all: Vec<&str> = arguments.split_whitespace().collect();
    all.push("--help");
    dir.ok(&all);
    // A flag that is wrong is seen before the help only if it comes first; so each is looked for by itself too.
    let help = dir.ok(&[all[0], "--help"]);
    for flag in all.iter().filter(|one| one.starts_with("--")) {
        assert!(help.contains(flag), "{arguments}: {} has no {flag}", all[0]);
    }
}

#[test]
fn what_the_units_start_is_understood() {
    let units = units();
    let mut started = 0;
    for (name, unit) in &units {
        for line in values(unit, "ExecStart") {
            let arguments =
                line.strip_prefix("/usr/local/bin/beamrail ").unwrap_or_else(|| panic!("{name}: {line}"));
            understood(arguments);
            started += 1;
        }
        for page in values(unit, "Documentation") {
            let command = page.strip_prefix("man:beamrail-").and_then(|page| page.strip_suffix("(1)"));
            let command = command.unwrap_or_else(|| panic!("{name}: {page}"));
            assert!(Dir::new().ok(&["man"]).contains(command) || !command.is_empty());
        }
        assert!(!unit.contains("Environment=GLOBUS_CLIENT_SECRET="), "{name}: no secret in a unit");
    }
    assert!(started >= 3, "{:?}", units.keys());
}

/// Units as systemd would load them, with the binary of this build.
fn installed(folder: &Path, with_drop_ins: bool) -> Vec<PathBuf> {
    let binary = env!("CARGO_BIN_EXE_beamrail");
    let units = units();
    let paths: Vec<PathBuf> = units.keys().map(|name| folder.join(name)).collect();
    for (path, unit) in paths.iter().zip(units.values()) {
        std::fs::write(path, unit.replace("/usr/local/bin/beamrail", binary)).unwrap();
    }
    if with_drop_ins {
        let folder = folder.join("beamrail-worker.service.d");
        std::fs::create_dir(&folder).unwrap();
        for entry in std::fs::read_dir(packaging().join("systemd/drop-ins")).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap().replace("/usr/local/bin/beamrail", binary);
            std::fs::write(folder.join(path.file_name().unwrap()), text).unwrap();
        }
    }
    paths
}

#[test]
fn systemd_takes_the_units_and_finds_them_closed() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: no systemd-analyze here");
        return;
    }
    for with_drop_ins in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let paths = installed(folder.path(), with_drop_ins);
        let told =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output().unwrap();
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.success() && text.is_empty(), "drop-ins: {with_drop_ins}: {text}");
        for path in paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "service")) {
            // Of 100; 92 is a unit that says nothing.
            let judged = Command::new("systemd-analyze")
                .args(["security", "--offline=yes", "--no-pager", "--threshold=20"])
                .arg(path)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&judged.stdout);
            assert!(judged.status.success(), "{}: {text}", path.display());
            println!("{}", text.lines().last().unwrap_or_default());
        }
    }
}

/// Credentials are files, and the variables that name them are ones that the program reads.
#[test]
fn secrets_come_as_files() {
    let folder = packaging().join("systemd/drop-ins");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded: Vec<&str> =
            values(&text, "LoadCredential").iter().map(|one| one.split(':').next().unwrap()).collect();
        let files: Vec<&str> =
            values(&text, "Environment").into_iter().filter(|one| one.contains("_FILE=")).collect();
        assert_eq!(loaded.len(), files.len(), "{}", path.display());
        for (name, file) in loaded.iter().zip(&files) {
            assert!(file.ends_with(&format!("=%d/{name}")), "{}: {file}", path.display());
        }
    }
    // A secret that is wrong is told by the name of its file's variable.
    let dir = Dir::new();
    let mut command = dir.command(&["globus", "whoami"]);
    command.env("GLOBUS_CLIENT_ID", "a").env("GLOBUS_CLIENT_SECRET_FILE", "/nowhere/secret");
    let told = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(told.contains("GLOBUS_CLIENT_SECRET_FILE"), "{told}");
}

#[test]
fn the_container_file_keeps_its_promises() {
    let text = std::fs::read_to_string(packaging().join("Containerfile")).unwrap();
    let joined = text.replace("\\\n", " ");
    let instructions: Vec<(&str, &str)> = joined
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let known = "FROM RUN WORKDIR COPY ENV USER VOLUME STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD";
    for (word, _) in &instructions {
        assert!(known.split(' ').any(|one| one == *word), "{word}");
    }
    let of = |word: &str| {
        instructions.iter().filter(|(one, _)| *one == word).map(|(_, rest)| *rest).collect::<Vec<_>>()
    };
    let from = of("FROM");
    assert_eq!(from.len(), 2, "two stages");
    assert!(from[0].ends_with(" AS build"), "{}", from[0]);
    // The same Rust as the workspace asks for, and as old a Debian in both stages.
    let workspace = std::fs::read_to_string(packaging().join("../Cargo.toml")).unwrap();
    let rust =
        workspace.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"')).unwrap();
    assert!(from[0].contains(&format!("rust:{rust}-bookworm")), "{} and Rust {rust}", from[0]);
    assert!(from[1].contains("debian:bookworm"), "{}", from[1]);
    // What is copied from the first stage is made or there.
    for copy in of("COPY").iter().filter_map(|copy| copy.strip_prefix("--from=build ")) {
        for source in copy.split(' ').filter_map(|one| one.strip_prefix("/src/")) {
            assert!(
                source == "target/release/beamrail" || packaging().join("..").join(source).exists(),
                "{source}"
            );
        }
    }
    // Not root, by number, so that an orchestrator can see it.
    let user = of("USER");
    let ids: Vec<u32> = user[0].split(':').map(|id| id.parse().unwrap()).collect();
    assert!(user.len() == 1 && ids.len() == 2 && ids.iter().all(|id| *id > 1000), "{user:?}");
    let after: Vec<&str> =
        instructions.iter().skip_while(|(word, _)| *word != "USER").map(|(word, _)| *word).collect();
    assert!(!after.contains(&"RUN") && !after.contains(&"COPY"), "nothing is made after the user is changed");
    let words = |list: &str| -> Vec<String> { serde_json::from_str(list).unwrap() };
    assert_eq!(words(of("ENTRYPOINT")[0]), ["beamrail"]);
    understood(&words(of("CMD")[0]).join(" "));
    let health = of("HEALTHCHECK")[0].split_once("CMD ").unwrap().1;
    assert_eq!(words(health)[0], "beamrail");
    understood(&words(health)[1..].join(" "));
}

/// What the container promises, with the kernel's own means: another user, a root that cannot be written, no
/// capabilities.
#[test]
fn a_user_without_rights_on_a_read_only_root_can_work() {
    let dir = Dir::new();
    let state = dir.file("state");
    std::fs::create_dir(&state).unwrap();
    let config = "[beamline]\nid = \"8.3.2\"\n[state]\nfolder = \"state\"\n[sites.here]\nkind = \"local\"\nroot = \"here\"\nraw = \"raw\"\nscratch = \"scratch\"\n";
    std::fs::write(dir.file("beamrail.toml"), config).unwrap();
    // In a mount name space of its own: the root read-only, but for the state folder.
    let script = "set -e; mount --make-rprivate /; mount --bind \"$1/state\" \"$1/state\"; mount -o remount,bind,ro /; \
                  cd \"$1\"; exec setpriv --reuid 10832 --regid 10832 --clear-groups --inh-caps=-all \
                  --bounding-set=-all --no-new-privs \"$0\" worker --once --json";
    let is_root = rustix::process::getuid().is_root();
    if !is_root || Command::new("setpriv").arg("--version").output().is_err() {
        println!("skipped: only root can change the user and mount");
        return;
    }
    std::os::unix::fs::chown(&state, Some(10832), Some(10832)).unwrap();
    let mut open = std::fs::metadata(dir.path()).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let done = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_beamrail")])
        .arg(dir.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    if told.contains("unshare failed") {
        println!("skipped: {told}");
        return;
    }
    assert!(done.status.success(), "{told}");
    assert!(state.join("runs.db").exists(), "it worked in its state folder");
}

/// The health check of container and monitoring: red without a worker, green with one, red again at once when it died.
#[test]
fn health_is_that_of_the_worker() {
    let dir = Dir::new();
    let config = "[beamline]\nid = \"8.3.2\"\n[state]\nfolder = \"state\"\n[sites.here]\nkind = \"local\"\nroot = \"here\"\nraw = \"raw\"\nscratch = \"scratch\"\n";
    std::fs::write(dir.file("beamrail.toml"), config).unwrap();
    dir.refused(&["worker", "--health"], 1, &["no worker"]);
    assert!(!dir.file("state").exists(), "asking makes nothing");
    let mut worker = dir.command(&["worker"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while dir.run(&["worker", "--health"]).code != 0 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "it lives and nobody sees it");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let seen = dir.json(&["worker", "--health", "--json"]);
    assert_eq!(seen["workers"][0]["pid"], worker.id());
    worker.kill().unwrap();
    worker.wait().unwrap();
    dir.refused(&["worker", "--health"], 1, &["no worker", "systemctl"]);
}
