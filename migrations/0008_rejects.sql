-- Requests that were refused although their sender is known, so that people see what is wrong with what
-- their apps send. The newest thousand of a workspace are kept.

CREATE TABLE reject (
    id            INTEGER PRIMARY KEY,      -- rej_; its time is when the request came
    workspace_id  INTEGER NOT NULL,         -- whose, from the credential
    source_id     INTEGER,                  -- who sent it, from the credential
    key_id        INTEGER,                  -- the API key that was shown; NULL where none was
    endpoint      TEXT NOT NULL,            -- the path that was posted to
    resend        TEXT NOT NULL,            -- JSON: what a command that sends it again needs, or why there is none
    status        INTEGER NOT NULL,         -- the answer's HTTP status
    code          TEXT NOT NULL,            -- the reason, for machines; of a batch, its first refusal's
    detail        TEXT NOT NULL,            -- the reason, for people
    errors        TEXT NOT NULL,            -- JSON array of the first refused fields: pointer, code, detail
    rejected      INTEGER,                  -- how many events of a batch were refused; NULL: the whole request
    events        INTEGER,                  -- how many events that batch had
    unkeyed       INTEGER,                  -- how many of them were stored without a key: sent again, they are others
    body_bytes    INTEGER NOT NULL,         -- how long the body was, decoded; 0 where it could not be read
    error_offset  INTEGER,                  -- the byte of the body at which reading it ended
    snippet       BLOB NOT NULL,            -- a part of the body, secrets masked
    snippet_start INTEGER NOT NULL,         -- the byte of the body with which it begins
    snippet_mark  INTEGER,                  -- the place of error_offset in it
    is_whole      INTEGER NOT NULL          -- 1: the snippet is the whole body, and nothing in it is masked
) STRICT;
CREATE INDEX reject_by_workspace ON reject (workspace_id, id);
CREATE INDEX reject_by_code ON reject (workspace_id, code, id);
CREATE INDEX reject_with_key ON reject (workspace_id, id) WHERE key_id IS NOT NULL;
CREATE INDEX reject_without_key ON reject (workspace_id, id) WHERE key_id IS NULL;

CREATE TABLE reject_loss (
    workspace_id INTEGER PRIMARY KEY,       -- whose
    rejects      INTEGER NOT NULL,          -- refusals that came too fast to be kept
    last_at_ms   INTEGER NOT NULL           -- when the last of them was noted
) STRICT;
