-- Whoever forgets or erases people finds their replies by number; and one run of the retention is under way at a time.
CREATE INDEX inbound_events_mac ON inbound_events (controller, mac);
ALTER TABLE retention_runs ADD COLUMN lease_db BIGINT NOT NULL DEFAULT 0;  -- until when, by the database's clock, some process is at it
