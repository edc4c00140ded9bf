//! Who changes something, and the audit entry that every change leaves.

use crate::error::Result;
use crate::id::{IdGenerator, UserId, WorkspaceId};
use crate::store;
use crate::store::access::AuditEntry;
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
}

impl Actor<'_> {
    pub(super) fn note(
        &self,
        connection: &Connection,
        workspace: Option<WorkspaceId>,
        action: &'static str,
        target: String,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<()> {
        store::access::insert_audit(
            connection,
            &AuditEntry {
                id: self.ids.next(self.now_ms),
                workspace,
                user: self.user,
                action,
                target,
                before,
                after,
                address: self.address,
                at_ms: self.now_ms,
            },
        )
    }
}
