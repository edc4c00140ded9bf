//! Who is told when more people were active in a month than a workspace wanted: at four fifths of its limit
//! and at all of it, once a month each (webhooks.md, "Event types").

use crate::error::Result;
use crate::id::{IdGenerator, WorkspaceId};
use crate::message::Notice;
use crate::owe;
use crate::store::catalog::Catalog;
use crate::store::deliveries::OwedDelivery;
use crate::store::{journal, people};
use crate::time::month_text;
use rusqlite::Connection;
use serde_json::json;

/// Four fifths of the limit.
const NEAR_PERCENT: i64 = 80;
/// All of it.
const REACHED_PERCENT: i64 = 100;

/// Announces that a workspace's people of a month have come near its limit or reached it, if that was not
/// said of it; in the caller's transaction.
///
/// # Errors
/// When the file refuses.
pub(super) fn announce(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    workspace: WorkspaceId,
    (month, at_ms): (i64, i64),
) -> Result<Vec<OwedDelivery>> {
    let Some(limit) = catalog.mau_limit(workspace) else {
        return Ok(Vec::new());
    };
    let active = journal::active(connection, workspace, month)?;
    let is_new = |percent| -> Result<bool> {
        Ok(active.saturating_mul(100) >= limit.saturating_mul(percent)
            && people::note_mau(connection, workspace, month, percent, at_ms)?)
    };
    let (is_near, is_reached) = (is_new(NEAR_PERCENT)?, is_new(REACHED_PERCENT)?);
    // Whoever comes to the limit in one leap hears of the limit only.
    let event_type = match (is_near, is_reached) {
        (_, true) => "system.mau_limit_reached",
        (true, false) => "system.mau_limit_near",
        (false, false) => return Ok(Vec::new()),
    };
    let notice = Notice {
        event_type,
        at_ms,
        data: json!({"month": month_text(month), "active": active, "limit": limit}),
    };
    owe::announce(connection, catalog, ids, workspace, &notice)
}
