//! Files handed over to threads that only write, so that computing never waits for the disk except when
//! all buffers are full of what it has not yet taken.
//!
//! A file's digest is taken by whoever made it, while the bytes are near, and handed over with the file: its
//! record is known at once. That it is *written* is known when its [`Batch`] has been waited for; that it is
//! *durable*, after a sync.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::time::{ClockId, clock_gettime};

use crate::error::{Error, Result};
use crate::fs::{self, FileRecord};
use crate::pages::{PagePool, Pooled};

/// CPU and wall seconds that threads spent on something.
#[derive(Debug, Default)]
pub struct Spent {
    cpu_ns: AtomicU64,
    busy_ns: AtomicU64,
}

impl Spent {
    /// Runs `work` and adds this thread's time in it.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (thread_cpu_ns(), Instant::now());
        let result = work();
        self.add(thread_cpu_ns().saturating_sub(cpu), wall.elapsed().as_nanos() as u64);
        result
    }

    /// Adds nanoseconds of CPU and of wall time.
    pub fn add(&self, cpu_ns: u64, busy_ns: u64) {
        self.cpu_ns.fetch_add(cpu_ns, Ordering::Relaxed);
        self.busy_ns.fetch_add(busy_ns, Ordering::Relaxed);
    }

    /// Nanoseconds of CPU and of wall time, added over threads.
    pub fn nanoseconds(&self) -> (u64, u64) {
        (self.cpu_ns.load(Ordering::Relaxed), self.busy_ns.load(Ordering::Relaxed))
    }

    /// CPU seconds and wall seconds, added over threads.
    pub fn seconds(&self) -> (f64, f64) {
        let (cpu, busy) = self.nanoseconds();
        (cpu as f64 * 1e-9, busy as f64 * 1e-9)
    }
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Takes finished files.
pub trait Sink: Sync {
    /// A buffer to make a file in. Waits until there is one.
    fn pages(&self) -> Pooled;

    /// Takes the file `relative` (to the results folder): the first `size` bytes of `pages`, whose BLAKE3 is
    /// `digest`. It may be written later; the record is that of the bytes given here.
    fn put(
        &self,
        relative: String,
        pages: Arc<Pooled>,
        size: usize,
        digest: blake3::Hash,
    ) -> Result<FileRecord>;

    /// Where the time of making files is added up.
    fn spent(&self) -> &Spent;

    /// Whether files go nowhere, so that they need no folder.
    fn discards(&self) -> bool {
        false
    }
}

/// Writes each file before it answers.
pub(crate) struct Immediate<'a> {
    root: &'a std::path::Path,
    pool: PagePool,
    spent: Spent,
}

impl<'a> Immediate<'a> {
    /// Into the results folder `root`; files have at most `bytes`.
    pub(crate) fn new(root: &'a std::path::Path, bytes: usize) -> Self {
        // Each thread holds one buffer at a time.
        Self { root, pool: PagePool::new(rayon::current_num_threads(), bytes), spent: Spent::default() }
    }
}

impl Sink for Immediate<'_> {
    fn pages(&self) -> Pooled {
        self.pool.take()
    }

    fn put(
        &self,
        relative: String,
        pages: Arc<Pooled>,
        size: usize,
        digest: blake3::Hash,
    ) -> Result<FileRecord> {
        fs::write_pages(self.root, &relative, &pages, size)?;
        Ok(record(relative, size, digest))
    }

    fn spent(&self) -> &Spent {
        &self.spent
    }
}

fn record(path: String, size: usize, digest: blake3::Hash) -> FileRecord {
    FileRecord { path, size: size as u64, blake3: digest.to_hex().to_string() }
}

/// Files that are waited for together.
#[derive(Debug, Default)]
pub struct Batch {
    pending: Mutex<usize>,
    settled: Condvar,
}

impl Batch {
    fn change(&self, by: isize) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        *pending = pending.saturating_add_signed(by);
        if *pending == 0 {
            self.settled.notify_all();
        }
    }

    /// Waits until every file put so far is written, or has failed (see [`WriteQueue::failure`]).
    pub fn wait(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        while *pending > 0 {
            pending = self.settled.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One file on its way.
struct Job {
    relative: String,
    pages: Arc<Pooled>,
    size: usize,
    batch: Arc<Batch>,
    spent: Arc<Spent>,
}

/// What is done with a file.
type Write = dyn Fn(&Job) -> Result<()> + Send + Sync;

/// What the writing threads share with those that feed them.
#[derive(Default)]
struct State {
    /// Set by the first failure: nothing more is written.
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Threads that write files, in the order in which they come.
///
/// The queue itself has no limit: every file holds a buffer of a [`PagePool`], and there the limit is.
pub struct WriteQueue {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    state: Arc<State>,
    discards: bool,
}

impl WriteQueue {
    /// `threads` (at least one) writers into the results folder `root`.
    ///
    /// # Errors
    /// When the system gives not even one thread.
    pub fn new(root: PathBuf, threads: usize) -> Result<Self> {
        let write = move |job: &Job| fs::write_pages(&root, &job.relative, &job.pages, job.size);
        Self::start(threads, Arc::new(write))
    }

    /// A queue whose files go nowhere: for measuring everything but the disk.
    ///
    /// # Errors
    /// As [`WriteQueue::new`].
    pub fn discarding() -> Result<Self> {
        let mut queue = Self::start(1, Arc::new(|_: &Job| Ok(())))?;
        queue.discards = true;
        Ok(queue)
    }

    fn start(threads: usize, write: Arc<Write>) -> Result<Self> {
        let (jobs, received) = unbounded::<Job>();
        let mut queue =
            Self { jobs: Some(jobs), threads: Vec::new(), state: Arc::default(), discards: false };
        for index in 0..threads.max(1) {
            let (received, state, write) = (received.clone(), queue.state.clone(), write.clone());
            let started = std::thread::Builder::new()
                .name(format!("writer-{index}"))
                .spawn(move || serve(&received, &state, &*write));
            match started {
                Ok(thread) => queue.threads.push(thread),
                // Fewer do as well.
                Err(_) if index > 0 => break,
                Err(e) => return Err(Error::io("start a thread to write", std::path::Path::new("."), e)),
            }
        }
        Ok(queue)
    }

    /// A sink into this queue whose files belong to `batch`; both encoding and writing count as `spent`.
    pub fn sink<'a>(
        &'a self,
        pool: &'a PagePool,
        batch: &'a Arc<Batch>,
        spent: &'a Arc<Spent>,
    ) -> Queued<'a> {
        Queued { queue: self, pool, batch, spent }
    }

    /// Whether a write has failed, after which nothing more is taken.
    pub fn has_failed(&self) -> bool {
        self.state.stopped.load(Ordering::Relaxed)
    }

    /// The first failure, once.
    pub fn failure(&self) -> Option<Error> {
        self.state.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether files go nowhere.
    pub fn discards(&self) -> bool {
        self.discards
    }
}

impl Drop for WriteQueue {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(jobs: &Receiver<Job>, state: &State, write: &Write) {
    for job in jobs {
        if !state.stopped.load(Ordering::Relaxed)
            && let Err(error) = job.spent.time(|| write(&job))
        {
            state.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            state.stopped.store(true, Ordering::Relaxed);
        }
        let Job { pages, batch, .. } = job;
        // The buffer goes back before the batch is told, which may be waiting for the last one.
        drop(pages);
        batch.change(-1);
    }
}

/// See [`WriteQueue::sink`].
pub struct Queued<'a> {
    queue: &'a WriteQueue,
    pool: &'a PagePool,
    batch: &'a Arc<Batch>,
    spent: &'a Arc<Spent>,
}

impl Sink for Queued<'_> {
    fn pages(&self) -> Pooled {
        self.pool.take()
    }

    fn put(
        &self,
        relative: String,
        pages: Arc<Pooled>,
        size: usize,
        digest: blake3::Hash,
    ) -> Result<FileRecord> {
        let stopped = || Error::Cancelled { what: "writing, after a write that failed,".into() };
        let Some(jobs) = self.queue.jobs.as_ref().filter(|_| !self.queue.has_failed()) else {
            return Err(stopped());
        };
        let record = record(relative, size, digest);
        self.batch.change(1);
        let job = Job {
            relative: record.path.clone(),
            pages,
            size,
            batch: self.batch.clone(),
            spent: self.spent.clone(),
        };
        if jobs.send(job).is_err() {
            self.batch.change(-1);
            return Err(stopped());
        }
        Ok(record)
    }

    fn spent(&self) -> &Spent {
        self.spent
    }

    fn discards(&self) -> bool {
        self.queue.discards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_there_when_their_batch_was_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, batch, spent) = (PagePool::new(3, 600_000), Arc::new(Batch::default()), Arc::default());
        let queue = WriteQueue::new(dir.path().to_owned(), 2).unwrap();
        let sink = queue.sink(&pool, &batch, &spent);
        for i in 0..20u8 {
            let mut pages = sink.pages();
            pages.fill(i);
            let size = 590_000 + usize::from(i);
            let digest = blake3::hash(&pages[..size]);
            let record = sink.put(format!("f{i}"), Arc::new(pages), size, digest).unwrap();
            assert_eq!((record.size, record.blake3), (size as u64, digest.to_hex().to_string()));
        }
        batch.wait();
        for i in 0..20u8 {
            let bytes = std::fs::read(dir.path().join(format!("f{i}"))).unwrap();
            assert!(bytes == vec![i; 590_000 + usize::from(i)]);
        }
        assert!(queue.failure().is_none() && spent.seconds().1 > 0.0);
    }

    #[test]
    fn a_failed_write_is_told_with_its_path_and_stops_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, batch, spent) = (PagePool::new(2, 4096), Arc::new(Batch::default()), Arc::default());
        let queue = WriteQueue::new(dir.path().to_owned(), 1).unwrap();
        let sink = queue.sink(&pool, &batch, &spent);
        // A folder under the final name refuses the rename.
        std::fs::create_dir(dir.path().join("taken")).unwrap();
        let digest = blake3::hash(&[0; 10]);
        sink.put("taken".into(), Arc::new(sink.pages()), 10, digest).unwrap();
        batch.wait();
        assert!(queue.has_failed());
        assert!(sink.put("next".into(), Arc::new(sink.pages()), 10, digest).is_err());
        let error = queue.failure().unwrap().to_string();
        assert!(error.contains(&dir.path().join("taken").display().to_string()), "{error}");
        assert!(queue.failure().is_none());
        drop(queue);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");
    }
}
