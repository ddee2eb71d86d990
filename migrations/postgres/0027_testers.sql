-- Who got a test message, so that they are not counted among the people.
CREATE INDEX messages_test ON messages (kind, controller, contact_id) WHERE kind = 'test';
