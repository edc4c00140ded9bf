//! Profiles that become one, and two again. The one that is merged keeps its rows: its traits, its counts,
//! its stages and its timeline stay under its own number, and the other's are added to. So it can be taken
//! apart again (wire.md, "Identity"). Called by the projector alone, which is the only one to write profiles.

use super::people::{add_active, add_population, count_move, furthest, rank};
use super::projection::IdentifierKey;
use crate::error::Result;
use crate::id::{EventId, MergeId, ProfileId, WorkspaceId};
use crate::identity::{MAX_PARTS, ProfileKind};
use rusqlite::{Connection, OptionalExtension as _, params};

/// Identifiers of a kind that are noted as kept apart from one profile: an app that makes up a visitor id for
/// each request must not fill the file with them.
const MAX_KEPT_APART: i64 = 100;

/// How an event that is about one profile names another.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// The id of the journal's row.
    pub id: MergeId,
    /// The profile that gets the event.
    pub profile: ProfileId,
    /// By what the event names the other one.
    pub key: &'a IdentifierKey,
    /// The event.
    pub event: EventId,
}

/// Notes that an event named something beside its profile that is not this profile's and does not become so;
/// once for each identifier, and so many of a kind at most. Whose it is, is found by the identifier.
///
/// # Errors
/// When the file refuses.
pub fn keep_apart(connection: &Connection, naming: &Naming<'_>) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO merge (id, workspace_id, outcome, profile_id, event_id, identifier_kind, identifier_value)
             SELECT ?1, ?2, 'kept_apart', ?3, ?4, ?5, ?6 WHERE ?7 > (SELECT count(*) FROM
                (SELECT 1 FROM merge WHERE outcome = 'kept_apart' AND profile_id = ?3 AND identifier_kind = ?5 LIMIT ?7))",
        )?
        .execute(params![
            naming.id,
            naming.key.workspace,
            naming.profile,
            naming.event,
            naming.key.kind.as_str(),
            naming.key.value,
            MAX_KEPT_APART,
        ])?;
    Ok(())
}

/// The profiles of a workspace that somebody took apart, two by two, each by what it is part of now; at most
/// ten thousand, the newest.
///
/// # Errors
/// When the file cannot be read.
pub fn undone(connection: &Connection, workspace: WorkspaceId) -> Result<Vec<[ProfileId; 2]>> {
    Ok(connection
        .prepare_cached(
            "SELECT coalesce(p.merged_into, p.id), coalesce(o.merged_into, o.id) FROM merge m
             JOIN profile p ON p.id = m.profile_id JOIN profile o ON o.id = m.other_id
             WHERE m.workspace_id = ?1 AND m.undone_at_ms IS NOT NULL ORDER BY m.id DESC LIMIT 10000",
        )?
        .query_map([workspace], |row| Ok([row.get(0)?, row.get(1)?]))?
        .collect::<rusqlite::Result<_>>()?)
}

/// When a profile was seen, as far as merging changes it. All absent: it was not.
#[derive(Clone, Copy, Default)]
struct Seen {
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    month: Option<i64>,
}

fn seen(connection: &Connection, profile: ProfileId) -> Result<Seen> {
    let found = connection
        .prepare_cached(
            "SELECT first_seen_at_ms, last_seen_at_ms, active_month FROM profile_activity WHERE profile_id = ?1",
        )?
        .query_row([profile], |row| {
            Ok(Seen {
                first_ms: row.get(0)?,
                last_ms: row.get(1)?,
                month: row.get(2)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Merges `other` into `naming.profile`, which wins where both have a trait, unless only the other's was set
/// by a verified sender; the older first time stays.
///
/// # Errors
/// When the file refuses.
pub fn merge(
    connection: &Connection,
    naming: &Naming<'_>,
    other: ProfileId,
    kind: ProfileKind,
) -> Result<()> {
    let (profile, workspace) = (naming.profile, naming.key.workspace);
    let before = seen(connection, profile)?;
    let others_month = seen(connection, other)?.month;
    let twice = before
        .month
        .filter(|month| kind == ProfileKind::Person && others_month == Some(*month));
    // A profile that is made by this very event has not been seen before it.
    connection
        .prepare_cached(
            "INSERT INTO merge (id, workspace_id, outcome, profile_id, other_id, event_id, identifier_kind, identifier_value,
                first_seen_before_ms, last_seen_before_ms, active_month_before, counted_once_month)
             VALUES (?1, ?2, 'merged', ?3, ?4, ?5, ?6, ?7,
                coalesce(?8, (SELECT occurred_at_ms FROM event WHERE id = ?5)),
                coalesce(?9, (SELECT occurred_at_ms FROM event WHERE id = ?5)), ?10, ?11)",
        )?
        .execute(params![
            naming.id,
            workspace,
            profile,
            other,
            naming.event,
            naming.key.kind.as_str(),
            naming.key.value,
            before.first_ms,
            before.last_ms,
            before.month,
            twice,
        ])?;
    if let Some(month) = twice {
        add_active(connection, workspace, month, -1)?;
    }
    connection
        .prepare_cached(
            "UPDATE identifier SET attached_to = coalesce(attached_to, profile_id), profile_id = ?1 WHERE profile_id = ?2",
        )?
        .execute([profile, other])?;
    connection
        .prepare_cached("UPDATE profile SET merged_into = ?1 WHERE merged_into = ?2")?
        .execute([profile, other])?;
    connection
        .prepare_cached("UPDATE profile SET merged_into = ?1 WHERE id = ?2")?
        .execute([profile, other])?;
    connection
        .prepare_cached(
            "INSERT INTO trait (profile_id, name, value, event_id, is_unverified)
             SELECT ?1, name, value, event_id, is_unverified FROM trait WHERE profile_id = ?2
             ON CONFLICT (profile_id, name) DO UPDATE SET value = excluded.value, event_id = excluded.event_id, is_unverified = NULL
             WHERE is_unverified IS NOT NULL AND excluded.is_unverified IS NULL",
        )?
        .execute([profile, other])?;
    connection
        .prepare_cached(
            "INSERT INTO profile_activity (profile_id, first_seen_at_ms, last_seen_at_ms, events, pageviews, sessions, goals, active_month)
             SELECT ?1, first_seen_at_ms, last_seen_at_ms, events, pageviews, sessions, goals, active_month
             FROM profile_activity WHERE profile_id = ?2
             ON CONFLICT (profile_id) DO UPDATE SET
                first_seen_at_ms = min(first_seen_at_ms, excluded.first_seen_at_ms),
                last_seen_at_ms = max(last_seen_at_ms, excluded.last_seen_at_ms),
                events = events + excluded.events, pageviews = pageviews + excluded.pageviews,
                sessions = sessions + excluded.sessions, goals = goals + excluded.goals,
                active_month = max(active_month, excluded.active_month)",
        )?
        .execute([profile, other])?;
    for (funnel, others) in furthest(connection, other)? {
        let before = rank(connection, profile, funnel)?;
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO stage_reached (profile_id, funnel_id, rank, event_id, at_ms)
                 SELECT ?1, funnel_id, rank, event_id, at_ms FROM stage_reached
                 WHERE profile_id = ?2 AND funnel_id = ?3 AND rank > ?4",
            )?
            .execute(params![profile, other, funnel, before])?;
        // The two counts become one, at the further place.
        if kind == ProfileKind::Person {
            count_move(connection, funnel, before.min(others), 0)?;
        }
    }
    add_population(connection, workspace, kind, -1)
}

// TAKEN APART ---------------------------------------------------------------------------------

/// A merge as its journal has it.
struct Merged {
    id: MergeId,
    workspace: WorkspaceId,
    profile: ProfileId,
    other: ProfileId,
    before: Seen,
    counted_once_month: Option<i64>,
}

/// Whether somebody asked to have profiles taken apart.
///
/// # Errors
/// When the file cannot be read.
pub fn is_undo_waiting(connection: &Connection) -> Result<bool> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM merge WHERE undo_requested_at_ms IS NOT NULL AND undone_at_ms IS NULL LIMIT 1",
        )?
        .exists([])?)
}

/// Takes apart the next two profiles that somebody asked to be, if there are any.
///
/// # Errors
/// When the file refuses.
pub fn undo_next(connection: &Connection, now_ms: i64) -> Result<()> {
    let merged = connection
        .prepare_cached(
            "SELECT id, workspace_id, profile_id, other_id, first_seen_before_ms, last_seen_before_ms, active_month_before,
                counted_once_month FROM merge
             WHERE undo_requested_at_ms IS NOT NULL AND undone_at_ms IS NULL ORDER BY id LIMIT 1",
        )?
        .query_row([], |row| {
            Ok(Merged {
                id: row.get(0)?,
                workspace: row.get(1)?,
                profile: row.get(2)?,
                other: row.get(3)?,
                before: Seen {
                    first_ms: row.get(4)?,
                    last_ms: row.get(5)?,
                    month: row.get(6)?,
                },
                counted_once_month: row.get(7)?,
            })
        })
        .optional()?;
    let Some(merged) = merged else {
        return Ok(());
    };
    undo(connection, &merged)?;
    connection
        .prepare_cached("UPDATE merge SET undone_at_ms = ?2 WHERE id = ?1")?
        .execute(params![merged.id, now_ms])?;
    Ok(())
}

fn undo(connection: &Connection, merged: &Merged) -> Result<()> {
    let other = merged.other;
    let kind = super::people::kind(connection, other)?;
    let parts = parts_before(connection, merged)?;
    let holders = holders(connection, merged)?;
    let Some(holder) = holders.last().map(|(holder, _)| *holder) else {
        return Ok(());
    };
    let mut give_back = connection.prepare_cached(
        "UPDATE identifier SET profile_id = ?1, attached_to = nullif(attached_to, ?1)
         WHERE profile_id = ?2 AND coalesce(attached_to, profile_id) = ?3",
    )?;
    let mut move_back = connection
        .prepare_cached("UPDATE profile SET merged_into = nullif(?1, id) WHERE id = ?2")?;
    for part in parts.iter().chain([&other]) {
        give_back.execute(params![other, holder, part])?;
        move_back.execute(params![other, part])?;
    }
    for (holder, before) in &holders {
        take_back(connection, *holder, other, *before)?;
    }
    for (funnel, others) in furthest(connection, other)? {
        let now = rank(connection, holder, funnel)?;
        for (holder, _) in &holders {
            connection
                .prepare_cached(
                    "DELETE FROM stage_reached WHERE profile_id = ?1 AND funnel_id = ?3 AND EXISTS
                        (SELECT 1 FROM stage_reached o WHERE o.profile_id = ?2 AND o.funnel_id = ?3
                            AND o.rank = stage_reached.rank AND o.event_id = stage_reached.event_id)",
                )?
                .execute(params![holder, other, funnel])?;
        }
        if kind == ProfileKind::Person {
            count_move(connection, funnel, now, rank(connection, holder, funnel)?)?;
            count_move(connection, funnel, 0, others)?;
        }
    }
    if let Some(month) = merged.counted_once_month {
        add_active(connection, merged.workspace, month, 1)?;
    }
    add_population(connection, merged.workspace, kind, 1)
}

/// What had been merged into the one that is taken out, before that was itself merged.
fn parts_before(connection: &Connection, merged: &Merged) -> Result<Vec<ProfileId>> {
    let mut statement = connection.prepare_cached(
        "SELECT other_id FROM merge WHERE profile_id = ?1 AND id < ?2 AND outcome = 'merged' AND undone_at_ms IS NULL LIMIT ?3",
    )?;
    let mut parts: Vec<ProfileId> = Vec::new();
    let mut of = Some(merged.other);
    let mut looked = 0;
    while let Some(profile) = of {
        for part in statement.query_map(params![profile, merged.id, MAX_PARTS], |row| row.get(0))? {
            parts.push(part?);
        }
        of = parts.get(looked).copied();
        looked += 1;
    }
    Ok(parts)
}

/// Who has added the one that is taken out to its own: the profile that it was merged into, then the one
/// that this was merged into, and so on; each with when it had been seen before.
fn holders(connection: &Connection, merged: &Merged) -> Result<Vec<(ProfileId, Seen)>> {
    let mut next = connection.prepare_cached(
        "SELECT profile_id, id, first_seen_before_ms, last_seen_before_ms, active_month_before FROM merge
         WHERE other_id = ?1 AND id > ?2 AND outcome = 'merged' AND undone_at_ms IS NULL ORDER BY id LIMIT 1",
    )?;
    let mut holders = vec![(merged.profile, merged.before)];
    let (mut of, mut after) = (merged.profile, merged.id);
    let most = usize::try_from(MAX_PARTS).unwrap_or(usize::MAX);
    while holders.len() <= most {
        let found = next
            .query_row(params![of, after], |row| {
                let before = Seen {
                    first_ms: row.get(2)?,
                    last_ms: row.get(3)?,
                    month: row.get(4)?,
                };
                Ok((row.get(0)?, row.get(1)?, before))
            })
            .optional()?;
        let Some((holder, id, before)) = found else {
            break;
        };
        holders.push((holder, before));
        (of, after) = (holder, id);
    }
    Ok(holders)
}

/// Takes what `other` had brought from `holder`: the traits that are still its own, and its counts.
fn take_back(
    connection: &Connection,
    holder: ProfileId,
    other: ProfileId,
    before: Seen,
) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM trait WHERE profile_id = ?1 AND EXISTS
                (SELECT 1 FROM trait o WHERE o.profile_id = ?2 AND o.name = trait.name AND o.event_id = trait.event_id)",
        )?
        .execute([holder, other])?;
    connection
        .prepare_cached(
            "UPDATE profile_activity SET
                first_seen_at_ms = iif(profile_activity.first_seen_at_ms = o.first_ms, coalesce(?3, o.first_ms), profile_activity.first_seen_at_ms),
                last_seen_at_ms = iif(profile_activity.last_seen_at_ms = o.last_ms, coalesce(?4, o.last_ms), profile_activity.last_seen_at_ms),
                active_month = iif(profile_activity.active_month = o.month, coalesce(?5, o.month), profile_activity.active_month),
                events = events - o.event_count, pageviews = pageviews - o.pageview_count,
                sessions = max(sessions - o.session_count, 1), goals = goals - o.goal_count
             FROM (SELECT first_seen_at_ms AS first_ms, last_seen_at_ms AS last_ms, active_month AS month, events AS event_count,
                    pageviews AS pageview_count, sessions AS session_count, goals AS goal_count
                FROM profile_activity WHERE profile_id = ?2) o
             WHERE profile_id = ?1",
        )?
        .execute(params![holder, other, before.first_ms, before.last_ms, before.month])?;
    Ok(())
}
