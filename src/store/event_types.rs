//! Event types as rows: what people declare, what was seen, and what did not match. The seen ones are the
//! projector's to write.

use super::word;
use crate::error::Result;
use crate::event_type::{Declared, Mode};
use crate::id::{EventId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeMap;

/// A declared type as its page shows it.
#[derive(Debug, Clone)]
pub struct DeclaredRow {
    /// What was declared.
    pub declared: Declared,
    /// When it was declared, Unix milliseconds.
    pub created_at_ms: i64,
    /// When it was last changed, Unix milliseconds.
    pub updated_at_ms: i64,
}

const DECLARED_COLUMNS: &str = "SELECT name, description, schema, mode, example, created_at_ms, updated_at_ms FROM declared_event_type";

fn declared_row(row: &Row<'_>) -> rusqlite::Result<DeclaredRow> {
    Ok(DeclaredRow {
        declared: Declared {
            name: row.get("name")?,
            description: row.get("description")?,
            schema: row.get("schema")?,
            mode: word(row, "mode", Mode::parse)?,
            example: row.get("example")?,
        },
        created_at_ms: row.get("created_at_ms")?,
        updated_at_ms: row.get("updated_at_ms")?,
    })
}

/// What is declared of a type.
///
/// # Errors
/// When the file cannot be read.
pub fn declared(
    connection: &Connection,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<DeclaredRow>> {
    Ok(connection
        .prepare_cached(&format!(
            "{DECLARED_COLUMNS} WHERE workspace_id = ?1 AND name = ?2"
        ))?
        .query_row(params![workspace, name], declared_row)
        .optional()?)
}

/// Whether a workspace has declared `limit` types or more.
///
/// # Errors
/// When the file cannot be read.
pub fn has_declared(connection: &Connection, workspace: WorkspaceId, limit: usize) -> Result<bool> {
    let found: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM declared_event_type WHERE workspace_id = ?1 LIMIT ?2)",
        )?
        .query_row(params![workspace, number(limit)], |row| row.get(0))?;
    Ok(found >= number(limit))
}

/// Keeps what is declared of a type, new or known.
///
/// # Errors
/// When the file refuses.
pub fn put(
    connection: &Connection,
    workspace: WorkspaceId,
    declared: &Declared,
    now_ms: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO declared_event_type (workspace_id, name, description, schema, mode, example, created_at_ms, updated_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
         ON CONFLICT (workspace_id, name) DO UPDATE SET description = excluded.description, schema = excluded.schema,
            mode = excluded.mode, example = excluded.example, updated_at_ms = excluded.updated_at_ms",
        params![
            workspace,
            declared.name,
            declared.description,
            declared.schema,
            declared.mode.as_str(),
            declared.example,
            now_ms
        ],
    )?;
    Ok(())
}

/// Forgets what is declared of a type; what was seen of it stays.
///
/// # Errors
/// When the file refuses.
pub fn remove(connection: &Connection, workspace: WorkspaceId, name: &str) -> Result<()> {
    connection.execute(
        "DELETE FROM declared_event_type WHERE workspace_id = ?1 AND name = ?2",
        params![workspace, name],
    )?;
    Ok(())
}

// VIOLATIONS --------------------------------------------------------------------------------

/// Events that did not match their type's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViolationRow {
    /// How many.
    pub events: i64,
    /// When the last of them came, Unix milliseconds.
    pub last_at_ms: i64,
    /// The last of them; `None` where it was refused.
    pub last_event: Option<EventId>,
    /// The first field in it that did not match.
    pub last_pointer: String,
    /// What was wrong with the field.
    pub last_detail: String,
}

/// Adds to what did not match, while the type is declared.
///
/// # Errors
/// When the file refuses.
pub fn add_violations(
    connection: &Connection,
    workspace: WorkspaceId,
    name: &str,
    violations: &ViolationRow,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO event_type_violation (workspace_id, name, events, last_at_ms, last_event_id, last_pointer, last_detail)
             SELECT workspace_id, name, ?3, ?4, ?5, ?6, ?7 FROM declared_event_type WHERE workspace_id = ?1 AND name = ?2
             ON CONFLICT (workspace_id, name) DO UPDATE SET events = events + excluded.events, last_at_ms = excluded.last_at_ms,
                last_event_id = excluded.last_event_id, last_pointer = excluded.last_pointer, last_detail = excluded.last_detail",
        )?
        .execute(params![
            workspace,
            name,
            violations.events,
            violations.last_at_ms,
            violations.last_event,
            violations.last_pointer,
            violations.last_detail
        ])?;
    Ok(())
}

/// Forgets what did not match: there is another schema now, or none.
///
/// # Errors
/// When the file refuses.
pub fn clear_violations(connection: &Connection, workspace: WorkspaceId, name: &str) -> Result<()> {
    connection.execute(
        "DELETE FROM event_type_violation WHERE workspace_id = ?1 AND name = ?2",
        params![workspace, name],
    )?;
    Ok(())
}

/// What did not match its type's schema since that was last changed.
///
/// # Errors
/// When the file cannot be read.
pub fn violations(
    connection: &Connection,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<ViolationRow>> {
    Ok(connection
        .prepare_cached(
            "SELECT events, last_at_ms, last_event_id, last_pointer, last_detail FROM event_type_violation
             WHERE workspace_id = ?1 AND name = ?2",
        )?
        .query_row(params![workspace, name], |row| {
            Ok(ViolationRow {
                events: row.get(0)?,
                last_at_ms: row.get(1)?,
                last_event: row.get(2)?,
                last_pointer: row.get(3)?,
                last_detail: row.get(4)?,
            })
        })
        .optional()?)
}

// LISTS -------------------------------------------------------------------------------------

/// How often a type was received.
#[derive(Debug, Clone, Copy)]
pub struct SeenRow {
    /// How many events.
    pub events: i64,
    /// First received, Unix milliseconds.
    pub first_seen_at_ms: i64,
    /// Last received, Unix milliseconds.
    pub last_seen_at_ms: i64,
}

/// How often a type was received.
///
/// # Errors
/// When the file cannot be read.
pub fn seen(
    connection: &Connection,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<SeenRow>> {
    Ok(connection
        .prepare_cached(
            "SELECT name, events, first_seen_at_ms, last_seen_at_ms FROM event_type WHERE workspace_id = ?1 AND name = ?2",
        )?
        .query_row(params![workspace, name], |row| seen_row(row).map(|(_, seen)| seen))
        .optional()?)
}

fn seen_row(row: &Row<'_>) -> rusqlite::Result<(String, SeenRow)> {
    let seen = SeenRow {
        events: row.get(1)?,
        first_seen_at_ms: row.get(2)?,
        last_seen_at_ms: row.get(3)?,
    };
    Ok((row.get(0)?, seen))
}

/// A type that is declared, was seen, or both.
#[derive(Debug, Clone, Default)]
pub struct TypeRow {
    /// What is declared of it.
    pub declared: Option<Declared>,
    /// How often it was received.
    pub seen: Option<SeenRow>,
    /// Events that did not match its schema.
    pub violations: i64,
}

/// The types of a workspace that are declared or were seen, by name, from behind `after` on.
///
/// # Errors
/// When the file cannot be read.
pub fn page(
    connection: &Connection,
    workspace: WorkspaceId,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, TypeRow)>> {
    let mut types: BTreeMap<String, TypeRow> = BTreeMap::new();
    let range = params![workspace, after, number(limit)];
    let mut statement = connection.prepare_cached(&format!(
        "{DECLARED_COLUMNS} WHERE workspace_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3"
    ))?;
    for row in statement.query_map(range, declared_row)? {
        let declared = row?.declared;
        let entry = types.entry(declared.name.clone()).or_default();
        entry.declared = Some(declared);
    }
    let mut statement = connection.prepare_cached(
        "SELECT name, events, first_seen_at_ms, last_seen_at_ms FROM event_type
         WHERE workspace_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
    )?;
    for row in statement.query_map(range, seen_row)? {
        let (name, seen) = row?;
        types.entry(name).or_default().seen = Some(seen);
    }
    // Both lists are whole up to the first `limit` names of the two together.
    let mut types: Vec<_> = types.into_iter().take(limit).collect();
    for (name, row) in &mut types {
        if row.declared.is_some() {
            row.violations =
                violations(connection, workspace, name)?.map_or(0, |found| found.events);
        }
    }
    Ok(types)
}

fn number(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
