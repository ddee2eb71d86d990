-- Choices made on forms whose second step was taken. What was chosen stands in the token, which only its person carries, and once it is
-- confirmed in the ledger.
CREATE TABLE intakes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  form TEXT NOT NULL,
  token_hash TEXT NOT NULL,           -- of the token's own random part: spent once
  contact_id BIGINT REFERENCES contacts (id),  -- NULL: no code was sent, and nothing of the number is kept
  message_id BIGINT REFERENCES messages (id),  -- the code that completes it
  source TEXT,                        -- where the number came from, as people read it
  created_at BIGINT NOT NULL,
  confirmed_at BIGINT
);
CREATE UNIQUE INDEX intakes_token ON intakes (controller, token_hash);
CREATE INDEX intakes_contact ON intakes (contact_id);
CREATE INDEX intakes_form ON intakes (controller, form, created_at);
