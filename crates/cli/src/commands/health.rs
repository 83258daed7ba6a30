//! `beamrail worker --health`: whether a worker of this host lives, for supervisors of services and containers.

use beamline::config::Config;
use engine::{Clock, Engine, WorkerSeen};
use serde_json::json;

use super::beam::{BeamArgs, time};
use crate::exit::{Exit, Failure};
use crate::output;

/// Asks the journal alone: the answer takes milliseconds and changes nothing.
pub(super) fn health(args: &BeamArgs, as_json: bool) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref())?;
    let none = || {
        Failure::new(Exit::Failed, "no worker of this host gives signs of life")
            .hint("systemctl status beamrail-worker, or beamrail worker")
    };
    if !config.journal().is_file() {
        return Err(none());
    }
    let engine = Engine::open(config.journal(), Clock::system())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
    let seen = runtime.block_on(engine.workers())?;
    let (now, host) =
        (engine.clock().now(), rustix::system::uname().nodename().to_string_lossy().into_owned());
    // A worker that died still counts until its time is over; one that ended in order has gone at once.
    let alive: Vec<&WorkerSeen> =
        seen.iter().filter(|one| one.host == host && one.lives(now) && is_there(one.pid)).collect();
    if as_json {
        let list: Vec<_> = alive
            .iter()
            .map(|one| json!({ "name": one.name, "pid": one.pid, "version": one.version, "seen": one.seen }))
            .collect();
        output::print_json(&json!({ "workers": list }))?;
    }
    if alive.is_empty() {
        return Err(none());
    }
    if !as_json {
        for one in alive {
            output::print(&format!("{} of pool {}, seen {}", one.name, one.pool, time(one.seen)))?;
        }
    }
    Ok(())
}

fn is_there(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}
