//! How a profile came about and how far it has come, as its page tells it: merges, stages, memberships; and
//! how many there are. Reads only, but for the wish to take two profiles apart.

use crate::error::{Error, Kind, Result};
use crate::funnel::Stage;
use crate::id::{EventId, FunnelId, MergeId, ProfileId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A page shows at most this many merges or members of one profile, the newest.
pub const MAX_SHOWN: usize = 100;
const MAX_ROWS: i64 = 100;

/// Two profiles that one event named.
#[derive(Debug, Clone)]
pub struct MergeRow {
    /// Its id.
    pub id: MergeId,
    /// Whether they became one; else they stayed two, and this says why not.
    pub is_merged: bool,
    /// The profile that got the event.
    pub profile: ProfileId,
    /// The one that was merged into it.
    pub other: Option<ProfileId>,
    /// The event.
    pub event: EventId,
    /// By which identifier it named the other one.
    pub identifier_kind: String,
    /// That identifier.
    pub identifier_value: String,
    /// Whether somebody asked to take them apart.
    pub is_undo_requested: bool,
    /// When they were taken apart, Unix milliseconds.
    pub undone_at_ms: Option<i64>,
}

const MERGE: &str = "SELECT id, outcome = 'merged', profile_id, other_id, event_id, identifier_kind, identifier_value,
        undo_requested_at_ms IS NOT NULL, undone_at_ms FROM merge";

fn merge_row(row: &Row<'_>) -> rusqlite::Result<MergeRow> {
    Ok(MergeRow {
        id: row.get(0)?,
        is_merged: row.get(1)?,
        profile: row.get(2)?,
        other: row.get(3)?,
        event: row.get(4)?,
        identifier_kind: row.get(5)?,
        identifier_value: row.get(6)?,
        is_undo_requested: row.get(7)?,
        undone_at_ms: row.get(8)?,
    })
}

/// What happened between a profile with these parts and others, newest first.
///
/// # Errors
/// When the file cannot be read.
pub fn merges(connection: &Connection, parts: &[ProfileId]) -> Result<Vec<MergeRow>> {
    let mut found = Vec::new();
    let by_profile = format!("{MERGE} WHERE profile_id = ?1 ORDER BY id DESC LIMIT ?2");
    let mut by_profile = connection.prepare_cached(&by_profile)?;
    let by_other = format!("{MERGE} WHERE other_id = ?1 ORDER BY id DESC LIMIT ?2");
    let mut by_other = connection.prepare_cached(&by_other)?;
    for part in parts {
        for row in by_profile.query_map(params![part, MAX_ROWS], merge_row)? {
            found.push(row?);
        }
        for row in by_other.query_map(params![part, MAX_ROWS], merge_row)? {
            found.push(row?);
        }
    }
    found.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
    found.dedup_by_key(|row| row.id);
    found.truncate(MAX_SHOWN);
    Ok(found)
}

/// One merge of a workspace.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn merge(connection: &Connection, workspace: WorkspaceId, id: MergeId) -> Result<MergeRow> {
    let sql = format!("{MERGE} WHERE id = ?1 AND workspace_id = ?2");
    connection
        .prepare_cached(&sql)?
        .query_row(params![id, workspace], merge_row)
        .optional()?
        .ok_or_else(|| Error::not_found("merge"))
}

/// Asks for two profiles to be taken apart. The projector does it before it goes on with the log.
///
/// # Errors
/// [`Kind::Conflict`] when they are two already, or stayed two, or somebody asked before.
pub fn request_undo(
    connection: &Connection,
    workspace: WorkspaceId,
    id: MergeId,
    now_ms: i64,
) -> Result<()> {
    let changed = connection
        .prepare_cached(
            "UPDATE merge SET undo_requested_at_ms = ?3
             WHERE id = ?1 AND workspace_id = ?2 AND outcome = 'merged' AND undo_requested_at_ms IS NULL",
        )?
        .execute(params![id, workspace, now_ms])?;
    if changed == 1 {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Conflict,
            "not_merged",
            "These two are not one profile, or are being taken apart already; reload the page.",
        ))
    }
}

/// A stage that a profile has reached.
#[derive(Debug, Clone)]
pub struct StageRow {
    /// In which funnel.
    pub funnel: FunnelId,
    /// What people call it.
    pub funnel_name: String,
    /// The stage.
    pub stage: Stage,
    /// The event that brought it there.
    pub event: EventId,
    /// When, Unix milliseconds.
    pub at_ms: i64,
}

/// The stages that a profile has reached, funnel by funnel, in order.
///
/// # Errors
/// When the file cannot be read.
pub fn stages(connection: &Connection, profile: ProfileId) -> Result<Vec<StageRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT s.funnel_id, f.name, s.rank, s.event_id, s.at_ms FROM stage_reached s JOIN funnel f ON f.id = s.funnel_id
         WHERE s.profile_id = ?1 ORDER BY s.funnel_id, s.rank LIMIT ?2",
    )?;
    let row = |row: &Row<'_>| {
        Ok(StageRow {
            funnel: row.get(0)?,
            funnel_name: row.get(1)?,
            stage: Stage::at(row.get(2)?).unwrap_or(Stage::Awareness),
            event: row.get(3)?,
            at_ms: row.get(4)?,
        })
    };
    Ok(statement
        .query_map(params![profile, MAX_ROWS], row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// A profile on the other side of a membership.
#[derive(Debug, Clone)]
pub struct MemberRow {
    /// The profile as it is now.
    pub profile: ProfileId,
    /// The event that first named both.
    pub event: EventId,
}

/// The persons of an account with these parts, or the accounts of a person.
///
/// # Errors
/// When the file cannot be read.
pub fn members(connection: &Connection, parts: &[ProfileId]) -> Result<Vec<MemberRow>> {
    let mut found = Vec::new();
    let mut persons = connection.prepare_cached(
        "SELECT coalesce(p.merged_into, p.id), m.event_id FROM account_member m JOIN profile p ON p.id = m.person_id
         WHERE m.account_id = ?1 ORDER BY m.person_id DESC LIMIT ?2",
    )?;
    let mut accounts = connection.prepare_cached(
        "SELECT coalesce(p.merged_into, p.id), m.event_id FROM account_member m JOIN profile p ON p.id = m.account_id
         WHERE m.person_id = ?1 ORDER BY m.account_id DESC LIMIT ?2",
    )?;
    let row = |row: &Row<'_>| {
        Ok(MemberRow {
            profile: row.get(0)?,
            event: row.get(1)?,
        })
    };
    for part in parts {
        for member in persons.query_map(params![part, MAX_ROWS], row)? {
            found.push(member?);
        }
        for member in accounts.query_map(params![part, MAX_ROWS], row)? {
            found.push(member?);
        }
    }
    found.sort_unstable_by_key(|row: &MemberRow| (std::cmp::Reverse(row.profile), row.event));
    found.dedup_by_key(|row| row.profile);
    found.truncate(MAX_SHOWN);
    Ok(found)
}

/// How many profiles a workspace has that stand for themselves: persons, and accounts.
///
/// # Errors
/// When the file cannot be read.
pub fn population(connection: &Connection, workspace: WorkspaceId) -> Result<(i64, i64)> {
    Ok(connection
        .prepare_cached("SELECT people, accounts FROM population WHERE workspace_id = ?1")?
        .query_row([workspace], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or_default())
}

/// How many people were active in a month ([`crate::time::month`]).
///
/// # Errors
/// When the file cannot be read.
pub fn active(connection: &Connection, workspace: WorkspaceId, month: i64) -> Result<i64> {
    Ok(connection
        .prepare_cached("SELECT profiles FROM active_month WHERE workspace_id = ?1 AND month = ?2")?
        .query_row(params![workspace, month], |row| row.get(0))
        .optional()?
        .unwrap_or_default())
}
