//! A beamline on Globus in the fresh folder: three collections and an endpoint of the stand-in.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::Path;
use std::process::Command;

use standin::globus::{Config, Fault, Standin};

use super::common::{Dir, Run};

pub const CLIENT: &str = "11111111-1111-4111-8111-111111111111";
pub const SECRET: &str = "correct-horse-battery-staple";
pub const SCAN: &str = "BLS-00564_dyparkinson/20230224_132553_sea_shell";

pub fn id(site: &str) -> String {
    let digit = match site {
        "als" => "a",
        "nersc" => "b",
        _ => "c",
    };
    format!("{}-0000-4000-8000-000000000000", digit.repeat(8))
}

/// A beamline whose sites are collections, of which this host sees als.
pub struct World {
    pub dir: Dir,
    pub standin: Standin,
}

impl World {
    pub fn new() -> Self {
        Self::with(|config| config, "")
    }

    /// With other settings of the stand-in, and more lines for the facility.
    pub fn with(change: impl FnOnce(Config) -> Config, facility: &str) -> Self {
        let dir = Dir::new();
        let mut config = Config::new(dir.file("standin")).client(CLIENT, SECRET);
        config = config.retry_delay(std::time::Duration::from_millis(50));
        for site in ["als", "nersc", "alcf"] {
            for area in ["raw", "scratch"] {
                std::fs::create_dir_all(dir.file(site).join(area)).unwrap();
            }
            config = config.collection(site, &id(site), dir.file(site));
        }
        let standin = Standin::start(change(config)).unwrap();
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
             account = \"IRIBeta\"\nqueue = \"demand\"\n{facility}\n\
             [flows.alcf_recon_flow]\nsource = \"nersc\"\nfacility = \"polaris\"\nreturn_to = [\"nersc\", \"als\"]\n",
            dir.file("alcf"),
            env!("CARGO_BIN_EXE_beamrail")
        );
        std::fs::write(dir.file("beamrail.toml"), text).unwrap();
        Self { dir, standin }
    }

    /// A small scan at nersc.
    pub fn scan(&self) {
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

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.dir.command(arguments);
        command.envs(self.standin.env()).env("GLOBUS_CLIENT_ID", CLIENT).env("GLOBUS_CLIENT_SECRET", SECRET);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        let run = Run::of(self.command(arguments), arguments);
        for text in [&run.stdout, &run.stderr] {
            assert!(!text.contains(SECRET), "{arguments:?} shows the secret");
        }
        run
    }

    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}\n{}", run.stderr, run.stdout);
        run.stdout
    }

    pub fn reconstruct(&self) -> Run {
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
    pub fn posts(&self) -> Vec<u64> {
        let counts = self.standin.counts();
        let all = counts["submissions"].as_object().unwrap().values();
        let mine = all.filter(|one| {
            one["label"].as_str().is_some_and(|label| label.contains("sea_shell") && label.contains(" run "))
        });
        mine.map(|one| one["posts"].as_u64().unwrap()).collect()
    }

    /// The results are home, and every file is what the manifest says.
    #[track_caller]
    pub fn sound(&self) {
        for site in ["als", "nersc"] {
            let folder = format!("{site}/scratch/{}", Path::new(SCAN).parent().unwrap().display());
            let manifest = format!("{folder}/rec20230224_132553_sea_shell.manifest.json");
            self.dir.ok(&["verify", &manifest, "--progress", "none"]);
        }
    }

    /// Kills the process that runs the flow at this moment, lets another take it up, and looks whether anything was
    /// submitted twice or the secret is anywhere.
    #[track_caller]
    pub fn killed_and_taken_up(&self, when: impl Fn(&Self) -> bool, fault: Fault) {
        let number = self.standin.fault(fault);
        let file = format!("{SCAN}.h5");
        let arguments =
            ["run", "alcf_recon_flow", "--file", &file, "--key", "k", "--wait", "--progress", "plain"];
        let mut command = self.command(&arguments);
        // What it says is kept in the folder that is looked through for the secret.
        let log = |name: &str| std::fs::File::create(self.dir.file(name)).unwrap();
        command.env("RUST_BACKTRACE", "full").stdout(log("stdout")).stderr(log("stderr"));
        let mut child = command.spawn().unwrap();
        let begun = std::time::Instant::now();
        while !when(self) {
            if begun.elapsed() > std::time::Duration::from_secs(60) {
                let _ = child.kill();
                let _ = child.wait();
                assert!(begun.elapsed().is_zero(), "the moment did not come");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        self.standin.disarm(number);
        let run = self.run(&arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        self.sound();
        // A lost answer would be posted again under its number; a second submission would be one more entry.
        assert_eq!(self.posts().len(), 7, "{:?}", self.posts());
        // Journal, custody, notes, logs, traces, results, and what the stand-in keeps.
        assert!(clean(self.dir.path()) > 20);
    }
}

/// No file below a folder holds the secret.
pub fn clean(folder: &Path) -> usize {
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
