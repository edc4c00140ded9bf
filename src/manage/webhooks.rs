//! Webhooks, and what becomes of what they are owed.

use super::actor::Actor;
use crate::error::{Error, Result};
use crate::id::{WebhookId, WorkspaceId};
use crate::secret::{Vault, WebhookSecret};
use crate::store::{deliveries, health, webhooks};
use crate::time::rfc3339;
use crate::webhook::{
    RetiredKey, Signing, SigningKey, Webhook, WebhookInput, WebhookSettings, WebhookState,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::time::Duration;

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

/// Refuses a change of what is not any more as the person saw it, who would undo what somebody else did
/// without knowing it. `as_of` is the [`Webhook::changed_at_ms`] that was seen; `None` is not looked at.
fn must_be_as_seen(webhook: &Webhook, as_of: Option<i64>) -> Result<()> {
    if as_of.is_none_or(|seen| seen == webhook.changed_at_ms) {
        return Ok(());
    }
    Err(Error::field(
        "/as_of",
        "changed_meanwhile",
        "This webhook was changed after the page had been loaded, by somebody else or by the same form sent twice, so nothing was changed now. Look at how it is before you send this again.",
    ))
}

/// Changes what people say of a webhook.
///
/// # Errors
/// Refused fields, `as_of` among them where it was changed since, or [`crate::error::Kind::NotFound`].
pub fn edit_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    id: WebhookId,
    input: &WebhookInput,
    as_of: Option<i64>,
) -> Result<()> {
    let before = webhooks::get(connection, vault, workspace, id)?.webhook;
    must_be_as_seen(&before, as_of)?;
    let settings = input.check(Some(&before.settings))?;
    webhooks::update(connection, vault, workspace, id, &settings, actor.now_ms)?;
    actor.note(
        connection,
        Some(workspace),
        "webhook.updated",
        id.to_string(),
        Some(audited(&before.settings)),
        Some(audited(&settings)),
    )?;
    // After the note: what the webhook is owed of its own change is owed as it was before.
    if settings.is_ordered != before.settings.is_ordered {
        deliveries::set_ordered(connection, id, settings.is_ordered)?;
    }
    Ok(())
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

/// A change of the key.
#[derive(Debug, Clone, Copy)]
pub struct KeyChange {
    /// How the new one signs.
    pub signing: Signing,
    /// How long the one before signs as well.
    pub overlap: Duration,
    /// The [`Webhook::changed_at_ms`] that the person saw, if it is to be as it was then.
    pub as_of: Option<i64>,
}

/// Signs with a new key from now on, and with the one before as well for as long as the overlap says; one that
/// was replaced earlier signs no more. Says what the receiver verifies with now.
///
/// # Errors
/// [`crate::error::Kind::NotFound`], or the field `as_of` where the webhook was changed since: a form that is
/// sent twice would make two keys, and the receiver's own would sign no more.
pub fn rotate_key(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    id: WebhookId,
    change: KeyChange,
) -> Result<String> {
    let KeyChange {
        signing,
        overlap,
        as_of,
    } = change;
    let before = webhooks::get(connection, vault, workspace, id)?.webhook;
    must_be_as_seen(&before, as_of)?;
    let key = SigningKey {
        signing,
        secret: WebhookSecret::generate()?,
    };
    let overlap_ms = i64::try_from(overlap.as_millis()).map_err(Error::internal)?;
    let retired = (overlap_ms > 0).then(|| RetiredKey {
        key: before.key.clone(),
        until_ms: actor.now_ms.saturating_add(overlap_ms),
    });
    let now_ms = actor.now_ms;
    webhooks::set_key(connection, vault, &before, &key, retired.as_ref(), now_ms)?;
    let until = retired.map(|retired| rfc3339(retired.until_ms));
    actor.note(
        connection,
        Some(workspace),
        "webhook.key_rotated",
        id.to_string(),
        Some(json!({"signing": before.key.signing.as_str()})),
        Some(json!({"signing": signing.as_str(), "key_before_signs_until": until})),
    )?;
    key.reveal()
}

/// Signs with the newest key alone from now on. Where that is so already, nothing changes.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn end_overlap(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<()> {
    let webhook = webhooks::get(connection, vault, workspace, id)?.webhook;
    let Some(retired) = &webhook.retired_key else {
        return Ok(());
    };
    let now_ms = actor.now_ms;
    webhooks::set_key(connection, vault, &webhook, &webhook.key, None, now_ms)?;
    let before = json!({"key_before_signs_until": rfc3339(retired.until_ms)});
    actor.note(
        connection,
        Some(workspace),
        "webhook.overlap_ended",
        id.to_string(),
        Some(before),
        None,
    )
}

/// Notes that a person was shown what a webhook signs with.
///
/// # Errors
/// When the file refuses.
pub fn note_reveal(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<()> {
    actor.note(
        connection,
        Some(workspace),
        "webhook.secret_revealed",
        id.to_string(),
        None,
        None,
    )
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
