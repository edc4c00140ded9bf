-- What people declare of event types, beside those that were seen (event_type), and how often events were
-- not what their type's schema says.

CREATE TABLE declared_event_type (
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id), -- where
    name          TEXT NOT NULL,            -- the type
    description   TEXT NOT NULL,            -- what it means, for people; may be empty
    schema        TEXT,                     -- JSON Schema of its properties or traits; NULL while there is none
    mode          TEXT NOT NULL,            -- observe: what does not match is counted; enforce: it is refused
    example       TEXT,                     -- JSON object as its properties or traits may be; NULL while there is none
    created_at_ms INTEGER NOT NULL,         -- when it was declared
    updated_at_ms INTEGER NOT NULL,         -- when it was last changed
    PRIMARY KEY (workspace_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_type_violation (
    workspace_id  INTEGER NOT NULL,         -- where
    name          TEXT NOT NULL,            -- the type
    events        INTEGER NOT NULL,         -- events that did not match since the schema was last changed
    last_at_ms    INTEGER NOT NULL,         -- when the last of them came
    last_event_id INTEGER,                  -- the last of them; NULL where it was refused
    last_pointer  TEXT NOT NULL,            -- the field in it, as a JSON pointer
    last_detail   TEXT NOT NULL,            -- what was wrong with the field
    PRIMARY KEY (workspace_id, name)
) STRICT, WITHOUT ROWID;
