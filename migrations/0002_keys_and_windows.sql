-- The sender's own key of an event, and the projector's place inside a window of the log.

ALTER TABLE event ADD COLUMN dedup_key TEXT;             -- the sender's own id of the event; the same one again is the same event

ALTER TABLE projector ADD COLUMN window_end_event_id INTEGER; -- the last event of the window that is being written; NULL between windows
ALTER TABLE projector ADD COLUMN done_profile_id INTEGER;     -- the last timeline row of it that is written, in the order of profile
ALTER TABLE projector ADD COLUMN done_event_id INTEGER;       -- and then event; NULL while none is
