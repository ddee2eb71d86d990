-- What is read. On Postgres the triggers add to counters by themselves, in the statement that changes a row.
CREATE VIEW figures AS SELECT controller, topic, campaign_id, a, b, c, d, hour, n FROM counters;
