-- A customer of unknown last action is an active one, whatever dates other rows of the number have: the last of all days stands for it.
UPDATE contacts SET last_action = '9999-12-31'
WHERE EXISTS (SELECT 1 FROM consent_evidence e WHERE e.contact_id = contacts.id AND e.kind = 'customer' AND e.last_action IS NULL);
