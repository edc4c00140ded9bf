-- Where in the log each segment of the timelines begins, so that a page from the middle of a long
-- history is read from the segment that holds it.

CREATE TABLE timeline_segment (
    segment        INTEGER PRIMARY KEY,     -- its number
    first_event_id INTEGER NOT NULL         -- no event in it is older, and none in the segments before it is as new
) STRICT;
INSERT INTO timeline_segment (segment, first_event_id)
    SELECT segment, min(event_id) FROM timeline GROUP BY segment;
