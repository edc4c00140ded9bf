//! Webhooks, and what becomes of what they are owed.

use super::actor::Actor;
use crate::error::Result;
use crate::id::{DeliveryId, WebhookId, WorkspaceId};
use crate::secret::{Vault, WebhookSecret};
use crate::store::{deliveries, health, history, webhooks};
use crate::webhook::{Signing, SigningKey, Webhook, WebhookInput, WebhookSettings, WebhookState};
use rusqlite::Connection;
use serde_json::{Value, json};

/// A webhook that was just made.
#[derive(Debug)]
pub struct CreatedWebhook {
    /// Its id.
    pub id: WebhookId,
    /// What its receiver verifies with (`whsec_…`, or `whpk_…` for Ed25519).
    pub secret: String,
}

/// Makes a webhook, active.
///
/// # Errors
/// Refused fields.
pub fn create_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    input: &WebhookInput,
    signing: Signing,
) -> Result<CreatedWebhook> {
    let webhook = Webhook {
        id: actor.ids.next(actor.now_ms),
        workspace,
        state: WebhookState::Active,
        changed_at_ms: actor.now_ms,
        settings: input.check(None)?,
        key: SigningKey {
            signing,
            secret: WebhookSecret::generate()?,
        },
        retired_key: None,
    };
    webhooks::insert(connection, vault, &webhook, actor.now_ms)?;
    actor.note(
        connection,
        Some(workspace),
        "webhook.created",
        webhook.id.to_string(),
        None,
        Some(audited(&webhook.settings)),
    )?;
    Ok(CreatedWebhook {
        id: webhook.id,
        secret: webhook.key.reveal()?,
    })
}

/// Changes what people say of a webhook.
///
/// # Errors
/// Refused fields, or [`crate::error::Kind::NotFound`].
pub fn edit_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    id: WebhookId,
    input: &WebhookInput,
) -> Result<()> {
    let before = webhooks::get(connection, vault, workspace, id)?.webhook;
    let settings = input.check(Some(&before.settings))?;
    webhooks::update(connection, vault, workspace, id, &settings, actor.now_ms)?;
    if settings.is_ordered != before.settings.is_ordered {
        deliveries::set_ordered(connection, id, settings.is_ordered)?;
    }
    actor.note(
        connection,
        Some(workspace),
        "webhook.updated",
        id.to_string(),
        Some(audited(&before.settings)),
        Some(audited(&settings)),
    )
}

/// What the audit keeps of a webhook's settings: everything but secrets.
fn audited(settings: &WebhookSettings) -> Value {
    let shown = WebhookInput::of(settings);
    json!({
        "name": shown.name,
        "url": shown.url,
        "events": shown.events,
        "format": shown.format.as_str(),
        "filters": shown.filters,
        "headers": shown.headers,
        "has_credentials": settings.credentials.is_some(),
        "schedule": shown.schedule,
        "concurrency": settings.concurrency,
        "rate": settings.rate,
        "ordered": shown.is_ordered,
    })
}

/// Pauses a webhook: what it is owed is held. Says how much that was.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn pause_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<usize> {
    webhooks::set_state(
        connection,
        workspace,
        id,
        WebhookState::Paused,
        actor.now_ms,
    )?;
    let held = deliveries::hold_pending(connection, id)?;
    let after = json!({"held": held});
    actor.note(
        connection,
        Some(workspace),
        "webhook.paused",
        id.to_string(),
        None,
        Some(after),
    )?;
    Ok(held)
}

/// What becomes of what was held while a webhook did not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is sent now.
    Send,
    /// It is given up.
    Discard,
}

/// Lets a webhook send again. Says how much of what was held is sent or given up.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn activate_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
    held: Held,
) -> Result<usize> {
    webhooks::set_state(
        connection,
        workspace,
        id,
        WebhookState::Active,
        actor.now_ms,
    )?;
    health::forget(connection, id)?;
    let (count, word) = match held {
        Held::Send => (
            deliveries::release_held(connection, id, actor.now_ms)?,
            "sent",
        ),
        Held::Discard => (deliveries::cancel_held(connection, id)?, "discarded"),
    };
    let after = json!({ word: count });
    actor.note(
        connection,
        Some(workspace),
        "webhook.activated",
        id.to_string(),
        None,
        Some(after),
    )?;
    Ok(count)
}

/// Deletes a webhook: what it is owed is cancelled, its history stays until retention. Says how
/// much was cancelled.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn delete_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<usize> {
    let before = webhooks::get(connection, vault, workspace, id)?
        .webhook
        .settings;
    webhooks::delete(connection, workspace, id, actor.now_ms)?;
    let cancelled = deliveries::cancel_owed(connection, id)?;
    health::forget(connection, id)?;
    actor.note(
        connection,
        Some(workspace),
        "webhook.deleted",
        id.to_string(),
        Some(json!({"name": before.name, "url": before.url.as_str()})),
        Some(json!({"cancelled": cancelled})),
    )?;
    Ok(cancelled)
}

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
    actor.note(
        connection,
        Some(workspace),
        "delivery.retried",
        id.to_string(),
        None,
        Some(after),
    )
}
