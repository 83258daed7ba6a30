//! Software that knows the API by its description alone sends it all that it allows, and what it does not: nothing may
//! break. `make judges` installs it into `.tools/`.

use std::path::Path;
use std::process::Command;

use web::{Access, Role};

use crate::beam::Beam;

const TOKEN: &str = "operate-0123456789abcdef0123456789";

#[test]
fn schemathesis_finds_no_5xx() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/schemathesis/bin/schemathesis");
    if !program.exists() {
        println!("skipped: .tools/schemathesis is not installed; run make judges");
        return;
    }
    let mut access = Access::default();
    access.add("judge", Role::Operate, TOKEN).unwrap();
    let beam = Beam::with(access);
    beam.scan("f", "s", &["als"], &["nersc"]);
    // The example of the description.
    beam.scan("BLS-00042_user", "20260704_141200_fungi", &["als"], &["nersc"]);
    beam.run("alcf_recon_flow", "f/s", "fail");
    beam.run("alcf_recon_flow", "f/s", "ask");
    let examples = if std::env::var("BEAMRAIL_LONG").is_ok() { "200" } else { "12" };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    // Only this server, whatever proxies the host has.
    for variable in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    let output = command
        .current_dir(folder.path())
        .env("NO_PROXY", "*")
        .arg("run")
        .arg(format!("http://{}/api/openapi.json", beam.address))
        .args(["-H", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--checks", "not_a_server_error"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--seed", "832"])
        .args(["--request-timeout", "20", "--workers", "1", "--no-color", "--warnings", "off"])
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let tested = said.lines().filter(|line| line.contains("passed") || line.contains("generated"));
    tested.for_each(|line| println!("{line}"));
    assert!(output.status.success(), "{said}");
    // It says so where it could not read the description, and that must not count as success.
    assert!(said.contains("test cases") || said.contains("passed"), "{said}");
}
