//! Which deliveries match what a person asks for. The webhook, the failed ones and the time are looked for by
//! index; what no index can say is asked of the rows, of so many at most.

use super::word;
use crate::delivery::{DeliveryState, Origin};
use crate::error::Result;
use crate::id::{DeliveryId, WebhookId, WorkspaceId};
use crate::replay::{Candidate, Selection};
use rusqlite::{Connection, Row, params};

/// Rows that are looked at in one go.
const AT_ONCE: usize = 500;

/// From which end of the history one looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they were made.
    OldestFirst,
    /// As pages show them.
    NewestFirst,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// What matches, in the order that was asked for.
    pub matching: Vec<Candidate>,
    /// Deliveries that were looked at.
    pub looked_at: usize,
    /// The last one that was looked at, where there may be more behind it.
    pub goes_on_after: Option<DeliveryId>,
}

/// The first `wanted` deliveries that match, looking at `most` at most.
///
/// # Errors
/// When the file cannot be read.
pub fn find(
    connection: &Connection,
    workspace: WorkspaceId,
    selection: &Selection,
    order: Order,
    wanted: usize,
    most: usize,
) -> Result<Found> {
    let mut rest = selection.clone();
    let mut found = Found {
        matching: Vec::new(),
        looked_at: 0,
        goes_on_after: None,
    };
    let at_once = if selection.is_everything() {
        wanted
    } else {
        AT_ONCE.max(wanted.min(AT_ONCE))
    };
    loop {
        let limit = at_once.min(most - found.looked_at);
        let looked = look(connection, workspace, &rest, order, limit)?;
        let is_end = looked.len() < limit;
        for candidate in looked {
            found.looked_at += 1;
            found.goes_on_after = Some(candidate.id);
            match order {
                Order::OldestFirst => rest.after = candidate.id,
                Order::NewestFirst => rest.before = candidate.id,
            }
            if selection.matches(&candidate) {
                found.matching.push(candidate);
                if found.matching.len() >= wanted {
                    return Ok(found);
                }
            }
        }
        if is_end {
            found.goes_on_after = None;
            return Ok(found);
        }
        if found.looked_at >= most {
            return Ok(found);
        }
    }
}

fn look(
    connection: &Connection,
    workspace: WorkspaceId,
    selection: &Selection,
    order: Order,
    limit: usize,
) -> Result<Vec<Candidate>> {
    let range = (selection.after, selection.before);
    match (selection.webhook, selection.state) {
        (Some(webhook), _) => of_webhook(connection, workspace, webhook, range, order, limit),
        (None, Some(DeliveryState::Failed)) => failed(connection, workspace, range, order, limit),
        (None, _) => of_all(connection, workspace, range, order, limit),
    }
}

const LOOK: &str = "SELECT d.id, d.webhook_id, d.state, d.origin, m.type
     FROM delivery d JOIN message m ON m.id = d.message_id";

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    let origin: Option<String> = row.get(3)?;
    Ok(Candidate {
        id: row.get(0)?,
        webhook: row.get(1)?,
        state: word(row, 2, DeliveryState::parse)?,
        is_test: origin.as_deref().and_then(Origin::parse) == Some(Origin::Test),
        event_type: row.get(4)?,
    })
}

/// Later than the one, earlier than the other.
type Range = (DeliveryId, DeliveryId);

fn of_webhook(
    connection: &Connection,
    workspace: WorkspaceId,
    webhook: WebhookId,
    (after, before): Range,
    order: Order,
    limit: usize,
) -> Result<Vec<Candidate>> {
    let mut statement = match order {
        Order::OldestFirst => connection.prepare_cached(&format!(
            "{LOOK} WHERE d.webhook_id = ?2 AND d.workspace_id = ?1 AND d.id > ?3 AND d.id < ?4 ORDER BY d.id LIMIT ?5"
        ))?,
        Order::NewestFirst => connection.prepare_cached(&format!(
            "{LOOK} WHERE d.webhook_id = ?2 AND d.workspace_id = ?1 AND d.id > ?3 AND d.id < ?4 ORDER BY d.id DESC LIMIT ?5"
        ))?,
    };
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(statement
        .query_map(params![workspace, webhook, after, before, rows], candidate)?
        .collect::<rusqlite::Result<_>>()?)
}

fn failed(
    connection: &Connection,
    workspace: WorkspaceId,
    (after, before): Range,
    order: Order,
    limit: usize,
) -> Result<Vec<Candidate>> {
    // The state is part of the text, because that is how SQLite chooses a partial index.
    let mut statement = match order {
        Order::OldestFirst => connection.prepare_cached(&format!(
            "{LOOK} WHERE d.workspace_id = ?1 AND d.state = 'failed' AND d.id > ?2 AND d.id < ?3 ORDER BY d.id LIMIT ?4"
        ))?,
        Order::NewestFirst => connection.prepare_cached(&format!(
            "{LOOK} WHERE d.workspace_id = ?1 AND d.state = 'failed' AND d.id > ?2 AND d.id < ?3 ORDER BY d.id DESC LIMIT ?4"
        ))?,
    };
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(statement
        .query_map(params![workspace, after, before, rows], candidate)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The first of what each of the workspace's webhooks has. A list of their own would be kept up with every
/// event, and is read seldom.
fn of_all(
    connection: &Connection,
    workspace: WorkspaceId,
    (mut after, mut before): Range,
    order: Order,
    limit: usize,
) -> Result<Vec<Candidate>> {
    let mut webhooks =
        connection.prepare_cached("SELECT id FROM webhook WHERE workspace_id = ?1")?;
    let mut webhooks = webhooks.query([workspace])?;
    let mut found: Vec<Candidate> = Vec::new();
    while let Some(webhook) = webhooks.next()? {
        // Once there are enough, only what comes before the last of them is of interest.
        if let Some(last) = found.last().filter(|_| found.len() >= limit) {
            match order {
                Order::OldestFirst => before = last.id,
                Order::NewestFirst => after = last.id,
            }
        }
        let range = (after, before);
        let webhook = webhook.get(0)?;
        found.extend(of_webhook(
            connection, workspace, webhook, range, order, limit,
        )?);
        match order {
            Order::OldestFirst => found.sort_unstable_by_key(|candidate| candidate.id),
            Order::NewestFirst => {
                found.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.id));
            }
        }
        found.truncate(limit);
    }
    Ok(found)
}

/// Those of the deliveries that a person chose for a replay that come after a place, in their order.
///
/// # Errors
/// When the file cannot be read.
pub fn chosen(
    connection: &Connection,
    workspace: WorkspaceId,
    replay: crate::id::ReplayId,
    after: DeliveryId,
    limit: usize,
) -> Result<Vec<Candidate>> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(connection
        .prepare_cached(
            "SELECT d.id, d.webhook_id, d.state, d.origin, m.type
             FROM replay_delivery c JOIN delivery d ON d.id = c.delivery_id JOIN message m ON m.id = d.message_id
             WHERE c.replay_id = ?1 AND c.delivery_id > ?2 AND d.workspace_id = ?3 ORDER BY c.delivery_id LIMIT ?4",
        )?
        .query_map(params![replay, after, workspace, rows], candidate)?
        .collect::<rusqlite::Result<_>>()?)
}
