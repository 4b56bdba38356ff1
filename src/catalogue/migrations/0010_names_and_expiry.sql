-- The name of a backup is a path, of which `filename` is the last segment; until now it was the whole. `created_by` is the
-- id of a token. From `expires_at` on a backup is not listed, and the scheduled run deletes it.
-- src/catalogue/list-backups.ts says which listing uses which index.

ALTER TABLE backups ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE backups ADD COLUMN created_by TEXT;
ALTER TABLE backups ADD COLUMN expires_at TEXT;
UPDATE backups SET name = filename;

-- Migrations are applied before the Worker that knows them is deployed: uploads in between have no name of their own.
CREATE TRIGGER backups_name_of_filename AFTER INSERT ON backups WHEN new.name = ''
BEGIN
  UPDATE backups SET name = filename WHERE backup_id = new.backup_id;
END;

CREATE INDEX backups_name ON backups (name, backup_id DESC);
CREATE INDEX backups_damaged ON backups (backup_id) WHERE damage IS NOT NULL;
CREATE INDEX backups_damaged_name ON backups (name, backup_id DESC) WHERE damage IS NOT NULL;
CREATE INDEX backups_expiry ON backups (expires_at) WHERE expires_at IS NOT NULL;
