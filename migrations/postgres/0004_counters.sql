-- Maintained counters (Postgres): what pages, API and metrics show without scanning. Triggers keep them, so that no path of the code can forget one.
-- They only add rows, so that no two transactions wait for one another here; the worker folds the rows of one key (`report::fold`).
-- What each row of a table counts as is written once, in the list below, and serves the triggers and
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
  SELECT c.id FROM evidence e JOIN campaigns c ON c.controller = preferences.controller AND c.name = CAST(e.body AS jsonb)->>'campaign'
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
  n BIGINT NOT NULL
);
CREATE INDEX counters_campaign ON counters (controller, topic, campaign_id);
CREATE INDEX counters_hour ON counters (controller, topic, hour);

DO $do$
DECLARE
  source TEXT;
  counted TEXT;
  tally TEXT;
  entered CONSTANT TEXT := 'SELECT *, 1 AS sign FROM new_rows';
  gone CONSTANT TEXT := 'SELECT *, -1 AS sign FROM old_rows';
BEGIN
  FOR source, counted IN VALUES
    ('messages', $q$
      SELECT sign, controller, 'message' AS topic, COALESCE(campaign_id, 0) AS campaign_id, kind AS a, state AS b, channel AS c,
        COALESCE(country, '') AS d,
        CASE WHEN state IN ('delivered', 'read', 'failed', 'undelivered', 'expired') THEN changed_at / 3600000000 ELSE 0 END AS hour
      FROM changed
    $q$),
    ('decisions', $q$
      SELECT sign, controller, 'decision' AS topic, campaign_id, outcome AS a, code AS b, COALESCE(country, '') AS c, '' AS d, 0 AS hour
      FROM changed WHERE standing = 1
    $q$),
    ('conversations', $q$
      SELECT sign, controller, 'conversation' AS topic, COALESCE(campaign_id, 0) AS campaign_id, state AS a, COALESCE(channel, '') AS b,
        COALESCE(country, '') AS c, '' AS d, COALESCE(closed_at / 3600000000, 0) AS hour
      FROM changed
       UNION ALL SELECT sign, controller, 'first_yes' AS topic, COALESCE(campaign_id, 0) AS campaign_id, '' AS a, COALESCE(channel, '') AS b,
        COALESCE(country, '') AS c, '' AS d, first_yes_at / 3600000000 AS hour
      FROM changed WHERE first_yes_at IS NOT NULL
    $q$),
    ('attempts', $q$
      SELECT sign, controller, 'attempt' AS topic, COALESCE(campaign_id, 0) AS campaign_id, gateway AS a, COALESCE(outcome, 'in flight') AS b,
        COALESCE(substr(error, 1, 80), '') AS c, COALESCE(kind, '') AS d, claimed_at / 3600000000 AS hour
      FROM changed
    $q$),
    ('preferences', $q$
      SELECT sign, controller, 'permission' AS topic, COALESCE(campaign_id, 0) AS campaign_id, state AS a, purpose AS b, channel AS c, '' AS d, 0 AS hour
      FROM changed
    $q$),
    ('inbound_events', $q$
      SELECT sign, controller, 'inbound' AS topic, 0 AS campaign_id, intent AS a,
        CASE WHEN effect = 'held' AND resolved_at IS NULL THEN 'waiting' ELSE '' END AS b, channel AS c, '' AS d, 0 AS hour
      FROM changed
    $q$)
  LOOP
    -- %s: the rows that changed, with a sign.
    tally := 'INSERT INTO counters (controller, topic, campaign_id, a, b, c, d, hour, n)
      SELECT controller, topic, campaign_id, a, b, c, d, hour, SUM(sign) FROM (WITH changed AS (%s) ' || counted || ') AS counted
      GROUP BY controller, topic, campaign_id, a, b, c, d, hour HAVING SUM(sign) <> 0';
    EXECUTE format($f$
      CREATE FUNCTION permesso_count_%1$s() RETURNS trigger LANGUAGE plpgsql AS $body$
      BEGIN
        IF TG_OP = 'INSERT' THEN %2$s;
        ELSIF TG_OP = 'DELETE' THEN %3$s;
        ELSE %4$s;
        END IF;
        RETURN NULL;
      END $body$;
      CREATE TRIGGER %1$s_count_insert AFTER INSERT ON %1$s REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION permesso_count_%1$s();
      CREATE TRIGGER %1$s_count_update AFTER UPDATE ON %1$s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION permesso_count_%1$s();
      CREATE TRIGGER %1$s_count_delete AFTER DELETE ON %1$s REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION permesso_count_%1$s();
      $f$, source, format(tally, entered), format(tally, gone), format(tally, entered || ' UNION ALL ' || gone));
    EXECUTE format(tally, 'SELECT *, 1 AS sign FROM ' || source);
  END LOOP;
END $do$;
