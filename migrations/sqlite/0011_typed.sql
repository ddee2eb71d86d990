-- The right code, typed while an unclear reply of the same person waits for an operator: it counts, as of then, once nothing is unclear.
ALTER TABLE codes ADD COLUMN typed_at BIGINT;
ALTER TABLE codes ADD COLUMN typed_locale TEXT;  -- language of the page it was typed on, for the proof
