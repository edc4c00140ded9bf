//! Events: written once by the way in, read by the projector and by pages.

use super::word;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
use crate::id::{EventId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// Appends an event to the log.
///
/// # Errors
/// When the file refuses.
pub fn insert(connection: &Connection, stored: &StoredEvent) -> Result<()> {
    let StoredEvent { id, event } = stored;
    let ids = &event.identifiers;
    connection
        .prepare_cached(
            "INSERT INTO event (id, workspace_id, source_id, kind, name, user_id, visitor_id, email, customer_id, group_id,
                properties, traits, context, replace_traits, occurred_at_ms, received_at_ms, verification, channel, dedup_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?
        .execute(params![
            id,
            event.workspace,
            event.source,
            event.kind.as_str(),
            event.name,
            ids.user_id,
            ids.visitor_id,
            ids.email,
            ids.customer_id,
            ids.group_id,
            event.properties,
            event.traits,
            event.context,
            event.replace_traits,
            event.occurred_at_ms,
            event.received_at_ms,
            event.verification.as_str(),
            event.channel,
            event.dedup_key,
        ])?;
    Ok(())
}

const COLUMNS: &str = "SELECT id, workspace_id, source_id, kind, name, user_id, visitor_id, email, customer_id, group_id,
        properties, traits, context, replace_traits, occurred_at_ms, received_at_ms, verification, channel, dedup_key FROM event";

/// Reads by position: the projector reads every event, and looking names up costs as much as the rest.
fn event_row(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        id: row.get(0)?,
        event: Event {
            workspace: row.get(1)?,
            source: row.get(2)?,
            kind: word(row, 3, EventKind::parse)?,
            name: row.get(4)?,
            identifiers: Identifiers {
                user_id: row.get(5)?,
                visitor_id: row.get(6)?,
                email: row.get(7)?,
                customer_id: row.get(8)?,
                group_id: row.get(9)?,
            },
            properties: row.get(10)?,
            traits: row.get(11)?,
            context: row.get(12)?,
            replace_traits: row.get(13)?,
            occurred_at_ms: row.get(14)?,
            received_at_ms: row.get(15)?,
            verification: word(row, 16, Verification::parse)?,
            channel: row.get(17)?,
            dedup_key: row.get(18)?,
        },
    })
}

/// The log's next `limit` events after `cursor`, in order, of all workspaces.
///
/// # Errors
/// When the file cannot be read.
pub fn after(connection: &Connection, cursor: EventId, limit: usize) -> Result<Vec<StoredEvent>> {
    let sql = format!("{COLUMNS} WHERE id > ?1 ORDER BY id LIMIT ?2");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement
        .query_map(params![cursor, limit], event_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The newest `limit` events of a workspace, or the newest before `before`: newest first.
///
/// # Errors
/// When the file cannot be read.
pub fn page(
    connection: &Connection,
    workspace: WorkspaceId,
    before: Option<EventId>,
    limit: usize,
) -> Result<Vec<StoredEvent>> {
    let sql = format!("{COLUMNS} WHERE workspace_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
    let before = before.unwrap_or(EventId::from_i64(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement
        .query_map(params![workspace, before, limit], event_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// One event of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: EventId) -> Result<StoredEvent> {
    find(connection, workspace, id)?.ok_or_else(|| Error::not_found("event"))
}

/// One event of a workspace, if it is still there.
///
/// # Errors
/// When the file cannot be read.
pub fn find(
    connection: &Connection,
    workspace: WorkspaceId,
    id: EventId,
) -> Result<Option<StoredEvent>> {
    let sql = format!("{COLUMNS} WHERE workspace_id = ?1 AND id = ?2");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(params![workspace, id], event_row)
        .optional()?)
}

/// The event `id`, if it is there, is of `workspace` and came under the sender's own `key`.
///
/// # Errors
/// When the file cannot be read.
pub fn with_key(
    connection: &Connection,
    workspace: WorkspaceId,
    id: EventId,
    key: &str,
) -> Result<Option<StoredEvent>> {
    let sql = format!("{COLUMNS} WHERE id = ?1 AND workspace_id = ?2 AND dedup_key = ?3");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(params![id, workspace, key], event_row)
        .optional()?)
}

/// Calls `each` with the workspace, key and id of every event with a sender's own key from `from` on.
///
/// # Errors
/// When the file cannot be read.
pub fn each_key(
    connection: &Connection,
    from: EventId,
    mut each: impl FnMut(WorkspaceId, &str, EventId),
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT workspace_id, dedup_key, id FROM event WHERE id >= ?1 AND dedup_key IS NOT NULL",
    )?;
    let mut rows = statement.query([from])?;
    while let Some(row) = rows.next()? {
        let key = row.get_ref(1)?.as_str().map_err(Error::internal)?;
        each(row.get(0)?, key, row.get(2)?);
    }
    Ok(())
}

/// The log's last id, 0 when it is empty.
///
/// # Errors
/// When the file cannot be read.
pub fn last_id(connection: &Connection) -> Result<EventId> {
    Ok(connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM event")?
        .query_row([], |row| row.get(0))?)
}
