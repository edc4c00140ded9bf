//! Trying a webhook: with the box's own test message, a sample of an event type, or a past event.

use super::actor::Actor;
use super::deliveries::note;
use super::resend::{Made, event_body, event_with_payload, insert_message, known_webhook};
use crate::delivery::{DeliveryState, Origin};
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
use crate::id::{DeliveryId, EventId, MessageId, WebhookId, WorkspaceId};
use crate::message::{self, Notice, NoticeOf};
use crate::normalize;
use crate::store::catalog::Catalog;
use crate::store::{event_types, past};
use crate::webhook::{Format, Webhook};
use rusqlite::Connection;
use serde_json::json;

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
                    let sample = sample(connection, actor, workspace, what)?;
                    (what.into(), None, event_body(catalog, format, &sample)?)
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
    let of = NoticeOf {
        workspace: webhook.workspace,
        message,
    };
    let notice = Notice {
        event_type: TEST_TYPE,
        at_ms: now_ms,
        data: json!({"webhook": {"id": webhook.id.to_string(), "name": webhook.settings.name}}),
    };
    message::notice_body(webhook.settings.format, &notice, of).map_err(Error::internal)
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
