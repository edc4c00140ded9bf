//! What an event left: its messages and deliveries wherever they stand, those that were made with it and
//! those of later, when somebody sent it again; and taking its payload out of all of them.

use super::word;
use crate::delivery::{DeliveryState, Origin};
use crate::error::Result;
use crate::id::{AttemptId, DeliveryId, EventId, MessageId, UserId, WebhookId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// The deliveries of a message without an event are looked for among so many behind it.
const LOOK_BEHIND: i64 = 1_000;

/// A delivery, as far as it matters for sending its event again or taking its payload out.
#[derive(Debug, Clone, Copy)]
pub struct PastDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Owed to.
    pub webhook: WebhookId,
    /// What is owed.
    pub message: MessageId,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why it was made, where not with its event.
    pub origin: Option<Origin>,
    last_attempt: Option<AttemptId>,
}

const DELIVERY: &str =
    "SELECT id, webhook_id, message_id, state, origin, last_attempt_id FROM delivery";

fn delivery(row: &Row<'_>) -> rusqlite::Result<PastDelivery> {
    let origin: Option<String> = row.get(4)?;
    Ok(PastDelivery {
        id: row.get(0)?,
        webhook: row.get(1)?,
        message: row.get(2)?,
        state: word(row, 3, DeliveryState::parse)?,
        origin: origin.as_deref().and_then(Origin::parse),
        last_attempt: row.get(5)?,
    })
}

/// An event's deliveries, oldest first, and all of them: whose payload is to be taken out must not keep it in
/// the last ones. Those that a command made may come in between ([`crate::id::NODE_MASK`]).
///
/// # Errors
/// When the file cannot be read.
pub fn deliveries_of_event(
    connection: &Connection,
    workspace: WorkspaceId,
    event: EventId,
) -> Result<Vec<PastDelivery>> {
    let mut with_it = connection.prepare_cached(&format!(
        "{DELIVERY} WHERE id > ?2 AND event_id = ?2 AND workspace_id = ?1 AND origin IS NULL
            AND id < coalesce((SELECT id FROM delivery WHERE id > ?2 AND event_id IS NOT ?2 AND id & 4190208 = 0 ORDER BY id LIMIT 1), 9223372036854775807)
         ORDER BY id"
    ))?;
    let mut later = connection.prepare_cached(&format!(
        "{DELIVERY} WHERE event_id = ?2 AND origin IS NOT NULL AND workspace_id = ?1 ORDER BY id"
    ))?;
    let mut found = Vec::new();
    for statement in [&mut with_it, &mut later] {
        let rows = statement.query_map(params![workspace, event], delivery)?;
        found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    Ok(found)
}

/// The deliveries of a message that carries no event: they are made right behind it.
///
/// # Errors
/// When the file cannot be read.
pub fn deliveries_of_message(
    connection: &Connection,
    workspace: WorkspaceId,
    message: MessageId,
) -> Result<Vec<PastDelivery>> {
    let mut statement = connection.prepare_cached(&format!(
        "{DELIVERY} WHERE id IN (SELECT id FROM delivery WHERE id > ?2 ORDER BY id LIMIT ?3)
            AND message_id = ?2 AND workspace_id = ?1 LIMIT ?3"
    ))?;
    Ok(statement
        .query_map(params![workspace, message, LOOK_BEHIND], delivery)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The messages that were made with an event.
fn messages_made_with(connection: &Connection, event: EventId) -> Result<Vec<MessageId>> {
    Ok(connection
        .prepare_cached(
            "SELECT id FROM message WHERE id > ?1 AND event_id = ?1
                AND id < coalesce((SELECT id FROM message WHERE id > ?1 AND event_id IS NOT ?1 AND id & 4190208 = 0 ORDER BY id LIMIT 1), 9223372036854775807)
             ORDER BY id",
        )?
        .query_map([event], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// An event's messages: those that were made with it, and those of its deliveries.
///
/// # Errors
/// When the file cannot be read.
pub fn messages_of_event(
    connection: &Connection,
    event: EventId,
    deliveries: &[PastDelivery],
) -> Result<Vec<MessageId>> {
    let mut messages = messages_made_with(connection, event)?;
    messages.extend(deliveries.iter().map(|delivery| delivery.message));
    messages.sort_unstable();
    messages.dedup();
    Ok(messages)
}

/// Whether a message has exactly this body.
///
/// # Errors
/// When the file cannot be read.
pub fn has_body(connection: &Connection, message: MessageId, body: &[u8]) -> Result<bool> {
    Ok(connection
        .prepare_cached("SELECT body = ?2 FROM message WHERE id = ?1")?
        .query_row(params![message, body], |row| row.get(0))
        .optional()?
        .unwrap_or(false))
}

/// The newest event of a type, among the newest `look_at` of a workspace.
///
/// # Errors
/// When the file cannot be read.
pub fn newest_of_type(
    connection: &Connection,
    workspace: WorkspaceId,
    event_type: &str,
    look_at: usize,
) -> Result<Option<EventId>> {
    let rows = i64::try_from(look_at).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT id, name = ?2 AND expunged_at_ms IS NULL FROM event WHERE workspace_id = ?1 ORDER BY id DESC LIMIT ?3",
    )?;
    let mut rows = statement.query(params![workspace, event_type, rows])?;
    while let Some(row) = rows.next()? {
        if row.get(1)? {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

// EXPUNGING ---------------------------------------------------------------------------------

/// When a payload was expunged, and by whom.
#[derive(Debug, Clone)]
pub struct Expunged {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// What the person is called.
    pub by: Option<String>,
}

fn expunged(row: &Row<'_>) -> rusqlite::Result<Option<Expunged>> {
    let at_ms: Option<i64> = row.get(0)?;
    let by = row.get(1)?;
    Ok(at_ms.map(|at_ms| Expunged { at_ms, by }))
}

/// Whether an event's payload was expunged.
///
/// # Errors
/// When the file cannot be read.
pub fn event_expunged(connection: &Connection, event: EventId) -> Result<Option<Expunged>> {
    Ok(connection
        .prepare_cached(
            "SELECT e.expunged_at_ms, u.name FROM event e LEFT JOIN user u ON u.id = e.expunged_by WHERE e.id = ?1",
        )?
        .query_row([event], expunged)
        .optional()?
        .flatten())
}

/// Whether a message's body was expunged.
///
/// # Errors
/// When the file cannot be read.
pub fn message_expunged(connection: &Connection, message: MessageId) -> Result<Option<Expunged>> {
    Ok(connection
        .prepare_cached(
            "SELECT m.expunged_at_ms, u.name FROM message m LEFT JOIN user u ON u.id = m.expunged_by WHERE m.id = ?1",
        )?
        .query_row([message], expunged)
        .optional()?
        .flatten())
}

/// Whether the body of a delivery's message was expunged.
///
/// # Errors
/// When the file cannot be read.
pub fn is_expunged(connection: &Connection, delivery: DeliveryId) -> Result<bool> {
    Ok(connection
        .prepare_cached(
            "SELECT m.expunged_at_ms IS NOT NULL FROM delivery d JOIN message m ON m.id = d.message_id WHERE d.id = ?1",
        )?
        .query_row([delivery], |row| row.get(0))
        .optional()?
        .unwrap_or(false))
}

/// Has what is overwritten from now on overwritten in the file, too, not only forgotten.
///
/// # Errors
/// When the file refuses.
pub fn overwrite(connection: &Connection, is_on: bool) -> Result<()> {
    Ok(connection.pragma_update(None, "secure_delete", is_on)?)
}

/// Takes an event's payload out of its row.
///
/// # Errors
/// When the file refuses.
pub fn expunge_event(
    connection: &Connection,
    event: EventId,
    (by, at_ms): (Option<UserId>, i64),
) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE event SET properties = NULL, traits = NULL, context = NULL, expunged_at_ms = ?2, expunged_by = ?3 WHERE id = ?1",
        )?
        .execute(params![event, at_ms, by])?;
    Ok(())
}

/// Takes the body out of a message's row.
///
/// # Errors
/// When the file refuses.
pub fn expunge_message(
    connection: &Connection,
    message: MessageId,
    (by, at_ms): (Option<UserId>, i64),
) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE message SET body = x'', expunged_at_ms = ?2, expunged_by = ?3 WHERE id = ?1",
        )?
        .execute(params![message, at_ms, by])?;
    Ok(())
}

/// Takes what was answered out of all attempts of a delivery; each is found through the one after it.
///
/// # Errors
/// When the file refuses.
pub fn expunge_answers(connection: &Connection, delivery: &PastDelivery) -> Result<()> {
    let mut erase = connection.prepare_cached(
        "UPDATE attempt SET response_headers = NULL, response_body = NULL, error_detail = NULL WHERE id = ?1 RETURNING previous_attempt_id",
    )?;
    let mut next = delivery.last_attempt;
    while let Some(attempt) = next {
        next = erase
            .query_row([attempt], |row| row.get(0))
            .optional()?
            .flatten();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NODE_MASK;
    use crate::store::Files;
    use crate::store::deliveries::{NewDelivery, NewMessage, insert_delivery, insert_message};

    const WORKSPACE: WorkspaceId = WorkspaceId::from_i64(1);

    /// A message and a delivery of it right behind.
    fn owe(connection: &Connection, id: i64, event: Option<i64>) {
        let event = event.map(EventId::from_i64);
        let message = NewMessage {
            id: MessageId::from_i64(id),
            workspace: WORKSPACE,
            event,
            event_type: "Seen",
            body: b"{}",
        };
        insert_message(connection, &message).unwrap();
        let delivery = NewDelivery {
            id: DeliveryId::from_i64(id + 1),
            workspace: WORKSPACE,
            webhook: WebhookId::from_i64(1),
            message: message.id,
            event,
            state: DeliveryState::Pending,
            is_ordered: false,
            origin: None,
        };
        insert_delivery(connection, &delivery).unwrap();
    }

    #[test]
    fn what_a_command_made_meanwhile_parts_no_event_from_what_it_left() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Files::prepare(folder.path())
            .unwrap()
            .open_writer()
            .unwrap();
        // An event in two formats, with what a command has to say in between; and the next event.
        let (event, of_command, a_millisecond_later) = (100, 1 << 12, 1 << 22);
        assert_ne!(of_command & NODE_MASK, 0);
        assert_eq!(a_millisecond_later & NODE_MASK, 0);
        owe(&connection, event + 1, Some(event));
        owe(&connection, of_command, None);
        owe(&connection, a_millisecond_later, Some(event));
        owe(&connection, a_millisecond_later + 10, Some(event + 1));
        let event = EventId::from_i64(event);
        let found = deliveries_of_event(&connection, WORKSPACE, event).unwrap();
        let ids: Vec<_> = found.iter().map(|found| found.id.as_i64()).collect();
        assert_eq!(ids, [102, a_millisecond_later + 1]);
        assert_eq!(messages_of_event(&connection, event, &[]).unwrap().len(), 2);
    }
}
