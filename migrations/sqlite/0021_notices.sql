-- Privacy notices as published: what stands here was shown to people and is never changed.
CREATE TABLE notices (
  controller TEXT NOT NULL,
  version TEXT NOT NULL,
  locale TEXT NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,
  published_at BIGINT NOT NULL,
  PRIMARY KEY (controller, version, locale)
);
CREATE TRIGGER notices_no_update BEFORE UPDATE ON notices BEGIN SELECT RAISE(ABORT, 'a published notice is immutable'); END;
CREATE TRIGGER notices_no_delete BEFORE DELETE ON notices BEGIN SELECT RAISE(ABORT, 'a published notice is immutable'); END;
CREATE TRIGGER notices_no_replace BEFORE INSERT ON notices
  WHEN EXISTS (SELECT 1 FROM notices WHERE controller = NEW.controller AND version = NEW.version AND locale = NEW.locale AND hash <> NEW.hash)
  BEGIN SELECT RAISE(ABORT, 'a published notice is immutable'); END;
