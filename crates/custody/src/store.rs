//! The database: one SQLite file, one connection behind a lock, write-ahead log, every commit synced.

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, TransactionBehavior};

use crate::error::{Error, Result};
use crate::rule::Age;

/// One script per schema version, applied in order.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];
/// A clock that goes back by less than this is being adjusted, not broken.
pub(crate) const CLOCK_TOLERANCE: Age = Age::seconds(120);

/// The open database.
pub(crate) struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.path).finish()
    }
}

/// A transaction, with errors that name the action and the file.
pub(crate) struct Db<'a> {
    tx: &'a rusqlite::Transaction<'a>,
    path: &'a Path,
    action: &'static str,
    /// The latest time any caller has shown.
    pub latest: Timestamp,
}

impl Store {
    /// Opens or creates the database and brings it to the newest schema.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |source| Error::database("open", path, source);
        let mut connection = sqlite::open(path).map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(64);
        migrate(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Runs `work` in a transaction that takes the write lock at once. An error rolls everything back.
    pub fn write<T>(
        &self,
        action: &'static str,
        now: Timestamp,
        work: impl FnOnce(&Db<'_>) -> Result<T>,
    ) -> Result<T> {
        let fail = |source| Error::database(action, &self.path, source);
        let mut connection = self.lock();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let mut db = Db { tx: &tx, path: &self.path, action, latest: now };
        db.latest = db.show_clock(now)?;
        let result = work(&db)?;
        tx.commit().map_err(fail)?;
        Ok(result)
    }

    /// Runs `work` on a consistent view.
    pub fn read<T>(&self, action: &'static str, work: impl FnOnce(&Db<'_>) -> Result<T>) -> Result<T> {
        let fail = |source| Error::database(action, &self.path, source);
        let mut connection = self.lock();
        let tx = connection.transaction().map_err(fail)?;
        let mut db = Db { tx: &tx, path: &self.path, action, latest: Timestamp::MIN };
        db.latest = db.clock()?.unwrap_or(Timestamp::MIN);
        work(&db)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere rolled its transaction back; the connection is as good as before.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies the scripts that are missing.
fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let fail = |source| Error::database("update the schema", path, source);
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
    let known = MIGRATIONS.len() as i64;
    if found > known || found < 0 {
        return Err(Error::Newer { path: path.to_owned(), found, known });
    }
    for script in MIGRATIONS.iter().skip(found as usize) {
        tx.execute_batch(script).map_err(fail)?;
    }
    tx.pragma_update(None, "user_version", known).map_err(fail)?;
    tx.commit().map_err(fail)
}

impl Db<'_> {
    fn fail(&self, source: rusqlite::Error) -> Error {
        Error::database(self.action, self.path, source)
    }

    /// Runs a statement; returns how many rows it changed.
    pub fn run(&self, sql: &str, parameters: impl Params) -> Result<usize> {
        let mut statement = self.tx.prepare_cached(sql).map_err(|e| self.fail(e))?;
        statement.execute(parameters).map_err(|e| self.fail(e))
    }

    /// Inserts a row; returns its number.
    pub fn insert(&self, sql: &str, parameters: impl Params) -> Result<i64> {
        self.run(sql, parameters)?;
        Ok(self.tx.last_insert_rowid())
    }

    /// All rows.
    pub fn all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        mut make: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.tx.prepare_cached(sql).map_err(|e| self.fail(e))?;
        let mut rows = statement.query(parameters).map_err(|e| self.fail(e))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(|e| self.fail(e))? {
            found.push(make(row)?);
        }
        Ok(found)
    }

    /// The first row, if there is one.
    pub fn one<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        make: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.all(sql, parameters, make)?.into_iter().next())
    }

    /// A value by name.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        self.one("SELECT value FROM meta WHERE key = ?", [key], |row| get(row, "value"))
    }

    /// Sets a value by name.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        let sql = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.run(sql, (key, value)).map(drop)
    }

    /// The latest time that was shown.
    fn clock(&self) -> Result<Option<Timestamp>> {
        let Some(text) = self.meta("clock")? else { return Ok(None) };
        time(text.parse().map_err(|e| Error::damaged("clock", e))?).map(Some)
    }

    /// Remembers the latest time shown, and returns it.
    fn show_clock(&self, now: Timestamp) -> Result<Timestamp> {
        let before = self.clock()?;
        let latest = before.map_or(now, |before| before.max(now));
        if before != Some(latest) {
            self.set_meta("clock", &to_ms(latest).to_string())?;
        }
        Ok(latest)
    }

    /// Whether `now` lies before a time that was shown already.
    pub fn went_back(&self, now: Timestamp) -> bool {
        CLOCK_TOLERANCE.after(now) < self.latest
    }
}

/// A column of a row.
pub(crate) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: &'static str) -> Result<T> {
    row.get(column).map_err(|e| Error::damaged(column, e))
}

/// A stored time.
pub(crate) fn time(ms: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(|e| Error::damaged("time", e))
}

/// A stored time that may be missing.
pub(crate) fn maybe_time(ms: Option<i64>) -> Result<Option<Timestamp>> {
    ms.map(time).transpose()
}

/// A time as it is stored: milliseconds since 1970.
pub(crate) fn to_ms(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A large value as it is stored.
pub(crate) fn pack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|e| Error::damaged("value", e))
}

/// The reverse of [`pack`].
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(bytes);
    decoder.read_to_end(&mut out).map_err(|e| Error::damaged("packed value", e))?;
    Ok(out)
}
