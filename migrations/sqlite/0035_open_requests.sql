-- Who asked something of us that is not carried out yet.
CREATE INDEX requests_open ON requests (controller, mac) WHERE done_at IS NULL;
