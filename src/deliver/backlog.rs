//! Reading what webhooks are owed from the file, off the dispatcher's thread.

use crate::error::{Error, Result};
use crate::id::WebhookId;
use crate::store::deliveries::{self, DuePlace, OwedDelivery};
use crate::time::now_ms;
use rusqlite::Connection;

/// What to read of a webhook's due list.
pub(super) struct Wanted {
    pub(super) webhook: WebhookId,
    /// From there on, or from the start.
    pub(super) after: Option<DuePlace>,
    /// At most so many rows.
    pub(super) limit: usize,
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

/// What some webhooks are owed by now, all of it within one look at the file.
pub(super) fn read(connection: &Connection, wanted: &[Wanted]) -> Result<Vec<Backlog>> {
    let snapshot = connection.unchecked_transaction()?;
    let now_ms = now_ms();
    let backlog = |wanted: &Wanted| {
        let (webhook, limit) = (wanted.webhook, wanted.limit);
        let due = deliveries::due(&snapshot, webhook, wanted.after, now_ms, limit)?;
        let next_due_ms = deliveries::next_due_ms(&snapshot, webhook, now_ms)?;
        Ok(Backlog {
            is_full: due.len() >= limit,
            due,
            next_due_ms,
        })
    };
    wanted.iter().map(backlog).collect()
}

/// Runs what waits for the file on a thread that may wait.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Error::internal(e)))
}
