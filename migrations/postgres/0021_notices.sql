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
CREATE TRIGGER notices_no_update BEFORE UPDATE OR DELETE ON notices FOR EACH ROW EXECUTE FUNCTION permesso_refuse('a published notice is immutable');
CREATE TRIGGER notices_no_truncate BEFORE TRUNCATE ON notices FOR EACH STATEMENT EXECUTE FUNCTION permesso_refuse('a published notice is immutable');
