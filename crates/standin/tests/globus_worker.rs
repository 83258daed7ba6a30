//! Tasks as our client packs them, executed by the worker code of the real globus-compute-endpoint.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and tell what is skipped"
)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{long, root, tool};
use globus::compute::{Dialect, Function, RunnerSpec, arguments, function, result};
use serde_json::{Map, Value, json};

const SOURCE: &str = r#"def answer(text, *more, fail=False, **options):
    """Not ASCII on purpose: µ, ✓."""
    import sys
    if fail:
        raise ValueError("on purpose: " + text)
    return {"text": text, "length": len(text), "more": list(more), "options": options, "python": sys.version_info[0]}
"#;

/// Non-ASCII of every width, quotes, lines, and the values that JSON has.
const TEXT: &str = "scän µ_\u{1f52c} \"quoted\" 'single'\nline\tλ";

fn execute(python: &Path, buffer: &str) -> Value {
    let mut child = Command::new(python)
        .arg(root().join("crates/standin/tests/judges/endpoint_worker.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let task =
        json!({"task_buffer": buffer, "result_serializers": ["globus_compute_sdk.serialize.JSONData"]});
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", python.display(), output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The function, a failure of it, and the runner, in one dialect on one worker.
fn judge(python: &Path, dialect: Dialect) {
    let code = function("answer", SOURCE, dialect);
    let args = [json!(TEXT), json!(1.5), json!(null), json!(["é", true])];
    let kwargs: Map<String, Value> = [("ключ".to_owned(), json!({"a": [1, -2]}))].into_iter().collect();
    let told = execute(python, &format!("{code}{}", arguments(&args, &kwargs, dialect)));
    assert_eq!(told["error"], false, "{}: {told}", python.display());
    let value = result(told["data"].as_str().unwrap()).unwrap();
    let expected = json!({
        "text": TEXT, "length": TEXT.chars().count(), "more": [1.5, null, ["é", true]], "options": kwargs, "python": 3,
    });
    assert_eq!(value, expected, "{}", python.display());

    let fail: Map<String, Value> = [("fail".to_owned(), json!(true))].into_iter().collect();
    let told = execute(python, &format!("{code}{}", arguments(&[json!("ü")], &fail, dialect)));
    assert_eq!(told["error"], true);
    assert!(told["data"].as_str().unwrap().contains("on purpose: ü"), "{told}");

    let folder = tempfile::tempdir().unwrap();
    let mut spec = RunnerSpec::new(
        "/bin/sh",
        vec!["-c".into(), "echo \"$1\"; exit 3".into(), "sh".into(), TEXT.into()],
        folder.path().join("jöb").to_string_lossy(),
    );
    spec.poll = 0.05;
    let runner = Function::runner(dialect);
    let code = function(&runner.name, &runner.source, dialect);
    let told = execute(python, &format!("{code}{}", arguments(&spec.arguments(), &Map::new(), dialect)));
    let ran = globus::compute::Ran::read(result(told["data"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!((ran.rc, ran.stdout.trim()), (Some(3), TEXT), "{}: {told}", python.display());
}

#[test]
fn the_worker_of_endpoint_4_executes_our_tasks() {
    let Some(python) = tool("globus-sdk/bin/python") else { return };
    judge(&python, Dialect::Text);
    judge(&python, Dialect::Pickle);
}

#[test]
fn so_does_it_on_other_pythons() {
    if !long() {
        return;
    }
    let mut judged = 0;
    for version in ["3.10", "3.12", "3.13"] {
        let python = root().join(format!(".tools/globus-worker-{version}/bin/python"));
        if python.exists() {
            judge(&python, Dialect::Text);
            judge(&python, Dialect::Pickle);
            judged += 1;
        }
    }
    if judged == 0 {
        println!(
            "skipped: no other Python has the endpoint's worker; make test-long installs it where there is one"
        );
    }
}

#[test]
fn an_old_endpoint_wants_the_fallback() {
    if !long() {
        return;
    }
    let Some(python) = tool("globus-old/bin/python") else { return };
    judge(&python, Dialect::Pickle);
    let buffer =
        function("answer", SOURCE, Dialect::Text) + &arguments(&[json!("x")], &Map::new(), Dialect::Text);
    let told = execute(&python, &buffer);
    assert!(
        told["error"] == true && told["data"].as_str().unwrap().contains("st"),
        "source text is not understood: {told}"
    );
}
