//! Attempts: what was tried, with all its evidence, written once and read by the delivery page.

use super::headers::HeadersText;
use crate::delivery::{DeliveryState, ErrorClass, Standing, Trigger};
use crate::error::Result;
use crate::id::{AttemptId, DeliveryId};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, ToSql};
use std::sync::Arc;

/// The receiver asked for the next attempt's time.
const RETRY_AFTER: &str = "retry_after";

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
    /// Where it went; the webhook's own text, shared by its attempts.
    pub url: Arc<str>,
    /// The address and port that were dialled; the connection's own text.
    pub address: Option<Arc<str>>,
    /// As sent, secrets redacted.
    pub request_headers: HeadersText,
    /// The answer, if one came.
    pub response: Option<Response>,
    /// Why it failed; `None` when it succeeded.
    pub error: Option<(ErrorClass, String)>,
    /// How long each part of it took.
    pub phases: Phases,
}

impl NewAttempt {
    /// The attempt without what the receiver said, of which only the status is left: what may repeat a payload
    /// that was expunged while the attempt was on its way.
    #[must_use]
    pub fn without_answer(&self) -> Self {
        let response = self.response.as_ref().map(|response| Response {
            status: response.status,
            headers: HeadersText::default(),
            body: Vec::new(),
            truncated: response.truncated,
            length: response.length,
        });
        let error = self.error.as_ref();
        Self {
            response,
            error: error.map(|(class, _)| (*class, String::new())),
            ..self.clone()
        }
    }
}

/// How long the parts of an attempt took, microseconds; what did not happen is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phases {
    /// Until the name was resolved.
    pub dns_us: Option<i64>,
    /// From there until it was connected; not on a connection that was open already.
    pub connect_us: Option<i64>,
    /// The TLS handshake.
    pub tls_us: Option<i64>,
    /// From the request until the answer's head.
    pub first_byte_us: Option<i64>,
}

/// What the receiver answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// As they came.
    pub headers: HeadersText,
    /// The body's first 64 KiB.
    pub body: Vec<u8>,
    /// Whether more came than is kept.
    pub truncated: bool,
    /// The whole length in bytes, where it is known.
    pub length: Option<i64>,
}

/// Writes attempts down, with statements that are prepared once for many.
pub struct Recorder<'c> {
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
    leave_queue: CachedStatement<'c>,
}

impl<'c> Recorder<'c> {
    /// A recorder on the connection that writes.
    ///
    /// # Errors
    /// When the file refuses.
    pub fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            insert: connection.prepare_cached(
                "INSERT INTO attempt (id, delivery_id, number, trigger, started_at_ms, duration_us, url, address, request_headers,
                    status, response_headers, response_body, response_body_truncated, response_length,
                    error_class, error_detail, next_attempt_at_ms, previous_attempt_id,
                    dns_us, connect_us, tls_us, first_byte_us, next_attempt_why)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
            )?,
            update: connection.prepare_cached(
                "UPDATE delivery SET state = ?2, attempts = ?3, automatic_attempts = ?4, next_attempt_at_ms = ?5,
                    last_attempt_at_ms = ?6,
                    last_status = CASE WHEN ?9 THEN last_status ELSE ?7 END,
                    last_error = CASE WHEN ?9 THEN last_error ELSE ?8 END,
                    last_attempt_id = ?10
                 WHERE id = ?1 AND state = ?11 AND attempts = ?12 AND next_attempt_at_ms IS ?13",
            )?,
            leave_queue: connection
                .prepare_cached("UPDATE delivery SET queue_webhook_id = NULL WHERE id = ?1")?,
        })
    }

    /// Keeps an attempt and moves its delivery from `before` to `after`. Says whether it did: a
    /// delivery that stands elsewhere by now, or is gone, is left alone, and so is the attempt.
    /// `is_asked_for` says that the receiver asked for the next attempt's time.
    ///
    /// # Errors
    /// When the file refuses.
    pub fn record(
        &mut self,
        attempt: &NewAttempt,
        before: &Standing,
        after: &Standing,
        is_asked_for: bool,
    ) -> Result<bool> {
        if !self.move_delivery(attempt, before, after)? {
            return Ok(false);
        }
        // Bound one by one, as it is done for events: half of these are absent in most attempts, and unbound is NULL.
        let insert = &mut self.insert;
        insert.clear_bindings();
        insert.raw_bind_parameter(1, attempt.id)?;
        insert.raw_bind_parameter(2, attempt.delivery)?;
        insert.raw_bind_parameter(3, after.attempts)?;
        insert.raw_bind_parameter(4, attempt.trigger.as_str())?;
        insert.raw_bind_parameter(5, attempt.started_at_ms)?;
        insert.raw_bind_parameter(6, attempt.duration_us)?;
        insert.raw_bind_parameter(7, &attempt.url)?;
        bind_some(insert, 8, attempt.address.as_ref())?;
        insert.raw_bind_parameter(9, &attempt.request_headers)?;
        if let Some(response) = &attempt.response {
            insert.raw_bind_parameter(10, response.status)?;
            insert.raw_bind_parameter(11, &response.headers)?;
            insert.raw_bind_parameter(12, &response.body)?;
            bind_some(insert, 14, response.length)?;
        }
        let truncated = attempt.response.as_ref().is_some_and(|r| r.truncated);
        insert.raw_bind_parameter(13, truncated)?;
        if let Some((class, detail)) = &attempt.error {
            insert.raw_bind_parameter(15, class.as_str())?;
            insert.raw_bind_parameter(16, detail)?;
        }
        bind_some(insert, 17, after.next_attempt_at_ms)?;
        bind_some(insert, 18, before.last_attempt)?;
        bind_some(insert, 19, attempt.phases.dns_us)?;
        bind_some(insert, 20, attempt.phases.connect_us)?;
        bind_some(insert, 21, attempt.phases.tls_us)?;
        bind_some(insert, 22, attempt.phases.first_byte_us)?;
        bind_some(insert, 23, is_asked_for.then_some(RETRY_AFTER))?;
        insert.raw_execute()?;
        Ok(true)
    }

    /// Moves a delivery from `before` to `after`, if that is where it stands.
    fn move_delivery(
        &mut self,
        attempt: &NewAttempt,
        before: &Standing,
        after: &Standing,
    ) -> Result<bool> {
        let error_class = attempt.error.as_ref().map(|(class, _)| class.as_str());
        // A failure that comes in after a success, because both were on their way, settles nothing.
        let settles_nothing = after.state == DeliveryState::Succeeded && error_class.is_some();
        let update = &mut self.update;
        update.clear_bindings();
        update.raw_bind_parameter(1, attempt.delivery)?;
        update.raw_bind_parameter(2, after.state.as_str())?;
        update.raw_bind_parameter(3, after.attempts)?;
        update.raw_bind_parameter(4, after.automatic_attempts)?;
        bind_some(update, 5, after.next_attempt_at_ms)?;
        update.raw_bind_parameter(6, attempt.started_at_ms)?;
        bind_some(update, 7, attempt.response.as_ref().map(|r| r.status))?;
        bind_some(update, 8, error_class)?;
        update.raw_bind_parameter(9, settles_nothing)?;
        bind_some(update, 10, after.last_attempt)?;
        update.raw_bind_parameter(11, before.state.as_str())?;
        update.raw_bind_parameter(12, before.attempts)?;
        bind_some(update, 13, before.next_attempt_at_ms)?;
        Ok(update.raw_execute()? > 0)
    }

    /// Takes a delivery that is settled out of the queue of a webhook that keeps the order.
    ///
    /// # Errors
    /// When the file refuses.
    pub fn leave_queue(&mut self, delivery: DeliveryId) -> Result<()> {
        self.leave_queue.execute([delivery])?;
        Ok(())
    }
}

/// Binds what is there.
fn bind_some(
    statement: &mut CachedStatement<'_>,
    parameter: usize,
    value: Option<impl ToSql>,
) -> rusqlite::Result<()> {
    match value {
        Some(value) => statement.raw_bind_parameter(parameter, value),
        None => Ok(()),
    }
}

/// An attempt as the delivery page shows it.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    /// Its id.
    pub id: AttemptId,
    /// Counted over all triggers, from 1.
    pub number: i64,
    /// `automatic`, `manual`, `replay` or `test`.
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
    pub request_headers: HeadersText,
    /// The answer, if one came.
    pub response: Option<Response>,
    /// Why it failed.
    pub error: Option<(ErrorClass, String)>,
    /// What it made the next attempt's time, Unix milliseconds.
    pub next_attempt_at_ms: Option<i64>,
    /// Whether the receiver asked for that time.
    pub is_next_asked_for: bool,
    /// How long each part of it took.
    pub phases: Phases,
}

fn attempt_row(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let status: Option<u16> = row.get("status")?;
    let response = status
        .map(|status| -> rusqlite::Result<Response> {
            Ok(Response {
                status,
                headers: row
                    .get::<_, Option<HeadersText>>("response_headers")?
                    .unwrap_or_default(),
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
        request_headers: row.get("request_headers")?,
        response,
        error: class.map(|class| (class, detail)),
        next_attempt_at_ms: row.get("next_attempt_at_ms")?,
        is_next_asked_for: row.get::<_, Option<String>>("next_attempt_why")?.as_deref()
            == Some(RETRY_AFTER),
        phases: Phases {
            dns_us: row.get("dns_us")?,
            connect_us: row.get("connect_us")?,
            tls_us: row.get("tls_us")?,
            first_byte_us: row.get("first_byte_us")?,
        },
    })
}

/// The newest `limit` attempts of a delivery, newest first, each found through the one after it.
///
/// # Errors
/// When the file cannot be read.
pub fn of_delivery(
    connection: &Connection,
    delivery: DeliveryId,
    limit: usize,
) -> Result<Vec<AttemptRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, number, trigger, started_at_ms, duration_us, url, address, request_headers, status, response_headers,
            response_body, response_body_truncated, response_length, error_class, error_detail, next_attempt_at_ms,
            previous_attempt_id, dns_us, connect_us, tls_us, first_byte_us, next_attempt_why
         FROM attempt WHERE id = ?1",
    )?;
    let mut next: Option<AttemptId> = connection
        .prepare_cached("SELECT last_attempt_id FROM delivery WHERE id = ?1")?
        .query_row([delivery], |row| row.get(0))
        .optional()?
        .flatten();
    let mut attempts = Vec::new();
    while let Some(id) = next
        && attempts.len() < limit
    {
        let found = statement.query_row([id], |row| {
            Ok((attempt_row(row)?, row.get("previous_attempt_id")?))
        });
        // Swept between the two looks, with all before it.
        let Some((attempt, previous)) = found.optional()? else {
            break;
        };
        attempts.push(attempt);
        next = previous;
    }
    Ok(attempts)
}
