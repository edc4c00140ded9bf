-- The people behind the events: profiles that are merged and can be taken apart again, accounts and their
-- members, what was done how often, stages of funnels, and who was active in a month.

ALTER TABLE profile ADD COLUMN merged_into INTEGER;          -- the profile that it is a part of now; NULL while it stands for itself
CREATE INDEX profile_by_merged_into ON profile (merged_into) WHERE merged_into IS NOT NULL;
DROP INDEX profile_by_workspace;
CREATE INDEX profile_by_workspace ON profile (workspace_id, id) WHERE merged_into IS NULL;

ALTER TABLE profile_activity ADD COLUMN pageviews INTEGER NOT NULL DEFAULT 0;    -- how many pages and screens were seen
ALTER TABLE profile_activity ADD COLUMN sessions INTEGER NOT NULL DEFAULT 1;     -- how often it came back after half an hour without an event
ALTER TABLE profile_activity ADD COLUMN goals INTEGER NOT NULL DEFAULT 0;        -- how many events that a funnel names
ALTER TABLE profile_activity ADD COLUMN active_month INTEGER NOT NULL DEFAULT 0; -- the last month (months since year 0) in which an event was received

ALTER TABLE identifier ADD COLUMN attached_to INTEGER;       -- the profile that it came to, where that one was merged since; NULL: profile_id

ALTER TABLE trait ADD COLUMN is_unverified INTEGER;          -- 1: a sender without proof set it; NULL: a verified one did

CREATE TABLE account_member (
    account_id INTEGER NOT NULL,            -- the account's profile; where that was merged since, still this one
    person_id  INTEGER NOT NULL,            -- the person's profile; likewise
    event_id   INTEGER NOT NULL,            -- the event that first named both
    PRIMARY KEY (account_id, person_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_member_by_person ON account_member (person_id, account_id);

CREATE TABLE merge (
    id                       INTEGER PRIMARY KEY, -- mrg_
    workspace_id             INTEGER NOT NULL,    -- whose
    outcome                  TEXT NOT NULL,       -- merged, or kept_apart: one event named both, and they are two all the same
    profile_id               INTEGER NOT NULL,    -- the profile that got the event, and the other one where they merged
    other_id                 INTEGER,             -- the profile that was merged into it; NULL where they were kept apart
    event_id                 INTEGER NOT NULL,    -- the event that named both
    identifier_kind          TEXT NOT NULL,       -- by which identifier it named the other one
    identifier_value         TEXT NOT NULL,       -- in the form in which it is compared
    first_seen_before_ms     INTEGER,             -- profile_id's first event's time before; NULL: it had none
    last_seen_before_ms      INTEGER,             -- its last event's time before
    active_month_before      INTEGER,             -- its active month before
    counted_once_month       INTEGER,             -- the month in which both had been counted, and of which one count was taken back
    undo_requested_at_ms     INTEGER,             -- when somebody asked to take them apart
    undone_at_ms             INTEGER              -- when they were taken apart
) STRICT;
CREATE INDEX merge_by_profile ON merge (profile_id, id);
CREATE INDEX merge_by_other ON merge (other_id, id);
CREATE UNIQUE INDEX merge_kept_apart ON merge (profile_id, identifier_kind, identifier_value) WHERE outcome = 'kept_apart';
CREATE INDEX merge_undone ON merge (workspace_id, id) WHERE undone_at_ms IS NOT NULL;
CREATE INDEX merge_to_undo ON merge (id) WHERE undo_requested_at_ms IS NOT NULL AND undone_at_ms IS NULL;

CREATE TABLE population (
    workspace_id INTEGER PRIMARY KEY,       -- where
    people       INTEGER NOT NULL,          -- profiles of persons that stand for themselves
    accounts     INTEGER NOT NULL           -- profiles of accounts that stand for themselves
) STRICT;
INSERT INTO population (workspace_id, people, accounts)
    SELECT workspace_id, count(*), 0 FROM profile GROUP BY workspace_id;

CREATE TABLE funnel (
    id            INTEGER PRIMARY KEY,      -- fnl_; a workspace's first one has the workspace's number
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id), -- whose
    name          TEXT NOT NULL,            -- what people call it
    created_at_ms INTEGER NOT NULL          -- when it was made
) STRICT;
CREATE INDEX funnel_by_workspace ON funnel (workspace_id, id);

CREATE TABLE funnel_rule (
    funnel_id  INTEGER NOT NULL REFERENCES funnel (id), -- where
    event_type TEXT NOT NULL,               -- an event of this type
    stage      TEXT NOT NULL,               -- brings its person to this stage
    PRIMARY KEY (funnel_id, event_type)
) STRICT, WITHOUT ROWID;

INSERT INTO funnel (id, workspace_id, name, created_at_ms) SELECT id, id, 'Default', created_at_ms FROM workspace;
INSERT INTO funnel_rule (funnel_id, event_type, stage)
    SELECT id, column1, column2 FROM funnel, (VALUES ('signup', 'consideration'), ('identify', 'consideration'),
        ('trial_signup', 'trial'), ('trial_start', 'trial'));

CREATE TABLE stage_reached (
    profile_id INTEGER NOT NULL,            -- whose
    funnel_id  INTEGER NOT NULL,            -- in which funnel
    rank       INTEGER NOT NULL,            -- the stage by its place: 1 consideration, 2 trial, 3 customer; everybody begins at 0, awareness
    event_id   INTEGER NOT NULL,            -- the event that brought it there
    at_ms      INTEGER NOT NULL,            -- when that happened
    PRIMARY KEY (profile_id, funnel_id, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE stage_count (
    funnel_id INTEGER NOT NULL,             -- where
    rank      INTEGER NOT NULL,             -- the stage by its place, from 1
    profiles  INTEGER NOT NULL,             -- how many stand there now
    PRIMARY KEY (funnel_id, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE active_month (
    workspace_id INTEGER NOT NULL,          -- where
    month        INTEGER NOT NULL,          -- months since year 0
    profiles     INTEGER NOT NULL,          -- people of whom an event was received in it, each counted once
    PRIMARY KEY (workspace_id, month)
) STRICT, WITHOUT ROWID;

ALTER TABLE workspace ADD COLUMN mau_limit INTEGER;          -- people who may be active in a month before somebody is told; NULL: no limit
CREATE TABLE mau_notice (
    workspace_id INTEGER NOT NULL,          -- where
    month        INTEGER NOT NULL,          -- in which month
    percent      INTEGER NOT NULL,          -- of the limit: 80 or 100
    at_ms        INTEGER NOT NULL,          -- when it was said
    PRIMARY KEY (workspace_id, month, percent)
) STRICT, WITHOUT ROWID;
