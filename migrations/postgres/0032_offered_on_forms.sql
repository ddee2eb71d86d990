-- What the form offered whose choice was confirmed: bits of permissions (`domain::status`), so that a box left unticked stands as not given.
ALTER TABLE intakes ADD COLUMN offered BIGINT;
