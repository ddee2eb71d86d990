-- Rates that the processes of one database share: from when on each is free again, microseconds of the database's clock.
CREATE TABLE rates (
  controller TEXT NOT NULL,
  name TEXT NOT NULL,
  free_db BIGINT NOT NULL,
  PRIMARY KEY (controller, name)
) WITHOUT ROWID;
