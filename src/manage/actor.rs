//! Who changes something, the audit entry that every change leaves, and the message that webhooks get of it.

use super::notices;
use crate::error::Result;
use crate::id::{IdGenerator, UserId, WorkspaceId};
use crate::store;
use crate::store::access::AuditEntry;
use crate::store::catalog::Catalog;
use rusqlite::Connection;
use serde_json::Value;

/// Who changes something, when and from where.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// The user; `None` is the command line.
    pub user: Option<UserId>,
    /// From where; `None` is the command line.
    pub address: Option<&'a str>,
    /// When, Unix milliseconds.
    pub now_ms: i64,
    /// Makes the ids.
    pub ids: &'a IdGenerator,
    /// Which webhooks there were before the change; those that want to hear of it are told.
    pub catalog: &'a Catalog,
}

impl Actor<'_> {
    /// Leaves the audit entry of a change, and a message of it for the webhooks that want one, in the change's
    /// own transaction.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn note(
        &self,
        connection: &Connection,
        workspace: Option<WorkspaceId>,
        action: &'static str,
        target: String,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<()> {
        let entry = AuditEntry {
            id: self.ids.next(self.now_ms),
            workspace,
            user: self.user,
            action,
            target,
            before,
            after,
            address: self.address,
            at_ms: self.now_ms,
        };
        store::access::insert_audit(connection, &entry)?;
        notices::announce(connection, self.catalog, self.ids, &entry)
    }
}
