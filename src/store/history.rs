//! The history of deliveries as pages read it: lists, one delivery, what waits, how it went lately.
//! Every list is bounded, and every condition has an index behind it.

use super::deliveries::next_due_ms;
use super::word;
use crate::delivery::{DeliveryState, ErrorClass, Origin};
use crate::error::{Error, Result};
use crate::id::{DeliveryId, EventId, MessageId, WebhookId, WorkspaceId};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

/// Counts for people stop here: "more than 1,000" says as much as the number, and costs no scan.
pub const COUNT_LIMIT: i64 = 1_000;

/// A webhook's health is read from this many of its newest deliveries.
const RECENT_DELIVERIES: i64 = 100;

/// How much is waiting for a webhook, each counted a little further than [`COUNT_LIMIT`].
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
    let mut listed = connection.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE webhook_id = ?1 AND next_attempt_at_ms IS NOT NULL LIMIT ?2)",
    )?;
    let mut unlisted = connection.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE webhook_id = ?1 AND state = 'pending' AND next_attempt_at_ms IS NULL
            AND id > (SELECT cursor_delivery_id FROM dispatcher WHERE id = 1) LIMIT ?2)",
    )?;
    // The state is part of the text, because that is how SQLite chooses a partial index.
    let mut held = connection.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE webhook_id = ?1 AND state = 'held' LIMIT ?2)",
    )?;
    let count = |statement: &mut CachedStatement<'_>| -> Result<i64> {
        Ok(statement.query_row(params![webhook, COUNT_LIMIT + 1], |row| row.get(0))?)
    };
    Ok(Waiting {
        pending: count(&mut listed)? + count(&mut unlisted)?,
        held: count(&mut held)?,
        next_attempt_at_ms: next_due_ms(connection, webhook, 0)?,
    })
}

/// The outcomes of a webhook's newest hundred deliveries.
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

/// The outcomes of a webhook's newest deliveries. Tests say nothing of how it goes.
///
/// # Errors
/// When the file cannot be read.
pub fn recent_outcomes(connection: &Connection, webhook: WebhookId) -> Result<RecentOutcomes> {
    Ok(connection
        .prepare_cached(
            "SELECT coalesce(sum(state = 'succeeded'), 0) AS succeeded, coalesce(sum(state = 'failed'), 0) AS failed,
                coalesce(sum(state = 'pending' AND attempts > 0), 0) AS retrying, max(last_attempt_at_ms) AS last
             FROM (SELECT state, attempts, last_attempt_at_ms FROM delivery WHERE webhook_id = ?1 AND origin IS NOT 'test' ORDER BY id DESC LIMIT ?2)",
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
    /// Why it was made, where not with its event.
    pub origin: Option<Origin>,
    /// How long the last attempt took, microseconds.
    pub last_duration_us: Option<i64>,
}

const DELIVERY_COLUMNS: &str = "SELECT d.id, d.state, m.type, d.message_id, d.event_id, d.webhook_id, w.name AS webhook_name,
        w.deleted_at_ms IS NOT NULL AS webhook_deleted, d.attempts, d.automatic_attempts, d.next_attempt_at_ms,
        d.last_attempt_at_ms, d.last_status, d.last_error, d.origin,
        a.duration_us
     FROM delivery d JOIN message m ON m.id = d.message_id JOIN webhook w ON w.id = d.webhook_id
        LEFT JOIN attempt a ON a.id = d.last_attempt_id";

fn delivery_row(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let id: DeliveryId = row.get("id")?;
    let state = word(row, "state", DeliveryState::parse)?;
    Ok(DeliveryRow {
        id,
        state,
        event_type: row.get("type")?,
        message: row.get("message_id")?,
        event: row.get("event_id")?,
        webhook: row.get("webhook_id")?,
        webhook_name: row.get("webhook_name")?,
        webhook_deleted: row.get("webhook_deleted")?,
        attempts: row.get("attempts")?,
        automatic_attempts: row.get("automatic_attempts")?,
        next_attempt_at_ms: match row.get("next_attempt_at_ms")? {
            // Not on its webhook's list yet: due since it was made.
            None if state == DeliveryState::Pending => Some(id.unix_ms()),
            at_ms => at_ms,
        },
        last_attempt_at_ms: row.get("last_attempt_at_ms")?,
        last_status: row.get("last_status")?,
        last_error: row
            .get::<_, Option<String>>("last_error")?
            .as_deref()
            .and_then(ErrorClass::parse),
        origin: row
            .get::<_, Option<String>>("origin")?
            .as_deref()
            .and_then(Origin::parse),
        last_duration_us: row.get("duration_us")?,
    })
}

/// Which deliveries a list shows. Each form has an index behind it, or its webhooks' lists.
#[derive(Debug, Clone, Copy)]
pub enum DeliveryFilter {
    /// All of a workspace.
    All,
    /// The failed ones of a workspace, less tests.
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
    let before = before.unwrap_or(DeliveryId::from_i64(i64::MAX));
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    match filter {
        DeliveryFilter::All => newest(connection, workspace, before, limit)?
            .into_iter()
            // One that is swept between the two looks is left out.
            .filter_map(|id| find(connection, workspace, id).transpose())
            .collect(),
        DeliveryFilter::Failed => Ok(connection
            .prepare_cached(&format!(
                "{DELIVERY_COLUMNS} WHERE d.workspace_id = ?1 AND d.state = 'failed' AND d.origin IS NOT 'test' AND d.id < ?2
                 ORDER BY d.id DESC LIMIT ?3"
            ))?
            .query_map(params![workspace, before, rows], delivery_row)?
            .collect::<rusqlite::Result<_>>()?),
        DeliveryFilter::Webhook(id) => Ok(connection
            .prepare_cached(&format!(
                "{DELIVERY_COLUMNS} WHERE w.workspace_id = ?1 AND d.webhook_id = ?4 AND d.id < ?2 ORDER BY d.id DESC LIMIT ?3"
            ))?
            .query_map(params![workspace, before, rows, id], delivery_row)?
            .collect::<rusqlite::Result<_>>()?),
    }
}

/// The deliveries of these ids, in their order; those that were swept meanwhile are left out.
///
/// # Errors
/// When the file cannot be read.
pub fn of_ids(
    connection: &Connection,
    workspace: WorkspaceId,
    ids: &[DeliveryId],
) -> Result<Vec<DeliveryRow>> {
    ids.iter()
        .filter_map(|id| find(connection, workspace, *id).transpose())
        .collect()
}

/// The newest `limit` deliveries of a workspace before `before`, newest first: the newest of what each
/// of its webhooks has. A list of their own would be kept up with every event, and is read seldom.
fn newest(
    connection: &Connection,
    workspace: WorkspaceId,
    before: DeliveryId,
    limit: usize,
) -> Result<Vec<DeliveryId>> {
    let mut webhooks =
        connection.prepare_cached("SELECT id FROM webhook WHERE workspace_id = ?1")?;
    let mut webhooks = webhooks.query([workspace])?;
    let mut of_webhook = connection.prepare_cached(
        "SELECT id FROM delivery WHERE webhook_id = ?1 AND id > ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4",
    )?;
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut newest: Vec<DeliveryId> = Vec::new();
    while let Some(webhook) = webhooks.next()? {
        let webhook: WebhookId = webhook.get(0)?;
        // Once the page is full, only what is newer than its last row is of interest.
        let is_full = newest.len() >= limit;
        let after = newest
            .last()
            .filter(|_| is_full)
            .map_or(0, |id| id.as_i64());
        let ids = of_webhook.query_map(params![webhook, after, before, rows], |row| row.get(0))?;
        newest.extend(ids.collect::<rusqlite::Result<Vec<DeliveryId>>>()?);
        newest.sort_unstable_by(|a, b| b.cmp(a));
        newest.truncate(limit);
    }
    Ok(newest)
}

/// An event's deliveries stand behind it, up to the first that is another's: they are made together
/// (`deliveries::insert_delivery`), so that no index is needed to find them; those of later have one. The number
/// is [`crate::id::NODE_MASK`]: those of commands may come in between.
const OF_EVENT: &str = "d.id > ?2 AND d.event_id = ?2 AND d.workspace_id = ?1 AND d.origin IS NULL
        AND d.id < coalesce((SELECT id FROM delivery WHERE id > ?2 AND event_id IS NOT ?2 AND id & 4190208 = 0 ORDER BY id LIMIT 1), 9223372036854775807)";

/// The deliveries of one event that were made with it, oldest first, at most `limit`, and as many of those
/// that were made later.
///
/// # Errors
/// When the file cannot be read.
pub fn of_event(
    connection: &Connection,
    workspace: WorkspaceId,
    event: EventId,
    limit: usize,
) -> Result<Vec<DeliveryRow>> {
    let mut with_it = connection.prepare_cached(&format!(
        "{DELIVERY_COLUMNS} WHERE {OF_EVENT} ORDER BY d.id LIMIT ?3"
    ))?;
    let mut later = connection.prepare_cached(&format!(
        "{DELIVERY_COLUMNS} WHERE d.event_id = ?2 AND d.origin IS NOT NULL AND d.workspace_id = ?1 ORDER BY d.id LIMIT ?3"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for statement in [&mut with_it, &mut later] {
        let rows = statement.query_map(params![workspace, event, limit], delivery_row)?;
        found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    Ok(found)
}

/// How an event's deliveries stand, looking at a hundred of them at most.
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
    let sql = format!(
        "SELECT count(*) AS deliveries, coalesce(sum(state = 'succeeded'), 0) AS succeeded,
            coalesce(sum(state = 'failed'), 0) AS failed
         FROM (SELECT d.state FROM delivery d WHERE {OF_EVENT} ORDER BY d.id LIMIT ?3)"
    );
    Ok(connection.prepare_cached(&sql)?.query_row(
        params![workspace, event, RECENT_DELIVERIES],
        |row| {
            Ok(EventOutcomes {
                deliveries: row.get("deliveries")?,
                succeeded: row.get("succeeded")?,
                failed: row.get("failed")?,
            })
        },
    )?)
}

/// One delivery of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: DeliveryId) -> Result<DeliveryRow> {
    find(connection, workspace, id)?.ok_or_else(|| Error::not_found("delivery"))
}

fn find(
    connection: &Connection,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Option<DeliveryRow>> {
    let sql = format!("{DELIVERY_COLUMNS} WHERE d.id = ?2 AND d.workspace_id = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(params![workspace, id], delivery_row)
        .optional()?)
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
