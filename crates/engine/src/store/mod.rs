//! The journal's file: one connection that writes, on its own thread, and several that read.
//!
//! WAL with `synchronous=FULL`: what was committed survives a power cut. The writer takes whatever waits in
//! its queue into one transaction ([`writer`]), so a hundred runs at once share one `fsync`.

pub(crate) mod claims;
pub(crate) mod deployments;
pub(crate) mod outbox;
pub(crate) mod queries;
pub(crate) mod rows;
pub(crate) mod runs;
mod schema;
pub(crate) mod steps;
pub(crate) mod upkeep;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{broadcast, oneshot};
use uuid::{ContextV7, Uuid};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::model::RunId;
use writer::{Tx, Writer};

/// Readers kept open.
const READERS: usize = 4;

/// The open journal. Cheap to clone; the file closes with the last clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    clock: Clock,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    events: broadcast::Sender<Event>,
    ids: Mutex<ContextV7>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the journal, makes it if it is not there, and brings an older schema up to date (a copy of the
    /// old file stays beside it). A worker also has the file checked before it begins ([`check`](Self::check)).
    ///
    /// # Errors
    /// [`Error::NewerSchema`], [`Error::NotOurs`], [`Error::Corrupt`], or what SQLite says.
    pub fn open(path: impl AsRef<Path>, clock: Clock) -> Result<Self> {
        Self::open_with(path, clock, schema::MIGRATIONS)
    }

    /// As [`open`](Self::open), for a version that has these migrations.
    fn open_with(path: impl AsRef<Path>, clock: Clock, migrations: &[&str]) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let mut connection = sqlite::open(&path).map_err(|error| schema::explain(&path, &error))?;
        connection.set_prepared_statement_cache_capacity(128);
        schema::prepare(&mut connection, &path, migrations)?;
        let events = broadcast::Sender::new(4096);
        let writer = Writer::start(connection, path.clone(), clock.clone(), events.clone())?;
        let inner = Inner {
            path,
            clock,
            writer,
            readers: Mutex::default(),
            events,
            ids: Mutex::new(ContextV7::new()),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The clock that everything in this journal is stamped by.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Changes made through this `Store`, as they are committed. Those of other processes are not among them:
    /// page through [`Orchestrator::history_since`](crate::Orchestrator::history_since) for all.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// A new identity that sorts after those before it.
    pub(crate) fn new_id(&self) -> RunId {
        let now = self.inner.clock.now();
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        let ids = self.inner.ids.lock().unwrap_or_else(PoisonError::into_inner);
        RunId(Uuid::new_v7(uuid::Timestamp::from_unix(&*ids, seconds, nanos)))
    }

    /// Runs `work` in the next transaction and waits until it is on disk. An error undoes `work` alone.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    {
        let (answer, done) = oneshot::channel();
        self.inner.writer.send(Box::new(move |tx| {
            let result = tx.and_then(|tx| tx.savepoint(work));
            Box::new(move |committed| {
                let _ = answer.send(committed.and(result));
            })
        }))?;
        done.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Runs `work` in the next transaction; nobody waits for it. For log lines and progress.
    pub(crate) fn post<F>(&self, work: F)
    where
        F: FnOnce(&Tx<'_>) -> Result<()> + Send + 'static,
    {
        // Only a stopped writer refuses, and then the next awaited write says so.
        let _ = self.inner.writer.send(Box::new(move |tx| {
            let _ = tx.and_then(|tx| tx.savepoint(work));
            Box::new(|_| ())
        }));
    }

    /// Runs `work` on a connection that only reads.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let store = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let kept = store.readers().pop();
            let connection = match kept {
                Some(connection) => connection,
                None => reader(&store.inner.path)?,
            };
            let result = work(&connection);
            let mut readers = store.readers();
            if readers.len() < READERS {
                readers.push(connection);
            }
            result
        });
        task.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> Error {
        Error::Store {
            path: self.inner.path.clone(),
            action: "written",
            reason: "the writer has stopped".to_owned(),
            hint: "; start beamrail again",
            transient: false,
        }
    }

    /// SQLite's own check of the whole file; `full` also compares indexes with tables.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the first findings.
    pub async fn check(&self, full: bool) -> Result<()> {
        let path = self.inner.path.clone();
        self.read(move |connection| schema::check(connection, &path, full)).await
    }

    /// Writes a consistent copy to `target`, which must not exist, while work goes on.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn backup(&self, target: impl Into<PathBuf>) -> Result<()> {
        let target = target.into();
        let path = self.inner.path.clone();
        // Not one of the readers: those may write nowhere.
        let copy = move || {
            let open = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE);
            open.and_then(|connection| connection.execute("VACUUM INTO ?1", [target.to_string_lossy()]))
                .map(drop)
                .map_err(|error| Error::sqlite(&path, "copied", &error))
        };
        tokio::task::spawn_blocking(copy).await.unwrap_or_else(|_| Err(self.stopped()))
    }
}

fn reader(path: &Path) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(sqlite::BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|error| Error::sqlite(path, "opened", &error))
}

/// Microseconds since 1970, as times are stored.
pub(crate) fn us(time: Timestamp) -> i64 {
    time.as_microsecond()
}
