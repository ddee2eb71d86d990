-- What the metrics ask every few seconds is found where it stands, not among all that waits: the oldest batch, and callbacks that nobody could
-- read (they have no number).
CREATE INDEX batches_oldest ON batches (controller, id) WHERE open = 1;
CREATE INDEX inbound_events_waiting_mac ON inbound_events (controller, mac) WHERE effect = 'held' AND resolved_at IS NULL;
