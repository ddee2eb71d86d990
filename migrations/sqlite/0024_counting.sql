-- Counters on SQLite, for less; Postgres counts by statement already. A trigger looked its row up in a view of up to three parts, twice an
-- update, and wrote each part to its counter: half of what a message costs. Now it only notes the row as it was and as it is, and the
-- transaction adds all notes up before it commits (`store::report::add_up`), a handful of additions for a slice of 500 messages.
-- What a row counts as is as it was (migrations 0004 and 0015), and written once: the view `counted`.
DROP TRIGGER messages_count_insert;
DROP TRIGGER messages_count_leave;
DROP TRIGGER messages_count_enter;
DROP TRIGGER messages_count_delete;
DROP TRIGGER decisions_count_insert;
DROP TRIGGER decisions_count_leave;
DROP TRIGGER decisions_count_enter;
DROP TRIGGER decisions_count_delete;
DROP TRIGGER conversations_count_insert;
DROP TRIGGER conversations_count_leave;
DROP TRIGGER conversations_count_enter;
DROP TRIGGER conversations_count_delete;
DROP TRIGGER attempts_count_insert;
DROP TRIGGER attempts_count_leave;
DROP TRIGGER attempts_count_enter;
DROP TRIGGER attempts_count_delete;
DROP TRIGGER preferences_count_insert;
DROP TRIGGER preferences_count_leave;
DROP TRIGGER preferences_count_enter;
DROP TRIGGER preferences_count_delete;
DROP TRIGGER inbound_events_count_insert;
DROP TRIGGER inbound_events_count_leave;
DROP TRIGGER inbound_events_count_enter;
DROP TRIGGER inbound_events_count_delete;
DROP VIEW counted_messages;
DROP VIEW counted_decisions;
DROP VIEW counted_conversations;
DROP VIEW counted_attempts;
DROP VIEW counted_preferences;
DROP VIEW counted_inbound_events;

-- Rows of a transaction that is under way; empty outside of one. What a source does not have stays NULL.
CREATE TABLE counting (
  source TEXT NOT NULL,
  sign BIGINT NOT NULL,               -- 1 as it is, -1 as it was
  controller TEXT NOT NULL,
  campaign_id BIGINT,
  kind TEXT,
  state TEXT,
  channel TEXT,
  country TEXT,
  changed_at BIGINT,
  reason TEXT,
  answer TEXT,
  answer_by TEXT,
  answered_at BIGINT,
  outcome TEXT,
  code TEXT,
  standing BIGINT,
  closed_at BIGINT,
  first_yes_at BIGINT,
  gateway TEXT,
  error TEXT,
  claimed_at BIGINT,
  purpose TEXT,
  intent TEXT,
  effect TEXT,
  resolved_at BIGINT
);

CREATE TRIGGER messages_counted_insert AFTER INSERT ON messages BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, kind, state, channel, country, changed_at, reason, answer, answer_by, answered_at)
  VALUES ('messages', 1, NEW.controller, NEW.campaign_id, NEW.kind, NEW.state, NEW.channel, NEW.country, NEW.changed_at, NEW.reason, NEW.answer, NEW.answer_by, NEW.answered_at);
END;
CREATE TRIGGER messages_counted_update AFTER UPDATE OF state, channel, country, changed_at, reason, answer, answer_by, answered_at ON messages BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, kind, state, channel, country, changed_at, reason, answer, answer_by, answered_at)
  VALUES ('messages', -1, OLD.controller, OLD.campaign_id, OLD.kind, OLD.state, OLD.channel, OLD.country, OLD.changed_at, OLD.reason, OLD.answer, OLD.answer_by, OLD.answered_at);
  INSERT INTO counting (source, sign, controller, campaign_id, kind, state, channel, country, changed_at, reason, answer, answer_by, answered_at)
  VALUES ('messages', 1, NEW.controller, NEW.campaign_id, NEW.kind, NEW.state, NEW.channel, NEW.country, NEW.changed_at, NEW.reason, NEW.answer, NEW.answer_by, NEW.answered_at);
END;
CREATE TRIGGER messages_counted_delete AFTER DELETE ON messages BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, kind, state, channel, country, changed_at, reason, answer, answer_by, answered_at)
  VALUES ('messages', -1, OLD.controller, OLD.campaign_id, OLD.kind, OLD.state, OLD.channel, OLD.country, OLD.changed_at, OLD.reason, OLD.answer, OLD.answer_by, OLD.answered_at);
END;

CREATE TRIGGER decisions_counted_insert AFTER INSERT ON decisions BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, outcome, code, country, standing)
  VALUES ('decisions', 1, NEW.controller, NEW.campaign_id, NEW.outcome, NEW.code, NEW.country, NEW.standing);
END;
CREATE TRIGGER decisions_counted_update AFTER UPDATE ON decisions BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, outcome, code, country, standing)
  VALUES ('decisions', -1, OLD.controller, OLD.campaign_id, OLD.outcome, OLD.code, OLD.country, OLD.standing);
  INSERT INTO counting (source, sign, controller, campaign_id, outcome, code, country, standing)
  VALUES ('decisions', 1, NEW.controller, NEW.campaign_id, NEW.outcome, NEW.code, NEW.country, NEW.standing);
END;
CREATE TRIGGER decisions_counted_delete AFTER DELETE ON decisions BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, outcome, code, country, standing)
  VALUES ('decisions', -1, OLD.controller, OLD.campaign_id, OLD.outcome, OLD.code, OLD.country, OLD.standing);
END;

CREATE TRIGGER conversations_counted_insert AFTER INSERT ON conversations BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, state, channel, country, closed_at, first_yes_at)
  VALUES ('conversations', 1, NEW.controller, NEW.campaign_id, NEW.state, NEW.channel, NEW.country, NEW.closed_at, NEW.first_yes_at);
END;
CREATE TRIGGER conversations_counted_update AFTER UPDATE ON conversations BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, state, channel, country, closed_at, first_yes_at)
  VALUES ('conversations', -1, OLD.controller, OLD.campaign_id, OLD.state, OLD.channel, OLD.country, OLD.closed_at, OLD.first_yes_at);
  INSERT INTO counting (source, sign, controller, campaign_id, state, channel, country, closed_at, first_yes_at)
  VALUES ('conversations', 1, NEW.controller, NEW.campaign_id, NEW.state, NEW.channel, NEW.country, NEW.closed_at, NEW.first_yes_at);
END;
CREATE TRIGGER conversations_counted_delete AFTER DELETE ON conversations BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, state, channel, country, closed_at, first_yes_at)
  VALUES ('conversations', -1, OLD.controller, OLD.campaign_id, OLD.state, OLD.channel, OLD.country, OLD.closed_at, OLD.first_yes_at);
END;

CREATE TRIGGER attempts_counted_insert AFTER INSERT ON attempts BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, kind, gateway, outcome, error, claimed_at)
  VALUES ('attempts', 1, NEW.controller, NEW.campaign_id, NEW.kind, NEW.gateway, NEW.outcome, NEW.error, NEW.claimed_at);
END;
CREATE TRIGGER attempts_counted_update AFTER UPDATE OF outcome, error ON attempts BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, kind, gateway, outcome, error, claimed_at)
  VALUES ('attempts', -1, OLD.controller, OLD.campaign_id, OLD.kind, OLD.gateway, OLD.outcome, OLD.error, OLD.claimed_at);
  INSERT INTO counting (source, sign, controller, campaign_id, kind, gateway, outcome, error, claimed_at)
  VALUES ('attempts', 1, NEW.controller, NEW.campaign_id, NEW.kind, NEW.gateway, NEW.outcome, NEW.error, NEW.claimed_at);
END;
CREATE TRIGGER attempts_counted_delete AFTER DELETE ON attempts BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, kind, gateway, outcome, error, claimed_at)
  VALUES ('attempts', -1, OLD.controller, OLD.campaign_id, OLD.kind, OLD.gateway, OLD.outcome, OLD.error, OLD.claimed_at);
END;

CREATE TRIGGER preferences_counted_insert AFTER INSERT ON preferences BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, state, purpose, channel)
  VALUES ('preferences', 1, NEW.controller, NEW.campaign_id, NEW.state, NEW.purpose, NEW.channel);
END;
CREATE TRIGGER preferences_counted_update AFTER UPDATE ON preferences BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, state, purpose, channel)
  VALUES ('preferences', -1, OLD.controller, OLD.campaign_id, OLD.state, OLD.purpose, OLD.channel);
  INSERT INTO counting (source, sign, controller, campaign_id, state, purpose, channel)
  VALUES ('preferences', 1, NEW.controller, NEW.campaign_id, NEW.state, NEW.purpose, NEW.channel);
END;
CREATE TRIGGER preferences_counted_delete AFTER DELETE ON preferences BEGIN
  INSERT INTO counting (source, sign, controller, campaign_id, state, purpose, channel)
  VALUES ('preferences', -1, OLD.controller, OLD.campaign_id, OLD.state, OLD.purpose, OLD.channel);
END;

CREATE TRIGGER inbound_events_counted_insert AFTER INSERT ON inbound_events BEGIN
  INSERT INTO counting (source, sign, controller, channel, intent, effect, resolved_at)
  VALUES ('inbound_events', 1, NEW.controller, NEW.channel, NEW.intent, NEW.effect, NEW.resolved_at);
END;
CREATE TRIGGER inbound_events_counted_update AFTER UPDATE OF effect, resolved_at ON inbound_events BEGIN
  INSERT INTO counting (source, sign, controller, channel, intent, effect, resolved_at)
  VALUES ('inbound_events', -1, OLD.controller, OLD.channel, OLD.intent, OLD.effect, OLD.resolved_at);
  INSERT INTO counting (source, sign, controller, channel, intent, effect, resolved_at)
  VALUES ('inbound_events', 1, NEW.controller, NEW.channel, NEW.intent, NEW.effect, NEW.resolved_at);
END;
CREATE TRIGGER inbound_events_counted_delete AFTER DELETE ON inbound_events BEGIN
  INSERT INTO counting (source, sign, controller, channel, intent, effect, resolved_at)
  VALUES ('inbound_events', -1, OLD.controller, OLD.channel, OLD.intent, OLD.effect, OLD.resolved_at);
END;

-- Each topic's counters that the notes add to. Rows alike are one before they are told apart: most of a slice is.
CREATE VIEW counted AS
WITH noted AS MATERIALIZED (
  SELECT source, controller, campaign_id, kind, state, channel, country, changed_at, reason, answer, answer_by, answered_at, outcome, code, standing, closed_at, first_yes_at, gateway, error, claimed_at, purpose, intent, effect, resolved_at,
    SUM(sign) AS n
  FROM counting GROUP BY source, controller, campaign_id, kind, state, channel, country, changed_at, reason, answer, answer_by, answered_at, outcome, code, standing, closed_at, first_yes_at, gateway, error, claimed_at, purpose, intent, effect, resolved_at
  HAVING SUM(sign) <> 0
)
SELECT controller, 'message' AS topic, COALESCE(campaign_id, 0) AS campaign_id, kind AS a, state AS b, channel AS c, COALESCE(country, '') AS d,
  CASE WHEN state IN ('delivered', 'read', 'failed', 'undelivered', 'expired') THEN changed_at / 3600000000 ELSE 0 END AS hour, n
FROM noted WHERE source = 'messages'
UNION ALL SELECT controller, 'answer', COALESCE(campaign_id, 0),
  COALESCE(answer, CASE WHEN state = 'unknown' THEN 'unknown' WHEN state IN ('failed', 'undelivered', 'expired') THEN 'not_reached'
    ELSE 'silent' END), COALESCE(answer_by, ''), channel, COALESCE(country, ''), COALESCE(answered_at / 3600000000, 0), n
FROM noted WHERE source = 'messages' AND kind = 'ask' AND (answer IS NOT NULL OR state NOT IN ('planned', 'cancelled', 'lapsed'))
UNION ALL SELECT controller, 'unsent', COALESCE(campaign_id, 0), kind, state, substr(reason, 1, 80), '', 0, n
FROM noted WHERE source = 'messages' AND kind IN ('ask', 'reminder') AND state IN ('planned', 'cancelled', 'lapsed') AND reason IS NOT NULL
UNION ALL SELECT controller, 'decision', campaign_id, outcome, code, COALESCE(country, ''), '', 0, n
FROM noted WHERE source = 'decisions' AND standing = 1
UNION ALL SELECT controller, 'conversation', COALESCE(campaign_id, 0), state, COALESCE(channel, ''), COALESCE(country, ''), '',
  COALESCE(closed_at / 3600000000, 0), n
FROM noted WHERE source = 'conversations'
UNION ALL SELECT controller, 'first_yes', COALESCE(campaign_id, 0), '', COALESCE(channel, ''), COALESCE(country, ''), '',
  first_yes_at / 3600000000, n
FROM noted WHERE source = 'conversations' AND first_yes_at IS NOT NULL
UNION ALL SELECT controller, 'attempt', COALESCE(campaign_id, 0), gateway, COALESCE(outcome, 'in flight'), COALESCE(substr(error, 1, 80), ''),
  COALESCE(kind, ''), claimed_at / 3600000000, n
FROM noted WHERE source = 'attempts'
UNION ALL SELECT controller, 'permission', COALESCE(campaign_id, 0), state, purpose, channel, '', 0, n
FROM noted WHERE source = 'preferences'
UNION ALL SELECT controller, 'inbound', 0, intent, CASE WHEN effect = 'held' AND resolved_at IS NULL THEN 'waiting' ELSE '' END, channel, '', 0, n
FROM noted WHERE source = 'inbound_events';

-- What is read: right also in the middle of a transaction.
CREATE VIEW figures AS
SELECT controller, topic, campaign_id, a, b, c, d, hour, n FROM counters
UNION ALL SELECT controller, topic, campaign_id, a, b, c, d, hour, n FROM counted;
