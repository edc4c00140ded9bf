//! What webhooks are told of changes (webhooks.md, "Event types"): for every audit entry of a workspace a
//! message with the same words. Knows no table.

use crate::error::Result;
use crate::event_type::admin_type;
use crate::id::{IdGenerator, UserId};
use crate::message::Notice;
use crate::owe;
use crate::store::access::AuditEntry;
use crate::store::catalog::Catalog;
use crate::store::deliveries;
use crate::webhook::Webhook;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::sync::Arc;

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
    catalog: &Catalog,
    ids: &IdGenerator,
    entry: &AuditEntry<'_>,
) -> Result<()> {
    let Some((workspace, event_type)) = entry.workspace.zip(admin_type(entry.action)) else {
        return Ok(());
    };
    let webhooks = catalog.webhooks_of(workspace);
    if !webhooks.iter().any(|webhook| webhook.wants(event_type)) {
        return Ok(());
    }
    // A target of another kind may be called like a webhook, of this workspace or another.
    let kind = entry.action.split_once('.').map(|(kind, _)| kind);
    let itself = webhooks
        .iter()
        .find(|webhook| kind == Some("webhook") && webhook.id.to_string() == entry.target);
    let untold = itself
        .filter(|_| UNTOLD.contains(&entry.action))
        .map(|webhook| webhook.id);
    let notice = Notice {
        event_type,
        at_ms: entry.at_ms,
        data: data(entry, itself),
    };
    let told = catalog.webhooks_but(workspace, untold);
    let owed = owe::announce(connection, &told, ids, workspace, &notice)?;
    let due = owed.iter().map(|delivery| delivery.id);
    deliveries::make_due(connection, due, entry.at_ms)
}

/// Who changed what, and how: what is not there is left out. A webhook that was there before is called what
/// it was called then, where the entry does not say.
fn data(entry: &AuditEntry<'_>, webhook: Option<&Arc<Webhook>>) -> Value {
    let said = |value: &Option<Value>, name: &str| value.as_ref()?.get(name).cloned();
    let name = ["name", "email"]
        .into_iter()
        .flat_map(|name| [said(&entry.after, name), said(&entry.before, name)])
        .flatten()
        .next()
        .or_else(|| webhook.map(|webhook| json!(webhook.settings.name)));
    let all = json!({
        "by": by(entry.user),
        "target": without_null(json!({"id": entry.target, "name": name})),
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
