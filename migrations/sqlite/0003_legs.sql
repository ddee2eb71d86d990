-- A message may go over several channels, one attempt (leg) each; campaigns may plan again and pause by themselves.
ALTER TABLE attempts ADD COLUMN channel TEXT NOT NULL DEFAULT 'sms';
ALTER TABLE attempts ADD COLUMN sender TEXT NOT NULL DEFAULT '';
UPDATE attempts SET channel = (SELECT m.channel FROM messages m WHERE m.id = attempts.message_id),
  sender = (SELECT m.sender FROM messages m WHERE m.id = attempts.message_id);

-- The ask basis the claim found: what the proof names.
ALTER TABLE attempts ADD COLUMN basis TEXT;

ALTER TABLE receipts ADD COLUMN not_on_channel BIGINT NOT NULL DEFAULT 0;

ALTER TABLE campaigns ADD COLUMN repeat_at BIGINT;   -- when everybody is looked at again; NULL is never
ALTER TABLE campaigns ADD COLUMN stop_base TEXT;     -- what `stop_if` had counted when the manager last resumed

-- What became of a send of unknown outcome, by whose word.
CREATE TABLE settlements (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  message_id BIGINT NOT NULL REFERENCES messages (id),
  state TEXT NOT NULL,
  by_whom TEXT NOT NULL,
  at BIGINT NOT NULL
);
CREATE INDEX settlements_message ON settlements (message_id);
CREATE INDEX messages_unknown ON messages (campaign_id) WHERE state = 'unknown';
