//! How webhooks' receivers answer: the automatic attempts that have failed since one succeeded. A webhook
//! whose last attempt succeeded has no row.

use crate::error::Result;
use crate::id::WebhookId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// What a webhook's receiver has failed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Automatic attempts that failed since the last attempt that succeeded.
    pub failures: u32,
    /// When the first of them ended, Unix milliseconds.
    pub failing_since_ms: i64,
}

fn health_row(row: &Row<'_>) -> rusqlite::Result<Health> {
    Ok(Health {
        failures: row.get("failures")?,
        failing_since_ms: row
            .get::<_, Option<i64>>("failing_since_ms")?
            .unwrap_or_default(),
    })
}

/// Every webhook that fails.
///
/// # Errors
/// When the file cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<(WebhookId, Health)>> {
    let mut statement = connection
        .prepare_cached("SELECT webhook_id, failures, failing_since_ms FROM webhook_health")?;
    Ok(statement
        .query_map([], |row| Ok((row.get("webhook_id")?, health_row(row)?)))?
        .collect::<rusqlite::Result<_>>()?)
}

/// What a webhook fails at; `None` while it does not.
///
/// # Errors
/// When the file cannot be read.
pub fn of(connection: &Connection, webhook: WebhookId) -> Result<Option<Health>> {
    Ok(connection
        .prepare_cached(
            "SELECT failures, failing_since_ms FROM webhook_health WHERE webhook_id = ?1",
        )?
        .query_row([webhook], health_row)
        .optional()?)
}

/// Failures of a webhook that are to be added to what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFailures {
    /// How many.
    pub count: u32,
    /// When the first of them ended, Unix milliseconds.
    pub first_at_ms: i64,
    /// Whether an attempt succeeded right before the first of them, so that what was before is over.
    pub after_success: bool,
}

/// Adds failures; says what it has come to.
///
/// # Errors
/// When the file refuses.
pub fn add(connection: &Connection, webhook: WebhookId, new: NewFailures) -> Result<Health> {
    Ok(connection
        .prepare_cached(
            "INSERT INTO webhook_health (webhook_id, failures, failing_since_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (webhook_id) DO UPDATE SET
                failures = CASE WHEN ?4 THEN excluded.failures ELSE failures + excluded.failures END,
                failing_since_ms = CASE WHEN ?4 THEN excluded.failing_since_ms
                    ELSE coalesce(failing_since_ms, excluded.failing_since_ms) END
             RETURNING failures, failing_since_ms",
        )?
        .query_row(
            params![webhook, new.count, new.first_at_ms, new.after_success],
            health_row,
        )?)
}

/// Counts no more than `failures` of a webhook.
///
/// # Errors
/// When the file refuses.
pub fn count_at_most(connection: &Connection, webhook: WebhookId, failures: u32) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE webhook_health SET failures = min(failures, ?2) WHERE webhook_id = ?1",
        )?
        .execute(params![webhook, failures])?;
    Ok(())
}

/// A webhook fails at nothing any more: an attempt succeeded, or a person let it begin anew.
///
/// # Errors
/// When the file refuses.
pub fn forget(connection: &Connection, webhook: WebhookId) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM webhook_health WHERE webhook_id = ?1")?
        .execute([webhook])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Files;

    #[test]
    fn failures_add_up_until_a_success() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let connection = files.open_writer().unwrap();
        let webhook = WebhookId::from_i64(1);
        let add = |count, first_at_ms, after_success| {
            let new = NewFailures {
                count,
                first_at_ms,
                after_success,
            };
            let health = add(&connection, webhook, new).unwrap();
            (health.failures, health.failing_since_ms)
        };
        assert_eq!(add(2, 10, false), (2, 10));
        assert_eq!(add(3, 20, false), (5, 10), "the first one counts");
        assert_eq!(add(1, 30, true), (1, 30), "a success came between");
        add(9, 40, false);
        count_at_most(&connection, webhook, 3).unwrap();
        let known = Health {
            failures: 3,
            failing_since_ms: 30,
        };
        assert_eq!(of(&connection, webhook).unwrap(), Some(known));
        assert_eq!(all(&connection).unwrap(), [(webhook, known)]);
        forget(&connection, webhook).unwrap();
        assert_eq!(of(&connection, webhook).unwrap(), None);
    }
}
