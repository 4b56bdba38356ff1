-- The database that a fresh vault has to try import and export with; one column of each sort.

CREATE TABLE items (
  id    INTEGER PRIMARY KEY,
  name  TEXT,
  value REAL,
  data  BLOB
);
