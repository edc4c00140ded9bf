-- Replays: deliveries that a person has sent once more, as a job that goes on after a restart. And
-- payloads that a person had expunged.

CREATE TABLE replay (
    id                 INTEGER PRIMARY KEY, -- rpl_
    workspace_id       INTEGER NOT NULL REFERENCES workspace (id), -- whose
    state              TEXT NOT NULL,       -- ready, running, paused, done or cancelled
    reason             TEXT,                -- why the box paused it; NULL when a person did
    webhook_id         INTEGER,             -- of which webhook; NULL for all of the workspace
    delivery_state     TEXT,                -- only deliveries that stand so; NULL for all
    event_type         TEXT,                -- only of types that match this pattern; NULL for all
    is_chosen          INTEGER NOT NULL,    -- 1: exactly what replay_delivery names
    after_id           INTEGER NOT NULL,    -- only deliveries later than this one
    before_id          INTEGER NOT NULL,    -- and earlier than this one
    estimate           INTEGER NOT NULL,    -- how many were counted when it was made
    is_more            INTEGER NOT NULL,    -- 1: there were more, which were not counted
    rate               INTEGER NOT NULL,    -- deliveries a second, at most
    cursor_delivery_id INTEGER NOT NULL,    -- up to this one everything is done and counted
    sent               INTEGER NOT NULL,    -- attempts made
    succeeded          INTEGER NOT NULL,    -- of them, those with a 2xx answer
    failed             INTEGER NOT NULL,    -- of them, those without
    skipped            INTEGER NOT NULL,    -- deliveries that could not or should not be sent any more
    created_by         INTEGER,             -- the user
    created_at_ms      INTEGER NOT NULL,    -- when it was made
    started_at_ms      INTEGER,             -- when it was first started
    ended_at_ms        INTEGER              -- when it was done or cancelled
) STRICT;
CREATE INDEX replay_by_workspace ON replay (workspace_id, id);
CREATE INDEX replay_running ON replay (id) WHERE state = 'running';

CREATE TABLE replay_delivery (
    replay_id   INTEGER NOT NULL,           -- of which replay
    delivery_id INTEGER NOT NULL,           -- what a person chose
    PRIMARY KEY (replay_id, delivery_id)
) STRICT, WITHOUT ROWID;

ALTER TABLE event ADD COLUMN expunged_at_ms INTEGER;    -- when its payload was expunged; NULL while it is there
ALTER TABLE event ADD COLUMN expunged_by INTEGER;       -- the user who had it expunged
ALTER TABLE message ADD COLUMN expunged_at_ms INTEGER;  -- when its body was expunged; NULL while it is there
ALTER TABLE message ADD COLUMN expunged_by INTEGER;     -- the user who had it expunged
