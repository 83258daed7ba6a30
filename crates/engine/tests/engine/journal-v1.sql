-- Left by version 0.1.0 (schema 1) when its worker was killed between starting a job and writing that down.
PRAGMA application_id = 1650811245;
PRAGMA user_version = 1;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE runs (
  id TEXT PRIMARY KEY NOT NULL, flow TEXT NOT NULL, name TEXT NOT NULL,
  parameters TEXT NOT NULL, tags TEXT NOT NULL,
  state_type TEXT NOT NULL, state_name TEXT NOT NULL, state_message TEXT,
  state_details TEXT NOT NULL DEFAULT 'null', state_time INTEGER NOT NULL,
  created INTEGER NOT NULL, due INTEGER, expected INTEGER NOT NULL, started INTEGER, ended INTEGER,
  parent TEXT, deployment TEXT, pool TEXT NOT NULL, queue TEXT NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0, generation INTEGER NOT NULL DEFAULT 1,
  retries INTEGER NOT NULL DEFAULT 0, retry_delay INTEGER NOT NULL DEFAULT 0,
  fence INTEGER NOT NULL DEFAULT 0, worker TEXT, lease_until INTEGER,
  cancel_asked TEXT, pause_asked TEXT,
  ask TEXT, inputs TEXT NOT NULL DEFAULT '{}', waits_for TEXT,
  output TEXT, error TEXT
);
INSERT INTO runs VALUES('01a20846-fe00-750a-aac1-743253a1aca5','outside','outside-a1aca5','{"file_path":"a/b.h5"}','["scan:a/b"]','RUNNING','Running',NULL,'null',1795435200000000,1795435200000000,NULL,1795435200000000,1795435200000000,NULL,NULL,NULL,'default','default',1,1,0,0,1,'old:1',1795435230000000,NULL,NULL,NULL,'{}',NULL,NULL,NULL);
CREATE TABLE run_tags (tag TEXT NOT NULL, run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  PRIMARY KEY (tag, run)) WITHOUT ROWID;
INSERT INTO run_tags VALUES('scan:a/b','01a20846-fe00-750a-aac1-743253a1aca5');
CREATE TABLE run_keys (flow TEXT NOT NULL, key TEXT NOT NULL, run TEXT NOT NULL, created INTEGER NOT NULL,
  PRIMARY KEY (flow, key)) WITHOUT ROWID;
INSERT INTO run_keys VALUES('outside','a/b','01a20846-fe00-750a-aac1-743253a1aca5',1795435200000000);
CREATE TABLE steps (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, generation INTEGER NOT NULL, key TEXT NOT NULL,
  name TEXT NOT NULL, kind TEXT NOT NULL, position INTEGER NOT NULL,
  state_type TEXT NOT NULL, state_name TEXT NOT NULL, state_message TEXT,
  state_details TEXT NOT NULL DEFAULT 'null', state_time INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0, submission INTEGER NOT NULL DEFAULT 0,
  input TEXT, output TEXT, error TEXT, handle TEXT, acted INTEGER NOT NULL DEFAULT 0,
  keeps_failure INTEGER NOT NULL DEFAULT 0,
  started INTEGER, attempt_started INTEGER, running_since INTEGER, ended INTEGER, wake INTEGER,
  PRIMARY KEY (run, generation, key)
) WITHOUT ROWID;
INSERT INTO steps VALUES('01a20846-fe00-750a-aac1-743253a1aca5',1,'before','before','local',0,'COMPLETED','Completed',NULL,'null',1795435200000000,1,1,NULL,'7',NULL,NULL,0,0,1795435200000000,1795435200000000,NULL,1795435200000000,NULL);
INSERT INTO steps VALUES('01a20846-fe00-750a-aac1-743253a1aca5',1,'submit','submit','external',1,'PENDING','Submitting',NULL,'null',1795435200000000,1,1,NULL,NULL,NULL,'"beamrail-submit-ec643dc2a7685e4fb785"',0,0,1795435200000000,1795435200000000,NULL,NULL,NULL);
CREATE TABLE history (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, step TEXT,
  type TEXT NOT NULL, name TEXT NOT NULL, message TEXT, details TEXT NOT NULL, time INTEGER NOT NULL,
  fence INTEGER NOT NULL
);
INSERT INTO history VALUES(1,'01a20846-fe00-750a-aac1-743253a1aca5',NULL,'SCHEDULED','Scheduled',NULL,'null',1795435200000000,0);
INSERT INTO history VALUES(2,'01a20846-fe00-750a-aac1-743253a1aca5',NULL,'PENDING','Pending','claimed by old:1','null',1795435200000000,0);
INSERT INTO history VALUES(3,'01a20846-fe00-750a-aac1-743253a1aca5',NULL,'RUNNING','Running',NULL,'null',1795435200000000,1);
INSERT INTO history VALUES(4,'01a20846-fe00-750a-aac1-743253a1aca5','before','RUNNING','Running',NULL,'null',1795435200000000,1);
INSERT INTO history VALUES(5,'01a20846-fe00-750a-aac1-743253a1aca5','before','COMPLETED','Completed',NULL,'null',1795435200000000,1);
INSERT INTO history VALUES(6,'01a20846-fe00-750a-aac1-743253a1aca5','submit','PENDING','Submitting',NULL,'null',1795435200000000,1);
CREATE TABLE logs (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, step TEXT,
  time INTEGER NOT NULL, level INTEGER NOT NULL, message TEXT NOT NULL
);
CREATE TABLE artifacts (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, key TEXT NOT NULL, step TEXT,
  kind TEXT NOT NULL, data TEXT NOT NULL, description TEXT, updated INTEGER NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE TABLE pools (name TEXT PRIMARY KEY NOT NULL, concurrency INTEGER, paused INTEGER NOT NULL DEFAULT 0)
  WITHOUT ROWID;
CREATE TABLE queues (pool TEXT NOT NULL, name TEXT NOT NULL, priority INTEGER NOT NULL DEFAULT 100,
  concurrency INTEGER, paused INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (pool, name)) WITHOUT ROWID;
CREATE TABLE limits (tag TEXT PRIMARY KEY NOT NULL, slots INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE workers (name TEXT PRIMARY KEY NOT NULL, pool TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
  version TEXT NOT NULL, started INTEGER NOT NULL, seen INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO workers VALUES('old:1','default','host',18585,'0.1.0',1795435200000000,1795435200000000,1795435230000000);
CREATE TABLE deployments (
  name TEXT PRIMARY KEY NOT NULL, flow TEXT NOT NULL, definition TEXT NOT NULL, concurrency INTEGER,
  paused INTEGER NOT NULL DEFAULT 0, updated INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO deployments VALUES('outside','outside','{"name":"outside","flow":"outside","description":"","parameters":{},"schema":{"title":"AnyValue","$schema":"https://json-schema.org/draft/2020-12/schema"},"pool":"default","queue":"default","tags":[],"concurrency":null,"paused":false,"retries":0,"retry_delay":{"secs":0,"nanos":0},"schedules":[{"id":"hourly","when":{"kind":"every","interval":{"secs":3600,"nanos":0},"from":"2026-11-23T12:00:00Z"},"catch_up":"latest","active":true,"parameters":null}]}',NULL,0,1795435200000000);
CREATE TABLE schedules (
  deployment TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE, id TEXT NOT NULL,
  definition TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (deployment, id)
) WITHOUT ROWID;
INSERT INTO schedules VALUES('outside','hourly','{"id":"hourly","when":{"kind":"every","interval":{"secs":3600,"nanos":0},"from":"2026-11-23T12:00:00Z"},"catch_up":"latest","active":true,"parameters":null}',1795435200000000);
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, key TEXT NOT NULL, payload TEXT NOT NULL, run TEXT,
  created INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_try INTEGER, locked_until INTEGER,
  last_error TEXT, delivered INTEGER, dead INTEGER, UNIQUE (topic, key)
);
INSERT INTO outbox VALUES(1,'announcement','one','{"text":"soon"}',NULL,1795435200000000,0,1795435200000000,NULL,NULL,NULL,NULL);
CREATE INDEX runs_due ON runs (pool, due) WHERE due IS NOT NULL;
CREATE INDEX runs_active ON runs (pool, queue, lease_until)
  WHERE state_type IN ('PENDING', 'RUNNING', 'CANCELLING');
CREATE INDEX runs_state ON runs (state_type, id);
CREATE INDEX runs_flow ON runs (flow, id);
CREATE INDEX runs_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX runs_waiting ON runs (waits_for) WHERE waits_for IS NOT NULL;
CREATE INDEX runs_deployment ON runs (deployment, id) WHERE deployment IS NOT NULL;
CREATE INDEX runs_ended ON runs (ended) WHERE ended IS NOT NULL;
CREATE INDEX run_tags_run ON run_tags (run);
CREATE INDEX history_run ON history (run, id);
CREATE TRIGGER history_append_only BEFORE UPDATE ON history
  BEGIN SELECT RAISE(ABORT, 'the history of states is append-only'); END;
CREATE INDEX logs_run ON logs (run, id);
CREATE INDEX artifacts_key ON artifacts (key, updated);
CREATE INDEX outbox_due ON outbox (next_try) WHERE next_try IS NOT NULL;
COMMIT;
