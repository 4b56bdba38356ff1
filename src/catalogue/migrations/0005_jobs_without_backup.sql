-- An import is a job that has no backup, unless it restores one. SQLite takes no NOT NULL away: the table is made anew.

CREATE TABLE jobs_of_all_tasks (
  job_id     TEXT NOT NULL PRIMARY KEY,
  backup_id  TEXT,
  phase      TEXT NOT NULL,
  filename   TEXT,
  message    TEXT NOT NULL,
  code       TEXT,
  started_at TEXT NOT NULL,
  ended_at   TEXT,
  run_id     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO jobs_of_all_tasks (job_id, backup_id, phase, filename, message, code, started_at, ended_at, run_id)
  SELECT job_id, backup_id, phase, filename, message, code, started_at, ended_at, coalesce(run_id, backup_id) FROM jobs;

DROP TABLE jobs;
ALTER TABLE jobs_of_all_tasks RENAME TO jobs;

CREATE INDEX jobs_ended ON jobs (ended_at);
