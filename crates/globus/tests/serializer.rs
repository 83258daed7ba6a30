//! Our payloads beside those of the real Compute SDK, and run by it: packed, unpacked, executed, its results read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use std::process::Command;

use common::python;
use globus::compute::{Dialect, RUNNER_NAME, RUNNER_SOURCE, arguments, function, result};
use serde_json::{Map, Value, json};

/// Takes what we wrote apart with the SDK's serializer, calls the function, and gives the result in both ways; and
/// writes function and arguments as the SDK does.
const JUDGE: &str = r#"
import json, sys, importlib.util
from globus_compute_sdk.serialize import ComputeSerializer, JSONData, DillDataBase64, PureSourceTextInspect
told = json.load(open(sys.argv[1]))
out = {}
serde = ComputeSerializer()
for name in ("text", "pickle"):
    code = serde.deserialize(serde.unpack_buffers(told[name]["function"])[0])
    args, kwargs = (serde.deserialize(one) for one in serde.unpack_buffers(told[name]["arguments"]))
    value = code(*args, **kwargs)
    out[name] = {"args": args, "kwargs": kwargs, "json": JSONData().serialize(value),
                 "dill": DillDataBase64().serialize(value)}
spec = importlib.util.spec_from_file_location("judged", told["file"])
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
theirs = ComputeSerializer(strategy_code=PureSourceTextInspect(), strategy_data=JSONData())
out["function"] = theirs.pack_buffers([theirs.serialize(module.echo)])
out["arguments"] = theirs.pack_buffers([theirs.serialize([told["plain"]]), theirs.serialize({})])
print(json.dumps(out))
"#;

const ECHO: &str =
    "def echo(*args, **kwargs):\n    # µ: not ASCII\n    return {\"args\": list(args), \"kwargs\": kwargs}\n";

#[test]
fn the_sdks_serializer_reads_what_we_write_and_the_other_way_round() {
    let Some(python) = python("globus_compute_sdk") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("judged.py");
    std::fs::write(&file, ECHO).unwrap();
    let args =
        [json!("scan µ 𝄞 \u{7f}\n\"\\"), json!([1, -2, 1_i64 << 40, 2.5, null, true, {"a": {"b": []}}])];
    let kwargs: Map<String, Value> = [("walltime".to_owned(), json!(20))].into_iter().collect();
    let both = |dialect| json!({"function": function("echo", ECHO, dialect), "arguments": arguments(&args, &kwargs, dialect)});
    let told =
        json!({"text": both(Dialect::Text), "pickle": both(Dialect::Pickle), "file": file, "plain": 20});
    let input = folder.path().join("told.json");
    std::fs::write(&input, told.to_string()).unwrap();
    let output = Command::new(python).args(["-c", JUDGE]).arg(&input).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let judged: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["text", "pickle"] {
        let one = &judged[name];
        assert_eq!((&one["args"], &one["kwargs"]), (&json!(args), &json!(kwargs)), "{name}");
        let expected = json!({"args": args, "kwargs": kwargs});
        for way in ["json", "dill"] {
            assert_eq!(result(one[way].as_str().unwrap()).unwrap(), expected, "{name} {way}");
        }
    }
    // The same bytes, where JSON leaves no choice of blanks.
    assert_eq!(judged["function"], json!(function("echo", ECHO, Dialect::Text)));
    assert_eq!(judged["arguments"], json!(arguments(&[json!(20)], &Map::new(), Dialect::Text)));
}

#[test]
fn the_runner_is_one_function_that_needs_nothing() {
    let starts: Vec<&str> =
        RUNNER_SOURCE.lines().filter(|line| !line.starts_with([' ', '\t']) && !line.is_empty()).collect();
    assert_eq!(starts, [format!("def {RUNNER_NAME}(spec):")]);
}
