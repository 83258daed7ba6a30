//! Help, usage errors, recipes, completions, manual pages, closed pipes.

mod common;

use common::Dir;
use std::process::Stdio;

const COMMANDS: [&str; 23] = [
    "demo",
    "reconstruct",
    "center",
    "inspect",
    "simulate",
    "zarr",
    "verify",
    "view",
    "recipes",
    "init",
    "check",
    "run",
    "runs",
    "watch",
    "worker",
    "custody",
    "prune",
    "reconcile",
    "prefect",
    "backup",
    "restore",
    "completions",
    "man",
];

#[test]
fn help_is_data_and_ends_well() {
    let dir = Dir::new();
    let help = dir.ok(&["--help"]);
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in the help");
        let own = dir.ok(&[command, "--help"]);
        assert!(own.contains("Usage: beamrail"), "{own}");
        assert_eq!(dir.ok(&["help", command]), own);
        // Every flag says what it does.
        for (flag, next) in own.lines().zip(own.lines().skip(1)) {
            let bare = flag.trim_start().starts_with("--") && flag.split_whitespace().count() <= 2;
            assert!(!bare || !next.trim().is_empty(), "{command}: no help for {flag}");
        }
    }
    assert!(help.contains("Exit codes: 0 done; 1 failed; 2 usage; 3 bad input; 4 a site"));
    assert_eq!(dir.ok(&["--version"]), format!("beamrail {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_end_with_2_and_do_nothing() {
    let dir = Dir::new();
    let cases: &[&[&str]] = &[
        &["reconstruc"],
        &["reconstruct"],
        &["reconstruct", "a.h5", "--nonsense"],
        &["reconstruct", "a.h5", "--part", "3/2"],
        &["reconstruct", "a.h5", "--part", "0/2"],
        &["reconstruct", "a.h5", "--plan", "--finish"],
        &["reconstruct", "a.h5", "--quick", "--part", "1/2"],
        &["reconstruct", "a.h5", "--overwrite", "--resume"],
        &["reconstruct", "a.h5", "--memory", "2 parsecs"],
        &["reconstruct", "a.h5", "--threads", "0"],
        &["reconstruct", "a.h5", "--center", "nan"],
        &["reconstruct", "a.h5", "--center", "left"],
        &["reconstruct", "a.h5", "--write", "jpeg"],
        &["reconstruct", "a.h5", "--ome-zarr", "0.3"],
        &["reconstruct", "a.h5", "--progress", "loud"],
        &["center", "a.h5", "--sweep", "1:2"],
        &["center", "a.h5", "--sweep", "2:1:1"],
        &["simulate", "a.h5", "--phantom", "banana"],
        &["simulate", "a.h5", "--width", "-5"],
        &["simulate", "a.h5", "--width", "0"],
        &["simulate", "a.h5", "--noise", "nan"],
        &["simulate", "a.h5", "--half-acquisition", "--range", "180"],
        &["simulate", "a.h5", "--chunk", "1,2"],
        &["simulate", "a.h5", "--center", "1e9"],
        &["completions", "tcl"],
        &["demo", "--size", "huge"],
        &["demo", "--size", "tiny", "--scan", "x.h5"],
        &["verify"],
        &["run", "x", "--at", "now", "--in", "2 hours"],
        &["runs", "shwo"],
        &["runs", "show"],
        &["runs", "list", "--state", "asleep"],
        &["worker", "--concurrency", "0"],
        &["watch", "--quiet", "a while"],
        &["custody", "hold"],
        &["prune", "everything"],
        &["init", "--env", ".env"],
    ];
    for case in cases {
        dir.refused(case, 2, &[]);
    }
    let bare = dir.run(&[]);
    assert_eq!((bare.code, bare.stdout.as_str()), (2, ""));
    assert!(bare.stderr.contains("Usage: beamrail"));
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

#[test]
fn bad_recipes_are_bad_input() {
    let dir = Dir::new();
    std::fs::write(dir.file("bad.toml"), "[stripes]\nsigmaa = 3\n").unwrap();
    std::fs::write(dir.file("open.toml"), "[center]\nmethod = \"fixed\"\n").unwrap();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--recipe", "als382"], &["als832"]),
        (&["--recipe", "absent.toml"], &["absent.toml"]),
        (&["--recipe", "bad.toml"], &["stripes.sigmaa", "line 2", "stripes.sigma?", "try:"]),
        (&["--recipe", "open.toml"], &["center.value"]),
        (&["--set", "stripes.sigma=-1"], &["stripes.sigma", "greater than 0"]),
        (&["--set", "sigma"], &["key=value"]),
        (&["--dtype", "uint32"], &["output.dtype", "uint16"]),
        (
            &["--center", "3", "--set", "gridrec.padding=none", "--set", "gridrec.pad_columns=3"],
            &["gridrec.pad_columns"],
        ),
    ];
    for (flags, words) in cases {
        let mut arguments = vec!["reconstruct", "absent.h5"];
        arguments.extend(*flags);
        dir.refused(&arguments, 3, words);
    }
    dir.refused(&["recipes", "show", "als382"], 3, &["als832"]);
    dir.refused(
        &["center", "absent.h5", "--method", "guess", "--no-picture"],
        3,
        &["center.method", "entropy"],
    );
    // What a flag of its own sets wins over the file.
    let run = dir.run(&["reconstruct", "absent.h5", "--recipe", "open.toml", "--center", "5"]);
    assert!(run.code == 3 && run.stderr.contains("absent.h5"), "{}", run.stderr);
}

#[test]
fn a_shown_recipe_is_a_recipe() {
    let dir = Dir::new();
    let text = dir.ok(&["recipes", "show", "als832", "--set", "stripes.sigma=4"]);
    std::fs::write(dir.file("mine.toml"), &text).unwrap();
    assert_eq!(dir.ok(&["recipes", "show", "mine.toml"]), text);
    assert!(text.contains("sigma = 4.0"));

    let list = dir.ok(&["recipes"]);
    assert!(list.starts_with("default "), "{list}");
    assert!(list.contains("\nals832 "), "{list}");
    let list = dir.json(&["recipes", "--json"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let shown = dir.json(&["recipes", "show", "mine.toml", "--json"]);
    let parameters = shown["parameters"].as_array().unwrap();
    let sigma = parameters.iter().find(|parameter| parameter["key"] == "stripes.sigma").unwrap();
    assert_eq!(sigma["value"], 4.0);
    assert_eq!(sigma["default"], 3.0);
    assert_eq!(sigma["type"], "number");
    let method = parameters.iter().find(|parameter| parameter["key"] == "gridrec.mode").unwrap();
    assert_eq!(method["choices"][0]["name"], "exact");
    let pixel = parameters.iter().find(|parameter| parameter["key"] == "geometry.pixel_size_um").unwrap();
    assert_eq!(pixel["value"], serde_json::Value::Null);
    assert_eq!(pixel["optional"], true);
    assert_eq!(shown, dir.json(&["recipes", "--json", "show", "mine.toml"]));
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let dir = Dir::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = dir.ok(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
        assert!(script.contains("ome-zarr"), "{shell} does not know --ome-zarr");
    }
    let pages = dir.ok(&["man", "--out", "man"]);
    for command in COMMANDS {
        let path = dir.file(&format!("man/beamrail-{command}.1"));
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.contains(".TH") && page.contains(&format!("beamrail\\-{command}")), "{command}: {page}");
        assert!(pages.contains(&format!("beamrail-{command}.1")));
    }
    assert!(std::fs::read_to_string(dir.file("man/beamrail.1")).unwrap().contains("beamrail\\-inspect"));
    assert!(dir.ok(&["man"]).contains(".TH beamrail 1"));
    std::fs::write(dir.file("file"), "").unwrap();
    dir.refused(&["man", "--out", "file"], 1, &["file"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = Dir::new();
    for arguments in
        [&["recipes", "show"][..], &["--help"], &["completions", "bash"], &["man"], &["recipes", "--json"]]
    {
        let mut child = dir.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closes the pipe before anything can have been written to it completely, or just after.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert_eq!(stderr, "", "{arguments:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_under_stdout_is_a_failure() {
    let dir = Dir::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = dir.command(&["recipes"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error: cannot write to stdout"));
}
