//! Reading what webhooks are owed from the file, off the dispatcher's thread.

use crate::error::{Error, Result};
use crate::id::WebhookId;
use crate::store::deliveries::{self, DuePlace, OwedDelivery, ReadLimit};
use crate::time::now_ms;
use rusqlite::Connection;

/// What to read of a webhook's due list.
pub(super) struct Wanted {
    pub(super) webhook: WebhookId,
    /// From there on, or from the start.
    pub(super) after: Option<DuePlace>,
    /// So many rows at most.
    pub(super) rows: usize,
    /// So many rows even where there is no room for their bytes.
    pub(super) rows_at_least: usize,
}

/// What the file says that a webhook is owed.
pub(super) struct Backlog {
    /// What is due, longest first.
    pub(super) due: Vec<OwedDelivery>,
    /// Whether there was more than was asked for.
    pub(super) is_full: bool,
    /// When the next one is due that is not due yet, Unix milliseconds.
    pub(super) next_due_ms: Option<i64>,
}

/// What some webhooks are owed by now, about `bytes` of it in all; all within one look at the file.
pub(super) fn read(
    connection: &Connection,
    wanted: &[Wanted],
    mut bytes: usize,
) -> Result<Vec<Backlog>> {
    let snapshot = connection.unchecked_transaction()?;
    let now_ms = now_ms();
    let mut backlogs = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let limit = ReadLimit {
            rows: wanted.rows,
            bytes,
            rows_at_least: wanted.rows_at_least,
        };
        let (due, is_full) =
            deliveries::due(&snapshot, wanted.webhook, wanted.after, now_ms, limit)?;
        let read: usize = due.iter().map(|owed| owed.body.len()).sum();
        bytes = bytes.saturating_sub(read);
        backlogs.push(Backlog {
            due,
            is_full,
            next_due_ms: deliveries::next_due_ms(&snapshot, wanted.webhook, now_ms)?,
        });
    }
    Ok(backlogs)
}

/// Runs what waits for the file on a thread that may wait.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Error::internal(e)))
}
