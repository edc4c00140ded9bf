//! Funnels, and profiles that were merged by mistake.

use super::actor::Actor;
use crate::access;
use crate::error::{Error, Result};
use crate::funnel::{self, DEFAULT_NAME, DEFAULT_RULES, Stage};
use crate::id::{FunnelId, MergeId, WorkspaceId};
use crate::store::{funnels, journal, workspaces};
use rusqlite::Connection;
use serde_json::json;

/// A workspace has at most this many funnels: each event is looked up in all of them.
pub const MAX_FUNNELS: usize = 20;

/// Makes the funnel that every workspace begins with. It has the workspace's own number.
///
/// # Errors
/// When the file refuses.
pub(super) fn create_default_funnel(
    connection: &Connection,
    workspace: WorkspaceId,
    now_ms: i64,
) -> Result<()> {
    let id = FunnelId::from_i64(workspace.as_i64());
    funnels::insert(connection, id, workspace, DEFAULT_NAME, now_ms)?;
    funnels::save(connection, workspace, id, DEFAULT_NAME, DEFAULT_RULES)
}

/// What a person says of a funnel, unchecked: for each stage, the event types that lead there.
#[derive(Debug, Clone)]
pub struct FunnelInput {
    /// What to call it.
    pub name: String,
    /// For each stage, event types, one a line.
    pub stages: Vec<(Stage, String)>,
}

/// Makes a funnel, or changes the one that `id` names. What came before stays counted as it was.
///
/// # Errors
/// Refused fields; [`crate::error::Kind::NotFound`].
pub fn save_funnel(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: Option<FunnelId>,
    input: &FunnelInput,
) -> Result<FunnelId> {
    let name = access::check_name(&input.name)?;
    let rules = funnel::check_rules(&input.stages)?;
    let said = |name: &str, rules: &[(String, Stage)]| {
        let rules: Vec<_> = rules
            .iter()
            .map(|(event, stage)| json!({"event": event, "stage": stage.as_str()}))
            .collect();
        json!({"name": name, "rules": rules})
    };
    let (id, action, before) = match id {
        Some(id) => {
            let before = funnels::get(connection, workspace, id)?;
            let rules = funnels::rules(connection, id)?;
            (id, "funnel.updated", Some(said(&before.name, &rules)))
        }
        None => {
            if funnels::of_workspace(connection, workspace)?.len() >= MAX_FUNNELS {
                let detail =
                    format!("A workspace has at most {MAX_FUNNELS} funnels; change one of them.");
                return Err(Error::field("/name", "too_many", detail));
            }
            let id = actor.ids.next(actor.now_ms);
            funnels::insert(connection, id, workspace, &name, actor.now_ms)?;
            (id, "funnel.created", None)
        }
    };
    let by_name = rules.iter().map(|(event, stage)| (event.as_str(), *stage));
    funnels::save(connection, workspace, id, &name, by_name)?;
    let after = Some(said(&name, &rules));
    actor.note(
        connection,
        Some(workspace),
        action,
        id.to_string(),
        before,
        after,
    )?;
    Ok(id)
}

/// Asks for two profiles to be taken apart; the projector does so before it goes on with the log.
///
/// # Errors
/// [`crate::error::Kind::NotFound`], and [`crate::error::Kind::Conflict`] when they are two.
pub fn undo_merge(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: MergeId,
) -> Result<()> {
    let merge = journal::merge(connection, workspace, id)?;
    journal::request_undo(connection, workspace, id, actor.now_ms)?;
    let other = merge.other.map(|other| other.to_string());
    let before = json!({"profile": merge.profile.to_string(), "merged": other});
    actor.note(
        connection,
        Some(workspace),
        "profile.merge_undo_requested",
        id.to_string(),
        Some(before),
        None,
    )
}

/// Sets how many people may be active in a month before the workspace is told; `None` for no limit.
///
/// # Errors
/// When the file refuses.
pub fn set_mau_limit(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    limit: Option<i64>,
) -> Result<()> {
    let before = workspaces::mau_limit(connection, workspace)?;
    workspaces::set_mau_limit(connection, workspace, limit)?;
    actor.note(
        connection,
        Some(workspace),
        "workspace.mau_limit_set",
        workspace.to_string(),
        Some(json!({"limit": before})),
        Some(json!({"limit": limit})),
    )
}
