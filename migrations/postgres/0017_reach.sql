-- A gateway that no connection reaches opens its breaker as one whose answers are unknown does.
ALTER TABLE gateways ADD COLUMN unreached BIGINT NOT NULL DEFAULT 0; -- in a row
ALTER TABLE gateways ADD COLUMN open_reason TEXT;                    -- why no connection comes about; none where outcomes are unknown
ALTER TABLE gateways ADD COLUMN probe_at BIGINT NOT NULL DEFAULT 0;  -- the next probe may leave
