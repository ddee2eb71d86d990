-- Whose number one was that is somebody else's by now: the person's next number is theirs too.
ALTER TABLE contacts ADD COLUMN was_human TEXT;
