//! What webhooks are owed, written and read beside the box: settings as another process writes them, large
//! backlogs that would take long to post, and how a webhook stands.

use super::data::{Data, MadeWebhook};
use pillarbox::id::{EventId, WebhookId};
use pillarbox::store::deliveries;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// The number behind a webhook's public id.
pub(crate) fn webhook_number(webhook: &MadeWebhook) -> i64 {
    webhook.id.parse::<WebhookId>().unwrap().as_i64()
}

/// A connection that writes, as a command's beside the box.
pub(crate) fn writing(data: &Data) -> Connection {
    let connection = Connection::open(data.file()).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection
}

/// Sets columns of a webhook (`rate = 5, concurrency = 2`), as another process would: a box that runs sees
/// it within a second.
#[track_caller]
pub(crate) fn set_webhook(data: &Data, webhook: &MadeWebhook, columns: &str) {
    let changed = writing(data)
        .execute(
            &format!("UPDATE webhook SET {columns}, updated_at_ms = ?2 WHERE id = ?1"),
            params![webhook_number(webhook), now_ms()],
        )
        .unwrap();
    assert_eq!(changed, 1, "no webhook {}", webhook.id);
}

/// Has a webhook keep the order of the events from now on, or no longer.
pub(crate) fn set_ordered(data: &Data, webhook: &MadeWebhook, is_ordered: bool) {
    let mut connection = writing(data);
    let transaction = connection.transaction().unwrap();
    let id = WebhookId::from_i64(webhook_number(webhook));
    let columns = (is_ordered, now_ms(), id);
    transaction
        .execute(
            "UPDATE webhook SET is_ordered = ?1, updated_at_ms = ?2 WHERE id = ?3",
            columns,
        )
        .unwrap();
    deliveries::set_ordered(&transaction, id, is_ordered).unwrap();
    transaction.commit().unwrap();
}

/// Writes `count` deliveries that have been due for an hour, each of a message of its own; for a box that
/// does not run.
pub(crate) fn owe(data: &Data, webhook: &MadeWebhook, count: i64) {
    let connection = writing(data);
    let hour_ago_ms = now_ms() - 3_600_000;
    let first = EventId::first_at(hour_ago_ms).as_i64();
    let webhook = webhook_number(webhook);
    let workspace: i64 = connection
        .query_row(
            "SELECT workspace_id FROM webhook WHERE id = ?1",
            [webhook],
            |row| row.get(0),
        )
        .unwrap();
    let numbers = "WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?2)";
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
        .execute(
            &format!(
                "{numbers} INSERT INTO message (id, workspace_id, event_id, type, body)
                 SELECT ?1 + n, ?3, NULL, 'Owed', CAST('{{\"type\":\"Owed\",\"data\":{{\"n\":' || n || '}}}}' AS BLOB) FROM number"
            ),
            params![first, count, workspace],
        )
        .unwrap();
    connection
        .execute(
            &format!(
                "{numbers} INSERT INTO delivery (id, workspace_id, webhook_id, message_id, state, attempts,
                    automatic_attempts, next_attempt_at_ms)
                 SELECT ?1 + n, ?3, ?4, ?1 + n, 'pending', 0, 0, ?5 FROM number"
            ),
            params![first, count, workspace, webhook, hour_ago_ms],
        )
        .unwrap();
    connection
        .execute(
            "UPDATE dispatcher SET cursor_delivery_id = max(cursor_delivery_id, ?1)",
            [first + count],
        )
        .unwrap();
    connection.execute_batch("COMMIT").unwrap();
}

/// A webhook's state, and why.
pub(crate) fn state(data: &Data, webhook: &MadeWebhook) -> (String, Option<String>) {
    data.open()
        .query_row(
            "SELECT state, state_reason FROM webhook WHERE id = ?1",
            [webhook_number(webhook)],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap()
}

/// How often a webhook's attempts have failed in a row.
pub(crate) fn failures(data: &Data, webhook: &MadeWebhook) -> i64 {
    data.open()
        .query_row(
            "SELECT failures FROM webhook_health WHERE webhook_id = ?1",
            [webhook_number(webhook)],
            |row| row.get(0),
        )
        .optional()
        .unwrap()
        .unwrap_or(0)
}

/// How many deliveries of a webhook are in a state.
pub(crate) fn count(data: &Data, webhook: &MadeWebhook, state: &str) -> i64 {
    data.open()
        .query_row(
            "SELECT count(*) FROM delivery WHERE webhook_id = ?1 AND state = ?2",
            params![webhook_number(webhook), state],
            |row| row.get(0),
        )
        .unwrap()
}

/// How many messages of a type a webhook was owed.
pub(crate) fn told(data: &Data, webhook: &MadeWebhook, event_type: &str) -> i64 {
    data.open()
        .query_row(
            "SELECT count(*) FROM delivery d JOIN message m ON m.id = d.message_id WHERE d.webhook_id = ?1 AND m.type = ?2",
            params![webhook_number(webhook), event_type],
            |row| row.get(0),
        )
        .unwrap()
}
