//! Funnels, the event types that lead through them, and how many people stand where. Who stands where is
//! the projector's to write (`people.rs`).

use super::word;
use crate::error::{Error, Result};
use crate::funnel::Stage;
use crate::id::{FunnelId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// More are not listed.
const MAX_ROWS: i64 = 500;

/// Keeps a new funnel that no event leads through yet.
///
/// # Errors
/// When the file refuses.
pub fn insert(
    connection: &Connection,
    id: FunnelId,
    workspace: WorkspaceId,
    name: &str,
    now_ms: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO funnel (id, workspace_id, name, created_at_ms) VALUES (?1, ?2, ?3, ?4)",
        params![id, workspace, name, now_ms],
    )?;
    Ok(())
}

/// Gives a funnel a name and the event types that lead to its stages, in place of those that it had.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when the workspace has no such funnel.
pub fn save<'a>(
    connection: &Connection,
    workspace: WorkspaceId,
    funnel: FunnelId,
    name: &str,
    rules: impl IntoIterator<Item = (&'a str, Stage)>,
) -> Result<()> {
    let changed = connection.execute(
        "UPDATE funnel SET name = ?3 WHERE id = ?2 AND workspace_id = ?1",
        params![workspace, funnel, name],
    )?;
    if changed == 0 {
        return Err(Error::not_found("funnel"));
    }
    connection.execute("DELETE FROM funnel_rule WHERE funnel_id = ?1", [funnel])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO funnel_rule (funnel_id, event_type, stage) VALUES (?1, ?2, ?3)",
    )?;
    for (event_type, stage) in rules {
        insert.execute(params![funnel, event_type, stage.as_str()])?;
    }
    Ok(())
}

/// A funnel.
#[derive(Debug, Clone)]
pub struct FunnelRow {
    /// Its id.
    pub id: FunnelId,
    /// What people call it.
    pub name: String,
}

/// One funnel of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: FunnelId) -> Result<FunnelRow> {
    connection
        .prepare_cached("SELECT id, name FROM funnel WHERE workspace_id = ?1 AND id = ?2")?
        .query_row(params![workspace, id], funnel_row)
        .optional()?
        .ok_or_else(|| Error::not_found("funnel"))
}

fn funnel_row(row: &Row<'_>) -> rusqlite::Result<FunnelRow> {
    Ok(FunnelRow {
        id: row.get(0)?,
        name: row.get(1)?,
    })
}

/// The funnels of a workspace, oldest first.
///
/// # Errors
/// When the file cannot be read.
pub fn of_workspace(connection: &Connection, workspace: WorkspaceId) -> Result<Vec<FunnelRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name FROM funnel WHERE workspace_id = ?1 ORDER BY id LIMIT ?2",
    )?;
    Ok(statement
        .query_map(params![workspace, MAX_ROWS], funnel_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// Which event types lead to which stage, by type.
///
/// # Errors
/// When the file cannot be read.
pub fn rules(connection: &Connection, funnel: FunnelId) -> Result<Vec<(String, Stage)>> {
    let mut statement = connection.prepare_cached(
        "SELECT event_type, stage FROM funnel_rule WHERE funnel_id = ?1 ORDER BY event_type LIMIT ?2",
    )?;
    Ok(statement
        .query_map(params![funnel, MAX_ROWS], |row| {
            Ok((row.get(0)?, word(row, 1, Stage::parse)?))
        })?
        .collect::<rusqlite::Result<_>>()?)
}

/// How many profiles stand at each stage of a funnel now, in order; the first one is left to the caller,
/// who knows how many there are in all.
///
/// # Errors
/// When the file cannot be read.
pub fn stage_counts(connection: &Connection, funnel: FunnelId) -> Result<Vec<(Stage, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT rank, profiles FROM stage_count WHERE funnel_id = ?1 ORDER BY rank LIMIT ?2",
    )?;
    let mut counts = Vec::new();
    for row in statement.query_map(params![funnel, MAX_ROWS], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })? {
        let (rank, profiles) = row?;
        counts.extend(Stage::at(rank).map(|stage| (stage, profiles)));
    }
    Ok(counts)
}
