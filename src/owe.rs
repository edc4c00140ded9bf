//! What is owed because of an event, or of something that the box itself has to say: a message for each
//! format that a webhook wants it in, and a delivery for each webhook, in the caller's transaction. Knows
//! neither who sends nor when.

use crate::delivery::{DeliveryState, Standing};
use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::id::{EventId, IdGenerator, MessageId, WebhookId, WorkspaceId};
use crate::message::{self, MessageSource, Notice, NoticeOf};
use crate::store::catalog::Catalog;
use crate::store::deliveries::{self, NewDelivery, NewMessage, OwedDelivery};
use crate::store::prepared::Prepare;
use crate::webhook::{Format, Webhook, WebhookState};
use bytes::Bytes;
use rusqlite::Connection;
use serde_json::Value;
use std::cell::OnceCell;

/// Keeps a message and a delivery for every webhook that wants the event; those that are due go to `fresh`.
///
/// # Errors
/// When the file refuses.
pub fn owe(
    connection: &impl Prepare,
    catalog: &Catalog,
    ids: &IdGenerator,
    stored: &StoredEvent,
    fresh: &mut Vec<OwedDelivery>,
) -> Result<()> {
    let event = &stored.event;
    let about = About {
        workspace: event.workspace,
        event: Some(stored.id),
        event_type: &event.name,
        at_ms: event.received_at_ms,
        left_out: None,
    };
    let source = event.source.and_then(|id| {
        let name = catalog.source_name(id)?;
        Some(MessageSource { id, name })
    });
    let body = |format, _| message::body(format, stored, source);
    owe_all(connection, catalog, ids, &about, body, fresh)
}

/// Keeps a message and a delivery of what the box itself has to say for every webhook that wants it, in the
/// caller's transaction; those that are due are to be told to the dispatcher after its commit.
///
/// # Errors
/// When the file refuses.
pub fn announce(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    workspace: WorkspaceId,
    notice: &Notice,
) -> Result<Vec<OwedDelivery>> {
    announce_but(connection, catalog, ids, workspace, notice, None)
}

/// As [`announce`], of something about one webhook: that one does not hear of it.
///
/// # Errors
/// When the file refuses.
pub fn announce_to_others(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    webhook: &Webhook,
    notice: &Notice,
) -> Result<Vec<OwedDelivery>> {
    announce_but(
        connection,
        catalog,
        ids,
        webhook.workspace,
        notice,
        Some(webhook.id),
    )
}

fn announce_but(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    workspace: WorkspaceId,
    notice: &Notice,
    left_out: Option<WebhookId>,
) -> Result<Vec<OwedDelivery>> {
    let about = About {
        workspace,
        event: None,
        event_type: notice.event_type,
        at_ms: notice.at_ms,
        left_out,
    };
    let body =
        |format, message| message::notice_body(format, notice, NoticeOf { workspace, message });
    let mut fresh = Vec::new();
    owe_all(connection, catalog, ids, &about, body, &mut fresh)?;
    Ok(fresh)
}

/// What a message is about.
struct About<'a> {
    workspace: WorkspaceId,
    event: Option<EventId>,
    event_type: &'a str,
    at_ms: i64,
    /// Who does not hear of it.
    left_out: Option<WebhookId>,
}

fn owe_all(
    connection: &impl Prepare,
    catalog: &Catalog,
    ids: &IdGenerator,
    about: &About<'_>,
    body: impl Fn(Format, MessageId) -> serde_json::Result<Vec<u8>>,
    fresh: &mut Vec<OwedDelivery>,
) -> Result<()> {
    let mut messages: Vec<(Format, MessageId, Bytes)> = Vec::new();
    // What filters look at, read once for all of them.
    let data = OnceCell::new();
    let read = || data.get_or_init(|| data_of(&body)).as_ref();
    let wanting = catalog
        .webhooks_of(about.workspace)
        .iter()
        .filter(|webhook| Some(webhook.id) != about.left_out)
        .filter(|webhook| webhook.wants(about.event_type) && webhook.lets_pass(read));
    for webhook in wanting {
        let wanted = webhook.settings.format;
        let known = messages.iter().find(|(format, ..)| *format == wanted);
        let (message, body) = match known {
            Some((_, message, body)) => (*message, body.clone()),
            None => {
                let message = ids.next(about.at_ms);
                let body = Bytes::from(body(wanted, message).map_err(Error::internal)?);
                insert_message(connection, message, about, &body)?;
                messages.push((wanted, message, body.clone()));
                (message, body)
            }
        };
        let is_due = webhook.state == WebhookState::Active;
        let delivery = NewDelivery {
            id: ids.next(about.at_ms),
            workspace: about.workspace,
            webhook: webhook.id,
            message,
            event: about.event,
            state: if is_due {
                DeliveryState::Pending
            } else {
                DeliveryState::Held
            },
            is_ordered: webhook.settings.is_ordered,
            origin: None,
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

/// The `data` of what is to be sent, as the standard format has it.
fn data_of(body: impl Fn(Format, MessageId) -> serde_json::Result<Vec<u8>>) -> Option<Value> {
    // The message's id stands in no `data`.
    let body = body(Format::Standard, MessageId::from_i64(0)).ok()?;
    let mut message: Value = serde_json::from_slice(&body).ok()?;
    message.get_mut("data").map(Value::take)
}

fn insert_message(
    connection: &impl Prepare,
    id: MessageId,
    about: &About<'_>,
    body: &[u8],
) -> Result<()> {
    let message = NewMessage {
        id,
        workspace: about.workspace,
        event: about.event,
        event_type: about.event_type,
        body,
    };
    deliveries::insert_message(connection, &message)
}
