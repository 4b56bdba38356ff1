-- Ids that may have no row (any more): of deleted backups, and of uploads whose rollback has begun. Every statement that
-- writes a row of `backups` leaves these out, so that no late writer lists them again.
CREATE TABLE deleted_backups (
  backup_id  TEXT NOT NULL PRIMARY KEY,
  deleted_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX deleted_backups_time ON deleted_backups (deleted_at);
