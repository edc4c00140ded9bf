//! Messages, deliveries and attempts: what is owed, what was tried, and their history.

use super::word;
use crate::delivery::{DeliveryState, ErrorClass, Standing, Trigger};
use crate::error::{Error, Result};
use crate::id::{AttemptId, DeliveryId, EventId, MessageId, WebhookId, WorkspaceId};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// Counts for people stop here: "more than 1,000" says as much as the number, and costs no scan.
pub const COUNT_LIMIT: i64 = 1_000;
/// A webhook's health is read from this many of its newest deliveries.
const RECENT_DELIVERIES: i64 = 100;

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

/// Everything that is kept of an attempt (webhooks.md, "What is kept of every attempt").
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// Its id.
    pub id: AttemptId,
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Why it was made.
    pub trigger: Trigger,
    /// When it began, Unix milliseconds.
    pub started_at_ms: i64,
    /// How long all of it took, microseconds.
    pub duration_us: i64,
    /// Where it went.
    pub url: String,
    /// The address and port that were dialled.
    pub address: Option<String>,
    /// As sent, secrets redacted.
    pub request_headers: Vec<(String, String)>,
    /// The answer, if one came.
    pub response: Option<Response>,
    /// Why it failed; `None` when it succeeded.
    pub error: Option<(ErrorClass, String)>,
}

/// What the receiver answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// As they came.
    pub headers: Vec<(String, String)>,
    /// The body's first 64 KiB.
    pub body: Vec<u8>,
    /// Whether more came than is kept.
    pub truncated: bool,
    /// The whole length in bytes, where it is known.
    pub length: Option<i64>,
}

/// Where a delivery stands; `None` when it is gone.
///
/// # Errors
/// When the file cannot be read.
pub fn standing(connection: &Connection, id: DeliveryId) -> Result<Option<Standing>> {
    Ok(connection
        .prepare_cached("SELECT state, attempts, automatic_attempts, next_attempt_at_ms FROM delivery WHERE id = ?1")?
        .query_row([id], |row| {
            Ok(Standing {
                state: word(row, "state", DeliveryState::parse)?,
                attempts: row.get("attempts")?,
                automatic_attempts: row.get("automatic_attempts")?,
                next_attempt_at_ms: row.get("next_attempt_at_ms")?,
            })
        })
        .optional()?)
}

/// Keeps an attempt and puts its delivery where `after` says.
///
/// # Errors
/// When the file refuses.
pub fn record_attempt(
    connection: &Connection,
    attempt: &NewAttempt,
    after: &Standing,
) -> Result<()> {
    let response = attempt.response.as_ref();
    let error_class = attempt.error.as_ref().map(|(class, _)| class.as_str());
    connection
        .prepare_cached(
            "INSERT INTO attempt (id, delivery_id, number, trigger, started_at_ms, duration_us, url, address, request_headers,
                status, response_headers, response_body, response_body_truncated, response_length,
                error_class, error_detail, next_attempt_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            attempt.id,
            attempt.delivery,
            after.attempts,
            attempt.trigger.as_str(),
            attempt.started_at_ms,
            attempt.duration_us,
            attempt.url,
            attempt.address,
            headers_text(&attempt.request_headers),
            response.map(|r| r.status),
            response.map(|r| headers_text(&r.headers)),
            response.map(|r| &r.body),
            response.is_some_and(|r| r.truncated),
            response.and_then(|r| r.length),
            error_class,
            attempt.error.as_ref().map(|(_, detail)| detail),
            after.next_attempt_at_ms,
        ])?;
    connection
        .prepare_cached(
            "UPDATE delivery SET state = ?2, attempts = ?3, automatic_attempts = ?4, next_attempt_at_ms = ?5,
                last_attempt_at_ms = ?6, last_status = ?7, last_error = ?8
             WHERE id = ?1",
        )?
        .execute(params![
            attempt.delivery,
            after.state.as_str(),
            after.attempts,
            after.automatic_attempts,
            after.next_attempt_at_ms,
            attempt.started_at_ms,
            response.map(|r| r.status),
            error_class,
        ])?;
    Ok(())
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

/// How much is waiting for a webhook, each counted up to [`COUNT_LIMIT`] + 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// Pending deliveries.
    pub pending: i64,
    /// Held deliveries.
    pub held: i64,
    /// When the next attempt is due, Unix milliseconds.
    pub next_attempt_at_ms: Option<i64>,
}

/// How much is waiting for a webhook.
///
/// # Errors
/// When the file cannot be read.
pub fn waiting(connection: &Connection, webhook: WebhookId) -> Result<Waiting> {
    let count = |state: &str| -> Result<i64> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE webhook_id = ?1 AND state = '{state}' LIMIT {})",
            COUNT_LIMIT + 1
        );
        Ok(connection
            .prepare_cached(&sql)?
            .query_row([webhook], |row| row.get(0))?)
    };
    Ok(Waiting {
        pending: count("pending")?,
        held: count("held")?,
        next_attempt_at_ms: next_due_ms(connection, webhook, 0)?,
    })
}

/// The outcomes of a webhook's newest [`RECENT_DELIVERIES`] deliveries.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecentOutcomes {
    /// Succeeded.
    pub succeeded: i64,
    /// Failed for good.
    pub failed: i64,
    /// Failed and to be tried again.
    pub retrying: i64,
    /// When the newest attempt began, Unix milliseconds.
    pub last_attempt_at_ms: Option<i64>,
}

/// The outcomes of a webhook's newest deliveries.
///
/// # Errors
/// When the file cannot be read.
pub fn recent_outcomes(connection: &Connection, webhook: WebhookId) -> Result<RecentOutcomes> {
    Ok(connection
        .prepare_cached(
            "SELECT coalesce(sum(state = 'succeeded'), 0) AS succeeded, coalesce(sum(state = 'failed'), 0) AS failed,
                coalesce(sum(state = 'pending' AND attempts > 0), 0) AS retrying, max(last_attempt_at_ms) AS last
             FROM (SELECT state, attempts, last_attempt_at_ms FROM delivery WHERE webhook_id = ?1 ORDER BY id DESC LIMIT ?2)",
        )?
        .query_row(params![webhook, RECENT_DELIVERIES], |row| {
            Ok(RecentOutcomes {
                succeeded: row.get("succeeded")?,
                failed: row.get("failed")?,
                retrying: row.get("retrying")?,
                last_attempt_at_ms: row.get("last")?,
            })
        })?)
}

/// A delivery as lists and its page show it.
#[derive(Debug, Clone)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// Where it stands.
    pub state: DeliveryState,
    /// The event type of its message.
    pub event_type: String,
    /// The message.
    pub message: MessageId,
    /// The event.
    pub event: Option<EventId>,
    /// The webhook.
    pub webhook: WebhookId,
    /// What people call the webhook.
    pub webhook_name: String,
    /// Whether the webhook is gone.
    pub webhook_deleted: bool,
    /// Attempts made.
    pub attempts: i64,
    /// Attempts of the schedule.
    pub automatic_attempts: i64,
    /// When the next one is due, Unix milliseconds.
    pub next_attempt_at_ms: Option<i64>,
    /// When the last one began, Unix milliseconds.
    pub last_attempt_at_ms: Option<i64>,
    /// The last answer's status.
    pub last_status: Option<u16>,
    /// The last attempt's error class.
    pub last_error: Option<ErrorClass>,
}

const DELIVERY_COLUMNS: &str = "SELECT d.id, d.state, m.type, d.message_id, d.event_id, d.webhook_id, w.name AS webhook_name,
        w.deleted_at_ms IS NOT NULL AS webhook_deleted, d.attempts, d.automatic_attempts, d.next_attempt_at_ms,
        d.last_attempt_at_ms, d.last_status, d.last_error
     FROM delivery d JOIN message m ON m.id = d.message_id JOIN webhook w ON w.id = d.webhook_id";

fn delivery_row(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get("id")?,
        state: word(row, "state", DeliveryState::parse)?,
        event_type: row.get("type")?,
        message: row.get("message_id")?,
        event: row.get("event_id")?,
        webhook: row.get("webhook_id")?,
        webhook_name: row.get("webhook_name")?,
        webhook_deleted: row.get("webhook_deleted")?,
        attempts: row.get("attempts")?,
        automatic_attempts: row.get("automatic_attempts")?,
        next_attempt_at_ms: row.get("next_attempt_at_ms")?,
        last_attempt_at_ms: row.get("last_attempt_at_ms")?,
        last_status: row.get("last_status")?,
        last_error: row
            .get::<_, Option<String>>("last_error")?
            .as_deref()
            .and_then(ErrorClass::parse),
    })
}

/// Which deliveries a list shows: each form has an index behind it.
#[derive(Debug, Clone, Copy)]
pub enum DeliveryFilter {
    /// All of a workspace.
    All,
    /// The failed ones of a workspace.
    Failed,
    /// One webhook's history.
    Webhook(WebhookId),
}

/// A page of deliveries, newest first, before `before`.
///
/// # Errors
/// When the file cannot be read.
pub fn page(
    connection: &Connection,
    workspace: WorkspaceId,
    filter: DeliveryFilter,
    before: Option<DeliveryId>,
    limit: usize,
) -> Result<Vec<DeliveryRow>> {
    let (condition, webhook) = match filter {
        DeliveryFilter::All => ("d.workspace_id = ?1 AND ?2 IS NULL", None),
        DeliveryFilter::Failed => (
            "d.workspace_id = ?1 AND d.state = 'failed' AND ?2 IS NULL",
            None,
        ),
        DeliveryFilter::Webhook(id) => ("w.workspace_id = ?1 AND d.webhook_id = ?2", Some(id)),
    };
    let sql =
        format!("{DELIVERY_COLUMNS} WHERE {condition} AND d.id < ?3 ORDER BY d.id DESC LIMIT ?4");
    let before = before.unwrap_or(DeliveryId::from_i64(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement
        .query_map(params![workspace, webhook, before, limit], delivery_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The deliveries of one event, oldest first, at most `limit`.
///
/// # Errors
/// When the file cannot be read.
pub fn of_event(
    connection: &Connection,
    workspace: WorkspaceId,
    event: EventId,
    limit: usize,
) -> Result<Vec<DeliveryRow>> {
    let sql = format!(
        "{DELIVERY_COLUMNS} WHERE d.event_id = ?2 AND d.workspace_id = ?1 ORDER BY d.id LIMIT ?3"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement
        .query_map(params![workspace, event, limit], delivery_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// How an event's deliveries stand, looking at [`RECENT_DELIVERIES`] of them at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventOutcomes {
    /// All of them.
    pub deliveries: i64,
    /// Succeeded.
    pub succeeded: i64,
    /// Failed for good.
    pub failed: i64,
}

/// How an event's deliveries stand.
///
/// # Errors
/// When the file cannot be read.
pub fn outcomes_of_event(
    connection: &Connection,
    workspace: WorkspaceId,
    event: EventId,
) -> Result<EventOutcomes> {
    Ok(connection
        .prepare_cached(
            "SELECT count(*) AS deliveries, coalesce(sum(state = 'succeeded'), 0) AS succeeded,
                coalesce(sum(state = 'failed'), 0) AS failed
             FROM (SELECT state FROM delivery WHERE event_id = ?2 AND workspace_id = ?1 LIMIT ?3)",
        )?
        .query_row(params![workspace, event, RECENT_DELIVERIES], |row| {
            Ok(EventOutcomes {
                deliveries: row.get("deliveries")?,
                succeeded: row.get("succeeded")?,
                failed: row.get("failed")?,
            })
        })?)
}

/// One delivery of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: DeliveryId) -> Result<DeliveryRow> {
    let sql = format!("{DELIVERY_COLUMNS} WHERE d.id = ?2 AND d.workspace_id = ?1");
    connection
        .prepare_cached(&sql)?
        .query_row(params![workspace, id], delivery_row)
        .optional()?
        .ok_or_else(|| Error::not_found("delivery"))
}

/// The exact bytes of a message.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn message_body(
    connection: &Connection,
    workspace: WorkspaceId,
    id: MessageId,
) -> Result<Vec<u8>> {
    connection
        .prepare_cached("SELECT body FROM message WHERE workspace_id = ?1 AND id = ?2")?
        .query_row(params![workspace, id], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::not_found("message"))
}

/// An attempt as the delivery page shows it.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    /// Its id.
    pub id: AttemptId,
    /// Counted over all triggers, from 1.
    pub number: i64,
    /// `automatic` or `manual`.
    pub trigger: String,
    /// When it began, Unix milliseconds.
    pub started_at_ms: i64,
    /// How long all of it took, microseconds.
    pub duration_us: i64,
    /// Where it went.
    pub url: String,
    /// The address and port that were dialled.
    pub address: Option<String>,
    /// As sent, secrets redacted.
    pub request_headers: Vec<(String, String)>,
    /// The answer, if one came.
    pub response: Option<Response>,
    /// Why it failed.
    pub error: Option<(ErrorClass, String)>,
    /// What it made the next attempt's time, Unix milliseconds.
    pub next_attempt_at_ms: Option<i64>,
}

fn attempt_row(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let status: Option<u16> = row.get("status")?;
    let response = status
        .map(|status| -> rusqlite::Result<Response> {
            Ok(Response {
                status,
                headers: parse_headers(
                    row.get::<_, Option<String>>("response_headers")?.as_deref(),
                ),
                body: row
                    .get::<_, Option<Vec<u8>>>("response_body")?
                    .unwrap_or_default(),
                truncated: row.get("response_body_truncated")?,
                length: row.get("response_length")?,
            })
        })
        .transpose()?;
    let class = row
        .get::<_, Option<String>>("error_class")?
        .as_deref()
        .and_then(ErrorClass::parse);
    let detail = row
        .get::<_, Option<String>>("error_detail")?
        .unwrap_or_default();
    Ok(AttemptRow {
        id: row.get("id")?,
        number: row.get("number")?,
        trigger: row.get("trigger")?,
        started_at_ms: row.get("started_at_ms")?,
        duration_us: row.get("duration_us")?,
        url: row.get("url")?,
        address: row.get("address")?,
        request_headers: parse_headers(Some(&row.get::<_, String>("request_headers")?)),
        response,
        error: class.map(|class| (class, detail)),
        next_attempt_at_ms: row.get("next_attempt_at_ms")?,
    })
}

/// The newest `limit` attempts of a delivery, newest first.
///
/// # Errors
/// When the file cannot be read.
pub fn attempts(
    connection: &Connection,
    delivery: DeliveryId,
    limit: usize,
) -> Result<Vec<AttemptRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT id, number, trigger, started_at_ms, duration_us, url, address, request_headers, status, response_headers,
            response_body, response_body_truncated, response_length, error_class, error_detail, next_attempt_at_ms
         FROM attempt WHERE delivery_id = ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    Ok(statement
        .query_map(params![delivery, limit], attempt_row)?
        .collect::<rusqlite::Result<_>>()?)
}

fn headers_text(headers: &[(String, String)]) -> String {
    serde_json::to_string(headers).unwrap_or_else(|_| "[]".to_owned())
}

fn parse_headers(text: Option<&str>) -> Vec<(String, String)> {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
