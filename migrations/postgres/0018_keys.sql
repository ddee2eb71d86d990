-- The keys that what is here was written with: a hash that only the key itself makes. Another key file would know nobody again.
CREATE TABLE vault_keys (
  key_id BIGINT NOT NULL PRIMARY KEY,
  proof TEXT NOT NULL
);
