//! What people declare of event types.

use super::actor::Actor;
use crate::error::{Error, Result};
use crate::event_type::{Declared, MAX_DECLARED};
use crate::id::WorkspaceId;
use crate::store::event_types;
use rusqlite::Connection;
use serde_json::{Value, json};

/// Declares an event type, or changes what is declared of it. With another schema its violations are
/// counted anew.
///
/// # Errors
/// [`crate::error::Kind::Invalid`] when the workspace has declared as many as it may.
pub fn declare_event_type(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    declared: &Declared,
) -> Result<()> {
    let before = event_types::declared(connection, workspace, &declared.name)?;
    if before.is_none() && event_types::has_declared(connection, workspace, MAX_DECLARED)? {
        let detail = format!(
            "A workspace declares at most {MAX_DECLARED} event types; remove one that is not needed."
        );
        return Err(Error::field("/name", "too_many_event_types", detail));
    }
    let before = before.map(|row| row.declared);
    event_types::put(connection, workspace, declared, actor.now_ms)?;
    if before
        .as_ref()
        .is_none_or(|before| before.schema != declared.schema)
    {
        event_types::clear_violations(connection, workspace, &declared.name)?;
    }
    let action = match before {
        None => "event_type.declared",
        Some(_) => "event_type.updated",
    };
    actor.note(
        connection,
        Some(workspace),
        action,
        declared.name.clone(),
        before.as_ref().map(noted),
        Some(noted(declared)),
    )
}

/// Removes what is declared of an event type; events of it are taken as before it was declared.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when nothing is declared of it.
pub fn remove_event_type(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    name: &str,
) -> Result<()> {
    let before = event_types::declared(connection, workspace, name)?
        .ok_or_else(|| Error::not_found("event type"))?;
    event_types::remove(connection, workspace, name)?;
    event_types::clear_violations(connection, workspace, name)?;
    actor.note(
        connection,
        Some(workspace),
        "event_type.removed",
        name.to_owned(),
        Some(noted(&before.declared)),
        None,
    )
}

fn noted(declared: &Declared) -> Value {
    json!({
        "description": declared.description,
        "schema": declared.schema,
        "mode": declared.mode.as_str(),
        "example": declared.example,
    })
}
