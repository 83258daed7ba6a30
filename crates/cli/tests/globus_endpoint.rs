//! The whole path with Globus's own endpoint: `beamrail run alcf_recon_flow`, transfers of the stand-in, RabbitMQ,
//! the real globus-compute-endpoint 4.19, `beamrail reconstruct` in its worker, results brought home, custody.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say what they skip"
)]

mod common;
#[path = "../../standin/tests/common/endpoint.rs"]
mod endpoint;
#[path = "common/globus.rs"]
mod globus;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use endpoint::{broker, script, told};
use globus::{CLIENT, SECRET, World};
use standin::globus::Compute;

/// The endpoint asks there, whatever it is told: its code has the port of a local web service in it.
const PORT: u16 = 5000;
const ENDPOINT: &str = "55555555-5555-4555-8555-555555555555";

const LOCAL: &str = "  provider: {type: LocalProvider, init_blocks: 1, min_blocks: 0, max_blocks: 1}\n";

/// As on Polaris, but for the launcher: there is no MPI here.
const PBS: &str = "  provider:
    type: PBSProProvider
    account: IRIBeta
    queue: debug
    scheduler_options: '#PBS -l filesystems=home:eagle'
    launcher: {type: SimpleLauncher}
    walltime: '00:05:00'
    init_blocks: 1
    min_blocks: 0
    max_blocks: 1
";

/// Something that `make judges` has installed; says so if it is not there.
fn tool(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let found = root.join(".tools").join(path);
    if !found.exists() {
        println!("skipped: .tools/{path} is not installed; run make judges");
    }
    found.exists().then_some(found)
}

/// The flow of the beamline; `provider` says how the endpoint gets its workers, `path` what comes first on its PATH.
fn whole_path(provider: &str, path: &dyn Fn(&Path) -> String, after: &dyn Fn(&Path)) {
    let Some(python) = tool("globus-sdk/bin/python") else { return };
    // One at a time, whoever runs them: there is one such port.
    let lock = std::fs::File::create(std::env::temp_dir().join("beamrail-test-port-5000.lock")).unwrap();
    lock.lock().unwrap();
    if TcpListener::bind(("127.0.0.1", PORT)).is_err() {
        println!("skipped: port {PORT}, which the endpoint has built in, is taken");
        return;
    }
    let services = tempfile::tempdir().unwrap();
    let Some((_broker, amqp)) = broker(services.path()) else { return };
    let world = World::with(
        |config| {
            let compute = Compute::Amqp { url: amqp, python };
            config.listen(([127, 0, 0, 1], PORT).into()).endpoint(ENDPOINT).compute(compute)
        },
        "",
    );
    world.scan();
    let path = path(services.path());
    let base = world.standin.base_url();
    let Some(_endpoint) = endpoint::endpoint(services.path(), &base, provider, &path) else { return };
    let run = world.reconstruct();
    assert_eq!(run.code, 0, "{}\n{}\n{}", run.stderr, world.standin.counts(), told(services.path()));
    world.sound();
    assert_eq!(world.posts(), [1; 7]);
    assert_eq!(world.standin.counts()["jobs"]["accepted"], 1);
    let shown = world.ok(&["custody", "show", globus::SCAN, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let at = |site: &str, kind: &str| {
        let copies = shown["copies"].as_array().unwrap().iter();
        copies.filter(|copy| copy["site"] == site && copy["kind"] == kind).count()
    };
    for site in ["alcf", "nersc", "als"] {
        assert_eq!((at(site, "tiff"), at(site, "zarr")), (1, 1), "{site}: {}", shown["copies"]);
    }
    after(services.path());
}

#[test]
fn the_flow_runs_through_a_real_endpoint() {
    whole_path(LOCAL, &|_| String::new(), &|_| {});
}

#[test]
fn the_flow_runs_in_a_pbs_job() {
    if std::env::var_os("BEAMRAIL_LONG").is_none() {
        println!("skipped: slow; set BEAMRAIL_LONG=1");
        return;
    }
    let commands = |folder: &Path| {
        let bin = folder.join("pbs");
        std::fs::create_dir_all(&bin).unwrap();
        script(&bin.join("qsub"), include_str!("../../standin/tests/judges/pbs/qsub"));
        script(&bin.join("qstat"), include_str!("../../standin/tests/judges/pbs/qstat"));
        script(&bin.join("qdel"), include_str!("../../standin/tests/judges/pbs/qdel"));
        format!("{}:", bin.display())
    };
    let looked_at = |folder: &Path| {
        let calls = std::fs::read_to_string(folder.join("pbs/calls")).unwrap();
        assert!(calls.contains("qsub"), "the worker came by qsub: {calls}");
    };
    whole_path(PBS, &commands, &looked_at);
}
