//! What the projector writes: profiles, identifiers, traits, timelines, counts, and its own place
//! in the log. Each function is a statement or two inside the projector's transaction.

use crate::error::{Error, Kind, Result};
use crate::id::{EventId, ProfileId, WorkspaceId};
use crate::identity::IdentifierKind;
use crate::profile::TraitChanges;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Timeline rows in one segment. Writes stay within the newest segment however long the history.
pub const SEGMENT_ROWS: i64 = 262_144;

/// The projector's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The last event that is projected.
    pub cursor: EventId,
    /// Rows written to the timeline so far.
    pub timeline_rows: i64,
}

impl Place {
    /// The timeline segment that is being written.
    pub fn segment(self) -> i64 {
        self.timeline_rows / SEGMENT_ROWS
    }
}

/// The projector's place in the log.
///
/// # Errors
/// When the file cannot be read.
pub fn place(connection: &Connection) -> Result<Place> {
    Ok(connection
        .prepare_cached("SELECT cursor_event_id, timeline_rows FROM projector WHERE id = 1")?
        .query_row([], |row| {
            Ok(Place {
                cursor: row.get(0)?,
                timeline_rows: row.get(1)?,
            })
        })?)
}

/// Moves the projector from `from` to `to`, in the transaction of what it projected: so nothing is
/// ever projected twice.
///
/// # Errors
/// [`Kind::Conflict`] when it no longer stands at `from`.
pub fn advance(connection: &Connection, from: Place, to: Place) -> Result<()> {
    let changed = connection
        .prepare_cached(
            "UPDATE projector SET cursor_event_id = ?2, timeline_rows = ?3
             WHERE id = 1 AND cursor_event_id = ?1",
        )?
        .execute(params![from.cursor, to.cursor, to.timeline_rows])?;
    if changed == 1 {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Conflict,
            "cursor_moved",
            "The projector's place in the log was moved by another.",
        ))
    }
}

/// The profile that holds an identifier.
///
/// # Errors
/// When the file cannot be read.
pub fn profile_of(
    connection: &Connection,
    workspace: WorkspaceId,
    kind: IdentifierKind,
    value: &str,
) -> Result<Option<ProfileId>> {
    Ok(connection
        .prepare_cached("SELECT profile_id FROM identifier WHERE workspace_id = ?1 AND kind = ?2 AND value = ?3")?
        .query_row(params![workspace, kind.as_str(), value], |row| row.get(0))
        .optional()?)
}

/// Keeps a new person.
///
/// # Errors
/// When the file refuses.
pub fn insert_person(connection: &Connection, workspace: WorkspaceId, id: ProfileId) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO profile (id, workspace_id, kind) VALUES (?1, ?2, 'person')")?
        .execute(params![id, workspace])?;
    Ok(())
}

/// Gives a profile an identifier.
///
/// # Errors
/// When the file refuses, also when another profile holds it.
pub fn insert_identifier(
    connection: &Connection,
    workspace: WorkspaceId,
    (kind, value): (IdentifierKind, &str),
    profile: ProfileId,
    event: EventId,
) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO identifier (workspace_id, kind, value, profile_id, event_id) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![workspace, kind.as_str(), value, profile, event])?;
    Ok(())
}

/// What a slice of the log adds to a profile's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// The oldest event's time, Unix milliseconds.
    pub first_seen_at_ms: i64,
    /// The newest event's time, Unix milliseconds.
    pub last_seen_at_ms: i64,
    /// How many events.
    pub events: i64,
}

/// Adds to a profile's counters.
///
/// # Errors
/// When the file refuses.
pub fn add_activity(connection: &Connection, profile: ProfileId, activity: Activity) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO profile_activity (profile_id, first_seen_at_ms, last_seen_at_ms, events) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (profile_id) DO UPDATE SET
                first_seen_at_ms = min(first_seen_at_ms, excluded.first_seen_at_ms),
                last_seen_at_ms = max(last_seen_at_ms, excluded.last_seen_at_ms),
                events = events + excluded.events",
        )?
        .execute(params![profile, activity.first_seen_at_ms, activity.last_seen_at_ms, activity.events])?;
    Ok(())
}

/// Changes a profile's traits.
///
/// # Errors
/// When the file refuses.
pub fn change_traits(
    connection: &Connection,
    profile: ProfileId,
    changes: &TraitChanges<EventId>,
) -> Result<()> {
    if changes.replaces {
        connection
            .prepare_cached("DELETE FROM trait WHERE profile_id = ?1")?
            .execute([profile])?;
    }
    for (name, (value, event)) in &changes.set {
        match value {
            Some(value) => connection
                .prepare_cached(
                    "INSERT INTO trait (profile_id, name, value, event_id) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (profile_id, name) DO UPDATE SET value = excluded.value, event_id = excluded.event_id",
                )?
                .execute(params![profile, name, value, event])?,
            None => connection
                .prepare_cached("DELETE FROM trait WHERE profile_id = ?1 AND name = ?2")?
                .execute(params![profile, name])?,
        };
    }
    Ok(())
}

/// Puts an event on a profile's timeline.
///
/// # Errors
/// When the file refuses.
pub fn insert_timeline(
    connection: &Connection,
    segment: i64,
    profile: ProfileId,
    event: EventId,
) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO timeline (segment, profile_id, event_id) VALUES (?1, ?2, ?3)")?
        .execute(params![segment, profile, event])?;
    Ok(())
}

/// Notes that events of a type were received between two times (Unix milliseconds).
///
/// # Errors
/// When the file refuses.
pub fn note_event_type(
    connection: &Connection,
    workspace: WorkspaceId,
    name: &str,
    seen: Activity,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO event_type (workspace_id, name, first_seen_at_ms, last_seen_at_ms, events) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (workspace_id, name) DO UPDATE SET
                last_seen_at_ms = max(last_seen_at_ms, excluded.last_seen_at_ms),
                events = events + excluded.events",
        )?
        .execute(params![workspace, name, seen.first_seen_at_ms, seen.last_seen_at_ms, seen.events])?;
    Ok(())
}

/// Adds to the number of events received in an hour (hours since 1970).
///
/// # Errors
/// When the file refuses.
pub fn add_usage(
    connection: &Connection,
    workspace: WorkspaceId,
    hour: i64,
    events: i64,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO usage_hour (workspace_id, hour, events) VALUES (?1, ?2, ?3)
             ON CONFLICT (workspace_id, hour) DO UPDATE SET events = events + excluded.events",
        )?
        .execute(params![workspace, hour, events])?;
    Ok(())
}
