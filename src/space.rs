//! SPACE: whether the data folder's disk has room left, and who is told when it has little (webhooks.md, "Event
//! types"). Decides nothing about what goes; `retain` does.

use crate::error::{Error, Result};
use crate::followers::Followers;
use crate::id::IdGenerator;
use crate::message::Notice;
use crate::owe;
use crate::store::Readers;
use crate::store::catalog::{Catalog, CatalogHandle};
use crate::store::deliveries::OwedDelivery;
use crate::store::space;
use crate::store::writer::Writer;
use rusqlite::Connection;
use serde_json::json;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

const EVENT_TYPE: &str = "system.storage_low";

/// When the room on the disk is little, and when it is enough again. Between the two nothing is said, so that a
/// disk at the limit is not announced again and again.
#[derive(Debug, Clone, Copy)]
pub struct SpaceLimits {
    /// Fewer free bytes are too few.
    pub low_bytes: u64,
    /// So many free bytes are enough.
    pub enough_bytes: u64,
}

impl SpaceLimits {
    /// Whether the room is little now, where it was or was not before.
    fn is_low(&self, was_low: bool, free_bytes: u64) -> bool {
        let limit = if was_low {
            self.enough_bytes
        } else {
            self.low_bytes
        };
        free_bytes < limit
    }
}

/// Looks at the disk from time to time.
#[derive(Debug, Clone)]
pub struct SpaceWatch {
    folder: PathBuf,
    limits: SpaceLimits,
    writer: Writer,
    readers: Readers,
    catalog: CatalogHandle,
    followers: Followers,
    ids: Arc<IdGenerator>,
    /// As the file has it, once that was read.
    was_low: Option<bool>,
}

impl SpaceWatch {
    /// A watch over the disk of a folder.
    pub fn new(
        (folder, limits): (PathBuf, SpaceLimits),
        writer: Writer,
        readers: Readers,
        catalog: CatalogHandle,
        followers: Followers,
        ids: Arc<IdGenerator>,
    ) -> Self {
        Self {
            folder,
            limits,
            writer,
            readers,
            catalog,
            followers,
            ids,
            was_low: None,
        }
    }

    /// Looks at the disk at `now_ms` (Unix milliseconds), and tells everybody who wants to know when it has
    /// become low.
    ///
    /// # Errors
    /// When the disk cannot be asked, or the file refuses: the next look tries the same again.
    pub fn look(&mut self, now_ms: i64) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(Error::internal)?;
        self.judge(disk.f_bavail.saturating_mul(disk.f_frsize), now_ms)
    }

    fn judge(&mut self, free_bytes: u64, now_ms: i64) -> Result<()> {
        let was_low = match self.was_low {
            Some(was_low) => was_low,
            None => space::low_since(&*self.readers.get()?)?.is_some(),
        };
        self.was_low = Some(was_low);
        let is_low = self.limits.is_low(was_low, free_bytes);
        if is_low == was_low {
            return Ok(());
        }
        let (catalog, ids) = (self.catalog.clone(), Arc::clone(&self.ids));
        let notice = Notice {
            event_type: EVENT_TYPE,
            at_ms: now_ms,
            data: json!({"freeBytes": free_bytes, "limitBytes": self.limits.low_bytes}),
        };
        let due = self.writer.alone_blocking(move |connection| {
            space::note_low(connection, is_low.then_some(now_ms))?;
            if is_low {
                announce(connection, &catalog.current(), &ids, &notice)
            } else {
                Ok(Vec::new())
            }
        })?;
        self.followers.tell_of_due(&due);
        self.was_low = Some(is_low);
        if is_low {
            tracing::warn!(
                free_bytes,
                folder = %self.folder.display(),
                "the disk has little room left; when it is full, events are refused"
            );
        } else {
            tracing::info!(free_bytes, "the disk has enough room again");
        }
        Ok(())
    }
}

/// Owes the notice to every workspace of which a webhook wants it.
fn announce(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    notice: &Notice,
) -> Result<Vec<OwedDelivery>> {
    let wanting = catalog
        .webhooks()
        .filter(|webhook| webhook.wants(EVENT_TYPE));
    let workspaces: HashSet<_> = wanting.map(|webhook| webhook.workspace).collect();
    let mut due = Vec::new();
    for workspace in workspaces {
        due.extend(owe::announce(connection, catalog, ids, workspace, notice)?);
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: SpaceLimits = SpaceLimits {
        low_bytes: 100,
        enough_bytes: 200,
    };

    #[test]
    fn little_is_said_under_one_limit_and_enough_over_another() {
        let mut was_low = false;
        let said: Vec<bool> = [500, 100, 99, 150, 99, 199, 200, 150, 100, 0]
            .map(|free| {
                was_low = LIMITS.is_low(was_low, free);
                was_low
            })
            .into();
        let expected = [
            false, false, true, true, true, true, false, false, false, true,
        ];
        assert_eq!(said, expected);
    }

    proptest! {
        #[test]
        fn what_is_between_the_limits_changes_nothing(was_low: bool, free in 100_u64..200) {
            prop_assert_eq!(LIMITS.is_low(was_low, free), was_low);
        }
    }
}
