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
        AT_ONCE
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
        (Some(webhook), Some(DeliveryState::Held)) => {
            held(connection, workspace, webhook, range, order, limit)
        }
        (Some(webhook), _) => of_webhook(connection, workspace, webhook, range, order, limit),
        (None, Some(DeliveryState::Failed)) => failed(connection, workspace, range, order, limit),
        (None, state) => of_all(connection, workspace, (range, state), order, limit),
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

fn held(
    connection: &Connection,
    workspace: WorkspaceId,
    webhook: WebhookId,
    (after, before): Range,
    order: Order,
    limit: usize,
) -> Result<Vec<Candidate>> {
    // The state is part of the text, because that is how SQLite chooses a partial index.
    let mut statement = match order {
        Order::OldestFirst => connection.prepare_cached(&format!(
            "{LOOK} WHERE d.webhook_id = ?2 AND d.state = 'held' AND d.workspace_id = ?1 AND d.id > ?3 AND d.id < ?4 ORDER BY d.id LIMIT ?5"
        ))?,
        Order::NewestFirst => connection.prepare_cached(&format!(
            "{LOOK} WHERE d.webhook_id = ?2 AND d.state = 'held' AND d.workspace_id = ?1 AND d.id > ?3 AND d.id < ?4 ORDER BY d.id DESC LIMIT ?5"
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
    ((mut after, mut before), state): (Range, Option<DeliveryState>),
    order: Order,
    limit: usize,
) -> Result<Vec<Candidate>> {
    let of_one = match state {
        Some(DeliveryState::Held) => held,
        _ => of_webhook,
    };
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
        found.extend(of_one(connection, workspace, webhook, range, order, limit)?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::MessageId;
    use crate::store::Files;
    use crate::store::deliveries::{NewDelivery, NewMessage, insert_delivery, insert_message};

    const WORKSPACE: WorkspaceId = WorkspaceId::from_i64(1);

    /// A box with the deliveries 11 to 40: of three webhooks in turn, held, failed and pending in turn of five,
    /// and every fourth of another type.
    fn history() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let connection = Files::prepare(folder.path())
            .unwrap()
            .open_writer()
            .unwrap();
        connection
            .execute_batch(
                "INSERT INTO workspace (id, slug, name, created_at_ms) VALUES (1, 'acme', 'Acme', 0);
                 WITH w (id) AS (VALUES (1), (2), (3))
                 INSERT INTO webhook (id, workspace_id, name, url, format, patterns, state, secret_sealed, created_at_ms, updated_at_ms)
                    SELECT id, 1, 'W', 'http://example.com/', 'standard', '[]', 'active', x'', 0, 0 FROM w;",
            )
            .unwrap();
        for (id, event_type) in [(1, "order.placed"), (2, "user.seen")] {
            let message = NewMessage {
                id: MessageId::from_i64(id),
                workspace: WORKSPACE,
                event: None,
                event_type,
                body: b"{}",
            };
            insert_message(&connection, &message).unwrap();
        }
        for id in 11..=40 {
            let delivery = NewDelivery {
                id: DeliveryId::from_i64(id),
                workspace: WORKSPACE,
                webhook: WebhookId::from_i64(id % 3 + 1),
                message: MessageId::from_i64(if id % 4 == 0 { 2 } else { 1 }),
                event: None,
                state: state(id),
                is_ordered: false,
                origin: (id == 15).then_some(Origin::Test),
            };
            insert_delivery(&connection, &delivery).unwrap();
        }
        (folder, connection)
    }

    fn state(id: i64) -> DeliveryState {
        match id % 5 {
            0 => DeliveryState::Failed,
            1 => DeliveryState::Held,
            _ => DeliveryState::Pending,
        }
    }

    /// What a selection finds page by page, three at a time and looking at seven.
    fn page_by_page(connection: &Connection, selection: &Selection, order: Order) -> Vec<i64> {
        let mut rest = selection.clone();
        let mut ids = Vec::new();
        loop {
            let found = find(connection, WORKSPACE, &rest, order, 3, 7).unwrap();
            assert!(found.looked_at <= 7 && found.matching.len() <= 3);
            ids.extend(found.matching.iter().map(|found| found.id.as_i64()));
            match (order, found.goes_on_after) {
                (_, None) => return ids,
                (Order::OldestFirst, Some(last)) => rest.after = last,
                (Order::NewestFirst, Some(last)) => rest.before = last,
            }
        }
    }

    #[test]
    fn every_combination_finds_what_matches_in_its_order_page_by_page() {
        let (_folder, connection) = history();
        let webhooks = [None, Some(1), Some(3), Some(9)];
        let states = [
            None,
            Some(DeliveryState::Failed),
            Some(DeliveryState::Held),
            Some(DeliveryState::Pending),
        ];
        let types = [None, Some("order.*")];
        let spans = [(0, 1_000), (14, 31)];
        for webhook in webhooks {
            for wanted in states {
                for pattern in types {
                    for (after, before) in spans {
                        let selection = Selection {
                            webhook: webhook.map(WebhookId::from_i64),
                            state: wanted,
                            event_type: pattern.map(|pattern| pattern.parse().unwrap()),
                            after: DeliveryId::from_i64(after),
                            before: DeliveryId::from_i64(before),
                            with_tests: pattern.is_none(),
                        };
                        let expected: Vec<i64> = (11..=40)
                            .filter(|id| *id > after && *id < before)
                            .filter(|id| webhook.is_none_or(|webhook| id % 3 + 1 == webhook))
                            .filter(|id| wanted.is_none_or(|wanted| state(*id) == wanted))
                            .filter(|id| pattern.is_none() || (id % 4 != 0 && *id != 15))
                            .collect();
                        let forwards = page_by_page(&connection, &selection, Order::OldestFirst);
                        assert_eq!(forwards, expected, "{selection:?}");
                        let mut backwards =
                            page_by_page(&connection, &selection, Order::NewestFirst);
                        backwards.reverse();
                        assert_eq!(backwards, expected, "{selection:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn another_workspace_has_none_of_it() {
        let (_folder, connection) = history();
        let other = WorkspaceId::from_i64(2);
        let of_theirs = Selection {
            webhook: Some(WebhookId::from_i64(1)),
            ..Selection::default()
        };
        for selection in [Selection::default(), of_theirs] {
            let found = find(&connection, other, &selection, Order::OldestFirst, 9, 9).unwrap();
            assert!(found.matching.is_empty());
        }
    }
}
