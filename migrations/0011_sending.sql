-- What a webhook can be told of how it sends, how it goes there, and what is kept of an attempt.

ALTER TABLE webhook ADD COLUMN filters TEXT NOT NULL DEFAULT '[]';      -- JSON array of conditions on what is sent; all of them must hold
ALTER TABLE webhook ADD COLUMN headers_sealed BLOB;                     -- JSON array of [name, value] that go with each request; sealed with the key file; NULL for none
ALTER TABLE webhook ADD COLUMN credentials_sealed BLOB;                 -- user:password for HTTP basic authentication; sealed with the key file; NULL for none
ALTER TABLE webhook ADD COLUMN signing TEXT NOT NULL DEFAULT 'hmac';    -- what secret_sealed is: hmac or ed25519
ALTER TABLE webhook ADD COLUMN previous_signing TEXT;                   -- what previous_secret_sealed is; NULL for none
ALTER TABLE webhook ADD COLUMN previous_secret_sealed BLOB;             -- what it signs with as well since the secret was changed; sealed with the key file
ALTER TABLE webhook ADD COLUMN previous_until_ms INTEGER;               -- until when it does
ALTER TABLE webhook ADD COLUMN schedule TEXT;                           -- the delays of its attempts, such as 0s,5s,5m; NULL for the box's own
ALTER TABLE webhook ADD COLUMN concurrency INTEGER;                     -- attempts on their way to it at once; NULL for the box's own
ALTER TABLE webhook ADD COLUMN rate INTEGER;                            -- attempts a second at most; NULL for no limit
ALTER TABLE webhook ADD COLUMN is_ordered INTEGER NOT NULL DEFAULT 0;   -- 1: one delivery at a time, in the order of the events

CREATE TABLE webhook_health (
    webhook_id       INTEGER PRIMARY KEY,   -- whose
    failures         INTEGER NOT NULL,      -- automatic attempts that failed since the last one that succeeded
    failing_since_ms INTEGER                -- when the first of them ended; NULL while there is none
) STRICT;

ALTER TABLE delivery ADD COLUMN origin TEXT;                            -- why it was made, where not with its event: resend or test
ALTER TABLE delivery ADD COLUMN queue_webhook_id INTEGER;               -- the webhook, while it is pending for one that keeps the order; NULL otherwise
CREATE INDEX delivery_in_order ON delivery (queue_webhook_id, id) WHERE queue_webhook_id IS NOT NULL;
CREATE INDEX delivery_of_past_event ON delivery (event_id, id) WHERE origin IS NOT NULL;

ALTER TABLE attempt ADD COLUMN dns_us INTEGER;                          -- microseconds until the name was resolved; NULL where none was
ALTER TABLE attempt ADD COLUMN connect_us INTEGER;                      -- microseconds from there until it was connected; NULL on a connection that was open already
ALTER TABLE attempt ADD COLUMN tls_us INTEGER;                          -- microseconds of the TLS handshake; NULL without one
ALTER TABLE attempt ADD COLUMN first_byte_us INTEGER;                   -- microseconds from the request until the answer's head; NULL without an answer
ALTER TABLE attempt ADD COLUMN next_attempt_why TEXT;                   -- why the next one is then, where the schedule alone does not say: retry_after
