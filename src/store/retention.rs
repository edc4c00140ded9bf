//! What retention takes away, a bite at a time: each statement looks at the next few rows after an id,
//! oldest first, so a bite costs the same however long the file is and however much was taken before.
//! Which rows are old enough is the caller's to say; what is still owed or not yet projected is known here.

use crate::error::Result;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Rows that one bite looks at. An attempt may hold 64 KiB, so few enough to be taken in milliseconds.
const BITE_ROWS: i64 = 32;
/// Rows of a timeline in one bite; they are a few bytes each.
const TIMELINE_BITE_ROWS: i64 = 512;

/// Which rows of a table a bite may take, by id: later than one and earlier than the other.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The last id that was looked at.
    pub after: i64,
    /// The first id that is too new.
    pub before: i64,
}

/// What a bite came to.
#[derive(Debug, Clone, Copy)]
pub struct Bite {
    /// The last id that was looked at: the next bite begins after it.
    pub last: i64,
    /// Rows of the table that went.
    pub taken: usize,
}

const OLD_DELIVERIES: &str = "SELECT id FROM delivery WHERE id > ?1 AND id <= ?2
        AND (state NOT IN ('pending', 'held') OR (state = 'held' AND id < ?3)) ORDER BY id LIMIT ?4";

/// Takes deliveries that are settled, and those that are held and older than `held_before`, with
/// their attempts. `None` when nothing is left in `range`.
///
/// # Errors
/// When the file refuses.
pub fn take_deliveries(
    connection: &Connection,
    range: Range,
    held_before: i64,
) -> Result<Option<Bite>> {
    let end = connection
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id FROM delivery WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3)",
        )?
        .query_row(params![range.after, range.before, BITE_ROWS], |row| row.get(0))?;
    let Some(last) = end else { return Ok(None) };
    connection
        .prepare_cached(&format!(
            "DELETE FROM attempt WHERE id IN (
                WITH RECURSIVE chain (id) AS (
                    SELECT last_attempt_id FROM delivery WHERE id IN ({OLD_DELIVERIES})
                    UNION ALL SELECT previous_attempt_id FROM chain JOIN attempt ON attempt.id = chain.id
                ) SELECT id FROM chain)"
        ))?
        .execute(params![range.after, last, held_before, BITE_ROWS])?;
    let taken = connection
        .prepare_cached(&format!(
            "DELETE FROM delivery WHERE id IN ({OLD_DELIVERIES})"
        ))?
        .execute(params![range.after, last, held_before, BITE_ROWS])?;
    Ok(Some(Bite { last, taken }))
}

/// Takes the messages that no delivery needs any more. `None` when nothing is left in `range`.
///
/// # Errors
/// When the file refuses.
pub fn take_messages(connection: &Connection, range: Range) -> Result<Option<Bite>> {
    let end = connection
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id FROM message WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3)",
        )?
        .query_row(params![range.after, range.before, BITE_ROWS], |row| row.get(0))?;
    let Some(last) = end else { return Ok(None) };
    // An event's deliveries stand behind its messages, up to the first that is another's; a command's, whose ids
    // are not in the order of commits, part nothing, and those of later, when somebody sent it again, have an
    // index. What the box itself says has no event, and may be said for long without one between: its deliveries
    // stand before the next messages but few.
    let taken = connection
        .prepare_cached(
            "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE id > ?1 AND id <= ?2
                AND NOT EXISTS (SELECT 1 FROM delivery WHERE id > message.id AND message_id = message.id AND id < coalesce(
                    CASE WHEN message.event_id IS NULL
                    THEN (SELECT m.id FROM message m WHERE m.id > message.id ORDER BY m.id LIMIT 1 OFFSET 15)
                    ELSE (SELECT id FROM delivery WHERE id > message.id AND event_id IS NOT message.event_id AND id & 4190208 = 0 ORDER BY id LIMIT 1)
                    END, 9223372036854775807))
                 AND NOT EXISTS (SELECT 1 FROM delivery WHERE event_id = message.event_id AND origin IS NOT NULL AND message_id = message.id)
                ORDER BY id LIMIT ?3)",
        )?
        .execute(params![range.after, last, BITE_ROWS])?;
    Ok(Some(Bite { last, taken }))
}

/// Takes events that are projected and of which nothing is owed. `None` when nothing is left in `range`.
///
/// # Errors
/// When the file refuses.
pub fn take_events(connection: &Connection, range: Range) -> Result<Option<Bite>> {
    let Some(last) = end_of_events(connection, range, BITE_ROWS)? else {
        return Ok(None);
    };
    let taken = connection
        .prepare_cached(
            "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id > ?1 AND id <= ?2
                AND NOT EXISTS (SELECT 1 FROM delivery WHERE id > event.id AND state IN ('pending', 'held') AND id < coalesce(
                    (SELECT id FROM delivery WHERE id > event.id AND event_id IS NOT event.id AND id & 4190208 = 0 ORDER BY id LIMIT 1), 9223372036854775807))
                 AND NOT EXISTS (SELECT 1 FROM delivery WHERE event_id = event.id AND origin IS NOT NULL AND state IN ('pending', 'held'))
                ORDER BY id LIMIT ?3)",
        )?
        .execute(params![range.after, last, BITE_ROWS])?;
    Ok(Some(Bite { last, taken }))
}

/// Takes refused requests. `None` when nothing is left in `range`.
///
/// # Errors
/// When the file refuses.
pub fn take_rejects(connection: &Connection, range: Range) -> Result<Option<Bite>> {
    let end = connection
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id FROM reject WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3)",
        )?
        .query_row(params![range.after, range.before, BITE_ROWS], |row| row.get(0))?;
    let Some(last) = end else { return Ok(None) };
    let taken = connection
        .prepare_cached(
            "DELETE FROM reject WHERE id IN (SELECT id FROM reject WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3)",
        )?
        .execute(params![range.after, last, BITE_ROWS])?;
    Ok(Some(Bite { last, taken }))
}

/// Takes replays that do not run: what they were to send is gone by now. `None` when nothing is left in `range`.
///
/// # Errors
/// When the file refuses.
pub fn take_replays(connection: &Connection, range: Range) -> Result<Option<Bite>> {
    const OLD_REPLAYS: &str = "SELECT id FROM replay WHERE id > ?1 AND id <= ?2 AND state <> 'running' ORDER BY id LIMIT ?3";
    let end = connection
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id FROM replay WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3)",
        )?
        .query_row(params![range.after, range.before, BITE_ROWS], |row| row.get(0))?;
    let Some(last) = end else { return Ok(None) };
    connection
        .prepare_cached(&format!(
            "DELETE FROM replay_delivery WHERE replay_id IN ({OLD_REPLAYS})"
        ))?
        .execute(params![range.after, last, BITE_ROWS])?;
    let taken = connection
        .prepare_cached(&format!("DELETE FROM replay WHERE id IN ({OLD_REPLAYS})"))?
        .execute(params![range.after, last, BITE_ROWS])?;
    Ok(Some(Bite { last, taken }))
}

/// The last of the next `rows` events in `range` that are projected.
///
/// # Errors
/// When the file cannot be read.
pub fn end_of_events(connection: &Connection, range: Range, rows: i64) -> Result<Option<i64>> {
    Ok(connection
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id FROM event WHERE id > ?1 AND id < ?2
                AND id <= (SELECT cursor_event_id FROM projector WHERE id = 1) ORDER BY id LIMIT ?3)",
        )?
        .query_row(params![range.after, range.before, rows], |row| row.get(0))?)
}

/// The oldest segment of the timeline, and the newest event in it. Looks at all its rows, so not for
/// the writer's connection.
///
/// # Errors
/// When the file cannot be read.
pub fn oldest_segment(connection: &Connection) -> Result<Option<(i64, i64)>> {
    let segment: Option<i64> = connection
        .prepare_cached("SELECT min(segment) FROM timeline")?
        .query_row([], |row| row.get(0))?;
    let Some(segment) = segment else {
        return Ok(None);
    };
    Ok(connection
        .prepare_cached("SELECT segment, max(event_id) FROM timeline WHERE segment = ?1")?
        .query_row([segment], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Forgets where a timeline's segment begins that has no rows any more, unless it is the newest, which the
/// projector still writes: so a profile's page does not look into it for nothing.
///
/// # Errors
/// When the file refuses.
pub fn forget_segment(connection: &Connection, segment: i64) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM timeline_segment WHERE segment = ?1 AND segment < (SELECT max(segment) FROM timeline_segment)
                AND NOT EXISTS (SELECT 1 FROM timeline WHERE segment = ?1 LIMIT 1)",
        )?
        .execute([segment])?;
    Ok(())
}

/// Takes the first rows of a timeline's segment; says how many.
///
/// # Errors
/// When the file refuses.
pub fn take_timeline(connection: &Connection, segment: i64) -> Result<usize> {
    Ok(connection
        .prepare_cached(
            "DELETE FROM timeline WHERE (segment, profile_id, event_id) IN (
                SELECT segment, profile_id, event_id FROM timeline WHERE segment = ?1 ORDER BY profile_id, event_id LIMIT ?2)",
        )?
        .execute(params![segment, TIMELINE_BITE_ROWS])?)
}

/// Bytes of the file that hold something: what was taken away leaves room for what comes.
///
/// # Errors
/// When the file cannot be read.
pub fn used_bytes(connection: &Connection) -> Result<i64> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    Ok((number("page_count")? - number("freelist_count")?) * number("page_size")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{DeliveryState, Origin};
    use crate::id::{DeliveryId, EventId, MessageId, ProfileId, WebhookId, WorkspaceId};
    use crate::store::Files;
    use crate::store::deliveries::{NewDelivery, NewMessage, insert_delivery, insert_message};
    use crate::store::projection::{TimelineEntry, begin_segment, insert_timeline};

    #[test]
    fn a_segment_is_forgotten_when_it_is_empty_and_not_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let connection = files.open_writer().unwrap();
        let entry = TimelineEntry {
            profile: ProfileId::from_i64(1),
            event: EventId::from_i64(1),
        };
        for segment in 0..3 {
            begin_segment(&connection, segment, entry.event).unwrap();
        }
        insert_timeline(&connection, 1, [entry]).unwrap();
        for segment in 0..3 {
            forget_segment(&connection, segment).unwrap();
        }
        let left: i64 = connection
            .query_row("SELECT sum(segment) FROM timeline_segment", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(left, 3, "1 has a row, and 2 is the newest");
        assert_eq!(take_timeline(&connection, 1).unwrap(), 1);
        forget_segment(&connection, 1).unwrap();
        let left: i64 = connection
            .query_row("SELECT sum(segment) FROM timeline_segment", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(left, 2);
    }

    #[test]
    fn a_replay_goes_with_what_it_chose_unless_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let connection = files.open_writer().unwrap();
        connection
            .execute_batch(
                "INSERT INTO workspace (id, slug, name, created_at_ms) VALUES (1, 'acme', 'Acme', 0);
                 WITH r (id, state) AS (VALUES (1, 'done'), (2, 'running'), (3, 'ready'), (4, 'done'))
                 INSERT INTO replay (id, workspace_id, state, is_chosen, after_id, before_id, estimate, is_more, rate,
                    cursor_delivery_id, sent, succeeded, failed, skipped, created_at_ms)
                    SELECT id, 1, state, 1, 0, 9, 1, 0, 1, 0, 0, 0, 0, 0, 0 FROM r;
                 INSERT INTO replay_delivery (replay_id, delivery_id) SELECT id, 7 FROM replay;",
            )
            .unwrap();
        let range = Range {
            after: 0,
            before: 4,
        };
        let bite = take_replays(&connection, range).unwrap().unwrap();
        assert_eq!((bite.last, bite.taken), (3, 2));
        for sql in [
            "SELECT group_concat(id) FROM replay",
            "SELECT group_concat(replay_id) FROM replay_delivery",
        ] {
            let left: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(left, "2,4", "{sql}");
        }
    }

    #[test]
    fn what_was_sent_again_later_keeps_its_message_and_its_event() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let connection = files.open_writer().unwrap();
        // Two events of long ago, each with its message; the first one was sent again, behind all of them.
        for id in [1, 10] {
            connection
                .execute(
                    "INSERT INTO event (id, workspace_id, kind, name, replace_traits, occurred_at_ms, received_at_ms, verification)
                     VALUES (?1, 1, 'track', 'Seen', 0, 0, 0, 'server')",
                    [id],
                )
                .unwrap();
            let message = NewMessage {
                id: MessageId::from_i64(id + 1),
                workspace: WorkspaceId::from_i64(1),
                event: Some(EventId::from_i64(id)),
                event_type: "Seen",
                body: b"{}",
            };
            insert_message(&connection, &message).unwrap();
        }
        connection
            .execute("UPDATE projector SET cursor_event_id = 100", [])
            .unwrap();
        let delivery = NewDelivery {
            id: DeliveryId::from_i64(1_000),
            workspace: WorkspaceId::from_i64(1),
            webhook: WebhookId::from_i64(1),
            message: MessageId::from_i64(2),
            event: Some(EventId::from_i64(1)),
            state: DeliveryState::Pending,
            is_ordered: false,
            origin: Some(Origin::Resend),
        };
        insert_delivery(&connection, &delivery).unwrap();
        let range = Range {
            after: 0,
            before: 100,
        };
        let left = |table: &str| -> Vec<i64> {
            let sql = format!("SELECT id FROM {table} ORDER BY id");
            let mut statement = connection.prepare(&sql).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.collect::<rusqlite::Result<_>>().unwrap()
        };
        take_messages(&connection, range).unwrap();
        take_events(&connection, range).unwrap();
        assert_eq!((left("message"), left("event")), (vec![2], vec![1]));
        connection.execute("DELETE FROM delivery", []).unwrap();
        take_messages(&connection, range).unwrap();
        take_events(&connection, range).unwrap();
        assert!(left("message").is_empty() && left("event").is_empty());
    }
}
