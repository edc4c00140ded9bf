//! Replays: made, started, paused, cancelled. Sending them is `deliver`'s.

use super::actor::Actor;
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, ReplayId, WorkspaceId};
use crate::replay::{ESTIMATE_LIMIT, MAX_CHOSEN, MAX_RUNNING, ReplayState, Selection, not_now};
use crate::store::matching::{self, Order};
use crate::store::replays::{self, NewReplay, ReplayRow};
use crate::store::{history, webhooks};
use rusqlite::Connection;
use serde_json::json;

/// Deliveries that are looked at for an estimate.
const ESTIMATE_LOOK: usize = 50_000;

/// How many deliveries a replay is about.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// So many were counted.
    pub count: i64,
    /// Whether there are more.
    pub is_more: bool,
}

/// Counts what a selection holds, up to a bound. To be read beside the writer.
///
/// # Errors
/// When the file cannot be read.
pub fn estimate(
    connection: &Connection,
    workspace: WorkspaceId,
    selection: &Selection,
) -> Result<Estimate> {
    let order = Order::OldestFirst;
    let wanted = ESTIMATE_LIMIT + 1;
    let found = matching::find(
        connection,
        workspace,
        selection,
        order,
        wanted,
        ESTIMATE_LOOK,
    )?;
    let count = found.matching.len().min(ESTIMATE_LIMIT);
    Ok(Estimate {
        count: i64::try_from(count).unwrap_or(i64::MAX),
        is_more: found.matching.len() > ESTIMATE_LIMIT || found.goes_on_after.is_some(),
    })
}

/// Makes a replay of what a selection holds, which waits to be started.
///
/// # Errors
/// The field `webhook`, when it is of no webhook of the workspace.
pub fn create_replay(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    selection: &Selection,
    estimate: Estimate,
    rate: u32,
) -> Result<ReplayId> {
    if let Some(webhook) = selection.webhook
        && !webhooks::is_or_was_of(connection, workspace, webhook)?
    {
        let detail = "This is none of the workspace's webhooks; choose one of the list.";
        return Err(Error::field("/webhook", "invalid_webhook", detail));
    }
    let selection = Selection {
        // What is made from now on is not meant: so it comes to an end.
        before: selection.before.min(DeliveryId::first_at(actor.now_ms + 1)),
        ..selection.clone()
    };
    insert(
        connection,
        actor,
        workspace,
        selection,
        Vec::new(),
        estimate,
        rate,
    )
}

/// Makes a replay of deliveries that a person chose one by one.
///
/// # Errors
/// The field `delivery`; [`Kind::NotFound`] when one of them is not there.
pub fn create_replay_of(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    chosen: &[DeliveryId],
    rate: u32,
) -> Result<ReplayId> {
    if chosen.is_empty() || chosen.len() > MAX_CHOSEN {
        let detail = format!("Choose at least one delivery, and at most {MAX_CHOSEN}.");
        return Err(Error::field("/delivery", "required", detail));
    }
    let mut chosen = chosen.to_vec();
    chosen.sort_unstable();
    chosen.dedup();
    for id in &chosen {
        history::get(connection, workspace, *id)?;
    }
    let estimate = Estimate {
        count: i64::try_from(chosen.len()).unwrap_or(i64::MAX),
        is_more: false,
    };
    let selection = Selection::default();
    insert(
        connection, actor, workspace, selection, chosen, estimate, rate,
    )
}

fn insert(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    selection: Selection,
    chosen: Vec<DeliveryId>,
    estimate: Estimate,
    rate: u32,
) -> Result<ReplayId> {
    let replay = NewReplay {
        id: actor.ids.next(actor.now_ms),
        workspace,
        selection,
        chosen,
        estimate: estimate.count,
        is_more: estimate.is_more,
        rate,
        created_by: actor.user,
        created_at_ms: actor.now_ms,
    };
    replays::insert(connection, &replay)?;
    let after = json!({"estimate": estimate.count, "more": estimate.is_more, "rate": rate});
    note(
        connection,
        actor,
        workspace,
        "replay.created",
        replay.id,
        after,
    )?;
    Ok(replay.id)
}

fn note(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    action: &'static str,
    id: ReplayId,
    after: serde_json::Value,
) -> Result<()> {
    let (workspace, target) = (Some(workspace), id.to_string());
    actor.note(connection, workspace, action, target, None, Some(after))
}

/// Starts a replay, for the first time or again, at a rate.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Conflict`] where it cannot be started, or too many run.
pub fn start_replay(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: ReplayId,
    rate: u32,
) -> Result<()> {
    let replay = replays::get(connection, workspace, id)?;
    if !replay.state.may_start() {
        return Err(not_now("started", replay.state));
    }
    if replays::running(connection, MAX_RUNNING)?.len() >= MAX_RUNNING {
        let message = format!(
            "{MAX_RUNNING} replays are running on this box already; start this one when one of them is done."
        );
        return Err(Error::new(Kind::Conflict, "too_many_replays", message));
    }
    replays::set_rate(connection, id, rate)?;
    put(connection, actor, &replay, ReplayState::Running)?;
    let after = json!({"rate": rate});
    note(connection, actor, workspace, "replay.started", id, after)
}

/// Stops a replay for now.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Conflict`] where it does not run.
pub fn pause_replay(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: ReplayId,
) -> Result<()> {
    let replay = replays::get(connection, workspace, id)?;
    if !replay.state.may_pause() {
        return Err(not_now("paused", replay.state));
    }
    put(connection, actor, &replay, ReplayState::Paused)?;
    let after = json!({"sent": replay.counts.sent});
    note(connection, actor, workspace, "replay.paused", id, after)
}

/// Gives a replay up. What it has sent is sent.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Conflict`] where it is over.
pub fn cancel_replay(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: ReplayId,
) -> Result<()> {
    let replay = replays::get(connection, workspace, id)?;
    if !replay.state.may_cancel() {
        return Err(not_now("cancelled", replay.state));
    }
    put(connection, actor, &replay, ReplayState::Cancelled)?;
    let after = json!({"sent": replay.counts.sent});
    note(connection, actor, workspace, "replay.cancelled", id, after)
}

fn put(
    connection: &Connection,
    actor: &Actor<'_>,
    replay: &ReplayRow,
    to: ReplayState,
) -> Result<()> {
    replays::set_state(
        connection,
        replay.id,
        (replay.state, to),
        None,
        actor.now_ms,
    )?;
    Ok(())
}
