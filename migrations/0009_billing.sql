-- What the payment provider says of customers. Rows belong to the profile that they were first written
-- for; when profiles are merged they stay there, so that a merge can be undone.

CREATE TABLE subscription (
    workspace_id          INTEGER NOT NULL REFERENCES workspace (id), -- where
    subscription_id       TEXT NOT NULL,        -- the provider's id, sub_
    profile_id            INTEGER NOT NULL,     -- the customer's profile
    customer_id           TEXT,                 -- the provider's id of the customer, cus_
    status                TEXT NOT NULL,        -- trialing, active, past_due, canceled, …: the provider's words
    price_id              TEXT,                 -- the provider's id of the first item's price
    product_id            TEXT,                 -- the provider's id of the first item's product
    nickname              TEXT,                 -- what the seller calls that price
    quantity              INTEGER,              -- of all items together; NULL where usage is metered
    amount                INTEGER,              -- a period costs this, in the currency's minor unit; NULL where it depends on usage
    currency              TEXT,                 -- ISO 4217, lower case; NULL with amount
    interval              TEXT,                 -- day, week, month or year; NULL with amount
    interval_count        INTEGER,              -- a period is so many of these; NULL with amount
    current_period_end_ms INTEGER,              -- when what is paid for ends
    trial_end_ms          INTEGER,              -- when the trial ends or ended; NULL without one
    cancel_at_period_end  INTEGER NOT NULL,     -- 1: it ends with the period
    canceled_at_ms        INTEGER,              -- when it was cancelled, or told to end
    created_at_ms         INTEGER,              -- when it began
    said_at_ms            INTEGER NOT NULL,     -- when the provider said all of this; older events change none of it
    said_phase            TEXT NOT NULL,        -- created, changed or ended: which of one second's events is the later one
    said_event_id         INTEGER NOT NULL,     -- the event that said so
    first_quantity        INTEGER,              -- the oldest quantity that is known, to see growth by
    first_amount          INTEGER,              -- the oldest amount
    first_currency        TEXT,                 -- its currency
    first_interval        TEXT,                 -- its interval
    first_interval_count  INTEGER,              -- how many of them
    first_said_at_ms      INTEGER NOT NULL,     -- when the provider said that
    first_said_phase      TEXT NOT NULL,        -- as said_phase
    first_said_event_id   INTEGER NOT NULL,     -- the event that said so
    PRIMARY KEY (workspace_id, subscription_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscription_by_profile ON subscription (profile_id, said_at_ms);

CREATE TABLE paid_invoice (
    workspace_id    INTEGER NOT NULL REFERENCES workspace (id), -- where
    invoice_id      TEXT NOT NULL,              -- the provider's id, in_: paid once, however many events say so
    profile_id      INTEGER NOT NULL,           -- the customer's profile
    subscription_id TEXT,                       -- what it was for; NULL for a single sale
    amount          INTEGER NOT NULL,           -- what was paid, in the currency's minor unit
    currency        TEXT NOT NULL,              -- ISO 4217, lower case
    paid_at_ms      INTEGER NOT NULL,           -- when
    event_id        INTEGER NOT NULL,           -- the event that said so
    PRIMARY KEY (workspace_id, invoice_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX paid_invoice_by_profile ON paid_invoice (profile_id, paid_at_ms);

CREATE TABLE profile_spending (
    profile_id INTEGER NOT NULL,                -- whose
    currency   TEXT NOT NULL,                   -- ISO 4217, lower case
    amount     INTEGER NOT NULL,                -- what all paid invoices add up to, in the minor unit
    PRIMARY KEY (profile_id, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE profile_billing (
    profile_id             INTEGER PRIMARY KEY, -- whose
    bucket                 TEXT,                -- retained, upgraded or churned; NULL before anything was paid for
    payment_failed_at_ms   INTEGER,             -- when an invoice could last not be paid; NULL if never
    customer_deleted_at_ms INTEGER              -- when the provider dropped the customer; NULL while it has one
) STRICT;
