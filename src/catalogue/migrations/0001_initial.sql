-- The index of what lies in the bucket. The receipts there are the truth: `backups` can be rebuilt from them.
-- Times are ISO 8601 in UTC, so that text order is time order. Identifiers are ULIDs: their order is age.

CREATE TABLE backups (
  backup_id       TEXT NOT NULL PRIMARY KEY,
  job_id          TEXT NOT NULL,
  filename        TEXT NOT NULL,
  content_type    TEXT NOT NULL,
  file_size       INTEGER NOT NULL,
  checksum        TEXT NOT NULL,
  stored_size     INTEGER NOT NULL,
  stored_checksum TEXT NOT NULL,
  codec           TEXT NOT NULL,
  level           INTEGER,
  engine          TEXT,
  frames          INTEGER,
  created_at      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
  job_id     TEXT NOT NULL PRIMARY KEY,
  backup_id  TEXT NOT NULL,
  phase      TEXT NOT NULL,
  filename   TEXT,
  message    TEXT NOT NULL,
  code       TEXT,
  started_at TEXT NOT NULL,
  ended_at   TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_ended ON jobs (ended_at);

-- `hash` is lower-case hex; the token itself is nowhere. `scopes` is a JSON array of words.
CREATE TABLE tokens (
  token_id   TEXT NOT NULL PRIMARY KEY,
  name       TEXT NOT NULL,
  hash       TEXT NOT NULL,
  scopes     TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT
) STRICT, WITHOUT ROWID;

-- Links for one upload that are in use or used up; a link that is not here is unused.
CREATE TABLE upload_links (
  link_id    TEXT NOT NULL PRIMARY KEY,
  backup_id  TEXT NOT NULL,
  expires_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX upload_links_backup ON upload_links (backup_id);
CREATE INDEX upload_links_expiry ON upload_links (expires_at);
