//! What is owed because of an event: a message for each format that a webhook wants it in, and a delivery
//! for each webhook, in the event's own transaction. Knows neither who sends nor when.

use crate::delivery::Standing;
use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::id::{IdGenerator, MessageId};
use crate::message::{self, MessageSource};
use crate::store::catalog::Catalog;
use crate::store::deliveries::{self, NewDelivery, NewMessage, OwedDelivery};
use crate::webhook::{Format, WebhookState};
use bytes::Bytes;
use rusqlite::Connection;

/// Keeps a message and a delivery for every webhook that wants the event; those that are due go to `fresh`.
///
/// # Errors
/// When the file refuses.
pub fn owe(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    stored: &StoredEvent,
    fresh: &mut Vec<OwedDelivery>,
) -> Result<()> {
    let event = &stored.event;
    let mut messages: Vec<(Format, MessageId, Bytes)> = Vec::new();
    let wanting = catalog
        .webhooks_of(event.workspace)
        .iter()
        .filter(|webhook| webhook.wants(&event.name));
    for webhook in wanting {
        let known = messages
            .iter()
            .find(|(format, ..)| *format == webhook.format);
        let (message, body) = match known {
            Some((_, message, body)) => (*message, body.clone()),
            None => {
                let (message, body) =
                    insert_message(connection, catalog, ids, stored, webhook.format)?;
                messages.push((webhook.format, message, body.clone()));
                (message, body)
            }
        };
        let is_due = webhook.state == WebhookState::Active;
        let delivery = NewDelivery {
            id: ids.next(event.received_at_ms),
            workspace: event.workspace,
            webhook: webhook.id,
            message,
            event: Some(stored.id),
            is_held: !is_due,
        };
        deliveries::insert_delivery(connection, &delivery)?;
        if is_due {
            fresh.push(OwedDelivery {
                id: delivery.id,
                webhook: webhook.id,
                message,
                body,
                standing: Standing::NEW,
            });
        }
    }
    Ok(())
}

fn insert_message(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    stored: &StoredEvent,
    format: Format,
) -> Result<(MessageId, Bytes)> {
    let event = &stored.event;
    let source = event.source.and_then(|id| {
        let name = catalog.source_name(id)?;
        Some(MessageSource { id, name })
    });
    let body = Bytes::from(message::body(format, stored, source).map_err(Error::internal)?);
    let id = ids.next(event.received_at_ms);
    let message = NewMessage {
        id,
        workspace: event.workspace,
        event: Some(stored.id),
        event_type: &event.name,
        body: &body,
    };
    deliveries::insert_message(connection, &message)?;
    Ok((id, body))
}
