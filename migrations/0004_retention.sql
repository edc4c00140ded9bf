-- What ends after a time is found by that time.

CREATE INDEX session_by_last_use ON session (last_seen_at_ms);
