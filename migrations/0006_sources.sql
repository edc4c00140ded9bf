-- Sources say more of themselves: which browsers may post, whom their customers are, and what the payment
-- provider signs with. An event says whether its customer is an account.

ALTER TABLE source ADD COLUMN origins TEXT NOT NULL DEFAULT '[]';  -- JSON array of the web origins that may post as this source
ALTER TABLE source ADD COLUMN customers_are_accounts INTEGER NOT NULL DEFAULT 0; -- 1: a customer is an account, not a person
ALTER TABLE source ADD COLUMN stripe_secret_sealed BLOB;           -- what Stripe signs with; sealed with the key file; NULL while there is none

ALTER TABLE event ADD COLUMN customer_is_account INTEGER;          -- 1: customer_id names the account; NULL: it names the person
