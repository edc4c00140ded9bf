//! What webhooks are told of changes (webhooks.md, "Event types"): for every audit entry of a workspace a
//! message with the same words. Knows no table.

use super::actor::Actor;
use crate::error::Result;
use crate::id::{UserId, WebhookId};
use crate::message::Notice;
use crate::owe;
use crate::store::access::AuditEntry;
use crate::store::deliveries;
use rusqlite::Connection;
use serde_json::{Value, json};

/// What is done to a webhook that it is not told of itself: it does not send then, or did not when the change
/// was made.
const UNTOLD: [&str; 3] = ["webhook.paused", "webhook.activated", "webhook.deleted"];

/// Owes the message of a change to the webhooks that want it, in the change's own transaction. What is due is
/// on the due lists when this returns: the dispatcher finds it there, in this process or in another.
///
/// # Errors
/// When the file refuses.
pub(super) fn announce(
    connection: &Connection,
    actor: &Actor<'_>,
    entry: &AuditEntry<'_>,
) -> Result<()> {
    let Some((workspace, event_type)) = entry.workspace.zip(event_type(entry.action)) else {
        return Ok(());
    };
    let webhooks = actor.catalog.webhooks_of(workspace);
    if !webhooks.iter().any(|webhook| webhook.wants(event_type)) {
        return Ok(());
    }
    let itself = entry.target.parse::<WebhookId>().ok();
    let untold = itself.filter(|_| UNTOLD.contains(&entry.action));
    let notice = Notice {
        event_type,
        at_ms: entry.at_ms,
        data: data(entry),
    };
    let told = actor.catalog.webhooks_but(workspace, untold);
    let owed = owe::announce(connection, &told, actor.ids, workspace, &notice)?;
    let due = owed.iter().map(|delivery| delivery.id);
    deliveries::make_due(connection, due, actor.now_ms)
}

/// Who changed what, and how: what is not there is left out.
fn data(entry: &AuditEntry<'_>) -> Value {
    let member = |value: &Option<Value>, name: &str| value.as_ref()?.get(name).cloned();
    let named = ["name", "email"].into_iter();
    let name = named
        .flat_map(|name| [member(&entry.after, name), member(&entry.before, name)])
        .flatten()
        .next();
    let mut target = json!({"id": entry.target});
    target["name"] = name.unwrap_or_default();
    let all = json!({
        "by": by(entry.user),
        "target": without_null(target),
        "before": entry.before,
        "after": entry.after,
    });
    without_null(all)
}

fn by(user: Option<UserId>) -> Value {
    match user {
        Some(user) => json!({"kind": "user", "id": user.to_string()}),
        None => json!({"kind": "command_line"}),
    }
}

/// The members of an object that are there.
fn without_null(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    object
}

/// The type of the message that says of an action; `None` for what concerns the whole box.
fn event_type(action: &str) -> Option<&'static str> {
    TYPES
        .iter()
        .find(|event_type| event_type.strip_prefix("admin.") == Some(action))
        .copied()
}

/// A type for each action that is noted in a workspace.
const TYPES: [&str; 25] = [
    "admin.webhook.created",
    "admin.webhook.updated",
    "admin.webhook.paused",
    "admin.webhook.activated",
    "admin.webhook.deleted",
    "admin.delivery.retried",
    "admin.api_key.created",
    "admin.api_key.revoked",
    "admin.source.created",
    "admin.source.updated",
    "admin.source.stripe_secret_set",
    "admin.source.identity_secret_rotated",
    "admin.member.added",
    "admin.member.role_changed",
    "admin.event_type.declared",
    "admin.event_type.updated",
    "admin.event_type.removed",
    "admin.funnel.created",
    "admin.funnel.updated",
    "admin.profile.merge_undo_requested",
    "admin.workspace.created",
    "admin.workspace.renamed",
    "admin.workspace.mau_limit_set",
    "", "",
];
