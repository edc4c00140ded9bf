//! Profiles, event types and usage as pages read them. What is told of how a profile came about is in
//! `journal.rs`.

use super::{projection, word};
use crate::error::{Error, Result};
use crate::event::Verification;
use crate::id::{EventId, ProfileId, WorkspaceId};
use crate::identity::{self, IdentifierKind, ProfileKind};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeSet;

/// A profile as lists and its page show it.
#[derive(Debug, Clone)]
pub struct ProfileRow {
    /// Its id.
    pub id: ProfileId,
    /// What it stands for.
    pub kind: ProfileKind,
    /// One of its identifiers, the strongest.
    pub identifier: Option<String>,
    /// The oldest event's time, Unix milliseconds.
    pub first_seen_at_ms: i64,
    /// The newest event's time, Unix milliseconds.
    pub last_seen_at_ms: i64,
    /// How many events.
    pub events: i64,
    /// How many pages and screens were seen.
    pub pageviews: i64,
    /// How many sessions: stretches with less than half an hour between two events.
    pub sessions: i64,
    /// How many events that a funnel names.
    pub goals: i64,
}

/// The identifier is looked for kind by kind, strongest first: a profile may have very many.
const COLUMNS: &str = "SELECT p.id, p.kind, a.first_seen_at_ms, a.last_seen_at_ms, a.events, a.pageviews, a.sessions, a.goals, coalesce(
        (SELECT value FROM identifier WHERE profile_id = p.id AND workspace_id = p.workspace_id AND kind = 'customer_id' LIMIT 1),
        (SELECT value FROM identifier WHERE profile_id = p.id AND workspace_id = p.workspace_id AND kind = 'user_id' LIMIT 1),
        (SELECT value FROM identifier WHERE profile_id = p.id AND workspace_id = p.workspace_id AND kind = 'email' LIMIT 1),
        (SELECT value FROM identifier WHERE profile_id = p.id AND workspace_id = p.workspace_id AND kind = 'group_id' LIMIT 1),
        (SELECT value FROM identifier WHERE profile_id = p.id LIMIT 1)) AS identifier
     FROM profile p JOIN profile_activity a ON a.profile_id = p.id";

fn profile_row(row: &Row<'_>) -> rusqlite::Result<ProfileRow> {
    Ok(ProfileRow {
        id: row.get("id")?,
        kind: word(row, 1, ProfileKind::parse)?,
        identifier: row.get("identifier")?,
        first_seen_at_ms: row.get("first_seen_at_ms")?,
        last_seen_at_ms: row.get("last_seen_at_ms")?,
        events: row.get("events")?,
        pageviews: row.get("pageviews")?,
        sessions: row.get("sessions")?,
        goals: row.get("goals")?,
    })
}

/// The newest profiles of a workspace that stand for themselves, before `before`.
///
/// # Errors
/// When the file cannot be read.
pub fn page(
    connection: &Connection,
    workspace: WorkspaceId,
    before: Option<ProfileId>,
    limit: usize,
) -> Result<Vec<ProfileRow>> {
    let sql = format!(
        "{COLUMNS} WHERE p.workspace_id = ?1 AND p.id < ?2 AND p.merged_into IS NULL ORDER BY p.id DESC LIMIT ?3"
    );
    let before = before.unwrap_or(ProfileId::from_i64(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement
        .query_map(params![workspace, before, limit], profile_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The profiles that hold `value` as an identifier of any kind, or as their id, newest first; emails in
/// any case. Of one that is part of another, the other.
///
/// # Errors
/// When the file cannot be read.
pub fn find(
    connection: &Connection,
    workspace: WorkspaceId,
    value: &str,
) -> Result<Vec<ProfileRow>> {
    let mut found = BTreeSet::new();
    if let Ok(id) = value.parse() {
        found.extend(whole(connection, workspace, id)?);
    }
    for kind in IdentifierKind::ALL {
        if let Some(value) = identity::canonical(kind, value) {
            found.extend(projection::profile_of(connection, workspace, kind, &value)?);
        }
    }
    found
        .into_iter()
        .rev()
        .filter_map(|id| one(connection, workspace, id).transpose())
        .collect()
}

/// The profile that a profile of the workspace is part of by now: itself, if none.
///
/// # Errors
/// When the file cannot be read.
pub fn whole(
    connection: &Connection,
    workspace: WorkspaceId,
    id: ProfileId,
) -> Result<Option<ProfileId>> {
    Ok(connection
        .prepare_cached(
            "SELECT coalesce(merged_into, id) FROM profile WHERE id = ?2 AND workspace_id = ?1",
        )?
        .query_row(params![workspace, id], |row| row.get(0))
        .optional()?)
}

/// A profile and those that became parts of it: under which numbers its history is kept.
///
/// # Errors
/// When the file cannot be read.
pub fn parts(connection: &Connection, profile: ProfileId) -> Result<Vec<ProfileId>> {
    let mut parts = vec![profile];
    let mut statement =
        connection.prepare_cached("SELECT id FROM profile WHERE merged_into = ?1 LIMIT ?2")?;
    for part in statement.query_map(params![profile, MAX_FACTS], |row| row.get(0))? {
        parts.push(part?);
    }
    Ok(parts)
}

/// One profile of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: ProfileId) -> Result<ProfileRow> {
    one(connection, workspace, id)?.ok_or_else(|| Error::not_found("profile"))
}

fn one(
    connection: &Connection,
    workspace: WorkspaceId,
    id: ProfileId,
) -> Result<Option<ProfileRow>> {
    let sql = format!("{COLUMNS} WHERE p.workspace_id = ?1 AND p.id = ?2 LIMIT 1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(params![workspace, id], profile_row)
        .optional()?)
}

/// An identifier of a profile.
#[derive(Debug, Clone)]
pub struct IdentifierRow {
    /// `user_id`, `email`, …
    pub kind: String,
    /// In the form in which it is compared.
    pub value: String,
    /// The event that brought it.
    pub event: EventId,
}

/// The identifiers of a profile, by kind, at most a thousand.
///
/// # Errors
/// When the file cannot be read.
pub fn identifiers(
    connection: &Connection,
    workspace: WorkspaceId,
    profile: ProfileId,
) -> Result<Vec<IdentifierRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, value, event_id FROM identifier WHERE profile_id = ?1 AND workspace_id = ?2
         ORDER BY kind, value LIMIT ?3",
    )?;
    let row = |row: &Row<'_>| {
        Ok(IdentifierRow {
            kind: row.get(0)?,
            value: row.get(1)?,
            event: row.get(2)?,
        })
    };
    Ok(statement
        .query_map(params![profile, workspace, MAX_FACTS], row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// A trait of a profile.
#[derive(Debug, Clone)]
pub struct TraitRow {
    /// What.
    pub name: String,
    /// JSON text, byte for byte.
    pub value: String,
    /// The event that set it.
    pub event: EventId,
    /// Whether its sender had no proof of who it was.
    pub is_unverified: bool,
}

/// A page shows at most this many traits or identifiers of one profile.
const MAX_FACTS: i64 = 1_000;

/// The traits of a profile, by name, at most a thousand.
///
/// # Errors
/// When the file cannot be read.
pub fn traits(connection: &Connection, profile: ProfileId) -> Result<Vec<TraitRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, value, event_id, is_unverified IS NOT NULL FROM trait WHERE profile_id = ?1 ORDER BY name LIMIT ?2",
    )?;
    let row = |row: &Row<'_>| {
        Ok(TraitRow {
            name: row.get(0)?,
            value: row.get(1)?,
            event: row.get(2)?,
            is_unverified: row.get(3)?,
        })
    };
    Ok(statement
        .query_map(params![profile, MAX_FACTS], row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// An event on a timeline.
#[derive(Debug, Clone)]
pub struct TimelineRow {
    /// The event.
    pub event: EventId,
    /// Its type.
    pub name: String,
    /// When it happened, Unix milliseconds.
    pub occurred_at_ms: i64,
    /// How sure the box is of who sent it.
    pub verification: Verification,
}

/// A page of the timeline of a profile with these parts, newest first, before `before`.
///
/// # Errors
/// When the file cannot be read.
pub fn timeline(
    connection: &Connection,
    parts: &[ProfileId],
    before: Option<EventId>,
    limit: usize,
) -> Result<Vec<TimelineRow>> {
    let mut rows = Vec::new();
    for part in parts {
        rows.extend(timeline_of_part(connection, *part, before, limit)?);
    }
    if parts.len() > 1 {
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.event));
        rows.truncate(limit);
    }
    Ok(rows)
}

/// Segments are read from the newest that may hold such events back, at one lookup each. Segment by
/// segment is the log's order: each holds what a stretch of the log brought ([`super::projection`]),
/// so whatever is in a later segment is later, and within one the key is in order.
fn timeline_of_part(
    connection: &Connection,
    profile: ProfileId,
    before: Option<EventId>,
    limit: usize,
) -> Result<Vec<TimelineRow>> {
    let before = before.unwrap_or(EventId::from_i64(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // CROSS JOIN holds SQLite to this order of tables, which is the order of the answer.
    let mut statement = connection.prepare_cached(
        "SELECT t.event_id, e.name, e.occurred_at_ms, e.verification
         FROM timeline_segment s
         CROSS JOIN timeline t ON t.segment = s.segment AND t.profile_id = ?1 AND t.event_id < ?2
         CROSS JOIN event e ON e.id = t.event_id
         WHERE s.first_event_id < ?2
         ORDER BY s.segment DESC, t.event_id DESC LIMIT ?3",
    )?;
    let row = |row: &Row<'_>| {
        Ok(TimelineRow {
            event: row.get(0)?,
            name: row.get(1)?,
            occurred_at_ms: row.get(2)?,
            verification: word(row, 3, Verification::parse)?,
        })
    };
    Ok(statement
        .query_map(params![profile, before, limit], row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// An event type as the catalog shows it.
#[derive(Debug, Clone)]
pub struct EventTypeRow {
    /// The type.
    pub name: String,
    /// How many events.
    pub events: i64,
    /// Last received, Unix milliseconds.
    pub last_seen_at_ms: i64,
}

/// The event types seen in a workspace, by name, at most `limit`.
///
/// # Errors
/// When the file cannot be read.
pub fn event_types(
    connection: &Connection,
    workspace: WorkspaceId,
    limit: usize,
) -> Result<Vec<EventTypeRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, events, last_seen_at_ms FROM event_type WHERE workspace_id = ?1 ORDER BY name LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let row = |row: &Row<'_>| {
        Ok(EventTypeRow {
            name: row.get(0)?,
            events: row.get(1)?,
            last_seen_at_ms: row.get(2)?,
        })
    };
    Ok(statement
        .query_map(params![workspace, limit], row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// Events received in each of the `hours` hours (since 1970) from `from_hour` on; those without any are
/// left out.
///
/// # Errors
/// When the file cannot be read.
pub fn usage(
    connection: &Connection,
    workspace: WorkspaceId,
    from_hour: i64,
    hours: i64,
) -> Result<Vec<(i64, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT hour, events FROM usage_hour WHERE workspace_id = ?1 AND hour >= ?2 ORDER BY hour LIMIT ?3",
    )?;
    Ok(statement
        .query_map(params![workspace, from_hour, hours], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?)
}
