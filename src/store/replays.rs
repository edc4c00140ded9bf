//! Replays as rows: what they are to send, where they stand, how far they have come.

use super::word;
use crate::delivery::DeliveryState;
use crate::error::{Error, Result};
use crate::id::{DeliveryId, ReplayId, UserId, WorkspaceId};
use crate::replay::{Counts, ReplayState, Selection};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A replay that was just made.
#[derive(Debug, Clone)]
pub struct NewReplay {
    /// Its id.
    pub id: ReplayId,
    /// Whose.
    pub workspace: WorkspaceId,
    /// What it is to send, where nothing was chosen one by one.
    pub selection: Selection,
    /// What was chosen one by one.
    pub chosen: Vec<DeliveryId>,
    /// How many were counted.
    pub estimate: i64,
    /// Whether there were more.
    pub is_more: bool,
    /// Deliveries a second.
    pub rate: u32,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// When, Unix milliseconds.
    pub created_at_ms: i64,
}

/// Keeps a replay that waits to be started.
///
/// # Errors
/// When the file refuses.
pub fn insert(connection: &Connection, replay: &NewReplay) -> Result<()> {
    let selection = &replay.selection;
    connection
        .prepare_cached(
            "INSERT INTO replay (id, workspace_id, state, webhook_id, delivery_state, event_type, is_chosen, after_id, before_id,
                estimate, is_more, rate, cursor_delivery_id, sent, succeeded, failed, skipped, created_by, created_at_ms)
             VALUES (?1, ?2, 'ready', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, 0, 0, 0, 0, ?12, ?13)",
        )?
        .execute(params![
            replay.id,
            replay.workspace,
            selection.webhook,
            selection.state.map(DeliveryState::as_str),
            selection.event_type.as_ref().map(ToString::to_string),
            !replay.chosen.is_empty(),
            selection.after,
            selection.before,
            replay.estimate,
            replay.is_more,
            replay.rate,
            replay.created_by,
            replay.created_at_ms,
        ])?;
    let mut choose = connection.prepare_cached(
        "INSERT OR IGNORE INTO replay_delivery (replay_id, delivery_id) VALUES (?1, ?2)",
    )?;
    for delivery in &replay.chosen {
        choose.execute(params![replay.id, delivery])?;
    }
    Ok(())
}

/// A replay as its page and the worker read it.
#[derive(Debug, Clone)]
pub struct ReplayRow {
    /// Its id.
    pub id: ReplayId,
    /// Whose.
    pub workspace: WorkspaceId,
    /// Where it stands.
    pub state: ReplayState,
    /// Why the box paused it.
    pub reason: Option<String>,
    /// What it is to send, where nothing was chosen one by one.
    pub selection: Selection,
    /// Whether what it is to send was chosen one by one.
    pub is_chosen: bool,
    /// What people call the webhook, where it is of one.
    pub webhook_name: Option<String>,
    /// How many were counted.
    pub estimate: i64,
    /// Whether there were more.
    pub is_more: bool,
    /// Deliveries a second.
    pub rate: u32,
    /// Up to which delivery everything is done.
    pub place: DeliveryId,
    /// What it came to so far.
    pub counts: Counts,
    /// What the person is called who made it.
    pub created_by: Option<String>,
    /// When, Unix milliseconds.
    pub created_at_ms: i64,
    /// When it was first started, Unix milliseconds.
    pub started_at_ms: Option<i64>,
    /// When it was over, Unix milliseconds.
    pub ended_at_ms: Option<i64>,
}

const COLUMNS: &str = "SELECT r.id, r.workspace_id, r.state, r.reason, r.webhook_id, r.delivery_state, r.event_type, r.is_chosen,
        r.after_id, r.before_id, r.estimate, r.is_more, r.rate, r.cursor_delivery_id, r.sent, r.succeeded, r.failed, r.skipped,
        r.created_at_ms, r.started_at_ms, r.ended_at_ms, w.name AS webhook_name, u.name AS user_name
     FROM replay r LEFT JOIN webhook w ON w.id = r.webhook_id AND w.workspace_id = r.workspace_id LEFT JOIN user u ON u.id = r.created_by";

fn replay_row(row: &Row<'_>) -> rusqlite::Result<ReplayRow> {
    let state: Option<String> = row.get("delivery_state")?;
    let event_type: Option<String> = row.get("event_type")?;
    let is_chosen = row.get("is_chosen")?;
    Ok(ReplayRow {
        id: row.get("id")?,
        workspace: row.get("workspace_id")?,
        state: word(row, "state", ReplayState::parse)?,
        reason: row.get("reason")?,
        selection: Selection {
            webhook: row.get("webhook_id")?,
            state: state.as_deref().and_then(DeliveryState::parse),
            event_type: event_type.and_then(|text| text.parse().ok()),
            after: row.get("after_id")?,
            before: row.get("before_id")?,
            with_tests: is_chosen,
        },
        is_chosen,
        webhook_name: row.get("webhook_name")?,
        estimate: row.get("estimate")?,
        is_more: row.get("is_more")?,
        rate: row.get("rate")?,
        place: row.get("cursor_delivery_id")?,
        counts: Counts {
            sent: row.get("sent")?,
            succeeded: row.get("succeeded")?,
            failed: row.get("failed")?,
            skipped: row.get("skipped")?,
        },
        created_by: row.get("user_name")?,
        created_at_ms: row.get("created_at_ms")?,
        started_at_ms: row.get("started_at_ms")?,
        ended_at_ms: row.get("ended_at_ms")?,
    })
}

/// One replay of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: ReplayId) -> Result<ReplayRow> {
    let sql = format!("{COLUMNS} WHERE r.id = ?1 AND r.workspace_id = ?2");
    connection
        .prepare_cached(&sql)?
        .query_row(params![id, workspace], replay_row)
        .optional()?
        .ok_or_else(|| Error::not_found("replay"))
}

/// A replay of any workspace, for who sends it.
///
/// # Errors
/// When the file cannot be read.
pub fn find(connection: &Connection, id: ReplayId) -> Result<Option<ReplayRow>> {
    let sql = format!("{COLUMNS} WHERE r.id = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([id], replay_row)
        .optional()?)
}

/// The newest `limit` replays of a workspace before `before`, newest first.
///
/// # Errors
/// When the file cannot be read.
pub fn page(
    connection: &Connection,
    workspace: WorkspaceId,
    before: Option<ReplayId>,
    limit: usize,
) -> Result<Vec<ReplayRow>> {
    let before = before.unwrap_or(ReplayId::from_i64(i64::MAX));
    let sql =
        format!("{COLUMNS} WHERE r.workspace_id = ?1 AND r.id < ?2 ORDER BY r.id DESC LIMIT ?3");
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(connection
        .prepare_cached(&sql)?
        .query_map(params![workspace, before, rows], replay_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The replays that run, the oldest first, at most `limit`.
///
/// # Errors
/// When the file cannot be read.
pub fn running(connection: &Connection, limit: usize) -> Result<Vec<ReplayId>> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(connection
        .prepare_cached(
            "SELECT id FROM replay WHERE state = 'running' AND id > 0 ORDER BY id LIMIT ?1",
        )?
        .query_map([rows], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// Puts a replay in a state, if it still stands where it was seen. Says whether it did.
///
/// # Errors
/// When the file refuses.
pub fn set_state(
    connection: &Connection,
    id: ReplayId,
    (from, to): (ReplayState, ReplayState),
    reason: Option<&str>,
    now_ms: i64,
) -> Result<bool> {
    let starts = to == ReplayState::Running;
    let ends = matches!(to, ReplayState::Done | ReplayState::Cancelled);
    let changed = connection
        .prepare_cached(
            "UPDATE replay SET state = ?3, reason = ?4, started_at_ms = coalesce(started_at_ms, ?5), ended_at_ms = ?6
             WHERE id = ?1 AND state = ?2",
        )?
        .execute(params![
            id,
            from.as_str(),
            to.as_str(),
            reason,
            starts.then_some(now_ms),
            ends.then_some(now_ms),
        ])?;
    Ok(changed == 1)
}

/// Sends so many deliveries a second from now on.
///
/// # Errors
/// When the file refuses.
pub fn set_rate(connection: &Connection, id: ReplayId, rate: u32) -> Result<()> {
    connection
        .prepare_cached("UPDATE replay SET rate = ?2 WHERE id = ?1")?
        .execute(params![id, rate])?;
    Ok(())
}

/// Notes how far a replay has come.
///
/// # Errors
/// When the file refuses.
pub fn advance(
    connection: &Connection,
    id: ReplayId,
    place: DeliveryId,
    counts: &Counts,
) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE replay SET cursor_delivery_id = ?2, sent = ?3, succeeded = ?4, failed = ?5, skipped = ?6 WHERE id = ?1",
        )?
        .execute(params![
            id,
            place,
            counts.sent,
            counts.succeeded,
            counts.failed,
            counts.skipped
        ])?;
    Ok(())
}
