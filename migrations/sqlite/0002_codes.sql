-- One-time codes: the second step of an ask by `link_code`. The digits themselves stand nowhere, only their keyed hash.
CREATE TABLE codes (
  controller TEXT NOT NULL,
  message_id BIGINT NOT NULL REFERENCES messages (id),
  conversation_id BIGINT NOT NULL,    -- the first yes it completes
  token_hash TEXT NOT NULL,           -- of the link on whose page it was asked for: typed elsewhere it is none
  mac TEXT,                           -- keyed hash of message and digits, from the claim on
  expires_at BIGINT,                  -- ten minutes after the claim
  wrong BIGINT NOT NULL DEFAULT 0,    -- wrong tries
  ended_at BIGINT,                    -- used, or replaced by a newer one
  created_at BIGINT NOT NULL,
  PRIMARY KEY (controller, message_id)
);
-- At most one code of a first yes can be typed.
CREATE UNIQUE INDEX codes_live ON codes (controller, conversation_id) WHERE ended_at IS NULL;
