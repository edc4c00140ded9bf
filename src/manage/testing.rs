//! Trying a webhook: with the box's own test message, a sample of an event type, or a past event.

use super::actor::Actor;
use super::deliveries::note;
use super::resend::{Made, event_body, event_with_payload, insert_message, known_webhook};
use crate::delivery::{DeliveryState, Origin};
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
use crate::event_type::{FAMILIES, example_data};
use crate::id::{DeliveryId, EventId, MessageId, WebhookId, WorkspaceId};
use crate::message::{self, Notice, NoticeOf};
use crate::normalize::{self, RESERVED_PREFIXES};
use crate::store::catalog::Catalog;
use crate::store::{event_types, past};
use crate::webhook::{Format, Webhook};
use rusqlite::Connection;
use serde_json::{Value, json};

/// The type of the box's own test message (webhooks.md, "Schedule").
pub const TEST_TYPE: &str = "webhook.test";
/// Events among which the newest of a type is looked for, to be a test.
const SAMPLE_LOOK: usize = 1_000;

/// Makes a delivery that tries a webhook, whatever it listens for and whether it sends: of the box's own test
/// message, of a sample of an event type, or of a past event (`evt_…`). It stands on no list; the attempt is
/// to be asked for after the commit.
///
/// # Errors
/// [`crate::error::Kind::NotFound`]; the field `what`; [`crate::error::Kind::Conflict`] when the event's payload was expunged.
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
    // A message of its own: a receiver that knows the event's own one would pass the test over.
    let message = actor.ids.next(actor.now_ms);
    let (event_type, event, body) = match what.parse::<EventId>() {
        _ if what == TEST_TYPE => (
            TEST_TYPE.into(),
            None,
            ping(actor.now_ms, webhook, message)?,
        ),
        Ok(event) => of_event(connection, catalog, workspace, event, format)?,
        Err(_) => {
            check_type(what)?;
            match past::newest_of_type(connection, workspace, what, SAMPLE_LOOK)? {
                Some(event) => of_event(connection, catalog, workspace, event, format)?,
                None => {
                    let body = match own_type(what) {
                        Some(own) => example_of_own(actor.now_ms, webhook, message, own)?,
                        None => {
                            let sample = sample(connection, actor, workspace, what)?;
                            event_body(catalog, format, &sample)?
                        }
                    };
                    (what.into(), None, body)
                }
            }
        }
    };
    insert_message(connection, workspace, message, (&event_type, event), &body)?;
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
    if name.is_empty() {
        let detail = "Write webhook.test, an event type, or the id of a past event (evt_…).";
        return Err(Error::field("/what", "required", detail));
    }
    let is_reserved = RESERVED_PREFIXES.iter().any(|own| name.starts_with(own));
    if is_reserved && own_type(name).is_none() {
        let detail =
            "The box has no event type of this name; its own are listed among the event types.";
        return Err(Error::field("/what", "unknown_type", detail));
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

fn ping(now_ms: i64, webhook: &Webhook, message: MessageId) -> Result<Vec<u8>> {
    let about = json!({"webhook": {"id": webhook.id.to_string(), "name": webhook.settings.name}});
    said_by_the_box(now_ms, webhook, message, (TEST_TYPE, about))
}

fn said_by_the_box(
    at_ms: i64,
    webhook: &Webhook,
    message: MessageId,
    (event_type, data): (&'static str, Value),
) -> Result<Vec<u8>> {
    let of = NoticeOf {
        workspace: webhook.workspace,
        message,
    };
    let notice = Notice {
        event_type,
        at_ms,
        data,
    };
    message::notice_body(webhook.settings.format, &notice, of).map_err(Error::internal)
}

/// The type of that name, where it is of a family that is the box's own.
fn own_type(name: &str) -> Option<&'static str> {
    FAMILIES
        .iter()
        .flat_map(|family| family.types)
        .map(|(known, _)| *known)
        .find(|known| *known == name && RESERVED_PREFIXES.iter().any(|own| known.starts_with(own)))
}

fn example_of_own(
    now_ms: i64,
    webhook: &Webhook,
    message: MessageId,
    own: &'static str,
) -> Result<Vec<u8>> {
    let data = example_data(own).unwrap_or_default();
    said_by_the_box(now_ms, webhook, message, (own, data))
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

/// An event that did not happen, as it would look like by its type's example: what is declared of it, or what
/// its family says.
fn sample(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    event_type: &str,
) -> Result<StoredEvent> {
    let known = example_data(event_type).unwrap_or_default();
    let declared = event_types::declared(connection, workspace, event_type)?;
    let declared = declared.and_then(|row| row.declared.example);
    let text = |name: &str| known.get(name).and_then(Value::as_str).map(Into::into);
    let object = |name: &str| known.get(name).map(|value| value.to_string().into());
    let kind = known.get("kind").and_then(Value::as_str);
    let kind = kind.and_then(EventKind::parse).unwrap_or(EventKind::Track);
    // An example is an object as the event's properties are, or its traits where it carries those.
    let carries_traits = matches!(kind, EventKind::Identify | EventKind::Group);
    let (mut properties, mut traits) = (object("properties"), object("traits"));
    if let Some(declared) = declared {
        let own = if carries_traits {
            &mut traits
        } else {
            &mut properties
        };
        *own = Some(declared.into());
    }
    let event = Event {
        workspace,
        source: None,
        kind,
        name: event_type.into(),
        identifiers: Identifiers {
            user_id: text("userId").or_else(|| Some("user_1".into())),
            visitor_id: text("visitorId"),
            email: text("email"),
            customer_id: text("customerId"),
            group_id: text("groupId"),
        },
        properties,
        traits,
        context: None,
        replace_traits: false,
        customer_is_account: false,
        occurred_at_ms: actor.now_ms,
        received_at_ms: actor.now_ms,
        verification: Verification::Server,
        channel: None,
        dedup_key: None,
    };
    let id = actor.ids.next(actor.now_ms);
    Ok(StoredEvent { id, event })
}
