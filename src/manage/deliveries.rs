//! What people do with single deliveries: have them tried again, and give them up.

use super::actor::Actor;
use crate::error::Result;
use crate::id::{DeliveryId, WebhookId, WorkspaceId};
use crate::store::{deliveries, history};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Notes that a person asked for an attempt outside the schedule; `deliver` makes it.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn note_retry(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<()> {
    let delivery = history::get(connection, workspace, id)?;
    let after = json!({"attempts": delivery.attempts, "webhook": delivery.webhook.to_string()});
    note(
        connection,
        actor,
        workspace,
        "delivery.retried",
        id,
        Some(after),
    )
}

pub(super) fn note(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    action: &'static str,
    target: impl ToString,
    after: Option<Value>,
) -> Result<()> {
    let target = target.to_string();
    actor.note(connection, Some(workspace), action, target, None, after)
}

/// Gives up deliveries that wait. Says which did; the others are settled already.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when one of them is not there.
pub fn cancel_deliveries(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    ids: &[DeliveryId],
) -> Result<Vec<(WebhookId, DeliveryId)>> {
    let mut cancelled = Vec::new();
    for id in ids {
        let delivery = history::get(connection, workspace, *id)?;
        if deliveries::cancel(connection, workspace, *id)? {
            let after = json!({"webhook": delivery.webhook.to_string()});
            note(
                connection,
                actor,
                workspace,
                "delivery.cancelled",
                id,
                Some(after),
            )?;
            cancelled.push((delivery.webhook, *id));
        }
    }
    Ok(cancelled)
}
