//! Messages and deliveries: what is owed to whom, when, and where it stands.

use super::prepared::Prepare;
use super::word;
use crate::delivery::{DeliveryState, Origin, Standing};
use crate::error::Result;
use crate::id::{DeliveryId, EventId, MessageId, NODE_MASK, WebhookId, WorkspaceId};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A message: the exact bytes that webhooks receive.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// Its id, the `webhook-id` of every attempt.
    pub id: MessageId,
    /// Whose.
    pub workspace: WorkspaceId,
    /// The event that it carries.
    pub event: Option<EventId>,
    /// The event type.
    pub event_type: &'a str,
    /// The bytes.
    pub body: &'a [u8],
}

/// Keeps a message.
///
/// # Errors
/// When the file refuses.
pub fn insert_message(connection: &impl Prepare, message: &NewMessage<'_>) -> Result<()> {
    connection.with_statement(
        "INSERT INTO message (id, workspace_id, event_id, type, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        |statement| {
            statement.execute(params![
                message.id,
                message.workspace,
                message.event,
                message.event_type,
                message.body,
            ])?;
            Ok(())
        },
    )
}

/// One message owed to one webhook.
#[derive(Debug, Clone, Copy)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose.
    pub workspace: WorkspaceId,
    /// Owed to.
    pub webhook: WebhookId,
    /// What is owed.
    pub message: MessageId,
    /// The message's event.
    pub event: Option<EventId>,
    /// Where it stands: pending, held while its webhook does not send, or failed until its test succeeds.
    pub state: DeliveryState,
    /// Whether its webhook keeps the order of the events.
    pub is_ordered: bool,
    /// Why it is made, where not with its event.
    pub origin: Option<Origin>,
}

/// Keeps a delivery, right after the event and the message that it is of, in their transaction: an
/// event's deliveries are found behind it. A pending one is on no list yet (see [`list_as_due`]).
///
/// # Errors
/// When the file refuses.
pub fn insert_delivery(connection: &impl Prepare, delivery: &NewDelivery) -> Result<()> {
    let queue = delivery.is_ordered && delivery.state == DeliveryState::Pending;
    connection.with_statement(
        "INSERT INTO delivery (id, workspace_id, webhook_id, message_id, event_id, state, attempts, automatic_attempts,
            queue_webhook_id, origin)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8)",
        |statement| {
            statement.execute(params![
                delivery.id,
                delivery.workspace,
                delivery.webhook,
                delivery.message,
                delivery.event,
                delivery.state.as_str(),
                queue.then_some(delivery.webhook),
                delivery.origin.map(Origin::as_str),
            ])?;
            Ok(())
        },
    )
}

/// What the sender needs of a delivery.
#[derive(Debug, Clone)]
pub struct OwedDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Owed to.
    pub webhook: WebhookId,
    /// What is owed.
    pub message: MessageId,
    /// The bytes to send.
    pub body: Bytes,
    /// Where it stood when it was read.
    pub standing: Standing,
}

/// A place on a webhook's due list: when the delivery there is due, Unix milliseconds, and which it is.
pub type DuePlace = (i64, DeliveryId);

impl OwedDelivery {
    /// One that was just made, without a body: the number `id` of the webhook 1.
    #[cfg(test)]
    pub fn bare(id: i64) -> Self {
        Self {
            id: DeliveryId::from_i64(id),
            webhook: WebhookId::from_i64(1),
            message: MessageId::from_i64(id),
            body: Bytes::new(),
            standing: Standing::NEW,
        }
    }

    /// Where on its webhook's due list it stood, if it was on it.
    pub fn due_place(&self) -> Option<DuePlace> {
        Some((self.standing.next_attempt_at_ms?, self.id))
    }
}

/// Reads by position, behind what [`standing_row`] reads: a backlog has many rows.
fn owed_row(row: &Row<'_>) -> rusqlite::Result<OwedDelivery> {
    Ok(OwedDelivery {
        standing: standing_row(row)?,
        id: row.get(5)?,
        webhook: row.get(6)?,
        message: row.get(7)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(8)?),
    })
}

fn standing_row(row: &Row<'_>) -> rusqlite::Result<Standing> {
    Ok(Standing {
        state: word(row, 0, DeliveryState::parse)?,
        attempts: row.get(1)?,
        automatic_attempts: row.get(2)?,
        next_attempt_at_ms: row.get(3)?,
        last_attempt: row.get(4)?,
    })
}

const OWED: &str =
    "SELECT d.state, d.attempts, d.automatic_attempts, d.next_attempt_at_ms, d.last_attempt_id,
        d.id, d.webhook_id, d.message_id, m.body
     FROM delivery d JOIN message m ON m.id = d.message_id";

/// How much of a due list to read.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Rows, at most.
    pub rows: usize,
    /// Bytes of bodies, about; but so many rows at least.
    pub bytes: usize,
    /// Rows that are read whatever their size.
    pub rows_at_least: usize,
}

/// What is on a webhook's due list by now, longest due first, after a place or from the start; and
/// whether the limit cut it short.
///
/// # Errors
/// When the file cannot be read.
pub fn due(
    connection: &Connection,
    webhook: WebhookId,
    after: Option<DuePlace>,
    now_ms: i64,
    limit: ReadLimit,
) -> Result<(Vec<OwedDelivery>, bool)> {
    let (after_ms, after) = after.unwrap_or((0, DeliveryId::from_i64(0)));
    let sql = format!(
        "{OWED} WHERE d.webhook_id = ?1 AND d.next_attempt_at_ms <= ?2 AND (d.next_attempt_at_ms, d.id) > (?4, ?5)
         ORDER BY d.next_attempt_at_ms, d.id LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = i64::try_from(limit.rows).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![webhook, now_ms, rows, after_ms, after])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let owed = owed_row(row)?;
        bytes += owed.body.len();
        found.push(owed);
        if bytes > limit.bytes && found.len() >= limit.rows_at_least {
            return Ok((found, true));
        }
    }
    let is_full = found.len() >= limit.rows;
    Ok((found, is_full))
}

/// What a webhook that keeps the order of the events is owed by now, the first event's first: up to where one
/// must wait, because those behind it wait with it. Also whether there is more behind that, and, when the very
/// first must wait, until when, Unix milliseconds.
///
/// # Errors
/// When the file cannot be read.
pub fn in_order(
    connection: &Connection,
    webhook: WebhookId,
    now_ms: i64,
    limit: ReadLimit,
) -> Result<(Vec<OwedDelivery>, bool, Option<i64>)> {
    let sql = format!(
        "{OWED} WHERE d.queue_webhook_id = ?1 AND d.state = 'pending' ORDER BY d.id LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = i64::try_from(limit.rows).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![webhook, rows])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let owed = owed_row(row)?;
        let next_ms = owed.standing.next_attempt_at_ms;
        if next_ms.is_some_and(|next_ms| next_ms > now_ms) {
            let is_first = found.is_empty();
            return Ok((found, !is_first, next_ms.filter(|_| is_first)));
        }
        bytes += owed.body.len();
        found.push(owed);
        if bytes > limit.bytes && found.len() >= limit.rows_at_least {
            return Ok((found, true, None));
        }
    }
    let is_full = found.len() >= limit.rows;
    Ok((found, is_full, None))
}

/// When a webhook's next attempt is due, Unix milliseconds, looking only after `after_ms`.
///
/// # Errors
/// When the file cannot be read.
pub fn next_due_ms(
    connection: &Connection,
    webhook: WebhookId,
    after_ms: i64,
) -> Result<Option<i64>> {
    Ok(connection
        .prepare_cached(
            "SELECT next_attempt_at_ms FROM delivery
             WHERE webhook_id = ?1 AND next_attempt_at_ms > ?2
             ORDER BY next_attempt_at_ms LIMIT 1",
        )?
        .query_row(params![webhook, after_ms], |row| row.get(0))
        .optional()?)
}

/// One delivery, in whatever state, for an attempt that a person asked for; `None` where there is nothing to
/// send any more.
///
/// # Errors
/// When the file cannot be read.
pub fn owed(connection: &Connection, id: DeliveryId) -> Result<Option<OwedDelivery>> {
    let sql = format!("{OWED} WHERE d.id = ?1 AND m.expunged_at_ms IS NULL");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([id], owed_row)
        .optional()?)
}

/// What a delivery is about.
#[derive(Debug)]
pub struct Subject {
    /// The type of its message.
    pub event_type: String,
    /// The event, where it is of one.
    pub event: Option<EventId>,
}

/// What a delivery is about; `None` when it is gone.
///
/// # Errors
/// When the file cannot be read.
pub fn subject(connection: &Connection, id: DeliveryId) -> Result<Option<Subject>> {
    Ok(connection
        .prepare_cached(
            "SELECT m.type, d.event_id FROM delivery d JOIN message m ON m.id = d.message_id WHERE d.id = ?1",
        )?
        .query_row([id], |row| {
            Ok(Subject {
                event_type: row.get(0)?,
                event: row.get(1)?,
            })
        })
        .optional()?)
}

/// Where a delivery stands; `None` when it is gone.
///
/// # Errors
/// When the file cannot be read.
pub fn standing(connection: &Connection, id: DeliveryId) -> Result<Option<Standing>> {
    Ok(connection
        .prepare_cached(
            "SELECT state, attempts, automatic_attempts, next_attempt_at_ms, last_attempt_id FROM delivery WHERE id = ?1",
        )?
        .query_row([id], standing_row)
        .optional()?)
}

/// The next deliveries after the last one that was looked at, in the order in which they were made.
#[derive(Debug)]
pub struct Unlisted {
    /// The last of them.
    pub last: DeliveryId,
    /// Those that wait for their first attempt, and whose they are.
    pub waiting: Vec<(DeliveryId, WebhookId)>,
    /// Whether there were as many as were asked for, so that there may be more.
    pub is_full: bool,
}

/// The next deliveries, at most `limit`, that were not looked at for the due lists; `None` when there
/// is none. Only those that the server made: their ids are in the order of commits. What people's changes
/// made is on the lists from the start ([`make_due`]), and a command's ids may run ahead of what the server
/// is about to commit.
///
/// # Errors
/// When the file cannot be read.
pub fn unlisted(connection: &Connection, limit: usize) -> Result<Option<Unlisted>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, webhook_id, state = 'pending' AND next_attempt_at_ms IS NULL FROM delivery
         WHERE id > (SELECT cursor_delivery_id FROM dispatcher WHERE id = 1) AND id & ?2 = 0 ORDER BY id LIMIT ?1",
    )?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query([most, NODE_MASK])?;
    let (mut last, mut count, mut waiting) = (None, 0, Vec::new());
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if row.get(2)? {
            waiting.push((id, row.get(1)?));
        }
        last = Some(id);
        count += 1;
    }
    Ok(last.map(|last| Unlisted {
        last,
        waiting,
        is_full: count >= limit,
    }))
}

/// Puts those that still wait on their webhooks' due lists, due since they were made (an id's time runs
/// ahead of a clock that went back, so not later than `now_ms`), and notes how far this has come: whatever
/// is pending is on a list, or younger than that.
///
/// # Errors
/// When the file refuses.
pub fn list_as_due(connection: &Connection, unlisted: &Unlisted, now_ms: i64) -> Result<()> {
    let mut list = connection.prepare_cached(
        "UPDATE delivery SET next_attempt_at_ms = ?2 WHERE id = ?1 AND state = 'pending' AND next_attempt_at_ms IS NULL",
    )?;
    for (id, _) in &unlisted.waiting {
        list.execute(params![id, id.unix_ms().min(now_ms)])?;
    }
    connection
        .prepare_cached("UPDATE dispatcher SET cursor_delivery_id = ?1 WHERE id = 1")?
        .execute([unlisted.last])?;
    Ok(())
}

/// Puts pending deliveries on their webhooks' due lists right when they are made, due at `now_ms`.
///
/// # Errors
/// When the file refuses.
pub fn make_due(
    connection: &Connection,
    ids: impl IntoIterator<Item = DeliveryId>,
    now_ms: i64,
) -> Result<()> {
    let mut list = connection.prepare_cached(
        "UPDATE delivery SET next_attempt_at_ms = ?2 WHERE id = ?1 AND state = 'pending'",
    )?;
    for id in ids {
        list.execute(params![id, now_ms])?;
    }
    Ok(())
}

/// Holds everything that a webhook is still owed; says how much.
///
/// # Errors
/// When the file refuses.
pub fn hold_pending(connection: &Connection, webhook: WebhookId) -> Result<usize> {
    let listed = connection.execute(
        "UPDATE delivery SET state = 'held', next_attempt_at_ms = NULL, queue_webhook_id = NULL
         WHERE webhook_id = ?1 AND next_attempt_at_ms IS NOT NULL",
        [webhook],
    )?;
    let unlisted = connection.execute(
        "UPDATE delivery SET state = 'held', queue_webhook_id = NULL WHERE webhook_id = ?1 AND state = 'pending'
            AND id > (SELECT cursor_delivery_id FROM dispatcher WHERE id = 1)",
        [webhook],
    )?;
    Ok(listed + unlisted)
}

/// Makes what is held for a webhook due at `now_ms`, in the order of the events where it keeps that; says how
/// much.
///
/// # Errors
/// When the file refuses.
pub fn release_held(connection: &Connection, webhook: WebhookId, now_ms: i64) -> Result<usize> {
    Ok(connection.execute(
        "UPDATE delivery SET state = 'pending', next_attempt_at_ms = ?2,
            queue_webhook_id = (SELECT id FROM webhook WHERE id = ?1 AND is_ordered = 1)
         WHERE webhook_id = ?1 AND state = 'held'",
        params![webhook, now_ms],
    )?)
}

/// Queues what a webhook is owed in the order of the events from now on, or no longer.
///
/// # Errors
/// When the file refuses.
pub fn set_ordered(connection: &Connection, webhook: WebhookId, is_ordered: bool) -> Result<()> {
    if !is_ordered {
        connection.execute(
            "UPDATE delivery SET queue_webhook_id = NULL WHERE queue_webhook_id = ?1",
            [webhook],
        )?;
        return Ok(());
    }
    connection.execute(
        "UPDATE delivery SET queue_webhook_id = webhook_id WHERE webhook_id = ?1 AND next_attempt_at_ms IS NOT NULL",
        [webhook],
    )?;
    connection.execute(
        "UPDATE delivery SET queue_webhook_id = webhook_id WHERE webhook_id = ?1 AND state = 'pending'
            AND id > (SELECT cursor_delivery_id FROM dispatcher WHERE id = 1)",
        [webhook],
    )?;
    Ok(())
}

/// Gives up what is held for a webhook; says how much.
///
/// # Errors
/// When the file refuses.
pub fn cancel_held(connection: &Connection, webhook: WebhookId) -> Result<usize> {
    Ok(connection.execute(
        "UPDATE delivery SET state = 'cancelled' WHERE webhook_id = ?1 AND state = 'held'",
        [webhook],
    )?)
}

/// Gives up everything that a webhook is owed, held or pending; says how much.
///
/// # Errors
/// When the file refuses.
pub fn cancel_owed(connection: &Connection, webhook: WebhookId) -> Result<usize> {
    hold_pending(connection, webhook)?;
    cancel_held(connection, webhook)
}

/// Gives up one delivery that waits. Says whether it did wait.
///
/// # Errors
/// When the file refuses.
pub fn cancel(connection: &Connection, workspace: WorkspaceId, id: DeliveryId) -> Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE delivery SET state = 'cancelled', next_attempt_at_ms = NULL, queue_webhook_id = NULL
             WHERE id = ?1 AND workspace_id = ?2 AND state IN ('pending', 'held')",
        )?
        .execute(params![id, workspace])?;
    Ok(changed == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Files;

    const WEBHOOK: WebhookId = WebhookId::from_i64(1);
    const OTHER: WebhookId = WebhookId::from_i64(2);
    const NOW_MS: i64 = crate::id::EPOCH_MS + 1_000;

    fn id(id: i64) -> DeliveryId {
        DeliveryId::from_i64(id)
    }

    /// A file in which the deliveries 1 to 6 were made, the even ones for another webhook.
    fn made() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let connection = Files::prepare(folder.path())
            .unwrap()
            .open_writer()
            .unwrap();
        let message = NewMessage {
            id: MessageId::from_i64(1),
            workspace: WorkspaceId::from_i64(1),
            event: None,
            event_type: "Post Created",
            body: b"{}",
        };
        insert_message(&connection, &message).unwrap();
        for n in 1..=6 {
            let delivery = NewDelivery {
                id: id(n),
                workspace: message.workspace,
                webhook: if n % 2 == 0 { OTHER } else { WEBHOOK },
                message: message.id,
                event: None,
                state: if n == 6 {
                    DeliveryState::Held
                } else {
                    DeliveryState::Pending
                },
                is_ordered: false,
                origin: None,
            };
            insert_delivery(&connection, &delivery).unwrap();
        }
        (folder, connection)
    }

    const ALL: ReadLimit = ReadLimit {
        rows: 10,
        bytes: 1_000,
        rows_at_least: 0,
    };

    fn due_ids(connection: &Connection, webhook: WebhookId, after: Option<DuePlace>) -> Vec<i64> {
        due(connection, webhook, after, i64::MAX, ALL)
            .unwrap()
            .0
            .iter()
            .map(|owed| owed.id.as_i64())
            .collect()
    }

    #[test]
    fn what_waits_is_listed_once_and_in_order() {
        let (_folder, connection) = made();
        assert!(due_ids(&connection, WEBHOOK, None).is_empty());
        let first = unlisted(&connection, 4).unwrap().unwrap();
        assert_eq!((first.last, first.is_full), (id(4), true));
        let waiting: Vec<_> = first.waiting.iter().map(|(id, _)| id.as_i64()).collect();
        assert_eq!(waiting, [1, 2, 3, 4]);
        // One of them was sent between the look and the list.
        connection
            .execute("UPDATE delivery SET state = 'succeeded' WHERE id = 2", [])
            .unwrap();
        list_as_due(&connection, &first, NOW_MS).unwrap();
        let rest = unlisted(&connection, 4).unwrap().unwrap();
        assert_eq!(
            rest.waiting,
            [(id(5), WEBHOOK)],
            "what is held is on no list"
        );
        list_as_due(&connection, &rest, NOW_MS).unwrap();
        assert!(unlisted(&connection, 4).unwrap().is_none());
        assert_eq!(due_ids(&connection, WEBHOOK, None), [1, 3, 5]);
        assert_eq!(due_ids(&connection, OTHER, None), [4]);
        let two = ReadLimit { rows: 2, ..ALL };
        let (found, is_full) = due(&connection, WEBHOOK, None, i64::MAX, two).unwrap();
        assert!(is_full);
        assert_eq!(due_ids(&connection, WEBHOOK, found[1].due_place()), [5]);
    }

    #[test]
    fn a_reading_ends_at_its_bytes_and_not_before_its_least_rows() {
        let (_folder, connection) = made();
        let all = unlisted(&connection, 9).unwrap().unwrap();
        list_as_due(&connection, &all, NOW_MS).unwrap();
        // Each body has two bytes.
        let read = |bytes, rows_at_least| {
            let limit = ReadLimit {
                rows: 10,
                bytes,
                rows_at_least,
            };
            let (found, is_full) = due(&connection, WEBHOOK, None, i64::MAX, limit).unwrap();
            (found.len(), is_full)
        };
        assert_eq!(
            (read(0, 0), read(3, 0), read(0, 2)),
            ((1, true), (2, true), (2, true))
        );
        assert_eq!(read(6, 0), (3, false));
    }

    #[test]
    fn what_is_listed_after_the_clock_went_back_is_due_at_once() {
        let (_folder, connection) = made();
        let all = unlisted(&connection, 9).unwrap().unwrap();
        list_as_due(&connection, &all, 5).unwrap();
        let (found, _) = due(&connection, WEBHOOK, None, 5, ALL).unwrap();
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn holding_finds_what_is_on_the_list_and_what_is_not_yet() {
        let (_folder, connection) = made();
        let first = unlisted(&connection, 2).unwrap().unwrap();
        list_as_due(&connection, &first, NOW_MS).unwrap();
        assert_eq!(hold_pending(&connection, WEBHOOK).unwrap(), 3);
        assert!(due_ids(&connection, WEBHOOK, None).is_empty());
        assert_eq!(
            unlisted(&connection, 9).unwrap().unwrap().waiting,
            [(id(4), OTHER)]
        );
        assert_eq!(release_held(&connection, WEBHOOK, 7).unwrap(), 3);
        assert_eq!(due_ids(&connection, WEBHOOK, None), [1, 3, 5]);
        assert_eq!(cancel_owed(&connection, WEBHOOK).unwrap(), 3);
        assert!(due_ids(&connection, WEBHOOK, None).is_empty());
    }
}
