-- By what a message without an id of the provider's is known again, hashed with our key; NULL where it has an id, or where our answer to it
-- has arrived, so that nobody delivers it again.
ALTER TABLE inbound_events ADD COLUMN said TEXT;
CREATE INDEX inbound_events_said ON inbound_events (controller, gateway, said) WHERE said IS NOT NULL;
