//! The audit log: who did what to which run or scan, and what came of it. Lines of JSON, only ever appended.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::access::Visitor;
use crate::fault::Fault;

/// The file, open for appending.
pub(crate) struct Audit {
    path: PathBuf,
    file: Mutex<File>,
}

impl Audit {
    /// Opens `audit.jsonl` in the state folder. Only its owner may read it.
    pub(crate) fn open(state: &Path) -> std::io::Result<Self> {
        let path = state.join("audit.jsonl");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Writes a line before the act; an act that cannot be written down is not done.
    pub(crate) fn asked(&self, from: IpAddr, visitor: &Visitor, action: &str, on: &str) -> Result<(), Fault> {
        self.write(&json!({
            "time": Timestamp::now(), "event": "asked", "who": visitor.who, "role": visitor.role,
            "from": from, "action": action, "on": on,
        }))
        .map_err(|error| {
            Fault::internal(format!("{}: cannot be written: {error}", self.path.display()))
                .hint("nothing was done; make room or put the rights right, then try again")
        })
    }

    /// Writes what came of it. The act is over, so a failure to write can only be told.
    pub(crate) fn came(&self, visitor: &Visitor, action: &str, on: &str, outcome: &Result<String, Fault>) {
        let (event, text) = match outcome {
            Ok(text) => ("done", text.clone()),
            Err(fault) => ("refused", fault.what.clone()),
        };
        let _ = self.write(&json!({
            "time": Timestamp::now(), "event": event, "who": visitor.who, "action": action, "on": on,
            "outcome": text,
        }));
    }

    /// Somebody came in, or failed to.
    pub(crate) fn login(&self, from: IpAddr, who: Option<&str>) {
        let event = if who.is_some() { "login" } else { "login-refused" };
        let _ = self.write(&json!({ "time": Timestamp::now(), "event": event, "who": who, "from": from }));
    }

    fn write(&self, line: &Value) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // One write a line: with O_APPEND lines of several processes do not mix.
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }
}
