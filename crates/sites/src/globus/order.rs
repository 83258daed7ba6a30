//! A transfer between two collections, from custody's permit to files in their places.
//!
//! Files go into a folder of our own beside their places first and are renamed when all of them are there: nobody
//! sees half a copy, and a transfer that broke off leaves nothing under a name that counts. What was in its place
//! before us is compared by checksum and not moved, if every size is right; otherwise it is left alone and told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use custody::{FileList, Level, Observation, Reach, RelPath, Seen, SeenKind, TransferOrder, TransferRequest};
use globus::transfer::{Accepted, DeleteDocument, Item, Notify, Outcome, SyncLevel, Task, TransferDocument};
use jiff::Timestamp;

use super::notes::{self, Note};
use super::{Spot, label};
use crate::error::{Error, Result};
use crate::storage::{Checksum, Evidence, Progress, Transferred, Watch};

/// Sources of at most so many files are looked at before and after; of more, sizes at the destination tell.
const LOOKED_AT: usize = 16;

/// A transfer under way.
pub(super) struct Work<'a> {
    pub from: &'a Spot,
    pub to: &'a Spot,
    pub key: &'a str,
    pub watch: &'a Watch,
}

impl Work<'_> {
    /// Does it all, or goes on where an earlier attempt was.
    pub async fn run(&self, order: &TransferOrder, now: Timestamp) -> Result<Transferred> {
        let begun = Instant::now();
        let request = order.request();
        let file = notes::file(self.from.link.notes(), "transfer", self.key);
        let mut note: Note = notes::read(file.clone()).await?.unwrap_or_default();
        note.key = self.key.to_owned();
        if !note.placed {
            let before = self.source(request).await?;
            if note.submission.is_none() {
                note.there = self.standing(request).await?;
                self.to.make_folder(&self.parts(request)?).await?;
            }
            let task = self.task(&mut note, request).await?;
            if self.source(request).await? != before {
                let path = self.from.shown(&request.from_base);
                return Err(Error::Changed { path });
            }
            self.place(request, &note.there).await?;
            (note.placed, note.copied) = (true, task.bytes_transferred);
            notes::write(file, &note).await?;
            self.forget_parts(request).await;
        }
        let reach = match self.to.survey(&request.to_base, &request.files).await {
            Ok(seen) => Reach::Seen(seen),
            Err(error) => Reach::Unreachable(error.to_string()),
        };
        let (site, base) = (self.to.site.clone(), request.to_base.clone());
        let seen = Observation { site, base, observed_at: now, reach };
        let total = request.files.bytes();
        let evidence = self.evidence(&note, request).await;
        let copied = note.copied.min(total);
        Ok(Transferred {
            permit: order.id().to_owned(),
            level: Level::TransferChecksummed,
            seen,
            files: request.files.clone(),
            copied,
            reused: total - copied,
            elapsed: begun.elapsed(),
            evidence,
        })
    }

    /// What Globus says of the files. It was believed when the task succeeded, so a failure here is noted and
    /// costs nothing but the checksums.
    async fn evidence(&self, note: &Note, request: &TransferRequest) -> Option<Evidence> {
        let id = note.task.clone()?;
        let told = async {
            let transfer = self.from.link.client()?.transfer();
            Ok::<_, Error>((transfer.task(&id).await?, transfer.successful_transfers(&id).await?))
        };
        let mut evidence = Evidence {
            service: "Globus Transfer".to_owned(),
            task: id.clone(),
            verified: true,
            checksums: BTreeMap::new(),
            missing: None,
        };
        let (task, moved) = match told.await {
            Ok(told) => told,
            Err(error) => return Some(Evidence { missing: Some(error.to_string()), ..evidence }),
        };
        evidence.verified = task.verify_checksum.unwrap_or(true);
        let parts = self.parts(request).ok()?;
        // Where a file went, in our folder or in its place, to its path in the copy.
        let places = request.files.entries().iter().flat_map(|entry| {
            let of = |base: &RelPath| (self.to.path(&base.join(&entry.path)), entry.path.as_str());
            [of(&parts), of(&request.to_base)]
        });
        let places: HashMap<String, &str> = places.collect();
        for one in &moved {
            let path = one.destination_path.as_ref().and_then(|path| places.get(path));
            if let (Some(path), Some(value), Some(algorithm)) = (path, &one.checksum, &one.checksum_algorithm)
            {
                let checksum = Checksum { algorithm: algorithm.clone(), value: value.clone() };
                evidence.checksums.insert((*path).to_owned(), checksum);
            }
        }
        if evidence.checksums.len() < moved.len() {
            let without = moved.len() - evidence.checksums.len();
            evidence.missing = Some(format!("the service tells none of {without} files that it moved"));
        }
        Some(evidence)
    }

    /// The source's files with size and time, where they are few. They must be what the permit names.
    async fn source(&self, request: &TransferRequest) -> Result<Vec<Seen>> {
        let entries = request.files.entries();
        let mut found = Vec::new();
        for entry in entries.iter().filter(|_| entries.len() <= LOOKED_AT) {
            let path = request.from_base.join(&entry.path);
            let shown = self.from.shown(&path);
            let seen = self.from.stat(&path).await?.ok_or_else(|| Error::Missing { path: shown.clone() })?;
            if seen.kind != SeenKind::File {
                return Err(Error::NotAFile { path: shown });
            }
            if seen.size != entry.size {
                let difference = format!("it has {} bytes, expected {}", seen.size, entry.size);
                return Err(Error::Source { path: shown, difference });
            }
            found.push(seen);
        }
        Ok(found)
    }

    /// Which first parts are at the destination already, with every file of its size. Anything else there is an
    /// error, and is left alone.
    async fn standing(&self, request: &TransferRequest) -> Result<Vec<String>> {
        let seen = self.to.survey(&request.to_base, &request.files).await?;
        let tops: BTreeSet<&str> = seen.iter().filter_map(|one| one.path.split('/').next()).collect();
        for top in &tops {
            if let Some(difference) = differs(top, &request.files, &seen) {
                let path = self.to.shown(&request.to_base.join(&RelPath::new(*top)?));
                return Err(Error::Exists { path, difference });
            }
        }
        Ok(tops.into_iter().map(str::to_owned).collect())
    }

    /// Our folder beside the places.
    fn parts(&self, request: &TransferRequest) -> Result<RelPath> {
        let name = RelPath::new(format!(".beamrail-part-{}", notes::short(self.key)))?;
        Ok(request.to_base.join(&name))
    }

    /// The task that moves the files: the one that is under way, or a new one. Returns it when it succeeded.
    async fn task(&self, note: &mut Note, request: &TransferRequest) -> Result<Task> {
        let link = &self.from.link;
        let transfer = link.client()?.transfer();
        let file = notes::file(link.notes(), "transfer", self.key);
        // One that ended is not waited for again.
        if let Some(id) = &note.task {
            let task = transfer.task(id).await?;
            match task.outcome() {
                Outcome::Succeeded => return Ok(task),
                outcome if outcome.is_over() => {
                    let failed = note.failed + 1;
                    *note = Note { failed, submission: None, task: None, ..note.clone() };
                }
                _ => {}
            }
        }
        if note.submission.is_none() {
            note.submission = Some(transfer.submission_id().await?);
            // On the disk before it is sent: from here on a crash finds the task by this number.
            notes::write(file.clone(), note).await?;
        }
        let id = match &note.task {
            Some(id) => id.clone(),
            None => {
                let number = note.submission.clone().unwrap_or_default();
                let Accepted { task_id, .. } =
                    transfer.submit_transfer(&self.document(number, note, request)?).await?;
                note.task = Some(task_id.clone());
                notes::write(file.clone(), note).await?;
                task_id
            }
        };
        let (bytes, files) = (request.files.bytes(), request.files.count());
        let followed = link.follow(&id, self.watch, |task| self.tell(task, bytes, files)).await;
        match followed {
            Ok(task) => {
                link.success(&task).await?;
                Ok(task)
            }
            Err(Error::Cancelled) => {
                // Nobody goes on with it: what arrived goes, and a later run begins anew.
                self.forget_parts(request).await;
                Err(Error::Cancelled)
            }
            Err(error) => Err(error),
        }
    }

    fn document(&self, number: String, note: &Note, request: &TransferRequest) -> Result<TransferDocument> {
        let mut document = TransferDocument::new(number, &self.from.collection, &self.to.collection);
        document = document.notify(Notify::NONE);
        let parts = self.parts(request)?;
        for entry in request.files.entries() {
            let top = entry.path.parts().next().unwrap_or_default();
            let base = if note.there.iter().any(|one| one == top) { &request.to_base } else { &parts };
            let source = self.from.path(&request.from_base.join(&entry.path));
            document.items.push(Item::file(source, self.to.path(&base.join(&entry.path))));
        }
        let what = format!("beamrail {} to {} run {}", request.dataset, self.to.site, request.run);
        document.label = Some(label(&what));
        document.sync_level = Some(SyncLevel::Checksum);
        document.verify_checksum = Some(true);
        document.preserve_timestamp = Some(true);
        document.skip_source_errors = Some(false);
        document.fail_on_quota_errors = Some(true);
        Ok(document)
    }

    fn tell(&self, task: &Task, total_bytes: u64, total_files: u64) {
        let note = match task.outcome() {
            Outcome::Held(_) => task.nice_status_short_description.clone().or(task.nice_status.clone()),
            Outcome::Paused => Some("paused by a collection's administrator".to_owned()),
            Outcome::Active => task.nice_status.clone().filter(|word| !word.eq_ignore_ascii_case("ok")),
            _ => None,
        };
        self.watch.tell(&Progress {
            bytes: task.bytes_transferred.min(total_bytes),
            total_bytes,
            files: task.files_transferred.unwrap_or(0).min(total_files),
            total_files,
            rate: task.effective_bytes_per_second as f64,
            faults: task.faults,
            note,
        });
    }

    /// Renames what arrived into its place. Done again after a crash, it goes on where it was.
    async fn place(&self, request: &TransferRequest, there: &[String]) -> Result<()> {
        let parts = self.parts(request)?;
        for top in request.files.tops().into_iter().filter(|top| !there.iter().any(|one| one == top)) {
            let top = RelPath::new(top)?;
            let (from, to) = (parts.join(&top), request.to_base.join(&top));
            let here = self.to.stat(&from).await?;
            if here.is_none() && self.to.stat(&to).await?.is_some() {
                continue;
            }
            self.to.rename(&from, &to).await?;
        }
        Ok(())
    }

    /// Takes our folder away. Nobody waits for it: its name is ours, and nothing in it counts.
    async fn forget_parts(&self, request: &TransferRequest) {
        let forget = async {
            let transfer = self.to.link.client()?.transfer();
            let mut document = DeleteDocument::new(transfer.submission_id().await?, &self.to.collection);
            document.add(self.to.path(&self.parts(request)?));
            document.label = Some(label("beamrail tidy up"));
            (document.recursive, document.ignore_missing) = (Some(true), Some(true));
            document.interpret_globs = Some(false);
            transfer.submit_delete(&document.notify(Notify::NONE)).await?;
            Ok::<(), Error>(())
        };
        // What stays behind is found by the next reconciliation, and costs room and nothing else.
        let _ = forget.await;
    }
}

/// The first difference between what is below a first part and what should be.
fn differs(top: &str, files: &FileList, seen: &[Seen]) -> Option<String> {
    let mine = |path: &str| path.split('/').next() == Some(top);
    for one in seen.iter().filter(|one| mine(&one.path)) {
        match (files.find(&one.path), one.kind) {
            (Some(entry), SeenKind::File) if entry.size == one.size => {}
            (Some(entry), SeenKind::File) => {
                return Some(format!("{} has {} bytes, the source {}", one.path, one.size, entry.size));
            }
            (None, SeenKind::Folder) => {}
            (Some(_), _) => return Some(format!("{} is not a file", one.path)),
            (None, _) => return Some(format!("{} does not belong there", one.path)),
        }
    }
    let has = |path: &str| seen.iter().any(|one| one.path == path);
    let missing = files.entries().iter().find(|entry| mine(entry.path.as_str()) && !has(entry.path.as_str()));
    missing.map(|entry| format!("{} is missing", entry.path))
}
