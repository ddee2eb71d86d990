-- When a person wants to be written to: JSON of domain::times::Times, as the ledger's last entry of that kind says; NULL: at any time.
ALTER TABLE contacts ADD COLUMN times TEXT;
