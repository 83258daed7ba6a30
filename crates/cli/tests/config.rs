//! Finding, writing and checking the configuration, with the real binary.

mod common;
#[path = "common/sites.rs"]
mod sites;

use std::io::Write;
use std::process::Stdio;

use common::Dir;
use sites::{CONFIG, sites};

#[test]
fn it_is_found_by_flag_variable_folder_and_home() {
    let dir = Dir::new();
    for name in ["flag", "variable", "home/beamrail"] {
        std::fs::create_dir_all(dir.file(name)).unwrap();
    }
    let id = |name: &str| CONFIG.replace("8.3.2", name);
    let check = |arguments: &[&str], variable: bool| {
        let mut command = dir.command(arguments);
        command.env("XDG_CONFIG_HOME", dir.file("home")).env_remove("BEAMRAIL_CONFIG");
        if variable {
            command.env("BEAMRAIL_CONFIG", dir.file("variable/beamrail.toml"));
        }
        let output = command.output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let worker = ["worker", "--once"];
    assert!(check(&worker, false).contains("there is no configuration; looked for beamrail.toml"));
    std::fs::write(dir.file("home/beamrail/beamrail.toml"), id("of-home")).unwrap();
    assert!(check(&worker, false).contains("beamline of-home"));
    std::fs::write(dir.file("beamrail.toml"), id("of-here")).unwrap();
    assert!(check(&worker, false).contains("beamline of-here"));
    std::fs::write(dir.file("variable/beamrail.toml"), id("of-variable")).unwrap();
    assert!(check(&worker, true).contains("beamline of-variable"));
    std::fs::write(dir.file("flag/beamrail.toml"), id("of-flag")).unwrap();
    assert!(
        check(&["worker", "--once", "--config", "flag/beamrail.toml"], true).contains("beamline of-flag")
    );
    // One that was named is not looked for elsewhere.
    dir.refused(&["worker", "--config", "none.toml"], 3, &["none.toml: cannot read"]);
}

#[test]
fn all_that_is_wrong_is_told_with_its_line() {
    let dir = Dir::new();
    std::fs::write(
        dir.file("beamrail.toml"),
        format!("{CONFIG}\n[sites.x]\nkind = \"lokal\"\nrot = \"x\"\n"),
    )
    .unwrap();
    let lines = CONFIG.lines().count();
    let kind = format!("beamrail.toml:{}: sites.x.kind", lines + 3);
    let root = format!("beamrail.toml:{}: sites.x.rot: no such key; did you mean root?", lines + 4);
    dir.refused(&["runs"], 3, &[&kind, &root]);
    std::fs::write(dir.file("beamrail.toml"), "[globus]\nclient_secret = \"hunter2\"\n").unwrap();
    let run = dir.run(&["runs"]);
    assert!(run.stderr.contains("GLOBUS_CLIENT_SECRET") && !run.stderr.contains("hunter2"), "{}", run.stderr);
}

#[test]
fn check_says_who_must_do_what() {
    let dir = Dir::new();
    sites(&dir);
    let table = dir.ok(&["check"]);
    for words in ["site als", "facility polaris", "can be read and written", "beamrail 0.1.0", "free"] {
        assert!(table.contains(words), "'{words}' is not in {table}");
    }
    std::fs::remove_dir(dir.file("nersc/raw")).unwrap();
    std::fs::remove_dir(dir.file("nersc/scratch")).unwrap();
    std::fs::remove_dir(dir.file("nersc")).unwrap();
    let run = dir.run(&["check", "nersc", "--json"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    let looks: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(looks[0]["verdict"], "fault");
    assert!(looks[0]["action"].as_str().unwrap().contains("operator: mount it or make it"), "{looks}");
    assert!(dir.ok(&["check", "als"]).contains("site als"));
    dir.refused(&["check", "mars"], 2, &["no site or facility mars"]);
    // The variable that is needed is named.
    let more = "[sites.g]\nkind = \"globus\"\ncollection = \"${BEAMRAIL_TEST_NOT_SET}\"\nroot = \"/x\"\nraw = \"raw\"\n";
    std::fs::write(dir.file("beamrail.toml"), format!("{CONFIG}{more}")).unwrap();
    let table = dir.ok(&["check", "g"]);
    assert!(table.contains("BEAMRAIL_TEST_NOT_SET"), "{table}");
}

#[test]
fn init_asks_and_writes_what_check_accepts() {
    let dir = Dir::new();
    let mut child = dir
        .command(&["init"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let root = dir.file("data");
    let answers = format!("7.3.3\n\ndata733\n{}\n\n\n60 days\nnone\n4 GiB\nEC-*, X-*\n", root.display());
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    for words in ["id = \"7.3.3\"", "[sites.data733]", "\"60 days\"", "memory = \"4 GiB\"", "\"X-*\""] {
        assert!(text.contains(words), "'{words}' is not in {text}");
    }
    std::fs::create_dir_all(root).unwrap();
    assert!(dir.ok(&["check"]).contains("will be made"));
    // An existing file stays unless it is said so.
    dir.refused(&["init", "--defaults"], 3, &["is there already", "--overwrite"]);
    dir.ok(&["init", "--defaults", "--overwrite"]);
    dir.ok(&["init", "--defaults", "--output", "other.toml"]);
}

/// The flows' own file, as the beamline has it.
const INCUMBENT: &str = r#"
globus:
  globus_endpoints:
    spot832:
      root_path: /
      uri: spot832.lbl.gov
      uuid: 44ae904c-ab64-4145-a8f0-7287de38324d
      name: spot832
    data832:
      root_path: /data
      uri: data832.lbl.gov
      uuid: 75b478b2-37af-46df-bfbd-71ed692c6506
      name: data832
    data832_raw:
      root_path: /data/raw
      uri: data832.lbl.gov
      uuid: 75b478b2-37af-46df-bfbd-71ed692c6506
      name: data832_raw
    data832_scratch:
      root_path: /data/scratch/globus_share
      uri: data832.lbl.gov
      uuid: 75b478b2-37af-46df-bfbd-71ed692c6506
      name: data832_scratch
    nersc832:
      root_path: /global/cfs/cdirs/als/data_mover/8.3.2
      uri: nersc.gov
      uuid: df82346e-9a15-11ea-b3c4-0ae144191ee3
      name: nersc832
    nersc832_alsdev_pscratch_raw:
      root_path: /pscratch/sd/a/alsdev/8.3.2/raw
      uri: nersc.gov
      uuid: d40248e6-d874-4f7b-badd-2c06c16f1a58
      name: nersc832_alsdev_pscratch_raw
    nersc832_alsdev_pscratch_scratch:
      root_path: /pscratch/sd/a/alsdev/8.3.2/scratch
      uri: nersc.gov
      uuid: d40248e6-d874-4f7b-badd-2c06c16f1a58
      name: nersc832_alsdev_pscratch_scratch
    alcf832_raw:
      root_path: /data/raw
      uri: alcf.anl.gov
      uuid: 55c3adf6-31f1-4647-9a38-52591642f7e7
      name: alcf_raw
    alcf832_scratch:
      root_path: /data/scratch
      uri: alcf.anl.gov
      uuid: 55c3adf6-31f1-4647-9a38-52591642f7e7
      name: alcf_scratch
    alcf_home832:
      root_path: /
      uri: alcf.anl.gov
      uuid: 9032dd3a-e841-4687-a163-2720da731b5b
      name: alcf_home832
  globus_apps:
    als_transfer:
      client_id: ${GLOBUS_CLIENT_ID}
      client_secret: hunter2
scicat:
  jobs_api_url: https://dataportal-staging.als.lbl.gov/api/ingest/jobs
"#;

#[test]
fn the_incumbents_files_are_converted_without_their_secrets() {
    let dir = Dir::new();
    std::fs::write(dir.file("config.yml"), INCUMBENT).unwrap();
    std::fs::write(
        dir.file(".env"),
        "GLOBUS_CLIENT_ID=abc\nexport GLOBUS_CLIENT_SECRET=\"hunter2\"\n# x=1\n",
    )
    .unwrap();
    let run = dir.run(&["init", "--from", "config.yml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let toml = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    assert!(!toml.contains("hunter2") && !run.stderr.contains("hunter2"), "{toml}{}", run.stderr);
    for words in ["GLOBUS_CLIENT_SECRET", "client_secret is written out", "alcf_home832", "pruning-config"] {
        assert!(run.stderr.contains(words), "'{words}' is not in {}", run.stderr);
    }
    let value: toml::Table = toml.parse().unwrap();
    let site =
        |name: &str, key: &str| value["sites"][name].get(key).and_then(|v| v.as_str()).map(str::to_owned);
    assert_eq!(site("data832", "root").as_deref(), Some("/data"));
    assert_eq!(site("data832", "scratch").as_deref(), Some("scratch/globus_share"));
    assert_eq!(site("alcf832", "root").as_deref(), Some("/data"));
    assert_eq!(site("alcf832", "raw").as_deref(), Some("raw"));
    assert_eq!(site("nersc832_alsdev_pscratch", "root").as_deref(), Some("/pscratch/sd/a/alsdev/8.3.2"));
    assert_eq!(site("nersc832", "collection").as_deref(), Some("df82346e-9a15-11ea-b3c4-0ae144191ee3"));
    assert_eq!(value["sites"]["alcf832"]["retention"]["scratch"].as_str(), Some("2 days"));
    assert_eq!(value["flows"]["alcf_recon_flow"]["source"].as_str(), Some("data832"));
    assert_eq!(value["flows"]["prune_spot832"]["area"].as_str(), Some("raw"));
    // It is a whole configuration: everything in it is known.
    assert!(dir.ok(&["run"]).contains("prune_alcf832_raw"));
    // All that is wrong with it is that nobody gave the credentials.
    let check = dir.run(&["check", "--json"]);
    let looks: serde_json::Value = serde_json::from_str(&check.stdout).unwrap();
    let faults: Vec<_> = looks.as_array().unwrap().iter().filter(|one| one["verdict"] == "fault").collect();
    assert!(check.code == 4 && faults.len() == 5, "{looks}");
    assert!(faults.iter().all(|one| one["found"].as_str().unwrap().contains("GLOBUS_CLIENT_ID is not set")));

    for (text, words) in [
        ("", "globus.globus_endpoints is not in it"),
        ("a: [1", "not YAML"),
        ("globus: {globus_endpoints: {}}", "is not in it"),
        ("globus: {globus_endpoints: {x_raw: {root_path: raw, uuid: 1}}}", "raw or scratch"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "is not in it"),
    ] {
        std::fs::write(dir.file("bad.yml"), text).unwrap();
        dir.refused(&["init", "--from", "bad.yml", "--output", "bad.toml"], 3, &[words]);
        assert!(!dir.file("bad.toml").exists());
    }
}
