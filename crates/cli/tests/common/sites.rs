//! Three sites in the fresh folder, as a beamline has them.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use super::common::Dir;

/// als is where scans arrive, nersc keeps a copy, alcf reconstructs.
pub const CONFIG: &str = r#"
[beamline]
id = "8.3.2"
data_host = "als"

[state]
folder = "state"

[sites.als]
kind = "local"
root = "als"
raw = "raw"
scratch = "scratch"
retention = { scratch = "3 days" }

[sites.nersc]
kind = "local"
root = "nersc"
raw = "raw"
scratch = "scratch"
retention = { scratch = "7 days" }

[sites.alcf]
kind = "local"
root = "alcf"
raw = "raw"
scratch = "scratch"
retention = { raw = "0 s", scratch = "0 s" }

[facilities.polaris]
kind = "local"
site = "alcf"

[flows.new_832_file_flow]
send_to = ["nersc"]

[flows.alcf_recon_flow]
source = "nersc"
facility = "polaris"
return_to = ["nersc", "als"]

[flows.dispatcher]
flows = ["new_832_file_flow", "alcf_recon_flow"]

[watch]
flow = "new_832_file_flow"
quiet = "1 s"
poll = "1 s"
"#;

/// A scan's path from any raw folder.
pub const SCAN: &str = "BLS-00564_dyparkinson/20230224_132553_sea_shell.h5";

/// Makes the sites and the configuration.
pub fn sites(dir: &Dir) {
    for site in ["als", "nersc", "alcf"] {
        for area in ["raw", "scratch"] {
            std::fs::create_dir_all(dir.file(site).join(area)).unwrap();
        }
    }
    std::fs::write(dir.file("beamrail.toml"), CONFIG).unwrap();
}

/// Jobs begin with a program that notes each start (milliseconds since 1970, arguments) in `starts` of the job's folder,
/// sleeps, and waits while the file `hold` is there, unless the job is cancelled.
pub fn held_jobs(dir: &Dir, seconds: u32) {
    use std::os::unix::fs::PermissionsExt;
    let (job, hold) = (dir.file("job.sh"), dir.file("hold").display().to_string());
    let binary = env!("CARGO_BIN_EXE_beamrail");
    let script = format!(
        "#!/bin/sh\nfor dir; do :; done\necho \"$(date +%s%3N) $*\" >>\"$dir/starts\"\nsleep {seconds}\n\
         while [ -e '{hold}' ]; do if [ -e \"$dir/cancel\" ]; then exit 130; fi; sleep 0.1; done\n\
         exec '{binary}' \"$@\"\n"
    );
    std::fs::write(&job, script).unwrap();
    std::fs::set_permissions(&job, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    let command = format!("kind = \"local\"\ncommand = \"{}\"\nsite = ", job.display());
    std::fs::write(dir.file("beamrail.toml"), config.replace("kind = \"local\"\nsite = ", &command)).unwrap();
}

/// Puts a small scan at als.
pub fn scan(dir: &Dir) {
    let folder = dir.file("als/raw/BLS-00564_dyparkinson");
    std::fs::create_dir_all(&folder).unwrap();
    dir.ok(&["simulate", &format!("als/raw/{SCAN}"), "--width", "96", "--rows", "16", "--angles", "91"]);
}
