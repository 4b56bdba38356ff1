-- Backups that are encrypted say in which format, by whom and for whom, as JSON.

ALTER TABLE backups ADD COLUMN encryption TEXT;
