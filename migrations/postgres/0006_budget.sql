-- What a campaign may cost and what is reserved of it. Money is BIGINT millionths of the currency's unit.
ALTER TABLE campaigns ADD COLUMN currency TEXT;                         -- of what is reserved; NULL: no price was known yet
ALTER TABLE campaigns ADD COLUMN reserved BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN cost BIGINT NOT NULL DEFAULT 0;         -- reserved for it; 0 once proved not accepted
