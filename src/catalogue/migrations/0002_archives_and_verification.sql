-- `archive` and `damage` are JSON objects, or NULL: no archive, no damage known. The receipts hold `archive` too; what a
-- verification found stands here alone, because objects in the bucket are written once.

ALTER TABLE backups ADD COLUMN archive TEXT;
ALTER TABLE backups ADD COLUMN verified_at TEXT;
ALTER TABLE backups ADD COLUMN damage TEXT;
