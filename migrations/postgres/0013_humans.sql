-- Who belongs to one human: every external id they came with, for good. An id that loses in a merge is not forgotten.
CREATE TABLE humans (
  controller TEXT NOT NULL,
  alias TEXT NOT NULL,                -- keyed hash of an external id; or of a number that came with one and is no contact
  human TEXT NOT NULL,                -- the one of them that stands in contacts.human
  PRIMARY KEY (controller, alias)
);
CREATE INDEX humans_human ON humans (controller, human);

-- Earlier versions kept one id of a human; those they forgot still stand on the marks of asks, so humans that were split come together.
INSERT INTO humans (controller, alias, human)
WITH RECURSIVE forgotten AS (
  SELECT DISTINCT a.controller, a.mac AS gone, c.human AS kept
  FROM asked_marks a JOIN messages m ON m.id = a.message_id JOIN contacts c ON c.id = m.contact_id
  WHERE a.key_id = 0 AND a.mac <> c.human
    AND NOT EXISTS (SELECT 1 FROM number_macs n WHERE n.controller = a.controller AND n.mac = a.mac)
), tie AS (
  SELECT controller, gone AS one, kept AS other FROM forgotten UNION SELECT controller, kept, gone FROM forgotten
), reached AS (
  SELECT controller, one AS alias, one AS human FROM tie
  UNION
  SELECT r.controller, r.alias, t.other FROM reached r JOIN tie t ON t.controller = r.controller AND t.one = r.human
)
SELECT controller, alias, MIN(human) FROM reached GROUP BY controller, alias;
INSERT INTO humans (controller, alias, human)
SELECT DISTINCT c.controller, c.human, c.human FROM contacts c
WHERE c.human IS NOT NULL AND NOT EXISTS (SELECT 1 FROM humans h WHERE h.controller = c.controller AND h.alias = c.human);
UPDATE contacts SET human = (SELECT h.human FROM humans h WHERE h.controller = contacts.controller AND h.alias = contacts.human)
WHERE EXISTS (
  SELECT 1 FROM humans h WHERE h.controller = contacts.controller AND h.alias = contacts.human AND h.human <> h.alias);
