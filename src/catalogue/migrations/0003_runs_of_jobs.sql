-- A run of a job has an id of its own, by which later runs are told from earlier ones: that of an upload is its backup's.
-- Runs that verify a backup come long after it.

ALTER TABLE jobs ADD COLUMN run_id TEXT;
UPDATE jobs SET run_id = backup_id;
