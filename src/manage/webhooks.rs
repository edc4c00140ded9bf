//! Webhooks, and what becomes of what they are owed.

use super::actor::Actor;
use crate::error::{Error, Result};
use crate::id::{DeliveryId, WebhookId, WorkspaceId};
use crate::secret::{Vault, WebhookSecret};
use crate::store::{deliveries, history, webhooks};
use crate::webhook::{self, Format, Webhook, WebhookState};
use rusqlite::Connection;
use serde_json::json;

/// What a person says of a webhook, unchecked.
#[derive(Debug, Clone)]
pub struct WebhookInput {
    /// What to call it.
    pub name: String,
    /// Where it sends.
    pub url: String,
    /// Event-type patterns.
    pub events: Vec<String>,
}

impl WebhookInput {
    /// Checks every field, and says all that is wrong at once.
    ///
    /// # Errors
    /// Names the fields `name`, `url` and `event`.
    pub fn check(&self) -> Result<(String, url::Url, Vec<webhook::Pattern>)> {
        let name = webhook::check_name(&self.name);
        let url = webhook::check_url(&self.url);
        let patterns = webhook::check_patterns(&self.events);
        match (name, url, patterns) {
            (Ok(name), Ok(url), Ok(patterns)) => Ok((name, url, patterns)),
            (name, url, patterns) => Err(Error::fields(
                [name.err(), url.err(), patterns.err()]
                    .into_iter()
                    .flatten()
                    .flat_map(|e| e.field_errors().to_vec())
                    .collect(),
            )),
        }
    }
}

/// A webhook that was just made.
#[derive(Debug)]
pub struct CreatedWebhook {
    /// Its id.
    pub id: WebhookId,
    /// What it signs with (`whsec_…`).
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
    format: Format,
) -> Result<CreatedWebhook> {
    let (name, url, patterns) = input.check()?;
    let webhook = Webhook {
        id: actor.ids.next(actor.now_ms),
        workspace,
        name: name.into(),
        url,
        format,
        state: WebhookState::Active,
        patterns,
        secret: WebhookSecret::generate()?,
    };
    webhooks::insert(connection, vault, &webhook, actor.now_ms)?;
    let events: Vec<_> = webhook.patterns.iter().map(ToString::to_string).collect();
    let after = json!({"name": &*webhook.name, "url": webhook.url.as_str(), "events": events});
    actor.note(
        connection,
        Some(workspace),
        "webhook.created",
        webhook.id.to_string(),
        None,
        Some(after),
    )?;
    Ok(CreatedWebhook {
        id: webhook.id,
        secret: webhook.secret.reveal(),
    })
}

/// Changes a webhook's name, URL and events.
///
/// # Errors
/// Refused fields, or [`crate::error::Kind::NotFound`].
pub fn edit_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
    input: &WebhookInput,
) -> Result<()> {
    let before = webhooks::get(connection, workspace, id)?;
    let (name, url, patterns) = input.check()?;
    let edit = webhooks::WebhookEdit {
        name,
        url: url.into(),
        patterns,
    };
    webhooks::update(connection, workspace, id, &edit, actor.now_ms)?;
    let events: Vec<_> = edit.patterns.iter().map(ToString::to_string).collect();
    actor.note(
        connection,
        Some(workspace),
        "webhook.updated",
        id.to_string(),
        Some(json!({"name": before.name, "url": before.url, "events": before.patterns})),
        Some(json!({"name": edit.name, "url": edit.url, "events": events})),
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
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<usize> {
    let before = webhooks::get(connection, workspace, id)?;
    webhooks::delete(connection, workspace, id, actor.now_ms)?;
    let cancelled = deliveries::cancel_owed(connection, id)?;
    actor.note(
        connection,
        Some(workspace),
        "webhook.deleted",
        id.to_string(),
        Some(json!({"name": before.name, "url": before.url})),
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
