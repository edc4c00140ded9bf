//! Messages and deliveries: what is owed to whom, when, and where it stands.

use super::word;
use crate::delivery::{DeliveryState, Standing};
use crate::error::Result;
use crate::id::{DeliveryId, EventId, MessageId, WebhookId, WorkspaceId};
use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

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
pub fn insert_message(connection: &Connection, message: &NewMessage<'_>) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO message (id, workspace_id, event_id, type, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![message.id, message.workspace, message.event, message.event_type, message.body])?;
    Ok(())
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
    /// Unix milliseconds when the first attempt is due; `None` holds it.
    pub due_at_ms: Option<i64>,
}

/// Keeps a delivery: pending when it has a time, held when it has none.
///
/// # Errors
/// When the file refuses.
pub fn insert_delivery(connection: &Connection, delivery: &NewDelivery) -> Result<()> {
    let state = if delivery.due_at_ms.is_some() {
        DeliveryState::Pending
    } else {
        DeliveryState::Held
    };
    connection
        .prepare_cached(
            "INSERT INTO delivery (id, workspace_id, webhook_id, message_id, event_id, state, attempts, automatic_attempts, next_attempt_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7)",
        )?
        .execute(params![
            delivery.id,
            delivery.workspace,
            delivery.webhook,
            delivery.message,
            delivery.event,
            state.as_str(),
            delivery.due_at_ms
        ])?;
    Ok(())
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
}

fn owed_row(row: &Row<'_>) -> rusqlite::Result<OwedDelivery> {
    Ok(OwedDelivery {
        id: row.get("id")?,
        webhook: row.get("webhook_id")?,
        message: row.get("message_id")?,
        body: Bytes::from(row.get::<_, Vec<u8>>("body")?),
    })
}

/// What a webhook is owed by now, longest due first, at most `limit`.
///
/// # Errors
/// When the file cannot be read.
pub fn due(
    connection: &Connection,
    webhook: WebhookId,
    now_ms: i64,
    limit: usize,
) -> Result<Vec<OwedDelivery>> {
    let mut statement = connection.prepare_cached(
        "SELECT d.id, d.webhook_id, d.message_id, m.body FROM delivery d JOIN message m ON m.id = d.message_id
         WHERE d.webhook_id = ?1 AND d.state = 'pending' AND d.next_attempt_at_ms <= ?2
         ORDER BY d.next_attempt_at_ms, d.id LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(statement
        .query_map(params![webhook, now_ms, limit], owed_row)?
        .collect::<rusqlite::Result<_>>()?)
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
             WHERE webhook_id = ?1 AND state = 'pending' AND next_attempt_at_ms > ?2
             ORDER BY next_attempt_at_ms LIMIT 1",
        )?
        .query_row(params![webhook, after_ms], |row| row.get(0))
        .optional()?)
}

/// One delivery, in whatever state, for an attempt that a person asked for.
///
/// # Errors
/// When the file cannot be read.
pub fn owed(connection: &Connection, id: DeliveryId) -> Result<Option<OwedDelivery>> {
    Ok(connection
        .prepare_cached(
            "SELECT d.id, d.webhook_id, d.message_id, m.body FROM delivery d JOIN message m ON m.id = d.message_id
             WHERE d.id = ?1",
        )?
        .query_row([id], owed_row)
        .optional()?)
}

/// Looks up where deliveries stand, with a statement that is prepared once for many.
pub struct Standings<'c>(CachedStatement<'c>);

impl<'c> Standings<'c> {
    /// Looks with `connection`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self(connection.prepare_cached(
            "SELECT state, attempts, automatic_attempts, next_attempt_at_ms FROM delivery WHERE id = ?1",
        )?))
    }

    /// Where a delivery stands; `None` when it is gone.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&mut self, id: DeliveryId) -> Result<Option<Standing>> {
        let standing = self.0.query_row([id], |row| {
            Ok(Standing {
                state: word(row, 0, DeliveryState::parse)?,
                attempts: row.get(1)?,
                automatic_attempts: row.get(2)?,
                next_attempt_at_ms: row.get(3)?,
            })
        });
        Ok(standing.optional()?)
    }
}

/// Holds everything that a webhook is still owed; says how much.
///
/// # Errors
/// When the file refuses.
pub fn hold_pending(connection: &Connection, webhook: WebhookId) -> Result<usize> {
    Ok(connection.execute(
        "UPDATE delivery SET state = 'held', next_attempt_at_ms = NULL WHERE webhook_id = ?1 AND state = 'pending'",
        [webhook],
    )?)
}

/// Makes what is held for a webhook due at `now_ms`; says how much.
///
/// # Errors
/// When the file refuses.
pub fn release_held(connection: &Connection, webhook: WebhookId, now_ms: i64) -> Result<usize> {
    Ok(connection.execute(
        "UPDATE delivery SET state = 'pending', next_attempt_at_ms = ?2 WHERE webhook_id = ?1 AND state = 'held'",
        params![webhook, now_ms],
    )?)
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
