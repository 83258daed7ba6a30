//! Transfers: real files, with Transfer's semantics.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde_json::Value;

use super::Collection;
use super::deleting::remove;
use super::faults::{Kind as Fault, glob};
use super::folder::{Trouble, join, normal};
use super::moving::{Failure, Mover, Stop};
use super::state::{flag, text};
use super::task::Arrived;

const CHUNK: usize = 1 << 20;

/// Goes through all items of a transfer.
pub fn transfer(mover: &Mover) -> Result<(), Stop> {
    let (document, source, destination, mut have) = mover.read(|task| {
        let have: BTreeSet<String> = task.arrived.iter().map(|file| file.destination.clone()).collect();
        (task.document.clone(), task.source.clone(), task.destination.clone().unwrap_or_default(), have)
    })?;
    let gone = || Stop::Fatal("ENDPOINT_ERROR".to_owned(), "The collection is gone".to_owned());
    let source = mover.world.collection(&source).ok_or_else(gone)?;
    let destination = mover.world.collection(&destination).ok_or_else(gone)?;
    let job = Transfer { mover, source, destination, document: &document };
    // A restarted service knows which files had arrived, and counts from them.
    mover.change(|task| {
        task.files = task.arrived.len() as u64;
        task.directories = 0;
        task.symlinks = 0;
        task.files_skipped = 0;
        task.skipped.clear();
    })?;
    for item in document["DATA"].as_array().map(Vec::as_slice).unwrap_or_default() {
        job.item(item, &mut have)?;
    }
    Ok(())
}

struct Transfer<'a> {
    mover: &'a Mover<'a>,
    source: &'a Collection,
    destination: &'a Collection,
    document: &'a Value,
}

impl Transfer<'_> {
    fn item(&self, item: &Value, have: &mut BTreeSet<String>) -> Result<(), Stop> {
        let from = normal(text(item, "source_path").unwrap_or(""), false);
        let to = text(item, "destination_path").unwrap_or("");
        // What climbs out stays what it is, to be refused below.
        let from = if self.source.place(text(item, "source_path").unwrap_or("")).is_err() {
            text(item, "source_path").unwrap_or("").to_owned()
        } else {
            from
        };
        let to = if self.destination.place(to).is_ok() { normal(to, false) } else { to.to_owned() };
        let recursive = item.get("recursive").and_then(Value::as_bool);
        let folder = self.mover.persist(&from, &to, || {
            let (_, metadata) =
                self.source.look_no_link(&from).map_err(|trouble| Failure::of(&trouble, true))?;
            let fault = |code: &str| {
                Err(Failure::Fault {
                    code: code.to_owned(),
                    details: format!("{from}: recursive does not fit"),
                    at_source: true,
                })
            };
            match (metadata.is_dir(), recursive) {
                (true, Some(false)) => fault("IS_A_DIRECTORY"),
                (false, Some(true)) => fault("NOT_A_DIRECTORY"),
                (is_folder, _) => Ok(is_folder),
            }
        })?;
        match folder {
            None => Ok(()),
            Some(true) => self.folder(&from, &to, have),
            Some(false) => self.file(&from, &to, item, have),
        }
    }

    /// A folder with everything in it that the filters let through.
    fn folder(&self, from: &str, to: &str, have: &mut BTreeSet<String>) -> Result<(), Stop> {
        let made = self.mover.persist(from, to, || {
            let place = self.writable(to)?;
            std::fs::create_dir_all(&place).map_err(|error| Failure::io(to, &error, false))
        })?;
        if made.is_none() {
            return Ok(());
        }
        self.mover.change(|task| task.directories += 1)?;
        let entries = self.mover.persist(from, to, || {
            let (place, _) = self.source.look_no_link(from).map_err(|trouble| Failure::of(&trouble, true))?;
            list(&place).map_err(|error| Failure::io(from, &error, true))
        })?;
        let Some(entries) = entries else { return Ok(()) };
        let mut names = BTreeSet::new();
        for (name, metadata) in entries {
            let (from, to) = (join(from, &name), join(to, &name));
            if !self.wanted(&name, metadata.is_dir()) {
                continue;
            }
            names.insert(name);
            if metadata.is_symlink() {
                // Links are ignored, as by default; keeping or following them is not stood in for.
                continue;
            }
            if metadata.is_dir() {
                self.folder(&from, &to, have)?;
            } else if metadata.is_file() {
                self.file(&from, &to, &Value::Null, have)?;
            }
        }
        if flag(self.document, "delete_destination_extra") {
            self.delete_extra(to, &names)?;
        }
        Ok(())
    }

    /// Does a name pass the filter rules? The first that matches decides.
    fn wanted(&self, name: &str, is_folder: bool) -> bool {
        let rules = self.document["filter_rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rule = rules.iter().find(|rule| {
            let kind = text(rule, "type").is_none_or(|kind| kind == if is_folder { "dir" } else { "file" });
            kind && text(rule, "name").is_some_and(|pattern| glob(pattern, name))
        });
        rule.is_none_or(|rule| text(rule, "method") != Some("exclude"))
    }

    fn delete_extra(&self, to: &str, keep: &BTreeSet<String>) -> Result<(), Stop> {
        self.mover.persist(to, to, || {
            let place = self.writable(to)?;
            for (name, _) in list(&place).map_err(|error| Failure::io(to, &error, false))? {
                if !keep.contains(&name) {
                    remove(&place.join(&name))
                        .map_err(|error| Failure::io(&join(to, &name), &error, false))?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// A place that may be written, or why not.
    fn writable(&self, path: &str) -> Result<std::path::PathBuf, Failure> {
        if self.destination.read_only {
            return Err(Failure::of(&Trouble::Denied(path.to_owned()), false));
        }
        let place = self.destination.place(path).map_err(|trouble| Failure::of(&trouble, false))?;
        match std::fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_symlink() => {
                Err(Failure::of(&Trouble::Denied(format!("{path}: is a link")), false))
            }
            _ => Ok(place),
        }
    }

    fn file(&self, from: &str, to: &str, item: &Value, have: &mut BTreeSet<String>) -> Result<(), Stop> {
        if have.contains(to) {
            return Ok(());
        }
        self.mover.change(|task| task.files += 1)?;
        let expected = text(item, "external_checksum");
        let outcome = self.mover.persist(from, to, || self.attempt(from, to, expected))?;
        match outcome {
            Some(Some(checksum)) => {
                let place = self.destination.place(to).ok();
                let size = place.and_then(|place| place.metadata().ok()).map_or(0, |found| found.len());
                self.mover.change(|task| {
                    task.files_transferred += 1;
                    task.arrived.push(Arrived {
                        source: from.to_owned(),
                        destination: to.to_owned(),
                        checksum,
                        size,
                    });
                    Mover::progress(task);
                })?;
                have.insert(to.to_owned());
                Ok(())
            }
            Some(None) => self.mover.change(|task| task.files_skipped += 1),
            None => Ok(()),
        }
    }

    /// One attempt at a file. `None` if the destination is good already; else the checksum, if verified.
    fn attempt(
        &self,
        from: &str,
        to: &str,
        expected: Option<&str>,
    ) -> Result<Option<Option<String>>, Failure> {
        let (source, metadata) =
            self.source.look_no_link(from).map_err(|trouble| Failure::of(&trouble, true))?;
        let target = self.writable(to)?;
        if target.is_dir() {
            let details = format!("{to}: is a directory");
            return Err(Failure::Fault { code: "IS_A_DIRECTORY".to_owned(), details, at_source: false });
        }
        if self.in_sync(&source, &metadata, &target).map_err(|error| Failure::io(from, &error, true))? {
            return Ok(None);
        }
        // Missing folders above the destination are made, as the service does.
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Failure::io(to, &error, false))?;
        }
        let corrupt = self.mover.met(from, |kind| *kind == Fault::Corrupt).is_some();
        let sent = self.copy(from, &source, to, &target, corrupt)?;
        let verify = flag(self.document, "verify_checksum");
        if verify || expected.is_some() {
            let there = checksum(&target).map_err(|error| Failure::io(to, &error, false))?;
            self.mover.change(|task| task.bytes_checksummed += metadata.len())?;
            if there != sent || expected.is_some_and(|expected| !expected.eq_ignore_ascii_case(&there)) {
                let details = format!("{to}: checksum {there} is not {}", expected.unwrap_or(&sent));
                return Err(Failure::Fault { code: "VERIFY_CHECKSUM".to_owned(), details, at_source: false });
            }
        }
        if flag(self.document, "preserve_timestamp") {
            let set = metadata
                .modified()
                .and_then(|time| File::options().write(true).open(&target)?.set_modified(time));
            set.map_err(|error| Failure::io(to, &error, false))?;
        }
        Ok(Some(verify.then_some(sent)))
    }

    /// Does the sync level find the destination good as it is?
    fn in_sync(&self, source: &Path, from: &Metadata, target: &Path) -> std::io::Result<bool> {
        let Some(level) = self.document["sync_level"].as_u64() else { return Ok(false) };
        let Ok(to) = std::fs::symlink_metadata(target) else { return Ok(false) };
        Ok(match level {
            0 => true,
            1 => from.len() == to.len(),
            2 => from.len() == to.len() && from.modified()? <= to.modified()?,
            _ => from.len() == to.len() && checksum(source)? == checksum(target)?,
        })
    }

    /// Writes the file in place, as GridFTP does, and gives the checksum of what was read.
    fn copy(
        &self,
        from: &str,
        source: &Path,
        to: &str,
        target: &Path,
        mut corrupt: bool,
    ) -> Result<String, Failure> {
        let mut reader = File::open(source).map_err(|error| Failure::io(from, &error, true))?;
        let mut writer = File::create(target).map_err(|error| Failure::io(to, &error, false))?;
        let mut digest = Md5::new();
        let limit = self.mover.read(|task| task.limit)?;
        let size = limit.map_or(CHUNK, |limit| usize::try_from(limit / 10).unwrap_or(CHUNK).clamp(1, CHUNK));
        let mut chunk = vec![0; size];
        loop {
            self.mover.guard()?;
            let started = Instant::now();
            let read = reader.read(&mut chunk).map_err(|error| Failure::io(from, &error, true))?;
            if read == 0 {
                break;
            }
            digest.update(&chunk[..read]);
            if std::mem::take(&mut corrupt) {
                chunk[read / 2] ^= 0x20;
            }
            writer.write_all(&chunk[..read]).map_err(|error| Failure::io(to, &error, false))?;
            self.mover.world.change(|state| {
                state.written.bytes += read as u64;
                if let Some(task) = state.tasks.get_mut(self.mover.id) {
                    task.bytes_transferred += read as u64;
                }
            });
            if let Some(limit) = limit {
                let due = Duration::from_secs_f64(read as f64 / limit as f64);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
        }
        self.mover.world.change(|state| state.written.files += 1);
        Ok(hex(&digest.finalize()))
    }
}

/// Names in a folder, sorted, with what they are; links are not followed.
fn list(place: &Path) -> std::io::Result<Vec<(String, Metadata)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let entry = entry?;
        if let (Ok(name), Ok(metadata)) =
            (entry.file_name().into_string(), std::fs::symlink_metadata(entry.path()))
        {
            found.push((name, metadata));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn checksum(place: &Path) -> std::io::Result<String> {
    let (mut file, mut digest) = (File::open(place)?, Md5::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&chunk[..read]);
    }
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
