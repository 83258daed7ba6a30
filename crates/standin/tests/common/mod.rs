//! A stand-in with four collections, and judges to set on it.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![allow(clippy::print_stdout, reason = "the test runner reads what was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use standin::globus::{Config, Standin};

pub const CLIENT: &str = "11111111-1111-4111-8111-111111111111";
pub const SECRET: &str = "the secret of the client";

/// A running stand-in and its folders, removed at the end.
pub struct Site {
    pub standin: Option<Standin>,
    pub folder: tempfile::TempDir,
}

impl Site {
    pub fn start() -> Self {
        Self::with(|config| config)
    }

    pub fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let standin = Standin::start(change(config(folder.path()))).unwrap();
        Self { standin: Some(standin), folder }
    }

    pub fn standin(&self) -> &Standin {
        self.standin.as_ref().unwrap()
    }
}

/// als, nersc, mapped (wants consent) and frozen (refuses writes).
pub fn config(folder: &Path) -> Config {
    let mut config = Config::new(folder.join("state")).client(CLIENT, SECRET);
    for (number, name) in ["als", "nersc", "mapped", "frozen"].iter().enumerate() {
        config = config.collection(
            name,
            &format!("{number}0000000-0000-4000-8000-00000000000{number}"),
            folder.join(name),
        );
    }
    config.needs_consent("mapped").read_only("frozen").retry_delay(std::time::Duration::from_millis(200))
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Something that `make judges` has installed; says so if it is not there.
pub fn tool(path: &str) -> Option<PathBuf> {
    let found = root().join(".tools").join(path);
    if !found.exists() {
        println!("skipped: .tools/{path} is not installed; run make judges");
    }
    found.exists().then_some(found)
}

/// Slow tests run only when they are asked for.
pub fn long() -> bool {
    let long = std::env::var_os("BEAMRAIL_LONG").is_some_and(|value| value == "1");
    if !long {
        println!("skipped: slow; run it with BEAMRAIL_LONG=1");
    }
    long
}

/// A command that knows the stand-in and nothing of the user's own Globus.
pub fn command(site: &Site, program: &Path) -> Command {
    let home = site.folder.path().join("home");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", &home)
        .env("LANG", "C.UTF-8")
        .env("BEAMRAIL_LONG", std::env::var_os("BEAMRAIL_LONG").unwrap_or_default())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("GLOBUS_CLIENT_ID", CLIENT)
        .env("GLOBUS_CLIENT_SECRET", SECRET)
        .env("GLOBUS_CLI_CLIENT_ID", CLIENT)
        .env("GLOBUS_CLI_CLIENT_SECRET", SECRET)
        .envs(site.standin().env())
        .current_dir(&home)
        .stdin(Stdio::null());
    command
}

/// Sets a judge on the stand-in; what it said is shown, and it must be content.
pub fn judge(site: &Site, python: &Path, script: &str) {
    let script = root().join("crates/standin/tests/judges").join(script);
    let mut command = command(site, python);
    command.arg(&script).arg(site.standin().announcement().to_string());
    let output = command.output().unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(
        output.status.success(),
        "{}: {}\n{told}\n{}",
        script.display(),
        output.status,
        site.standin().counts()
    );
}
