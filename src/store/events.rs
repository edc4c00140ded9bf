//! Events: written once by the way in, read by the projector and by pages.

use super::prepared::Prepare;
use super::word;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, Identifiers, KeySpace, StoredEvent, Verification};
use crate::id::{EventId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};
use std::ops::ControlFlow;

/// Appends an event to the log.
///
/// # Errors
/// When the file refuses.
pub fn insert(connection: &impl Prepare, stored: &StoredEvent) -> Result<()> {
    connection.with_statement(
        "INSERT INTO event (id, workspace_id, source_id, kind, name, received_at_ms, occurred_at_ms, replace_traits, verification,
            user_id, visitor_id, email, customer_id, group_id, properties, traits, context, channel, dedup_key, customer_is_account)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        |statement| bind_and_run(statement, stored),
    )
}

fn bind_and_run(statement: &mut Statement<'_>, stored: &StoredEvent) -> Result<()> {
    let StoredEvent { id, event } = stored;
    let ids = &event.identifiers;
    statement.raw_bind_parameter(1, id)?;
    statement.raw_bind_parameter(2, event.workspace)?;
    statement.raw_bind_parameter(3, event.source)?;
    statement.raw_bind_parameter(4, event.kind.as_str())?;
    statement.raw_bind_parameter(5, &event.name)?;
    statement.raw_bind_parameter(6, event.received_at_ms)?;
    statement.raw_bind_parameter(7, event.occurred_at_ms)?;
    statement.raw_bind_parameter(8, event.replace_traits)?;
    statement.raw_bind_parameter(9, event.verification.as_str())?;
    // Most of these are absent in most events. A statement comes with nothing bound,
    // which is NULL, so binding what is absent would only cost time, on the one writer.
    let optional = [
        &ids.user_id,
        &ids.visitor_id,
        &ids.email,
        &ids.customer_id,
        &ids.group_id,
        &event.properties,
        &event.traits,
        &event.context,
        &event.channel,
        &event.dedup_key,
    ];
    for (parameter, text) in (10..).zip(optional) {
        if let Some(text) = text {
            statement.raw_bind_parameter(parameter, text)?;
        }
    }
    if event.customer_is_account {
        statement.raw_bind_parameter(20, true)?;
    }
    statement.raw_execute()?;
    Ok(())
}

const COLUMNS: &str = "SELECT id, workspace_id, source_id, kind, name, user_id, visitor_id, email, customer_id, group_id,
        properties, traits, context, replace_traits, occurred_at_ms, received_at_ms, verification, channel, dedup_key,
        customer_is_account IS NOT NULL FROM event";

/// Reads by position: a page has many rows, and looking names up costs as much as the rest.
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
            customer_is_account: row.get(19)?,
        },
    })
}

/// What the projector needs of an event; the rest, which is most of its bytes, is not read.
#[derive(Debug)]
pub struct LoggedEvent<'a> {
    /// Its id.
    pub id: EventId,
    /// The tenant.
    pub workspace: WorkspaceId,
    /// What sort of thing happened.
    pub kind: EventKind,
    /// Its type.
    pub name: &'a str,
    /// Who it is about, exactly as it came.
    pub identifiers: Identifiers<&'a str>,
    /// Whether `customer_id` names the account and not the person.
    pub customer_is_account: bool,
    /// How sure the box is of the sender.
    pub verification: Verification,
    /// JSON object, byte for byte as it came.
    pub traits: Option<&'a str>,
    /// Whether traits that are not named go away.
    pub replace_traits: bool,
    /// JSON object, byte for byte as it came; of what the payment provider signed only.
    pub billing_properties: Option<&'a str>,
    /// When it happened, Unix milliseconds.
    pub occurred_at_ms: i64,
    /// When the box had it, Unix milliseconds.
    pub received_at_ms: i64,
}

/// Calls `each` with the log's events after `after` up to `last`, in order, of all workspaces, until
/// it breaks.
///
/// # Errors
/// When the file cannot be read, and what `each` says.
pub fn each_between(
    connection: &Connection,
    after: EventId,
    last: EventId,
    mut each: impl FnMut(&LoggedEvent<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT id, workspace_id, name, user_id, visitor_id, email, customer_id, group_id,
            traits, replace_traits, occurred_at_ms, received_at_ms, kind, verification, customer_is_account IS NOT NULL,
            iif(verification = 'billing', properties, NULL)
         FROM event WHERE id > ?1 AND id <= ?2 ORDER BY id",
    )?;
    let mut rows = statement.query([after, last])?;
    while let Some(row) = rows.next()? {
        let text = |column| {
            row.get_ref(column)?
                .as_str_or_null()
                .map_err(Error::internal)
        };
        let event = LoggedEvent {
            id: row.get(0)?,
            workspace: row.get(1)?,
            name: row.get_ref(2)?.as_str().map_err(Error::internal)?,
            identifiers: Identifiers {
                user_id: text(3)?,
                visitor_id: text(4)?,
                email: text(5)?,
                customer_id: text(6)?,
                group_id: text(7)?,
            },
            traits: text(8)?,
            replace_traits: row.get(9)?,
            occurred_at_ms: row.get(10)?,
            received_at_ms: row.get(11)?,
            kind: word(row, 12, EventKind::parse)?,
            verification: word(row, 13, Verification::parse)?,
            customer_is_account: row.get(14)?,
            billing_properties: text(15)?,
        };
        if each(&event)?.is_break() {
            break;
        }
    }
    Ok(())
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

/// Calls `each` with the workspace, whose key it is, the key and the id of those of the log's next `limit` events that have a
/// sender's own key; says which event was the last that was looked at, `None` at the log's end.
///
/// # Errors
/// When the file cannot be read.
pub fn each_key(
    connection: &Connection,
    after: EventId,
    limit: usize,
    mut each: impl FnMut(WorkspaceId, KeySpace, &str, EventId),
) -> Result<Option<EventId>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, workspace_id, dedup_key, verification FROM event WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after, limit])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if let Some(key) = row.get_ref(2)?.as_str_or_null().map_err(Error::internal)? {
            let verification = word(row, 3, Verification::parse)?;
            each(row.get(1)?, verification.key_space(), key, id);
        }
        last = Some(id);
    }
    Ok(last)
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
