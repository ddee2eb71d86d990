-- How long each subject's chain of ledger entries is, and a seal over its end by the key file: without that key nobody can shorten a chain
-- or build it anew. Chains without an entry since have none yet.
CREATE TABLE ledger_heads (
  controller TEXT NOT NULL,
  subject TEXT NOT NULL,
  entries BIGINT NOT NULL,
  seal TEXT NOT NULL,
  PRIMARY KEY (controller, subject)
);
