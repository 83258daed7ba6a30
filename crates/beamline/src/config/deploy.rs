//! The flows as the engine is to know them: where their runs go, how many at once, and when by themselves.

use std::time::Duration;

use engine::{CatchUp, Deployment, Registry, Schedule, When};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Config;

/// The wait before a failed run is tried again as a whole.
const RETRY_DELAY: Duration = Duration::from_secs(60);

impl Config {
    /// A deployment for each flow of the registry, under the flow's name.
    pub fn deployments(&self, registry: &Registry) -> Vec<Deployment> {
        registry.iter().map(|flow| self.deployment(flow)).collect()
    }

    fn deployment(&self, flow: &engine::Flow) -> Deployment {
        let mut deployment = Deployment::of(flow.name(), flow);
        if let Some(settings) = self.flows.get(flow.name()) {
            let (pool, queue) = self.place(flow.name());
            deployment.pool = pool;
            deployment.queue = queue;
            let facility = settings.facility.as_ref().and_then(|name| self.facilities.get(name));
            let slots = facility.and_then(|facility| facility.slots);
            deployment.concurrency = settings.concurrency.into_iter().chain(slots).min();
            // A reconstruction is submitted again by its own step, which keeps what was done.
            let whole = !flow.name().ends_with("_recon_flow");
            deployment.retries = if whole { settings.retries } else { 0 };
            deployment.retry_delay = RETRY_DELAY;
        }
        for (name, schedule) in self.schedules.iter().filter(|(_, one)| one.flow == flow.name()) {
            let when = match (&schedule.cron, schedule.every) {
                (Some(expression), _) => {
                    When::Cron { expression: expression.clone(), time_zone: self.beamline.time_zone.clone() }
                }
                (None, every) => When::Every {
                    interval: Duration::from_secs(
                        every.map_or(86_400, |every| u64::try_from(every.as_seconds()).unwrap_or(86_400)),
                    ),
                    from: Timestamp::UNIX_EPOCH,
                },
            };
            let policy = match schedule.catch_up.as_str() {
                "all" => CatchUp::All,
                "none" => CatchUp::None,
                _ => CatchUp::Latest,
            };
            let mut planned = Schedule::new(name, when).catch_up(policy);
            if !schedule.set.is_empty() {
                let parameters: Map<String, Value> = schedule
                    .set
                    .iter()
                    .map(|(key, text)| (key.clone(), parameter(flow.schema(), key, text)))
                    .collect();
                planned.parameters = Value::Object(parameters);
            }
            deployment = deployment.schedule(planned);
        }
        deployment
    }

    /// The pool and queue of a flow's runs.
    pub fn place(&self, flow: &str) -> (String, String) {
        let settings = self.flows.get(flow);
        let word = |of: fn(&super::Flow) -> Option<&String>| {
            settings.and_then(of).cloned().unwrap_or_else(|| "default".to_owned())
        };
        (word(|flow| flow.pool.as_ref()), word(|flow| flow.queue.as_ref()))
    }
}

/// A parameter's value from its text: what the schema wants, a text where it wants one.
pub fn parameter(schema: &Value, key: &str, text: &str) -> Value {
    let wanted = schema.pointer(&format!("/properties/{key}/type"));
    let wants = |name: &str| match wanted {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(some)) => some.iter().any(|one| one == name),
        _ => false,
    };
    let parsed = serde_json::from_str::<Value>(text).ok();
    match parsed {
        Some(Value::Null) if wants("null") => Value::Null,
        Some(value @ Value::Bool(_)) if wants("boolean") => value,
        Some(value @ Value::Number(_)) if wants("number") || wants("integer") => value,
        Some(value @ (Value::Array(_) | Value::Object(_))) if !wants("string") => value,
        _ if wants("string") => json!(text),
        _ if wants("array") => json!(text.split(',').map(str::trim).collect::<Vec<_>>()),
        Some(value) => value,
        None => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_what_the_schema_wants() {
        let schema = json!({ "properties": {
            "path": { "type": "string" }, "flag": { "type": ["boolean", "null"] },
            "center": { "type": ["number", "null"] }, "set": { "type": "array" }, "any": {} } });
        for (key, text, value) in [
            ("path", "12", json!("12")),
            ("path", "a/b.h5", json!("a/b.h5")),
            ("flag", "true", json!(true)),
            ("flag", "null", json!(null)),
            ("center", "1280.5", json!(1280.5)),
            ("center", "left", json!("left")),
            ("set", "a=1,b=2", json!(["a=1", "b=2"])),
            ("set", "[\"a=1\"]", json!(["a=1"])),
            ("any", "{\"x\":1}", json!({"x": 1})),
            ("any", "word", json!("word")),
        ] {
            assert_eq!(parameter(&schema, key, text), value, "{key}={text}");
        }
    }
}
