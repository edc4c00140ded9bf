//! What the projector writes for many at once: timelines, counts of types and hours, and its own place
//! in the log. Each function is one statement, held for all the rows of a chunk, inside the
//! projector's transaction. Knows nothing of windows but their place. What it writes of one profile is in
//! `people.rs` and `merges.rs`.

use crate::error::{Error, Kind, Result};
use crate::id::{EventId, ProfileId, WorkspaceId};
use crate::identity::IdentifierKind;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Timeline rows after which the next window begins a new segment: writes stay within the newest
/// segment however long the history.
pub const SEGMENT_ROWS: i64 = 262_144;

/// A row of a timeline, in the order in which a window's rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimelineEntry {
    /// Whose.
    pub profile: ProfileId,
    /// What.
    pub event: EventId,
}

/// A window of the log that is partly written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenWindow {
    /// Its last event; it begins after the cursor.
    pub end: EventId,
    /// The last of its timeline rows that is written.
    pub done: TimelineEntry,
}

/// The projector's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The last event of the last whole window.
    pub cursor: EventId,
    /// Timeline rows that all whole windows have written.
    pub timeline_rows: i64,
    /// The window after the cursor, once some of it is written.
    pub open: Option<OpenWindow>,
}

impl Place {
    /// The timeline segment that the window after the cursor goes into. It is one for the whole
    /// window, so each segment holds a stretch of the log.
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
        .prepare_cached(
            "SELECT cursor_event_id, timeline_rows, window_end_event_id, done_profile_id, done_event_id
             FROM projector WHERE id = 1",
        )?
        .query_row([], |row| {
            let open = match (row.get(2)?, row.get(3)?, row.get(4)?) {
                (Some(end), Some(profile), Some(event)) => Some(OpenWindow {
                    end,
                    done: TimelineEntry { profile, event },
                }),
                _ => None,
            };
            Ok(Place {
                cursor: row.get(0)?,
                timeline_rows: row.get(1)?,
                open,
            })
        })?)
}

/// Moves the projector from `from` to `to`, in the transaction of what it projected: so nothing is
/// ever projected twice.
///
/// # Errors
/// [`Kind::Conflict`] when it no longer stands at `from`.
pub fn advance(connection: &Connection, from: Place, to: Place) -> Result<()> {
    let done = |place: Place| place.open.map(|open| open.done);
    let changed = connection
        .prepare_cached(
            "UPDATE projector SET cursor_event_id = ?4, timeline_rows = ?5,
                window_end_event_id = ?6, done_profile_id = ?7, done_event_id = ?8
             WHERE id = 1 AND cursor_event_id = ?1 AND done_profile_id IS ?2 AND done_event_id IS ?3",
        )?
        .execute(params![
            from.cursor,
            done(from).map(|done| done.profile),
            done(from).map(|done| done.event),
            to.cursor,
            to.timeline_rows,
            to.open.map(|open| open.end),
            done(to).map(|done| done.profile),
            done(to).map(|done| done.event),
        ])?;
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

/// Notes where a timeline segment begins, unless it has begun before.
///
/// # Errors
/// When the file refuses.
pub fn begin_segment(connection: &Connection, segment: i64, first: EventId) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO timeline_segment (segment, first_event_id) VALUES (?1, ?2)",
        )?
        .execute(params![segment, first])?;
    Ok(())
}

/// An identifier within its workspace, in the form in which it is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentifierKey {
    /// Where it identifies.
    pub workspace: WorkspaceId,
    /// What it identifies by.
    pub kind: IdentifierKind,
    /// The canonical value.
    pub value: Box<str>,
}

const PROFILE_OF: &str =
    "SELECT profile_id FROM identifier WHERE workspace_id = ?1 AND kind = ?2 AND value = ?3";

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
        .prepare_cached(PROFILE_OF)?
        .query_row(params![workspace, kind.as_str(), value], |row| row.get(0))
        .optional()?)
}

/// The profile that holds each identifier, in the order asked. Sorted keys are found on pages that
/// the last one has just been found on.
///
/// # Errors
/// When the file cannot be read.
pub fn profiles_of<'k>(
    connection: &Connection,
    keys: impl IntoIterator<Item = &'k IdentifierKey>,
) -> Result<Vec<Option<ProfileId>>> {
    let mut statement = connection.prepare_cached(PROFILE_OF)?;
    keys.into_iter()
        .map(|key| {
            Ok(statement
                .query_row(
                    params![key.workspace, key.kind.as_str(), key.value],
                    |row| row.get(0),
                )
                .optional()?)
        })
        .collect()
}

/// What a window of the log adds to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The oldest event's time, Unix milliseconds.
    pub first_seen_at_ms: i64,
    /// The newest event's time, Unix milliseconds.
    pub last_seen_at_ms: i64,
    /// How many events.
    pub events: i64,
}

/// Puts events on profiles' timelines.
///
/// # Errors
/// When the file refuses.
pub fn insert_timeline(
    connection: &Connection,
    segment: i64,
    entries: impl IntoIterator<Item = TimelineEntry>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO timeline (segment, profile_id, event_id) VALUES (?1, ?2, ?3)",
    )?;
    for entry in entries {
        statement.execute(params![segment, entry.profile, entry.event])?;
    }
    Ok(())
}

/// Notes which types of events were received, when and how many.
///
/// # Errors
/// When the file refuses.
pub fn note_event_types<'a>(
    connection: &Connection,
    types: impl IntoIterator<Item = (WorkspaceId, &'a str, Count)>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO event_type (workspace_id, name, first_seen_at_ms, last_seen_at_ms, events) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (workspace_id, name) DO UPDATE SET
            last_seen_at_ms = max(last_seen_at_ms, excluded.last_seen_at_ms),
            events = events + excluded.events",
    )?;
    for (workspace, name, seen) in types {
        statement.execute(params![
            workspace,
            name,
            seen.first_seen_at_ms,
            seen.last_seen_at_ms,
            seen.events
        ])?;
    }
    Ok(())
}

/// Adds to the numbers of events received in an hour (hours since 1970).
///
/// # Errors
/// When the file refuses.
pub fn add_usage(
    connection: &Connection,
    usage: impl IntoIterator<Item = (WorkspaceId, i64, i64)>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO usage_hour (workspace_id, hour, events) VALUES (?1, ?2, ?3)
         ON CONFLICT (workspace_id, hour) DO UPDATE SET events = events + excluded.events",
    )?;
    for (workspace, hour, events) in usage {
        statement.execute(params![workspace, hour, events])?;
    }
    Ok(())
}
