//! Whether a value fits a JSON schema: the part of the language that parameter types give.

use serde_json::Value;

/// Checks types, required and unknown properties, enumerations, items, ranges and references. What it does
/// not know it lets pass; the flow's own type has the last word.
///
/// # Errors
/// The first thing that does not fit, with its place.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    fits(schema, schema, value, "")
}

fn place(path: &str) -> String {
    if path.is_empty() { "the value".to_owned() } else { path.trim_start_matches('.').to_owned() }
}

fn fits(root: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Ok(()), |target| fits(root, target, value, path));
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(word).and_then(Value::as_array) {
            let results: Vec<_> = choices.iter().map(|choice| fits(root, choice, value, path)).collect();
            if !results.is_empty() && results.iter().all(Result::is_err) {
                return results.into_iter().next().unwrap_or(Ok(()));
            }
        }
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        fits(root, part, value, path)?;
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|name| is(name, value)) {
        return Err(format!("{} is {value}, and must be of type {}", place(path), types.join(" or ")));
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
        return Err(format!("{} is {value}, and must be one of {}", place(path), choices.join(", ")));
    }
    if let Some(only) = schema.get("const")
        && only != value
    {
        return Err(format!("{} is {value}, and must be {only}", place(path)));
    }
    if let Some(number) = value.as_f64() {
        let bound = |word: &str| schema.get(word).and_then(Value::as_f64);
        if bound("minimum").is_some_and(|least| number < least)
            || bound("maximum").is_some_and(|most| number > most)
        {
            return Err(format!("{} is {value}, which is out of its range", place(path)));
        }
    }
    match value {
        Value::Object(map) => object(root, schema, map, path),
        Value::Array(items) => {
            let Some(each) = schema.get("items") else { return Ok(()) };
            for (index, item) in items.iter().enumerate() {
                fits(root, each, item, &format!("{path}[{index}]"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn object(
    root: &Value,
    schema: &Value,
    map: &serde_json::Map<String, Value>,
    path: &str,
) -> Result<(), String> {
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !map.contains_key(name) {
            return Err(format!("{} has no {name:?}, which is required", place(path)));
        }
    }
    let none = serde_json::Map::new();
    let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    for (name, value) in map {
        let inner = format!("{path}.{name}");
        match (known.get(name), schema.get("additionalProperties")) {
            (Some(part), _) => fits(root, part, value, &inner)?,
            (None, Some(Value::Bool(false))) => {
                let near = known
                    .keys()
                    .map(|other| (strsim::jaro_winkler(name, other), other))
                    .max_by(|a, b| a.0.total_cmp(&b.0))
                    .filter(|(score, _)| *score > 0.75);
                let hint = near.map_or(String::new(), |(_, other)| format!("; did you mean {other:?}?"));
                return Err(format!("{} has {name:?}, which is unknown{hint}", place(path)));
            }
            (None, Some(part @ Value::Object(_))) => fits(root, part, value, &inner)?,
            (None, _) => (),
        }
    }
    Ok(())
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => true,
    }
}
