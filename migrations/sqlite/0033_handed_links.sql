-- Links to a person's own page that an operator hands over by letter or mail, by the hash of their tokens: no message carried them. `channel`
-- and `sender` say how the code goes that completes a yes said there.
CREATE TABLE handed_links (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  token_hash TEXT NOT NULL,
  contact_id BIGINT NOT NULL REFERENCES contacts (id),
  channel TEXT NOT NULL,
  sender TEXT NOT NULL,
  locale TEXT NOT NULL,
  by_whom TEXT NOT NULL,
  at BIGINT NOT NULL
);
CREATE UNIQUE INDEX handed_links_token ON handed_links (controller, token_hash);
CREATE INDEX handed_links_contact ON handed_links (contact_id);
