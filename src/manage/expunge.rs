//! Taking a payload out of the file.

use super::actor::Actor;
use super::deliveries::note;
use super::resend::{event_with_payload, expunged_already};
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, EventId, MessageId, WebhookId, WorkspaceId};
use crate::store::past::{self, PastDelivery};
use crate::store::{deliveries, events, history, projection};
use rusqlite::Connection;
use serde_json::json;

/// The word that is typed before a payload is expunged.
pub const EXPUNGE_WORD: &str = "expunge";

/// Takes an event's payload out of the file: out of the event, its messages, and what receivers answered. What
/// still waits is cancelled first; which, it says.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Conflict`] when that was done before, or the event is not projected yet.
pub fn expunge_event(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    event: EventId,
) -> Result<Vec<(WebhookId, DeliveryId)>> {
    event_with_payload(connection, workspace, event)?;
    if event > projection::place(connection)?.cursor {
        let message = "This event came a moment ago and the profiles do not know it yet; try again in a moment.";
        return Err(Error::new(Kind::Conflict, "not_projected", message));
    }
    let deliveries = past::deliveries_of_event(connection, workspace, event)?;
    let messages = past::messages_of_event(connection, event, &deliveries)?;
    let expunged = (actor.user, actor.now_ms);
    past::overwrite(connection, true)?;
    let cancelled = expunge(connection, actor, workspace, &messages, &deliveries);
    let expunged = cancelled.and_then(|cancelled| {
        past::expunge_event(connection, event, expunged)?;
        Ok(cancelled)
    });
    past::overwrite(connection, false)?;
    let cancelled = expunged?;
    let after = json!({"messages": messages.len(), "cancelled": cancelled.len()});
    note(
        connection,
        actor,
        workspace,
        "event.expunged",
        event,
        Some(after),
    )?;
    Ok(cancelled)
}

/// As [`expunge_event`], for the payload of a delivery. One that carries an event is taken out with its event.
///
/// # Errors
/// As [`expunge_event`].
pub fn expunge_delivery(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Vec<(WebhookId, DeliveryId)>> {
    let row = history::get(connection, workspace, id)?;
    if let Some(event) = row.event
        && events::find(connection, workspace, event)?.is_some()
    {
        return expunge_event(connection, actor, workspace, event);
    }
    if past::message_expunged(connection, row.message)?.is_some() {
        return Err(expunged_already());
    }
    let deliveries = match row.event {
        // The event itself is swept already.
        Some(event) => past::deliveries_of_event(connection, workspace, event)?,
        None => past::deliveries_of_message(connection, workspace, row.message)?,
    };
    let mut messages: Vec<_> = deliveries.iter().map(|delivery| delivery.message).collect();
    messages.push(row.message);
    messages.sort_unstable();
    messages.dedup();
    past::overwrite(connection, true)?;
    let cancelled = expunge(connection, actor, workspace, &messages, &deliveries);
    past::overwrite(connection, false)?;
    let cancelled = cancelled?;
    let after = json!({"messages": messages.len(), "cancelled": cancelled.len()});
    note(
        connection,
        actor,
        workspace,
        "delivery.expunged",
        id,
        Some(after),
    )?;
    Ok(cancelled)
}

fn expunge(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    messages: &[MessageId],
    of_them: &[PastDelivery],
) -> Result<Vec<(WebhookId, DeliveryId)>> {
    let mut cancelled = Vec::new();
    for delivery in of_them {
        if deliveries::cancel(connection, workspace, delivery.id)? {
            cancelled.push((delivery.webhook, delivery.id));
        }
        past::expunge_answers(connection, delivery)?;
    }
    for message in messages {
        past::expunge_message(connection, *message, (actor.user, actor.now_ms))?;
    }
    Ok(cancelled)
}
