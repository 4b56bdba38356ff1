-- Each token carries a check made with this key, so that a guessed token is rejected without a read:
-- docs/decisions/0018-wrong-credentials.md
CREATE TABLE token_check (key TEXT NOT NULL);
INSERT INTO token_check (key) VALUES (lower(hex(randomblob(32))));
