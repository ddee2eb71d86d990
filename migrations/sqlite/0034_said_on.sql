-- The day of a no, where the list that brought it says one: `at` is when the list was imported, from which on it counts.
ALTER TABLE suppressions ADD COLUMN said_on TEXT;
