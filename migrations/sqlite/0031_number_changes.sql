-- Which contact a person's new number made of which, so that the story of either says so.
CREATE TABLE number_changes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  controller TEXT NOT NULL,
  old_contact BIGINT NOT NULL REFERENCES contacts (id),
  new_contact BIGINT NOT NULL REFERENCES contacts (id),
  by_whom TEXT NOT NULL,
  at BIGINT NOT NULL
);
CREATE INDEX number_changes_old ON number_changes (old_contact);
CREATE INDEX number_changes_new ON number_changes (new_contact);
