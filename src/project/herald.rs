//! What webhooks are told of profiles (webhooks.md, "Event types"), owed in the transaction that makes the change:
//! so once, whatever crashes. What there is to tell is `news.rs`'s to say.

use super::wishes::{Wishes, Wishing};
use crate::error::Result;
use crate::id::{IdGenerator, WorkspaceId};
use crate::message::Notice;
use crate::owe;
use crate::store::catalog::Catalog;
use crate::store::deliveries::OwedDelivery;
use rusqlite::Connection;
use serde_json::Value;

/// Bytes of messages that are handed to the dispatcher from memory after one chunk; more than that it reads
/// from the file, so that a backlog that is projected takes no more memory than a day's events do.
const HANDED_BYTES: usize = 4 * 1_024 * 1_024;

/// What was owed in a transaction.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What the dispatcher is handed after the commit.
    pub(super) due: Vec<OwedDelivery>,
    /// Whether more is due than that.
    pub(super) is_more: bool,
    bytes: usize,
}

impl Told {
    pub(super) fn add(&mut self, owed: Vec<OwedDelivery>) {
        for delivery in owed {
            self.bytes += delivery.body.len();
            if self.bytes <= HANDED_BYTES {
                self.due.push(delivery);
            } else {
                self.is_more = true;
            }
        }
    }
}

/// Tells of profiles, inside the projector's transaction.
pub(super) struct Herald<'a> {
    connection: &'a Connection,
    catalog: &'a Catalog,
    ids: &'a IdGenerator,
    now_ms: i64,
    wishing: Wishing<'a>,
    told: Told,
}

impl<'a> Herald<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        catalog: &'a Catalog,
        ids: &'a IdGenerator,
        now_ms: i64,
    ) -> Self {
        Self {
            connection,
            catalog,
            ids,
            now_ms,
            wishing: Wishing::new(catalog),
            told: Told::default(),
        }
    }

    /// Everything that was owed.
    pub(super) fn told(self) -> Told {
        self.told
    }

    /// The connection whose transaction it is.
    pub(super) fn connection(&self) -> &'a Connection {
        self.connection
    }

    pub(super) fn wishes(&mut self, workspace: WorkspaceId) -> Wishes {
        self.wishing.of(workspace)
    }

    /// # Errors
    /// When the file refuses.
    pub(super) fn announce(
        &mut self,
        workspace: WorkspaceId,
        event_type: &'static str,
        data: Value,
    ) -> Result<()> {
        let notice = Notice {
            event_type,
            at_ms: self.now_ms,
            data,
        };
        let owed = owe::announce(self.connection, self.catalog, self.ids, workspace, &notice)?;
        self.told.add(owed);
        Ok(())
    }
}
