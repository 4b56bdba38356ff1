-- The lowest level of a backup's frames, where the time that one request may compute did not suffice for `level`.

ALTER TABLE backups ADD COLUMN lowest_level INTEGER;
