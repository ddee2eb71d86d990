-- A link stands under each key by which its number was known: a copy may be older than the newest.
CREATE TABLE links_by_key (
  controller TEXT NOT NULL,
  token_hash TEXT NOT NULL,
  mac TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  locale TEXT NOT NULL,
  claimed_at BIGINT NOT NULL,
  PRIMARY KEY (controller, token_hash, mac)
);
INSERT INTO links_by_key SELECT controller, token_hash, mac, key_id, locale, claimed_at FROM links;
DROP TABLE links;
ALTER TABLE links_by_key RENAME TO links;
CREATE INDEX links_mac ON links (controller, mac);
