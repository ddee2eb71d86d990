-- What people asked for under Art. 15 to 21 GDPR, until when it has to be done, and which providers still have to do their part.
CREATE TABLE requests (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  kind TEXT NOT NULL,                 -- access, erasure, restriction, objection, rectification
  mac TEXT NOT NULL,                  -- keyed hash of the number
  key_id BIGINT NOT NULL,
  subject TEXT,                       -- pseudonym of the proof; NULL: the number was no contact
  channel TEXT NOT NULL,              -- page, operator
  by_whom TEXT NOT NULL,
  received_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  done_at BIGINT                      -- everything is done, by us and by the providers
);
CREATE UNIQUE INDEX requests_once ON requests (controller, kind, mac, received_at);

-- What each provider has to be asked for (Art. 19 and 28 GDPR).
CREATE TABLE request_gateways (
  controller TEXT NOT NULL,
  request_id BIGINT NOT NULL REFERENCES requests (id),
  gateway TEXT NOT NULL,
  messages TEXT NOT NULL,             -- JSON: our references and the provider's ids, by which it finds them; emptied when it is done
  done_at BIGINT,
  done_by TEXT,
  PRIMARY KEY (controller, request_id, gateway)
);
