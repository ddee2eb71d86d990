-- When a change of consent or a no was learned of, which may be days after it was said: an export of what changed goes by this.
ALTER TABLE preferences ADD COLUMN learned_at BIGINT NOT NULL DEFAULT 0;
UPDATE preferences SET learned_at = since;
ALTER TABLE suppressions ADD COLUMN learned_at BIGINT NOT NULL DEFAULT 0;
UPDATE suppressions SET learned_at = at;
