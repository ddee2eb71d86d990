-- What a receipt's error means by its driver's table: it may say that a person opted out, or that the account needs a human.
ALTER TABLE receipts ADD COLUMN class TEXT;
UPDATE receipts SET class = 'not-on-channel' WHERE not_on_channel = 1;
ALTER TABLE receipts DROP COLUMN not_on_channel;
-- Which receipts a send has had: asked for one person's history, and before an ask goes another way.
CREATE INDEX receipts_attempt ON receipts (attempt_id) WHERE attempt_id IS NOT NULL;
