-- Whether it was said that the disk has little room left, so that it is said once, restarts or not.

CREATE TABLE space_notice (
    id        INTEGER PRIMARY KEY CHECK (id = 1), -- there is one
    low_at_ms INTEGER                       -- when it was said; NULL since there is enough room again
) STRICT;
INSERT INTO space_notice (id, low_at_ms) VALUES (1, NULL);
