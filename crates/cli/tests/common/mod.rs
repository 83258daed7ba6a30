//! Runs the real binary in a fresh folder.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A fresh folder, removed at the end of the test, in which the binary runs.
pub struct Dir(tempfile::TempDir);

/// How a run of the binary ended.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    command: String,
}

impl Run {
    /// Runs a command to its end. It may never panic, whatever it is given.
    pub fn of(mut command: Command, arguments: &[&str]) -> Self {
        let output: Output = command.output().unwrap();
        let run = Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            command: arguments.join(" "),
        };
        assert!(!run.stderr.contains("panicked"), "{}: {}", run.command, run.stderr);
        assert!(run.code >= 0, "{}: ended by a signal", run.command);
        run
    }
}

impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beamrail"));
        command.current_dir(self.path()).args(arguments).env_remove("RUST_BACKTRACE");
        // Whoever runs the tests may have credentials; they are not for these.
        command.env_remove("GLOBUS_CLIENT_ID").env_remove("GLOBUS_CLIENT_SECRET");
        command
            .env_remove("PREFECT_API_URL")
            .env_remove("PREFECT_API_AUTH_STRING")
            .env_remove("PREFECT_API_KEY");
        command
    }

    /// Runs the binary to its end. It may never panic, whatever it is given.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments), arguments)
    }

    /// Runs what must succeed; gives stdout.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{}: {}", run.command, run.stderr);
        run.stdout
    }

    /// Runs what must succeed and print JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    /// Runs what must end with `code`, an error message that has all `words`, and nothing on stdout.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{}: {}", run.command, run.stderr);
        assert_eq!(run.stdout, "", "{}: a failure prints no data", run.command);
        assert!(run.stderr.contains("error: "), "{}: {}", run.command, run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "{}: '{word}' is not in: {}", run.command, run.stderr);
        }
    }

    /// Names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
