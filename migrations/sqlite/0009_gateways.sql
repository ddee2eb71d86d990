-- What a receipt's error means by its driver's table: it may say that a person opted out, or that the account needs a human.
ALTER TABLE receipts ADD COLUMN class TEXT;
UPDATE receipts SET class = 'not-on-channel' WHERE not_on_channel = 1;
ALTER TABLE receipts DROP COLUMN not_on_channel;
