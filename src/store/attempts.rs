//! Attempts: what was tried, with all its evidence, written once and read by the delivery page.

use crate::delivery::{DeliveryState, ErrorClass, Standing, Trigger};
use crate::error::Result;
use crate::id::{AttemptId, DeliveryId};
use rusqlite::{Connection, Row, params};

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

/// Keeps an attempt and puts its delivery where `after` says.
///
/// # Errors
/// When the file refuses.
pub fn record(connection: &Connection, attempt: &NewAttempt, after: &Standing) -> Result<()> {
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
                last_attempt_at_ms = ?6,
                last_status = CASE WHEN ?9 THEN last_status ELSE ?7 END,
                last_error = CASE WHEN ?9 THEN last_error ELSE ?8 END
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
            // A failure that comes in after a success, because both were on their way, settles nothing.
            after.state == DeliveryState::Succeeded && error_class.is_some(),
        ])?;
    Ok(())
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
pub fn of_delivery(
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
