-- Maintained counters (SQLite): what pages, API and metrics show without scanning. Triggers keep them, so that no path of the code can forget one.
-- What each row of a table counts as is written once, as a view counted_…, and serves the triggers and
-- the first count of a database that has rows already.

-- The country of the person, as it stood when the message was planned: a figure must not move afterwards.
ALTER TABLE messages ADD COLUMN country TEXT;
UPDATE messages SET country = (SELECT c.country FROM contacts c WHERE c.id = messages.contact_id);
ALTER TABLE conversations ADD COLUMN channel TEXT;
ALTER TABLE conversations ADD COLUMN country TEXT;
UPDATE conversations SET channel = (SELECT m.channel FROM messages m WHERE m.id = conversations.message_id),
  country = (SELECT m.country FROM messages m WHERE m.id = conversations.message_id);
ALTER TABLE attempts ADD COLUMN campaign_id BIGINT;
ALTER TABLE attempts ADD COLUMN kind TEXT;
UPDATE attempts SET campaign_id = (SELECT m.campaign_id FROM messages m WHERE m.id = attempts.message_id),
  kind = (SELECT m.kind FROM messages m WHERE m.id = attempts.message_id);
-- The campaign whose ask led to the entry a permission stands on.
ALTER TABLE preferences ADD COLUMN campaign_id BIGINT;
UPDATE preferences SET campaign_id = (
  SELECT c.id FROM evidence e JOIN campaigns c ON c.controller = preferences.controller AND c.name = e.body->>'campaign'
  WHERE e.seq = preferences.seq);
-- Of a person's decisions in a campaign the newest stands: 1.
ALTER TABLE decisions ADD COLUMN country TEXT;
ALTER TABLE decisions ADD COLUMN standing BIGINT NOT NULL DEFAULT 1;
UPDATE decisions SET country = (SELECT c.country FROM contacts c WHERE c.id = decisions.contact_id),
  standing = CASE WHEN EXISTS (
    SELECT 1 FROM decisions o WHERE o.controller = decisions.controller AND o.campaign_id = decisions.campaign_id
      AND o.contact_id = decisions.contact_id AND o.stage <> decisions.stage
      AND (o.at > decisions.at OR (o.at = decisions.at AND o.stage = 'claim'))) THEN 0 ELSE 1 END;
CREATE INDEX decisions_skipped ON decisions (campaign_id, code, contact_id) WHERE standing = 1 AND outcome = 'skip';
CREATE INDEX inbound_events_waiting ON inbound_events (controller, id) WHERE effect = 'held' AND resolved_at IS NULL;

CREATE TABLE counters (
  controller TEXT NOT NULL,
  topic TEXT NOT NULL,                -- message, decision, conversation, first_yes, attempt, permission, inbound
  campaign_id BIGINT NOT NULL,        -- 0 is none
  a TEXT NOT NULL,
  b TEXT NOT NULL,
  c TEXT NOT NULL,
  d TEXT NOT NULL,
  hour BIGINT NOT NULL,               -- since 1970; 0 where the hour does not matter
  n BIGINT NOT NULL,
  PRIMARY KEY (controller, topic, campaign_id, a, b, c, d, hour)
) WITHOUT ROWID;
CREATE INDEX counters_hour ON counters (controller, topic, hour);

CREATE VIEW counted_messages AS SELECT rowid AS row, controller, 'message' AS topic, COALESCE(campaign_id, 0) AS campaign_id, kind AS a, state AS b, channel AS c,
  COALESCE(country, '') AS d,
  CASE WHEN state IN ('delivered', 'read', 'failed', 'undelivered', 'expired') THEN changed_at / 3600000000 ELSE 0 END AS hour
FROM messages;
CREATE TRIGGER messages_count_insert AFTER INSERT ON messages BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_messages WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER messages_count_leave BEFORE UPDATE OF state, channel, country, changed_at ON messages BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_messages WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER messages_count_enter AFTER UPDATE OF state, channel, country, changed_at ON messages BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_messages WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER messages_count_delete BEFORE DELETE ON messages BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_messages WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, COUNT(*) FROM counted_messages GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

CREATE VIEW counted_decisions AS SELECT rowid AS row, controller, 'decision' AS topic, campaign_id, outcome AS a, code AS b, COALESCE(country, '') AS c, '' AS d, 0 AS hour
FROM decisions WHERE standing = 1;
CREATE TRIGGER decisions_count_insert AFTER INSERT ON decisions BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_decisions WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER decisions_count_leave BEFORE UPDATE ON decisions BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_decisions WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER decisions_count_enter AFTER UPDATE ON decisions BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_decisions WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER decisions_count_delete BEFORE DELETE ON decisions BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_decisions WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, COUNT(*) FROM counted_decisions GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

CREATE VIEW counted_conversations AS SELECT rowid AS row, controller, 'conversation' AS topic, COALESCE(campaign_id, 0) AS campaign_id, state AS a, COALESCE(channel, '') AS b,
  COALESCE(country, '') AS c, '' AS d, COALESCE(closed_at / 3600000000, 0) AS hour
FROM conversations
UNION ALL SELECT rowid AS row, controller, 'first_yes' AS topic, COALESCE(campaign_id, 0) AS campaign_id, '' AS a, COALESCE(channel, '') AS b,
  COALESCE(country, '') AS c, '' AS d, first_yes_at / 3600000000 AS hour
FROM conversations WHERE first_yes_at IS NOT NULL;
CREATE TRIGGER conversations_count_insert AFTER INSERT ON conversations BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_conversations WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER conversations_count_leave BEFORE UPDATE ON conversations BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_conversations WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER conversations_count_enter AFTER UPDATE ON conversations BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_conversations WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER conversations_count_delete BEFORE DELETE ON conversations BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_conversations WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, COUNT(*) FROM counted_conversations GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

CREATE VIEW counted_attempts AS SELECT rowid AS row, controller, 'attempt' AS topic, COALESCE(campaign_id, 0) AS campaign_id, gateway AS a, COALESCE(outcome, 'in flight') AS b,
  COALESCE(substr(error, 1, 80), '') AS c, COALESCE(kind, '') AS d, claimed_at / 3600000000 AS hour
FROM attempts;
CREATE TRIGGER attempts_count_insert AFTER INSERT ON attempts BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_attempts WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER attempts_count_leave BEFORE UPDATE OF outcome, error ON attempts BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_attempts WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER attempts_count_enter AFTER UPDATE OF outcome, error ON attempts BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_attempts WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER attempts_count_delete BEFORE DELETE ON attempts BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_attempts WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, COUNT(*) FROM counted_attempts GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

CREATE VIEW counted_preferences AS SELECT rowid AS row, controller, 'permission' AS topic, COALESCE(campaign_id, 0) AS campaign_id, state AS a, purpose AS b, channel AS c, '' AS d, 0 AS hour
FROM preferences;
CREATE TRIGGER preferences_count_insert AFTER INSERT ON preferences BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_preferences WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER preferences_count_leave BEFORE UPDATE ON preferences BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_preferences WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER preferences_count_enter AFTER UPDATE ON preferences BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_preferences WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER preferences_count_delete BEFORE DELETE ON preferences BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_preferences WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, COUNT(*) FROM counted_preferences GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

CREATE VIEW counted_inbound_events AS SELECT rowid AS row, controller, 'inbound' AS topic, 0 AS campaign_id, intent AS a,
  CASE WHEN effect = 'held' AND resolved_at IS NULL THEN 'waiting' ELSE '' END AS b, channel AS c, '' AS d, 0 AS hour
FROM inbound_events;
CREATE TRIGGER inbound_events_count_insert AFTER INSERT ON inbound_events BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_inbound_events WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER inbound_events_count_leave BEFORE UPDATE OF effect, resolved_at ON inbound_events BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_inbound_events WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER inbound_events_count_enter AFTER UPDATE OF effect, resolved_at ON inbound_events BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_inbound_events WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER inbound_events_count_delete BEFORE DELETE ON inbound_events BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_inbound_events WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, COUNT(*) FROM counted_inbound_events GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;
