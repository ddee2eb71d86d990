-- Consent changes to be told to the company's CRM: one row an event and webhook, written with the ledger entry it tells of.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  webhook TEXT NOT NULL,              -- its name in permesso.toml
  event_id TEXT NOT NULL,             -- the same in every try: receivers drop what they know
  kind TEXT NOT NULL,                 -- consent.granted, ...
  subject TEXT,                       -- NULL: a no of a number that is no contact
  seq BIGINT,                         -- the ledger entry
  permissions TEXT NOT NULL,          -- those the entry names or changed, with the state after it
  number_enc TEXT,                    -- of a number that is no contact alone, and only until it is told
  at BIGINT NOT NULL,
  state TEXT NOT NULL,                -- pending, delivered, dead
  tries BIGINT NOT NULL DEFAULT 0,
  next_at BIGINT NOT NULL,
  lease_db BIGINT NOT NULL DEFAULT 0, -- until then it belongs to the worker that claimed it
  error TEXT,
  changed_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX outbox_event ON outbox (controller, webhook, event_id);
CREATE INDEX outbox_due ON outbox (controller, webhook, next_at) WHERE state = 'pending';
CREATE INDEX outbox_order ON outbox (controller, webhook, subject, id) WHERE state = 'pending';
CREATE INDEX outbox_state ON outbox (state, changed_at);

CREATE TABLE webhooks (
  controller TEXT NOT NULL,
  name TEXT NOT NULL,
  closed_at BIGINT NOT NULL,          -- the receiver said 410 Gone: nothing more until an operator resumes it
  PRIMARY KEY (controller, name)
);
