-- Questions about one person, or about what is due, find their rows instead of reading the whole table.
-- A contact is of one controller, so its id alone is the key.
DROP INDEX consent_evidence_row;
CREATE UNIQUE INDEX consent_evidence_row ON consent_evidence (contact_id, row_hash);
CREATE INDEX conversations_contact ON conversations (contact_id);
CREATE INDEX conversations_expiring ON conversations (controller, expires_at) WHERE closed_at IS NULL;
CREATE INDEX messages_expiring ON messages (controller, expires_at) WHERE state = 'planned';
CREATE INDEX suppressions_lifted ON suppressions (controller, mac) WHERE lifted_at IS NOT NULL;
CREATE INDEX codes_conversation ON codes (controller, conversation_id, message_id);
