-- What people answered, on the ask itself: a campaign's figures then add up to the people asked, and a consent that ended since is told
-- from one that stands, whoever ended it. A conversation cannot hold that: a person may open several, and a list closes none.
ALTER TABLE messages ADD COLUMN answer TEXT;           -- asks: replied, pending, unfinished, confirmed, withdrawn, refused, stopped, wrong_person
ALTER TABLE messages ADD COLUMN answer_by TEXT;        -- person, operator, gateway, list
ALTER TABLE messages ADD COLUMN answered_at BIGINT;
ALTER TABLE inbound_events ADD COLUMN verdict TEXT;    -- an operator's word: stop, nothing; NULL where an earlier version did not keep it

UPDATE inbound_events SET verdict = 'stop' WHERE resolved_at IS NOT NULL AND EXISTS (
  SELECT 1 FROM contacts c JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject AND l.kind = 'operator_stop'
  JOIN evidence e ON e.seq = l.seq
  WHERE c.id = inbound_events.contact_id
    AND e.body->>'evidence' = 'inbound ' || CAST(inbound_events.id AS TEXT) || ', resolved by ' || inbound_events.resolved_by);
UPDATE inbound_events SET verdict = 'nothing' WHERE resolved_at IS NOT NULL AND verdict IS NULL AND contact_id IS NOT NULL;

-- Of a person and campaign: the newest conversation, then what no conversation holds.
UPDATE messages SET answer = CASE v.state WHEN 'granted' THEN 'confirmed' WHEN 'expired' THEN 'unfinished' ELSE v.state END,
  answer_by = 'person', answered_at = COALESCE(v.closed_at, v.first_yes_at, v.opened_at)
FROM conversations v
WHERE messages.kind = 'ask' AND messages.state NOT IN ('planned', 'cancelled', 'lapsed')
  AND v.id = (SELECT MAX(n.id) FROM conversations n WHERE n.contact_id = messages.contact_id AND n.campaign_id = messages.campaign_id)
  AND (v.state IN ('pending', 'granted', 'refused', 'stopped', 'wrong_person') OR (v.state = 'expired' AND v.first_yes_at IS NOT NULL));
-- A no that came after a completed yes was written over it.
UPDATE messages SET answer = 'confirmed' WHERE kind = 'ask' AND answer IS NOT NULL AND answer <> 'confirmed' AND EXISTS (
  SELECT 1 FROM contacts c JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject AND l.kind = 'granted'
  JOIN evidence e ON e.seq = l.seq JOIN campaigns k ON k.id = messages.campaign_id
  WHERE c.id = messages.contact_id AND e.body->>'campaign' = k.name);
UPDATE messages SET answer = 'withdrawn', answer_by = CASE
    WHEN EXISTS (SELECT 1 FROM contacts c JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject
      WHERE c.id = messages.contact_id AND l.kind = 'operator_stop') THEN 'operator'
    WHEN EXISTS (SELECT 1 FROM contacts c JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject
      JOIN evidence e ON e.seq = l.seq
      WHERE c.id = messages.contact_id AND l.kind = 'withdrawn' AND e.body->>'channel' = 'import') THEN 'list'
    ELSE 'person' END
WHERE kind = 'ask' AND answer = 'confirmed' AND NOT EXISTS (
  SELECT 1 FROM contacts c JOIN preferences p ON p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted'
  WHERE c.id = messages.contact_id);
-- A no that no conversation heard: by a list, or after the question was closed.
UPDATE messages SET answer = s.answer, answer_by = s.answer_by, answered_at = s.at
FROM (SELECT n.contact_id, MAX(CASE s.reason WHEN 'wrong_person' THEN 'wrong_person' WHEN 'refused' THEN 'refused' ELSE 'stopped' END) AS answer,
    MIN(CASE s.reason WHEN 'unsubscribed_before' THEN 'list' ELSE 'person' END) AS answer_by, MIN(s.at) AS at
  FROM suppressions s JOIN number_macs n ON n.controller = s.controller AND n.mac = s.mac AND n.key_id = s.key_id
  WHERE s.lifted_at IS NULL GROUP BY n.contact_id) AS s
WHERE s.contact_id = messages.contact_id AND messages.kind = 'ask' AND messages.answer IS NULL
  AND messages.state NOT IN ('planned', 'cancelled', 'lapsed');
-- A stop by somebody else.
UPDATE messages SET answer_by = 'operator' WHERE kind = 'ask' AND answer = 'stopped' AND EXISTS (
  SELECT 1 FROM contacts c JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject AND l.kind = 'operator_stop'
  WHERE c.id = messages.contact_id);
UPDATE messages SET answer_by = 'list' WHERE kind = 'ask' AND answer = 'stopped' AND answer_by = 'person' AND NOT EXISTS (
  SELECT 1 FROM contacts c JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject AND l.kind = 'stopped'
  WHERE c.id = messages.contact_id);
-- A reply that decided nothing.
UPDATE messages SET answer = 'replied', answer_by = 'person', answered_at = i.at
FROM (SELECT contact_id, MAX(received_at) AS at FROM inbound_events WHERE contact_id IS NOT NULL GROUP BY contact_id) AS i
WHERE i.contact_id = messages.contact_id AND i.at >= messages.created_at AND messages.kind = 'ask' AND messages.answer IS NULL
  AND messages.state NOT IN ('planned', 'cancelled', 'lapsed');

-- Two topics more, of the same rows. answer: each person asked stands under one. unsent: why an ask or reminder did not go, or waits.
DROP TRIGGER messages_count_insert;
DROP TRIGGER messages_count_leave;
DROP TRIGGER messages_count_enter;
DROP TRIGGER messages_count_delete;
DROP VIEW counted_messages;
CREATE VIEW counted_messages AS SELECT rowid AS row, controller, 'message' AS topic, COALESCE(campaign_id, 0) AS campaign_id, kind AS a, state AS b, channel AS c,
  COALESCE(country, '') AS d,
  CASE WHEN state IN ('delivered', 'read', 'failed', 'undelivered', 'expired') THEN changed_at / 3600000000 ELSE 0 END AS hour
FROM messages
UNION ALL SELECT rowid AS row, controller, 'answer' AS topic, COALESCE(campaign_id, 0) AS campaign_id,
  COALESCE(answer, CASE WHEN state = 'unknown' THEN 'unknown' WHEN state IN ('failed', 'undelivered', 'expired') THEN 'not_reached'
    ELSE 'silent' END) AS a, COALESCE(answer_by, '') AS b, channel AS c, COALESCE(country, '') AS d,
  COALESCE(answered_at / 3600000000, 0) AS hour
FROM messages WHERE kind = 'ask' AND (answer IS NOT NULL OR state NOT IN ('planned', 'cancelled', 'lapsed'))
UNION ALL SELECT rowid AS row, controller, 'unsent' AS topic, COALESCE(campaign_id, 0) AS campaign_id, kind AS a, state AS b, substr(reason, 1, 80) AS c, '' AS d, 0 AS hour
FROM messages WHERE kind IN ('ask', 'reminder') AND state IN ('planned', 'cancelled', 'lapsed') AND reason IS NOT NULL;
CREATE TRIGGER messages_count_insert AFTER INSERT ON messages BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_messages WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER messages_count_leave BEFORE UPDATE OF state, channel, country, changed_at, reason, answer, answer_by, answered_at ON messages BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_messages WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER messages_count_enter AFTER UPDATE OF state, channel, country, changed_at, reason, answer, answer_by, answered_at ON messages BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, 1 FROM counted_messages WHERE row = NEW.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER messages_count_delete BEFORE DELETE ON messages BEGIN
  INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, -1 FROM counted_messages WHERE row = OLD.rowid
  ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
INSERT INTO counters SELECT controller, topic, campaign_id, a, b, c, d, hour, COUNT(*) FROM counted_messages WHERE topic <> 'message'
  GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;
