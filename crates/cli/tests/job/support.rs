//! Running the binary, finding the shared data, reading results back.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A fresh folder and the binary to run in it.
pub struct Bench {
    folder: tempfile::TempDir,
}

/// What a run left.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beamrail"));
        command.current_dir(self.folder.path()).args(arguments).args(["--progress", "none"]);
        command
    }

    /// Runs to the end, whatever the exit code.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Runs, and fails the test if the command does.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "beamrail {}\n{}", arguments.join(" "), ran.stderr);
        ran.stdout
    }

    /// Runs a command with `--json` and gives its answer.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let text = self.ok(&all);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Starts without waiting.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// A small foam scan named `name`.
    pub fn simulate(&self, name: &str, more: &[&str]) {
        let mut arguments = vec!["simulate", name, "--seed", "7"];
        arguments.extend_from_slice(more);
        self.ok(&arguments);
    }
}

/// The shared data, or `None` (and a line that says so) where there is none.
pub fn shared(relative: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("BEAMRAIL_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: {relative} (no shared data)");
        return None;
    }
    let path = folder.join("data").join(relative);
    assert!(path.exists(), "{} is missing", path.display());
    Some(path)
}

/// Whether slow tests run; says so where they do not.
pub fn long(what: &str) -> bool {
    let long = std::env::var_os("BEAMRAIL_LONG").is_some_and(|value| value != "0");
    if !long {
        println!("skipped: {what} (BEAMRAIL_LONG is not set)");
    }
    long
}

/// Shape and values of a little-endian float32 `.npy` file.
pub fn npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..6], b"\x93NUMPY");
    let header_len = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape: Vec<usize> = shape.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let values: Vec<f32> = bytes[10 + header_len..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    assert_eq!(values.len(), shape.iter().product::<usize>());
    (shape, values)
}

/// Voxels of an uncompressed float32 TIFF of `count` voxels: the last bytes of the file.
pub fn tiff(path: &Path, count: usize) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let start = bytes.len() - count * 4;
    bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// ‖a − b‖ / ‖b‖.
pub fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let (mut difference, mut norm) = (0f64, 0f64);
    for (&a, &b) in a.iter().zip(b) {
        difference += (f64::from(a) - f64::from(b)).powi(2);
        norm += f64::from(b).powi(2);
    }
    (difference / norm).sqrt()
}
