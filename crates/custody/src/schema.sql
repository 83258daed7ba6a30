-- Times are milliseconds since 1970, UTC. Lists and papers are JSON or bytes, packed with zlib.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    revision INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, json TEXT NOT NULL
) STRICT;

CREATE TABLE scans (
    id INTEGER PRIMARY KEY, folder TEXT NOT NULL, stem TEXT NOT NULL, first_seen INTEGER NOT NULL,
    controlled INTEGER NOT NULL, mark_source TEXT NOT NULL, marked_at INTEGER NOT NULL, marked_by TEXT NOT NULL,
    UNIQUE (folder, stem)
) STRICT;

-- File lists by what they say; copies that are alike share one.
CREATE TABLE lists (id TEXT PRIMARY KEY, packed BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE copies (
    id INTEGER PRIMARY KEY, scan INTEGER NOT NULL REFERENCES scans, kind TEXT NOT NULL,
    site TEXT NOT NULL, area TEXT NOT NULL, base TEXT NOT NULL, state TEXT NOT NULL, level TEXT,
    registered_at INTEGER NOT NULL, first_verified_at INTEGER, verified_at INTEGER, verified_by TEXT,
    list TEXT NOT NULL REFERENCES lists, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
    shape TEXT NOT NULL, content TEXT, mtimes BLOB, run TEXT, permit TEXT, ended_at INTEGER
) STRICT;
CREATE INDEX copies_of_scan ON copies (scan, kind);
CREATE INDEX copies_by_place ON copies (site, area, state);

-- The first part of each copy's paths, from the site's root: who owns what.
CREATE TABLE claims (site TEXT NOT NULL, path TEXT NOT NULL, copy INTEGER NOT NULL REFERENCES copies) STRICT;
CREATE INDEX claims_by_path ON claims (site, path);
CREATE INDEX claims_by_copy ON claims (copy);

CREATE TABLE holds (
    id INTEGER PRIMARY KEY, scan INTEGER NOT NULL REFERENCES scans, who TEXT NOT NULL, reason TEXT NOT NULL,
    placed_at INTEGER NOT NULL, until INTEGER, released_at INTEGER, released_by TEXT
) STRICT;
CREATE INDEX holds_of_scan ON holds (scan);

CREATE TABLE uses (
    id INTEGER PRIMARY KEY, scan INTEGER NOT NULL REFERENCES scans, kind TEXT NOT NULL, site TEXT NOT NULL,
    run TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER, ended_at INTEGER
) STRICT;
CREATE INDEX uses_of_scan ON uses (scan);
CREATE INDEX uses_of_run ON uses (run);

CREATE TABLE transfers (
    id TEXT PRIMARY KEY, scan INTEGER NOT NULL REFERENCES scans, kind TEXT NOT NULL,
    source TEXT NOT NULL, source_base TEXT NOT NULL, target TEXT NOT NULL, target_base TEXT NOT NULL,
    run TEXT NOT NULL, minted_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, ended_at INTEGER, outcome TEXT
) STRICT;
CREATE INDEX transfers_of_scan ON transfers (scan);

CREATE TABLE announcements (
    copy INTEGER PRIMARY KEY REFERENCES copies, announced_at INTEGER NOT NULL, due INTEGER NOT NULL,
    who TEXT NOT NULL
) STRICT;

-- What derived data can be made again from; never deleted.
CREATE TABLE papers (
    id INTEGER PRIMARY KEY, scan INTEGER NOT NULL REFERENCES scans, paper TEXT NOT NULL, at INTEGER NOT NULL,
    run TEXT NOT NULL, digest TEXT NOT NULL, packed BLOB NOT NULL, UNIQUE (scan, paper, digest)
) STRICT;

CREATE TABLE plans (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, revision INTEGER NOT NULL, packed BLOB NOT NULL
) STRICT;

CREATE TABLE permits (
    id TEXT PRIMARY KEY, plan INTEGER NOT NULL, copy INTEGER NOT NULL REFERENCES copies,
    minted_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, ended_at INTEGER, witness INTEGER
) STRICT;

CREATE TABLE ledger (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, event TEXT NOT NULL,
    folder TEXT, stem TEXT, kind TEXT, site TEXT, path TEXT, who TEXT, files INTEGER, bytes INTEGER,
    text TEXT NOT NULL, reasons TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX ledger_of_scan ON ledger (folder, stem);

CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_is_not_shortened BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER papers_are_kept BEFORE DELETE ON papers
BEGIN SELECT RAISE(ABORT, 'papers are kept for good'); END;
