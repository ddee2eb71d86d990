-- What lists said of whoever was erased before they were erased under numbers of somebody else's, too (migration 38), goes as it does since.
UPDATE decisions SET facts = '{}', basis = NULL WHERE contact_id IN (SELECT c.id FROM contacts c
  JOIN suppressions s ON s.controller = c.controller AND s.mac = c.was_human AND s.reason = 'erased' AND s.lifted_at IS NULL
  WHERE c.was_human IS NOT NULL);
DELETE FROM consent_evidence WHERE contact_id IN (SELECT c.id FROM contacts c
  JOIN suppressions s ON s.controller = c.controller AND s.mac = c.was_human AND s.reason = 'erased' AND s.lifted_at IS NULL
  WHERE c.was_human IS NOT NULL);
UPDATE contacts SET kind = NULL, last_action = NULL, locale = NULL, zone = NULL, times = NULL WHERE id IN (SELECT c.id FROM contacts c
  JOIN suppressions s ON s.controller = c.controller AND s.mac = c.was_human AND s.reason = 'erased' AND s.lifted_at IS NULL
  WHERE c.was_human IS NOT NULL);

-- Why a no is told that no ledger entry has: that of a number that is no contact. NULL: as its kind says.
ALTER TABLE outbox ADD COLUMN reason TEXT;

-- Rows that said no and made no contact, of lists of noes and rejected ones, by keyed hash: imported again they undo no yes given since.
CREATE TABLE listed (
  controller TEXT NOT NULL,
  row_hash TEXT NOT NULL,
  PRIMARY KEY (controller, row_hash)
);

-- Receipts of no message that is known are of no use after a week.
CREATE INDEX receipts_unmatched_since ON receipts (controller, received_at) WHERE attempt_id IS NULL;
