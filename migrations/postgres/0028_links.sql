-- Links of messages sent since the copy that was restored: who is behind them, so that a no can still be said there.
CREATE TABLE links (
  controller TEXT NOT NULL,
  token_hash TEXT NOT NULL,
  mac TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  locale TEXT NOT NULL,
  claimed_at BIGINT NOT NULL,
  PRIMARY KEY (controller, token_hash)
);
CREATE INDEX links_mac ON links (controller, mac);
