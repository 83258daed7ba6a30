//! The JSON API and its description.

use serde_json::Value;

use crate::beam::Beam;

#[test]
fn every_described_operation_is_there_and_answers_as_described() {
    let beam = Beam::open();
    beam.scan("f", "s", &["als"], &["nersc"]);
    let run = beam.run("alcf_recon_flow", "f/s", "fail");
    let client = beam.client();
    let document = client.json("/api/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 12, "{:?}", paths.keys());
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            for reference in references(operation) {
                let name = reference.strip_prefix("#/components/schemas/").unwrap();
                assert!(schemas.contains_key(name), "{path}: {reference}");
            }
            let query = if path == "/api/scan" { "?name=f%2Fs" } else { "" };
            // The name of a scan has a slash: in an address it is one segment, or two.
            let filled = path.replace("{id}", &run.to_string()).replace("{scan}", "f%2Fs") + query;
            let address = filled.as_str();
            if method == "post" {
                // Nobody understands this body, but somebody is there to say so.
                let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
                let token = client.csrf("/");
                let answer =
                    client.clone().with("X-CSRF-Token", &token).send("POST", address, &headers, b"[7]");
                assert!(matches!(answer.status, 400..=404 | 409..=422), "{address}: {}", answer.status);
                assert!(!answer.body.is_empty(), "{address}: nobody is at this address");
                continue;
            }
            // What the viewer describes is shown in the viewer's own tests. Of this scan there is no raw file.
            if path.starts_with("/api/metadata/") {
                assert_eq!(client.json(address).status, 409, "{}", client.json(address).text());
            } else if !path.starts_with("/api/volumes") {
                let answer = client.json(address);
                if path.contains("{scan}") {
                    assert_eq!(answer.body, client.json(&path.replace("{scan}", "f/s")).body, "{path}");
                }
                assert_eq!(answer.status, 200, "{address}: {}", answer.text());
                let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
                fits(&document, schema, &answer.json(), path);
            }
        }
    }
    for schema in schemas.values() {
        for reference in references(schema) {
            assert!(
                schemas.contains_key(reference.strip_prefix("#/components/schemas/").unwrap()),
                "{reference}"
            );
        }
    }
}

#[test]
fn faults_are_told_as_json() {
    let beam = Beam::open();
    let client = beam.client();
    for (path, status) in [
        ("/api/runs/none", 404),
        ("/api/runs/00000000-0000-7000-8000-000000000000", 404),
        ("/api/runs?limit=0", 400),
        ("/api/runs?state=LOST", 400),
        ("/api/runs?before=x", 404),
        ("/api/scan", 400),
        ("/api/scan?name=..%2F..", 400),
        ("/api/nothing", 404),
    ] {
        let answer = client.json(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 10), "{path}: {problem}");
    }
    let answer = client.send("DELETE", "/api/now", &[("Authorization", "Bearer x")], b"");
    assert!((400..500).contains(&answer.status), "{}", answer.status);
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(text) if key == "$ref" => vec![text.clone()],
                other => references(other),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Types and required fields; enough to notice a description of something else.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return fits(document, schema, value, at);
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let null = |one: &Value| one.get("type").is_some_and(|kind| kind == "null");
        if !value.is_null() {
            fits(document, any.iter().find(|one| !null(one)).unwrap(), value, at);
        }
        return;
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let right = kinds.contains(&is) || (is == "integer" && kinds.contains(&"number"));
    assert!(right, "{at}: {is} is not of {kinds:?}: {value}");
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: {name} is missing");
    }
    for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = value.get(name) {
            fits(document, schema, value, &format!("{at}.{name}"));
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values.iter().for_each(|value| fits(document, items, value, &format!("{at}[]")));
    }
}
