-- What the country packs need: conditions of a soft opt-in, and screenings against the public opposition registers.

ALTER TABLE consent_evidence ADD COLUMN conditions TEXT NOT NULL DEFAULT '';

CREATE TABLE screenings (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  register TEXT NOT NULL,             -- RPO, TPS, ROBINSON
  at BIGINT NOT NULL,                 -- as of when the register was asked
  file TEXT NOT NULL,
  done_at BIGINT                      -- NULL: the import broke off; it covers nobody
);
CREATE INDEX screenings_register ON screenings (controller, register, at);

-- Numbers a register lists, by its last screening: keyed hashes alone.
CREATE TABLE register_listings (
  controller TEXT NOT NULL,
  register TEXT NOT NULL,
  mac TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  since BIGINT NOT NULL,              -- end of the day of registration
  screening_id BIGINT NOT NULL REFERENCES screenings (id),
  PRIMARY KEY (controller, mac, key_id, register)
);
