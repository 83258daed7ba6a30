//! The one thread that writes. It takes what waits in its queue into one transaction, so that a commit (one
//! `fsync`) serves many; each piece of work is a savepoint and fails alone.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::Event;

/// At most so many pieces of work in one transaction: bounds the wait of the first.
const BATCH: usize = 1024;

/// Tells one caller how the commit went.
pub(crate) type Reply = Box<dyn FnOnce(Result<()>) + Send>;
/// One piece of work; it is also told when there could be no transaction.
pub(crate) type Job = Box<dyn FnOnce(Result<&Tx<'_>>) -> Reply + Send>;

/// The transaction that a piece of work writes in.
pub(crate) struct Tx<'a> {
    /// The connection, inside `BEGIN IMMEDIATE`.
    pub conn: &'a Connection,
    /// The time that everything in this piece of work is stamped with.
    pub now: Timestamp,
    /// The database file, for messages.
    pub path: &'a Path,
    events: RefCell<Vec<Event>>,
}

impl Tx<'_> {
    /// Announces a change, once it is committed.
    pub fn announce(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }

    /// Explains an error of SQLite.
    pub fn explain(&self, error: &rusqlite::Error) -> Error {
        Error::sqlite(self.path, "written", error)
    }

    /// Runs a statement.
    pub fn execute(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<usize> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(parameters))
            .map_err(|error| self.explain(&error))
    }

    /// The first row of a query, if any.
    pub fn row<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        map: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        use rusqlite::OptionalExtension;
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(parameters, map).optional())
            .map_err(|error| self.explain(&error))
    }

    /// All rows of a query.
    pub fn rows<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        map: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(parameters, map)?.collect())
            .map_err(|error| self.explain(&error))
    }

    /// Does `work`; if it fails, what it wrote and announced is undone.
    pub fn savepoint<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.execute("SAVEPOINT job", [])?;
        let announced = self.events.borrow().len();
        let result = work(self);
        if result.is_err() {
            self.events.borrow_mut().truncate(announced);
            self.execute("ROLLBACK TO job", [])?;
        }
        self.execute("RELEASE job", [])?;
        result
    }
}

/// The handle of the thread.
pub(crate) struct Writer {
    queue: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    path: PathBuf,
}

impl Writer {
    pub fn start(
        connection: Connection,
        path: PathBuf,
        clock: Clock,
        events: broadcast::Sender<Event>,
    ) -> Result<Self> {
        let (queue, jobs) = channel();
        let file = path.clone();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(connection, &file, &clock, &jobs, &events))
            .map_err(|error| Error::Store {
                path: path.clone(),
                action: "opened",
                reason: format!("no thread for its writer: {error}"),
                hint: "; raise the limit of processes",
                transient: true,
            })?;
        Ok(Writer { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), path })
    }

    pub fn send(&self, job: Job) -> Result<()> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = queue.as_ref().is_some_and(|queue| queue.send(job).is_ok());
        if sent {
            return Ok(());
        }
        Err(Error::Store {
            path: self.path.clone(),
            action: "written",
            reason: "its writer has stopped".to_owned(),
            hint: "; start beamrail again",
            transient: false,
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing the queue lets the thread finish what waits and close the file.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn run(
    mut connection: Connection,
    path: &Path,
    clock: &Clock,
    jobs: &Receiver<Job>,
    events: &broadcast::Sender<Event>,
) {
    while let Ok(first) = jobs.recv() {
        let mut replies = Vec::new();
        let mut announced = Vec::new();
        let outcome = batch(&mut connection, path, clock, first, jobs, &mut replies, &mut announced);
        // Before the replies: who was told that it is written has been sent the events of it.
        if outcome.is_ok() {
            for event in announced {
                // Nobody may be listening.
                let _ = events.send(event);
            }
        }
        for reply in replies {
            reply(outcome.clone());
        }
    }
}

fn batch(
    connection: &mut Connection,
    path: &Path,
    clock: &Clock,
    first: Job,
    jobs: &Receiver<Job>,
    replies: &mut Vec<Reply>,
    announced: &mut Vec<Event>,
) -> Result<()> {
    let explain = |error: rusqlite::Error| Error::sqlite(path, "written", &error);
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = explain(error);
            replies.push(first(Err(error.clone())));
            return Err(error);
        }
    };
    let mut next = Some(first);
    while let Some(job) = next {
        let tx = Tx { conn: &transaction, now: clock.now(), path, events: RefCell::default() };
        replies.push(job(Ok(&tx)));
        announced.append(&mut tx.events.borrow_mut());
        next = if replies.len() < BATCH { jobs.try_recv().ok() } else { None };
    }
    transaction.commit().map_err(explain)
}
