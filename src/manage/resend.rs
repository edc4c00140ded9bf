//! Sending a past event to more webhooks, or once more.

use super::actor::Actor;
use super::deliveries::note;
use crate::delivery::{DeliveryState, Origin, Standing};
use crate::error::{Error, Kind, Result};
use crate::event::StoredEvent;
use crate::id::{DeliveryId, EventId, MessageId, WebhookId, WorkspaceId};
use crate::message::{self, MessageSource};
use crate::store::catalog::Catalog;
use crate::store::deliveries::{self, NewDelivery, NewMessage, OwedDelivery};
use crate::store::events;
use crate::store::past::{self, PastDelivery};
use crate::webhook::{Format, Webhook, WebhookState};
use rusqlite::Connection;
use serde_json::json;
use std::sync::Arc;

/// What sending a past event to webhooks comes to.
#[derive(Debug, Default)]
pub struct Resent {
    /// Deliveries that there were, to be tried once more.
    pub again: Vec<DeliveryId>,
    /// Deliveries that were made and are due.
    pub new: Vec<OwedDelivery>,
    /// Deliveries that were made and are held, because their webhook does not send.
    pub held: usize,
}

impl Resent {
    /// All of them.
    pub fn count(&self) -> usize {
        self.again.len() + self.new.len() + self.held
    }
}

/// Sends a past event to webhooks, whatever they listen for: what one was sent already it is sent again, for
/// the others there is a new delivery.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Conflict`] when the event's payload was expunged; the field `webhook`.
pub fn resend_event(
    connection: &Connection,
    actor: &Actor<'_>,
    catalog: &Catalog,
    workspace: WorkspaceId,
    event: EventId,
    webhooks: &[WebhookId],
) -> Result<Resent> {
    let stored = event_with_payload(connection, workspace, event)?;
    let before = past::deliveries_of_event(connection, workspace, event)?;
    let mut messages = past::messages_of_event(connection, event, &before)?;
    let mut resent = Resent::default();
    for webhook in webhooks {
        let webhook = known_webhook(catalog, workspace, *webhook)?;
        let is_its =
            |past: &&PastDelivery| past.webhook == webhook.id && past.origin != Some(Origin::Test);
        if let Some(past) = before.iter().rfind(is_its) {
            resent.again.push(past.id);
            continue;
        }
        let body = event_body(catalog, webhook.settings.format, &stored)?;
        let known = messages
            .iter()
            .map(|id| Ok((*id, past::has_body(connection, *id, &body)?)))
            .collect::<Result<Vec<_>>>()?;
        let message = match known.into_iter().find(|(_, is_same)| *is_same) {
            Some((message, _)) => message,
            None => {
                let id = actor.ids.next(actor.now_ms);
                let of = (&*stored.event.name, Some(event));
                insert_message(connection, workspace, id, of, &body)?;
                messages.push(id);
                id
            }
        };
        let is_due = webhook.state == WebhookState::Active;
        let state = if is_due {
            DeliveryState::Pending
        } else {
            DeliveryState::Held
        };
        let made = Made {
            webhook,
            message,
            event: Some(event),
            state,
            origin: Origin::Resend,
        };
        let id = made.insert(connection, actor)?;
        if is_due {
            resent.new.push(OwedDelivery {
                id,
                webhook: webhook.id,
                message,
                body: body.into(),
                standing: Standing::NEW,
            });
        } else {
            resent.held += 1;
        }
    }
    let names: Vec<_> = webhooks.iter().map(ToString::to_string).collect();
    let after = json!({"webhooks": names, "new": resent.new.len() + resent.held});
    note(
        connection,
        actor,
        workspace,
        "event.resent",
        event,
        Some(after),
    )?;
    Ok(resent)
}

pub(super) fn event_with_payload(
    connection: &Connection,
    workspace: WorkspaceId,
    event: EventId,
) -> Result<StoredEvent> {
    let stored = events::get(connection, workspace, event)?;
    match past::event_expunged(connection, event)? {
        None => Ok(stored),
        Some(_) => Err(expunged_already()),
    }
}

pub(super) fn expunged_already() -> Error {
    let message = "The payload was expunged, so there is nothing to send any more.";
    Error::new(Kind::Conflict, "expunged", message)
}

pub(super) fn known_webhook(
    catalog: &Catalog,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<&Arc<Webhook>> {
    catalog
        .webhook(id)
        .filter(|webhook| webhook.workspace == workspace)
        .ok_or_else(|| Error::not_found("webhook"))
}

pub(super) fn event_body(
    catalog: &Catalog,
    format: Format,
    stored: &StoredEvent,
) -> Result<Vec<u8>> {
    let source = stored.event.source.and_then(|id| {
        let name = catalog.source_name(id)?;
        Some(MessageSource { id, name })
    });
    message::body(format, stored, source).map_err(Error::internal)
}

pub(super) fn insert_message(
    connection: &Connection,
    workspace: WorkspaceId,
    id: MessageId,
    (event_type, event): (&str, Option<EventId>),
    body: &[u8],
) -> Result<()> {
    let message = NewMessage {
        id,
        workspace,
        event,
        event_type,
        body,
    };
    deliveries::insert_message(connection, &message)
}

/// A delivery that is made beside the log.
pub(super) struct Made<'a> {
    pub(super) webhook: &'a Webhook,
    pub(super) message: MessageId,
    pub(super) event: Option<EventId>,
    pub(super) state: DeliveryState,
    pub(super) origin: Origin,
}

impl Made<'_> {
    pub(super) fn insert(&self, connection: &Connection, actor: &Actor<'_>) -> Result<DeliveryId> {
        let id = actor.ids.next(actor.now_ms);
        let delivery = NewDelivery {
            id,
            workspace: self.webhook.workspace,
            webhook: self.webhook.id,
            message: self.message,
            event: self.event,
            state: self.state,
            is_ordered: self.webhook.settings.is_ordered,
            origin: Some(self.origin),
        };
        deliveries::insert_delivery(connection, &delivery)?;
        Ok(id)
    }
}
