-- What was deleted by age, and when it was last looked for.
CREATE TABLE retention_runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  at BIGINT NOT NULL,                 -- when it was called for
  done_at BIGINT,
  found TEXT                          -- JSON: what was done
);
CREATE INDEX retention_runs_at ON retention_runs (controller, at);
