-- A link stands under each key by which its number was known: a copy may be older than the newest.
ALTER TABLE links DROP CONSTRAINT links_pkey;
ALTER TABLE links ADD PRIMARY KEY (controller, token_hash, mac);
