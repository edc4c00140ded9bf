-- Fewer keys on the way of an event. What an index was kept up for with every event, although it is
-- asked for seldom, is found in another way: a delivery's attempts from its last one back, an event's
-- deliveries behind the event, a workspace's deliveries through its webhooks. And a delivery that was
-- just made is sent from memory; it is put on its webhook's due list only when it waits.

ALTER TABLE attempt ADD COLUMN previous_attempt_id INTEGER;  -- the delivery's attempt before this one; NULL for its first
UPDATE attempt SET previous_attempt_id =
    (SELECT id FROM attempt p WHERE p.delivery_id = attempt.delivery_id AND p.number < attempt.number ORDER BY p.number DESC LIMIT 1)
    WHERE number > 1;

ALTER TABLE delivery ADD COLUMN last_attempt_id INTEGER;     -- its newest attempt; NULL before the first
UPDATE delivery SET last_attempt_id =
    (SELECT id FROM attempt a WHERE a.delivery_id = delivery.id ORDER BY a.number DESC LIMIT 1)
    WHERE attempts > 0;

DROP INDEX attempt_by_delivery;
DROP INDEX delivery_by_event;
DROP INDEX delivery_by_workspace;

-- delivery.next_attempt_at_ms is NULL, too, while a pending delivery is not listed yet.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (webhook_id, next_attempt_at_ms, id) WHERE next_attempt_at_ms IS NOT NULL;

CREATE TABLE dispatcher (
    id                 INTEGER PRIMARY KEY CHECK (id = 1), -- there is one
    cursor_delivery_id INTEGER NOT NULL     -- every delivery up to this one that is pending is on its webhook's due list
) STRICT;
INSERT INTO dispatcher (id, cursor_delivery_id) SELECT 1, coalesce(max(id), 0) FROM delivery;
