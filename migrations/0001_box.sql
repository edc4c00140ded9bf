-- The first shape of the box. Ids are Snowflakes: time order is key order. Times are Unix
-- milliseconds in UTC. JSON is kept as the text that came.

CREATE TABLE key_check (
    id     INTEGER PRIMARY KEY CHECK (id = 1), -- there is one
    sealed BLOB NOT NULL                    -- a known text, sealed with the key file that belongs to this file
) STRICT;

-- TENANTS AND PEOPLE ------------------------------------------------------------------------

CREATE TABLE workspace (
    id            INTEGER PRIMARY KEY,      -- ws_
    slug          TEXT NOT NULL UNIQUE,     -- what stands in its URLs; never changes with the name
    name          TEXT NOT NULL,            -- what people call it
    created_at_ms INTEGER NOT NULL          -- when it was made
) STRICT;

CREATE TABLE user (
    id            INTEGER PRIMARY KEY,      -- usr_
    email         TEXT NOT NULL UNIQUE,     -- lower case; what one signs in with
    name          TEXT NOT NULL,            -- what pages call the person
    password_hash TEXT NOT NULL,            -- argon2id, PHC string
    is_operator   INTEGER NOT NULL,         -- 1: may create workspaces and see the instance
    created_at_ms INTEGER NOT NULL          -- when it was made
) STRICT;

CREATE TABLE member (
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id), -- where
    user_id       INTEGER NOT NULL REFERENCES user (id),      -- who
    role          TEXT NOT NULL,            -- owner, admin, member or viewer
    created_at_ms INTEGER NOT NULL,         -- since when
    PRIMARY KEY (workspace_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_by_user ON member (user_id, workspace_id);

CREATE TABLE session (
    token_hash      BLOB PRIMARY KEY,       -- SHA-256 of the cookie's token
    user_id         INTEGER NOT NULL REFERENCES user (id), -- who is signed in
    created_at_ms   INTEGER NOT NULL,       -- sign-in; ends it for good after the absolute limit
    last_seen_at_ms INTEGER NOT NULL        -- last request, to the minute; ends it after the idle limit
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_user ON session (user_id);

CREATE TABLE audit (
    id           INTEGER PRIMARY KEY,       -- aud_
    workspace_id INTEGER,                   -- where; NULL for what concerns the whole box
    user_id      INTEGER,                   -- who; NULL for the command line
    action       TEXT NOT NULL,             -- such as webhook.paused
    target       TEXT NOT NULL,             -- the public id of what was changed
    before       TEXT,                      -- JSON of what it was, without secrets
    after        TEXT,                      -- JSON of what it became, without secrets
    address      TEXT,                      -- from where; NULL for the command line
    at_ms        INTEGER NOT NULL           -- when
) STRICT;
CREATE INDEX audit_by_workspace ON audit (workspace_id, id);

-- WHO SENDS ---------------------------------------------------------------------------------

CREATE TABLE source (
    id                     INTEGER PRIMARY KEY, -- src_; FunnelFizz's siteId and Churnkey's app id
    workspace_id           INTEGER NOT NULL REFERENCES workspace (id), -- whose
    name                   TEXT NOT NULL,       -- what people call it
    identity_secret_sealed BLOB NOT NULL,       -- signs browser identities; sealed with the key file
    created_at_ms          INTEGER NOT NULL     -- when it was made
) STRICT;
CREATE INDEX source_by_workspace ON source (workspace_id, id);

CREATE TABLE api_key (
    id            INTEGER PRIMARY KEY,      -- key_
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id), -- whose events it writes
    source_id     INTEGER REFERENCES source (id), -- the source it stands for, if any
    name          TEXT NOT NULL,            -- what people call it
    prefix        TEXT NOT NULL,            -- its first characters, to recognise it by
    key_hash      BLOB NOT NULL UNIQUE,     -- SHA-256 of the key; the key itself is nowhere
    scopes        TEXT NOT NULL,            -- words with a space between
    created_by    INTEGER,                  -- the user; NULL for the command line
    created_at_ms INTEGER NOT NULL,         -- when it was made
    revoked_at_ms INTEGER                   -- when it stopped working; NULL while it works
) STRICT;
CREATE INDEX api_key_by_workspace ON api_key (workspace_id, id);

-- THE LOG -----------------------------------------------------------------------------------
-- Everything here is written in the ingest transaction, so every key is a right edge: ids grow,
-- and an index begins with few values and goes on with an id.

CREATE TABLE event (
    id             INTEGER PRIMARY KEY,     -- evt_; the log's order
    workspace_id   INTEGER NOT NULL,        -- whose, from the credential
    source_id      INTEGER,                 -- who sent it, from the credential
    kind           TEXT NOT NULL,           -- track, identify, page, screen, group or alias
    name           TEXT NOT NULL,           -- its type: its own name, or the kind
    user_id        TEXT,                    -- identifiers, exactly as they came
    visitor_id     TEXT,                    -- a browser's id of a visitor
    email          TEXT,                    -- an address, as it came
    customer_id    TEXT,                    -- the billing provider's id
    group_id       TEXT,                    -- the app's id of an account
    properties     TEXT,                    -- JSON object, byte for byte
    traits         TEXT,                    -- JSON object, byte for byte
    context        TEXT,                    -- JSON object, byte for byte
    replace_traits INTEGER NOT NULL,        -- 1: traits that it does not name go away
    occurred_at_ms INTEGER NOT NULL,        -- when it happened, as the sender says
    received_at_ms INTEGER NOT NULL,        -- when the box had it
    verification   TEXT NOT NULL,           -- server, signed, unverified, session or billing
    channel        TEXT                     -- the marketing channel, where one was found
) STRICT;
CREATE INDEX event_by_workspace ON event (workspace_id, id);

CREATE TABLE message (
    id           INTEGER PRIMARY KEY,       -- msg_; the webhook-id of every attempt
    workspace_id INTEGER NOT NULL,          -- whose
    event_id     INTEGER,                   -- the event that it carries
    type         TEXT NOT NULL,             -- the event type
    body         BLOB NOT NULL              -- the exact bytes sent, once for all webhooks of a format
) STRICT;

CREATE TABLE delivery (
    id                 INTEGER PRIMARY KEY, -- dlv_
    workspace_id       INTEGER NOT NULL,    -- whose
    webhook_id         INTEGER NOT NULL,    -- owed to
    message_id         INTEGER NOT NULL,    -- what is owed
    event_id           INTEGER,             -- the message's event, to list an event's deliveries
    state              TEXT NOT NULL,       -- pending, succeeded, failed, held or cancelled
    attempts           INTEGER NOT NULL,    -- attempts made, of every trigger
    automatic_attempts INTEGER NOT NULL,    -- attempts of the schedule, which they move along
    next_attempt_at_ms INTEGER,             -- when the next one is due; NULL unless pending
    last_attempt_at_ms INTEGER,             -- when the last one began
    last_status        INTEGER,             -- the last answer's HTTP status, if there was one
    last_error         TEXT                 -- the last attempt's error class; NULL when it succeeded
) STRICT;
CREATE INDEX delivery_by_workspace ON delivery (workspace_id, id);
CREATE INDEX delivery_by_webhook ON delivery (webhook_id, id);
CREATE INDEX delivery_by_event ON delivery (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX delivery_due ON delivery (webhook_id, next_attempt_at_ms, id) WHERE state = 'pending';
CREATE INDEX delivery_held ON delivery (webhook_id, id) WHERE state = 'held';
CREATE INDEX delivery_failed ON delivery (workspace_id, id) WHERE state = 'failed';

-- WHAT LEAVES -------------------------------------------------------------------------------

CREATE TABLE webhook (
    id             INTEGER PRIMARY KEY,     -- whk_
    workspace_id   INTEGER NOT NULL REFERENCES workspace (id), -- whose
    name           TEXT NOT NULL,           -- what people call it
    url            TEXT NOT NULL,           -- where it sends
    format         TEXT NOT NULL,           -- the shape of its bodies
    patterns       TEXT NOT NULL,           -- JSON array of event-type patterns
    state          TEXT NOT NULL,           -- active, paused or disabled
    state_reason   TEXT,                    -- why it is disabled
    secret_sealed  BLOB NOT NULL,           -- what it signs with; sealed with the key file
    created_at_ms  INTEGER NOT NULL,        -- when it was made
    updated_at_ms  INTEGER NOT NULL,        -- when it was last changed
    deleted_at_ms  INTEGER                  -- when it was deleted; its history stays until retention
) STRICT;
CREATE INDEX webhook_by_workspace ON webhook (workspace_id, id);

CREATE TABLE attempt (
    id                      INTEGER PRIMARY KEY, -- att_
    delivery_id             INTEGER NOT NULL,    -- of which delivery
    number                  INTEGER NOT NULL,    -- counted over all triggers, from 1
    trigger                 TEXT NOT NULL,       -- automatic or manual
    started_at_ms           INTEGER NOT NULL,    -- when it began
    duration_us             INTEGER NOT NULL,    -- how long all of it took, microseconds
    url                     TEXT NOT NULL,       -- where it went, as the webhook was then
    address                 TEXT,                -- the address and port that were dialled
    request_headers         TEXT NOT NULL,       -- as sent, secrets redacted: a header a line (src/store/headers.rs), or a JSON array of [name, value]
    status                  INTEGER,             -- the answer's HTTP status
    response_headers        TEXT,                -- as they came, in the same form
    response_body           BLOB,                -- its first 64 KiB
    response_body_truncated INTEGER NOT NULL,    -- 1: more came than is kept
    response_length         INTEGER,             -- the whole length in bytes, where it is known
    error_class             TEXT,                -- why it failed; NULL when it succeeded
    error_detail            TEXT,                -- what exactly was met
    next_attempt_at_ms      INTEGER              -- what it made the next attempt's time; NULL for none
) STRICT;
CREATE INDEX attempt_by_delivery ON attempt (delivery_id, id);

-- PROJECTIONS -------------------------------------------------------------------------------
-- Everything here follows the log from a cursor and could be made again from it.

CREATE TABLE projector (
    id              INTEGER PRIMARY KEY CHECK (id = 1), -- there is one
    cursor_event_id INTEGER NOT NULL,       -- the last event that is projected
    timeline_rows   INTEGER NOT NULL        -- rows written to timeline, which number its segments
) STRICT;
INSERT INTO projector (id, cursor_event_id, timeline_rows) VALUES (1, 0, 0);

CREATE TABLE profile (
    id               INTEGER PRIMARY KEY,   -- prf_
    workspace_id     INTEGER NOT NULL,      -- whose
    kind             TEXT NOT NULL          -- person or account
) STRICT;
CREATE INDEX profile_by_workspace ON profile (workspace_id, id);

CREATE TABLE profile_activity (
    profile_id       INTEGER PRIMARY KEY,   -- whose; apart from profile because every event touches it
    first_seen_at_ms INTEGER NOT NULL,      -- the oldest event's time, as the senders say
    last_seen_at_ms  INTEGER NOT NULL,      -- the newest event's time, as the senders say
    events           INTEGER NOT NULL       -- how many events
) STRICT;

CREATE TABLE identifier (
    workspace_id  INTEGER NOT NULL,         -- where it identifies
    kind          TEXT NOT NULL,            -- user_id, email, …
    value         TEXT NOT NULL,            -- in the form in which it is compared
    profile_id    INTEGER NOT NULL,         -- whose it is
    event_id      INTEGER NOT NULL,         -- the event that brought it
    PRIMARY KEY (workspace_id, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX identifier_by_profile ON identifier (profile_id);

CREATE TABLE trait (
    profile_id INTEGER NOT NULL,            -- whose
    name       TEXT NOT NULL,               -- what
    value      TEXT NOT NULL,               -- JSON text, byte for byte
    event_id   INTEGER NOT NULL,            -- the event that set it
    PRIMARY KEY (profile_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE timeline (
    segment    INTEGER NOT NULL,            -- grows with the rows written, so that writes stay together
    profile_id INTEGER NOT NULL,            -- whose
    event_id   INTEGER NOT NULL,            -- what
    PRIMARY KEY (segment, profile_id, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_type (
    workspace_id     INTEGER NOT NULL,      -- where
    name             TEXT NOT NULL,         -- the type
    first_seen_at_ms INTEGER NOT NULL,      -- first received
    last_seen_at_ms  INTEGER NOT NULL,      -- last received
    events           INTEGER NOT NULL,      -- how many
    PRIMARY KEY (workspace_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_hour (
    workspace_id INTEGER NOT NULL,          -- where
    hour         INTEGER NOT NULL,          -- hours since 1970, by the time of receipt
    events       INTEGER NOT NULL,          -- how many
    PRIMARY KEY (workspace_id, hour)
) STRICT, WITHOUT ROWID;
