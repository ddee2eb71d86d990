-- Whoever is erased is erased under the numbers, too, that lists had for them and that are somebody else's.
CREATE INDEX contacts_was_human ON contacts (controller, was_human) WHERE was_human IS NOT NULL;
