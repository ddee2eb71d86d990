-- Not 0: a copy of the database took over at its end. What was told until then was acknowledged, and stored where it is not any more.
ALTER TABLE gaps ADD COLUMN restored BIGINT NOT NULL DEFAULT 0;
