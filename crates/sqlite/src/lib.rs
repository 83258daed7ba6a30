//! Opens the SQLite files that must survive a power cut, the same way wherever one is: several processes may
//! open one at any time, the first time included.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long one process waits for another that is writing.
pub const BUSY: Duration = Duration::from_secs(20);
/// Between two looks at a file whose journal mode somebody else is changing.
const PAUSE: Duration = Duration::from_millis(5);

/// Opens or creates the file: write-ahead log, every commit synced, foreign keys held, [`BUSY`] for others.
///
/// # Errors
/// What SQLite says. It is busy only if another process held the file for all of [`BUSY`].
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    write_ahead(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Switches to the write-ahead log. SQLite's own waiting does not cover this: two that switch a fresh file at once
/// both read it first, neither can lock it while the other reads, and one is refused at once.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let began = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && began.elapsed() < BUSY =>
            {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// A worker and a command that began together on a new state folder: one of them ended with "database is locked".
    #[test]
    fn a_fresh_file_can_be_opened_by_many_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = folder.path().join(format!("{round}.db"));
            let start = Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        let connection = open(&path).unwrap();
                        let mode: String =
                            connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
                        assert_eq!(mode, "wal");
                        connection.execute_batch("CREATE TABLE IF NOT EXISTS rows (value INTEGER)").unwrap();
                        connection.execute("INSERT INTO rows VALUES (1)", []).unwrap();
                    });
                }
            });
            let rows: i64 =
                open(&path).unwrap().query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 8);
        }
    }
}
