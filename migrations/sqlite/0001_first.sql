-- Permesso, first schema (SQLite). The same tables and columns stand in migrations/postgres.
-- Times are BIGINT microseconds UTC from the program's clock; columns ending in _db are the database's own clock.
-- Every unique key of ours begins with controller. Numbers are encrypted (…_enc) or keyed (mac), tokens hashed.

CREATE TABLE contacts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  subject TEXT NOT NULL,              -- pseudonym used by the ledger
  number_enc TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  country TEXT,
  line TEXT NOT NULL,                 -- mobile, landline, other
  locale TEXT,
  zone TEXT,
  kind TEXT,                          -- strictest kind stated by any row
  last_action TEXT,                   -- latest qualifying action, YYYY-MM-DD
  human TEXT,                         -- keyed hash of external_id: ties the numbers of one human
  restricted BIGINT NOT NULL DEFAULT 0,
  held_at BIGINT,                     -- an unclear reply waits for an operator
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX contacts_subject ON contacts (controller, subject);
CREATE INDEX contacts_human ON contacts (controller, human);

CREATE TABLE number_macs (
  controller TEXT NOT NULL,
  mac TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  contact_id BIGINT NOT NULL REFERENCES contacts (id),
  PRIMARY KEY (controller, mac, key_id)
);
CREATE INDEX number_macs_contact ON number_macs (contact_id);

CREATE TABLE imports (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  kind TEXT NOT NULL,
  file TEXT NOT NULL,
  summary TEXT NOT NULL,
  at BIGINT NOT NULL
);

CREATE TABLE consent_evidence (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  contact_id BIGINT NOT NULL REFERENCES contacts (id),
  row_hash TEXT NOT NULL,             -- keyed hash of the row: importing it again adds nothing
  import_line BIGINT NOT NULL,
  file TEXT NOT NULL,
  kind TEXT,
  last_action TEXT,
  source TEXT NOT NULL,
  quarantined BIGINT NOT NULL,
  basis TEXT,
  evidence TEXT,
  basis_date TEXT,
  box_default TEXT,
  channels TEXT NOT NULL,
  approver TEXT,
  unsubscribed BIGINT NOT NULL,
  at BIGINT NOT NULL
);
CREATE UNIQUE INDEX consent_evidence_row ON consent_evidence (controller, contact_id, row_hash);

CREATE TABLE suppressions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  mac TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  scope TEXT NOT NULL,                -- marketing, number
  reason TEXT NOT NULL,
  at BIGINT NOT NULL,
  lifted_at BIGINT,
  lifted_by BIGINT                    -- ledger seq of the person's own fresh yes
);
CREATE UNIQUE INDEX suppressions_live ON suppressions (controller, mac, key_id, reason) WHERE lifted_at IS NULL;

CREATE TABLE asked_marks (
  controller TEXT NOT NULL,
  mac TEXT NOT NULL,                  -- of the number, or of the human
  key_id BIGINT NOT NULL,
  family TEXT NOT NULL,
  kind TEXT NOT NULL,
  asked_at BIGINT NOT NULL,
  message_id BIGINT NOT NULL,
  PRIMARY KEY (controller, mac, key_id, family, kind, message_id)
);
CREATE INDEX asked_marks_message ON asked_marks (message_id);

CREATE TABLE plans (
  id TEXT PRIMARY KEY,
  controller TEXT NOT NULL,
  campaign TEXT NOT NULL,
  revision TEXT NOT NULL,
  counts TEXT NOT NULL,
  at BIGINT NOT NULL
);

CREATE TABLE campaigns (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  name TEXT NOT NULL,
  family TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,                        -- why it is paused
  revision_id BIGINT NOT NULL,
  start_at BIGINT NOT NULL,
  deadline BIGINT NOT NULL,
  planned_to BIGINT NOT NULL DEFAULT 0,   -- contacts up to this id have their decision
  planned_all BIGINT NOT NULL DEFAULT 0,
  allowance BIGINT,                   -- asks still allowed before the ramp-up pauses; NULL is no ramp-up
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX campaigns_name ON campaigns (controller, name);

CREATE TABLE campaign_revisions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  campaign TEXT NOT NULL,
  plan_id TEXT NOT NULL,
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  at BIGINT NOT NULL
);

CREATE TABLE decisions (
  controller TEXT NOT NULL,
  campaign_id BIGINT NOT NULL,
  contact_id BIGINT NOT NULL,
  stage TEXT NOT NULL,                -- plan, claim
  revision_id BIGINT NOT NULL,
  outcome TEXT NOT NULL,              -- send, wait, skip
  code TEXT NOT NULL,
  basis TEXT,
  facts TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (controller, campaign_id, contact_id, stage)
);
CREATE INDEX decisions_contact ON decisions (contact_id);

CREATE TABLE batches (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  campaign_id BIGINT,
  gateway TEXT NOT NULL,
  sender TEXT NOT NULL,
  lo BIGINT NOT NULL,
  hi BIGINT NOT NULL,
  next_due BIGINT NOT NULL,
  open BIGINT NOT NULL
);
CREATE INDEX batches_open ON batches (open, next_due);

CREATE TABLE messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  campaign_id BIGINT,
  revision_id BIGINT,
  batch_id BIGINT,
  contact_id BIGINT NOT NULL REFERENCES contacts (id),
  family TEXT NOT NULL,
  person TEXT NOT NULL,               -- keyed hash of the human, else of the number: the unit of "never twice"
  kind TEXT NOT NULL,
  cause TEXT NOT NULL,                -- plan, or the act of the person that made it
  channel TEXT NOT NULL,
  gateway TEXT NOT NULL,
  sender TEXT NOT NULL,
  wording TEXT,                       -- name of the wording for kinds other than ask
  locale TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  tries BIGINT NOT NULL DEFAULT 0,
  due_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  changed_at BIGINT NOT NULL
);
-- A repeated act of the person makes one message; at most one ask and one reminder a person and family (promise 3).
CREATE UNIQUE INDEX messages_cause ON messages (controller, contact_id, kind, cause);
CREATE UNIQUE INDEX messages_once ON messages (controller, family, person, kind)
  WHERE kind IN ('ask', 'reminder') AND state NOT IN ('cancelled', 'lapsed');
CREATE INDEX messages_contact ON messages (contact_id, kind);
CREATE INDEX messages_batch ON messages (batch_id);
CREATE INDEX messages_campaign ON messages (campaign_id, state);
CREATE INDEX messages_sending ON messages (state) WHERE state = 'sending';

CREATE TABLE attempts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  message_id BIGINT NOT NULL REFERENCES messages (id),
  slice TEXT NOT NULL,
  worker TEXT NOT NULL,
  gateway TEXT NOT NULL,
  reference TEXT NOT NULL,
  token_hash TEXT,
  wording_hash TEXT,
  provider_id TEXT,
  outcome TEXT,                       -- accepted, not_accepted, refused, unknown; NULL while in flight
  error TEXT,
  claimed_at BIGINT NOT NULL,
  send_before BIGINT NOT NULL,
  outcome_at BIGINT
);
CREATE UNIQUE INDEX attempts_reference ON attempts (controller, reference);
CREATE UNIQUE INDEX attempts_token ON attempts (controller, token_hash);
CREATE INDEX attempts_provider ON attempts (gateway, provider_id);
CREATE INDEX attempts_message ON attempts (message_id);
CREATE INDEX attempts_flight ON attempts (worker) WHERE outcome IS NULL;

CREATE TABLE receipts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  gateway TEXT NOT NULL,
  event_id TEXT NOT NULL,
  provider_id TEXT NOT NULL,
  reference TEXT,
  status TEXT NOT NULL,
  error TEXT,
  at BIGINT NOT NULL,
  received_at BIGINT NOT NULL,
  attempt_id BIGINT                   -- NULL: matches nothing yet, tried again when an attempt learns its provider id
);
CREATE UNIQUE INDEX receipts_event ON receipts (controller, gateway, event_id);
CREATE INDEX receipts_unmatched ON receipts (gateway, provider_id) WHERE attempt_id IS NULL;

CREATE TABLE inbound_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  gateway TEXT NOT NULL,
  event_id TEXT NOT NULL,
  mac TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  contact_id BIGINT,
  to_sender TEXT NOT NULL,
  channel TEXT NOT NULL,
  body_enc TEXT NOT NULL,
  intent TEXT NOT NULL,
  effect TEXT NOT NULL,
  at BIGINT NOT NULL,
  received_at BIGINT NOT NULL,
  resolved_at BIGINT,
  resolved_by TEXT
);
CREATE UNIQUE INDEX inbound_events_event ON inbound_events (controller, gateway, event_id);
CREATE INDEX inbound_events_contact ON inbound_events (contact_id);

CREATE TABLE conversations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  contact_id BIGINT NOT NULL REFERENCES contacts (id),
  campaign_id BIGINT,
  revision_id BIGINT,
  message_id BIGINT NOT NULL,
  mode TEXT NOT NULL,
  state TEXT NOT NULL,
  pending TEXT,                       -- permissions the first yes named
  first_yes_at BIGINT,
  first_yes TEXT,                     -- how the first yes was said: evidence for the ledger
  confirm_message_id BIGINT,
  confirm_accepted_at BIGINT,
  opened_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  closed_at BIGINT
);
CREATE UNIQUE INDEX conversations_open ON conversations (controller, contact_id) WHERE closed_at IS NULL;
CREATE INDEX conversations_message ON conversations (message_id);
CREATE INDEX conversations_confirm ON conversations (confirm_message_id) WHERE confirm_message_id IS NOT NULL;
CREATE INDEX conversations_campaign ON conversations (campaign_id, state);

CREATE TABLE wordings (
  controller TEXT NOT NULL,
  hash TEXT NOT NULL,
  name TEXT NOT NULL,
  locale TEXT NOT NULL,
  body TEXT NOT NULL,
  published_at BIGINT NOT NULL,
  PRIMARY KEY (controller, hash)
);

CREATE TABLE ledger (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  subject TEXT NOT NULL,
  kind TEXT NOT NULL,
  at BIGINT NOT NULL,
  body_hash TEXT NOT NULL,
  prev TEXT NOT NULL,
  hash TEXT NOT NULL
);
CREATE UNIQUE INDEX ledger_chain ON ledger (controller, subject, prev);
CREATE INDEX ledger_subject ON ledger (controller, subject, seq);

CREATE TABLE evidence (
  seq BIGINT PRIMARY KEY REFERENCES ledger (seq),
  body TEXT NOT NULL
);

CREATE TABLE preferences (
  controller TEXT NOT NULL,
  subject TEXT NOT NULL,
  channel TEXT NOT NULL,
  purpose TEXT NOT NULL,
  state TEXT NOT NULL,
  since BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (controller, subject, channel, purpose)
);

CREATE TABLE leases (
  id TEXT PRIMARY KEY,
  roles TEXT NOT NULL,
  started_db BIGINT NOT NULL,
  renewed_db BIGINT NOT NULL
);

CREATE TABLE listening (
  controller TEXT PRIMARY KEY,
  heard_db BIGINT NOT NULL,
  heard_at BIGINT NOT NULL            -- by our clock: where a driver starts to read a gap
);

CREATE TABLE gaps (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  from_at BIGINT NOT NULL,
  to_at BIGINT NOT NULL,
  settled_at BIGINT,
  settled_by TEXT
);

CREATE TABLE controls (
  controller TEXT PRIMARY KEY,
  halted_at BIGINT,
  halted_by TEXT
);

CREATE TABLE gateways (
  controller TEXT NOT NULL,
  name TEXT NOT NULL,
  unknowns BIGINT NOT NULL DEFAULT 0, -- in a row
  opened_at BIGINT,                   -- the breaker is open since
  probing BIGINT NOT NULL DEFAULT 0,
  paused_at BIGINT,
  pause_reason TEXT,
  throttled_until BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (controller, name)
);

-- The ledger and published wording cannot be changed; evidence goes only after its reason stands in the ledger.
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER wordings_no_update BEFORE UPDATE ON wordings BEGIN SELECT RAISE(ABORT, 'published wording is immutable'); END;
CREATE TRIGGER wordings_no_delete BEFORE DELETE ON wordings BEGIN SELECT RAISE(ABORT, 'published wording is immutable'); END;
CREATE TRIGGER evidence_no_update BEFORE UPDATE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is immutable'); END;
CREATE TRIGGER evidence_delete_with_reason BEFORE DELETE ON evidence
WHEN NOT EXISTS (
  SELECT 1 FROM ledger e JOIN ledger l ON l.controller = e.controller AND l.subject = e.subject
  WHERE e.seq = OLD.seq AND l.seq > e.seq AND l.kind IN ('erased', 'retention')
)
BEGIN SELECT RAISE(ABORT, 'evidence may be deleted only after the ledger says why'); END;
-- REPLACE INTO deletes without asking a trigger, so an entry that is there cannot be inserted over.
CREATE TRIGGER ledger_no_replace BEFORE INSERT ON ledger
WHEN EXISTS (SELECT 1 FROM ledger WHERE seq = NEW.seq OR (controller = NEW.controller AND subject = NEW.subject AND prev = NEW.prev))
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER evidence_no_replace BEFORE INSERT ON evidence WHEN EXISTS (SELECT 1 FROM evidence WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'evidence is immutable'); END;
