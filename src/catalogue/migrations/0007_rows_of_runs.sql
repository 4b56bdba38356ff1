-- A row for each run of a job, from its beginning on; the job object writes it. A run_id is a ULID, so its order is age.
-- `expires_at` is set for resumable uploads alone.

CREATE TABLE runs (
  run_id     TEXT NOT NULL PRIMARY KEY,
  job_id     TEXT NOT NULL,
  task       TEXT NOT NULL,
  phase      TEXT NOT NULL,
  backup_id  TEXT,
  filename   TEXT,
  message    TEXT NOT NULL,
  code       TEXT,
  token_id   TEXT,
  started_at TEXT NOT NULL,
  ended_at   TEXT,
  expires_at TEXT
) STRICT, WITHOUT ROWID;

INSERT INTO runs (run_id, job_id, task, phase, backup_id, filename, message, code, started_at, ended_at)
  SELECT run_id, job_id,
         CASE WHEN run_id = backup_id THEN 'upload' WHEN phase = 'importing' OR backup_id IS NULL THEN 'import' ELSE 'verify' END,
         phase, backup_id, filename, message, code, started_at, ended_at
  FROM jobs;

DROP TABLE jobs;
ALTER TABLE runs RENAME TO jobs;

CREATE INDEX jobs_ended ON jobs (ended_at);
CREATE INDEX jobs_open_uploads ON jobs (run_id) WHERE ended_at IS NULL AND expires_at IS NOT NULL;
