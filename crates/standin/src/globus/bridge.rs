//! The way to a real endpoint: a Python process with `pika`, the AMQP library of the endpoint itself,
//! carries tasks to RabbitMQ and results back, one JSON object a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::Compute;
use super::state::{World, text};

const PROGRAM: &str = include_str!("bridge.py");

/// A running bridge.
pub struct Bridge {
    url: String,
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
}

impl Bridge {
    /// Starts the bridge if compute tasks go to a real endpoint.
    pub fn start_if_wanted(world: &Arc<World>) {
        let Compute::Amqp { url, python } = &world.config.compute else { return };
        let spawned = Command::new(python)
            .args([
                "-u",
                "-c",
                PROGRAM,
                url,
                &world.endpoint(),
                world.config.clients.first().map_or("", |(id, _)| id),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else { return };
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return };
        let bridge = Self { url: url.clone(), child: Mutex::new(child), input: Mutex::new(input) };
        if world.bridge.set(bridge).is_err() {
            return;
        }
        world.spawn(move |world| {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                let Ok(told) = serde_json::from_str::<Value>(&line) else { continue };
                hear(world, &told);
            }
        });
    }

    /// Sends a task to the endpoint.
    pub fn submit(&self, world: &World, id: &str) {
        let line = world.change(|state| {
            let job = state.jobs.get_mut(id)?;
            // Sent before this process was started: its result is in the queue or on its way.
            if job.starts > 0 {
                return None;
            }
            job.starts += 1;
            job.status = "waiting-for-ep".to_owned();
            Some(json!({"task": job.id, "function": job.function, "buffer": job.buffer, "serializers": job.serializers}))
        });
        let Some(line) = line else { return };
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        // A bridge that is gone leaves its tasks waiting, as a broker does.
        let _ = writeln!(input, "{line}").and_then(|()| input.flush());
    }

    /// What a registering endpoint is told: where it hears commands and sends heartbeats.
    pub fn queues_of_endpoint(&self, id: &str) -> Value {
        let key = format!("{id}.heartbeats");
        json!({
            "command_queue_info": {"connection_url": self.url, "queue": format!("{id}.commands")},
            "heartbeat_queue_info": {
                "connection_url": self.url, "queue": key, "exchange": "heartbeats",
                "queue_publish_kwargs": {"exchange": "heartbeats", "routing_key": key, "mandatory": true,
                                         "properties": {"delivery_mode": 2}},
            },
        })
    }

    pub fn stop(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Takes what the bridge says: a heartbeat or a result.
fn hear(world: &World, told: &Value) {
    if let Some(report) = told.get("heartbeat") {
        let endpoint = world.endpoint();
        world.change(|state| {
            if let Some(known) = state.endpoints.get_mut(&endpoint) {
                known.heard = Some(report.to_string());
            }
        });
    }
    if let Some(id) = text(told, "result") {
        // Nobody is told before it is on disk; a full disk is seen at the next save.
        let _ = world.commit(|state| {
            if let Some(job) = state.jobs.get_mut(id).filter(|job| job.is_open()) {
                job.take(told);
            }
        });
    }
}
