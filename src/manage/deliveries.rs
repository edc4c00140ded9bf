//! What people do with single deliveries: have them tried again, give them up, send a past event to one more
//! webhook, try a webhook, and have a payload expunged.

use super::actor::Actor;
use crate::delivery::{DeliveryState, Origin, Standing};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
use crate::id::{DeliveryId, EventId, MessageId, WebhookId, WorkspaceId};
use crate::message::{self, MessageSource, Notice};
use crate::normalize;
use crate::store::catalog::Catalog;
use crate::store::deliveries::{self, NewDelivery, NewMessage, OwedDelivery};
use crate::store::past::{self, PastDelivery};
use crate::store::{event_types, events, history, projection};
use crate::webhook::{Format, Webhook, WebhookState};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::sync::Arc;

/// The type of the box's own test message (webhooks.md, "Schedule").
pub const TEST_TYPE: &str = "webhook.test";
/// The word that is typed before a payload is expunged.
pub const EXPUNGE_WORD: &str = "expunge";
/// Events among which the newest of a type is looked for, to be a test.
const SAMPLE_LOOK: usize = 1_000;

/// Notes that a person asked for an attempt outside the schedule; `deliver` makes it.
///
/// # Errors
/// [`Kind::NotFound`].
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

fn note(
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
/// [`Kind::NotFound`] when one of them is not there.
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

// RESENDING ---------------------------------------------------------------------------------

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
                let id = insert_message(
                    connection,
                    actor,
                    workspace,
                    &stored.event.name,
                    Some(event),
                    &body,
                )?;
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

fn event_with_payload(
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

fn expunged_already() -> Error {
    let message = "The payload was expunged, so there is nothing to send any more.";
    Error::new(Kind::Conflict, "expunged", message)
}

fn known_webhook(
    catalog: &Catalog,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<&Arc<Webhook>> {
    catalog
        .webhook(id)
        .filter(|webhook| webhook.workspace == workspace)
        .ok_or_else(|| Error::not_found("webhook"))
}

fn event_body(catalog: &Catalog, format: Format, stored: &StoredEvent) -> Result<Vec<u8>> {
    let source = stored.event.source.and_then(|id| {
        let name = catalog.source_name(id)?;
        Some(MessageSource { id, name })
    });
    message::body(format, stored, source).map_err(Error::internal)
}

fn insert_message(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    event_type: &str,
    event: Option<EventId>,
    body: &[u8],
) -> Result<MessageId> {
    let message = NewMessage {
        id: actor.ids.next(actor.now_ms),
        workspace,
        event,
        event_type,
        body,
    };
    deliveries::insert_message(connection, &message)?;
    Ok(message.id)
}

/// A delivery that is made beside the log.
struct Made<'a> {
    webhook: &'a Webhook,
    message: MessageId,
    event: Option<EventId>,
    state: DeliveryState,
    origin: Origin,
}

impl Made<'_> {
    fn insert(&self, connection: &Connection, actor: &Actor<'_>) -> Result<DeliveryId> {
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

// TESTING -----------------------------------------------------------------------------------

/// Makes a delivery that tries a webhook, whatever it listens for and whether it sends: of the box's own test
/// message, of a sample of an event type, or of a past event (`evt_…`). It stands on no list; the attempt is
/// to be asked for after the commit.
///
/// # Errors
/// [`Kind::NotFound`]; the field `what`; [`Kind::Conflict`] when the event's payload was expunged.
pub fn test_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    catalog: &Catalog,
    workspace: WorkspaceId,
    webhook: WebhookId,
    what: &str,
) -> Result<DeliveryId> {
    let webhook = known_webhook(catalog, workspace, webhook)?;
    let what = what.trim();
    let format = webhook.settings.format;
    let (event_type, event, body) = match what.parse::<EventId>() {
        _ if what == TEST_TYPE => (TEST_TYPE.into(), None, ping(actor.now_ms, webhook)?),
        Ok(event) => of_event(connection, catalog, workspace, event, format)?,
        Err(_) => {
            check_type(what)?;
            match past::newest_of_type(connection, workspace, what, SAMPLE_LOOK)? {
                Some(event) => of_event(connection, catalog, workspace, event, format)?,
                None => {
                    let sample = sample(connection, actor, workspace, what)?;
                    (what.into(), None, event_body(catalog, format, &sample)?)
                }
            }
        }
    };
    // A message of its own: a receiver that knows the event's own one would pass the test over.
    let message = insert_message(connection, actor, workspace, &event_type, event, &body)?;
    let made = Made {
        webhook,
        message,
        event,
        state: DeliveryState::Failed,
        origin: Origin::Test,
    };
    let id = made.insert(connection, actor)?;
    let after = json!({"what": what, "delivery": id.to_string()});
    note(
        connection,
        actor,
        workspace,
        "webhook.tested",
        webhook.id,
        Some(after),
    )?;
    Ok(id)
}

/// Checks the name of a type to be tried, which may be one of the box's own.
fn check_type(name: &str) -> Result<()> {
    if name.starts_with("evt_") {
        let detail = "This is no event's id; copy it whole from the event's page.";
        return Err(Error::field("/what", "invalid_id", detail));
    }
    match normalize::check_name(name, "what") {
        Err(e)
            if e.field_errors()
                .iter()
                .any(|field| field.code != "reserved_name") =>
        {
            Err(e)
        }
        _ => Ok(()),
    }
}

type Sample = (Box<str>, Option<EventId>, Vec<u8>);

fn ping(now_ms: i64, webhook: &Webhook) -> Result<Vec<u8>> {
    let notice = Notice {
        event_type: TEST_TYPE,
        at_ms: now_ms,
        data: json!({"webhook": {"id": webhook.id.to_string(), "name": webhook.settings.name}}),
    };
    message::notice_body(webhook.settings.format, &notice).map_err(Error::internal)
}

fn of_event(
    connection: &Connection,
    catalog: &Catalog,
    workspace: WorkspaceId,
    event: EventId,
    format: Format,
) -> Result<Sample> {
    let stored = event_with_payload(connection, workspace, event)?;
    let body = event_body(catalog, format, &stored)?;
    Ok((stored.event.name, Some(event), body))
}

/// An event that did not happen, as its type's example says it would look like.
fn sample(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    event_type: &str,
) -> Result<StoredEvent> {
    let declared = event_types::declared(connection, workspace, event_type)?;
    let example = declared.and_then(|row| row.declared.example);
    let event = Event {
        workspace,
        source: None,
        kind: EventKind::Track,
        name: event_type.into(),
        identifiers: Identifiers {
            user_id: Some("user_1".into()),
            ..Identifiers::default()
        },
        properties: Some(example.unwrap_or_else(|| "{}".to_owned()).into()),
        traits: None,
        context: None,
        replace_traits: false,
        customer_is_account: false,
        occurred_at_ms: actor.now_ms,
        received_at_ms: actor.now_ms,
        verification: Verification::Session,
        channel: None,
        dedup_key: None,
    };
    let id = actor.ids.next(actor.now_ms);
    Ok(StoredEvent { id, event })
}

// EXPUNGING ---------------------------------------------------------------------------------

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
