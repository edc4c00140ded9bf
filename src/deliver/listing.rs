//! Listing: what was not sent from memory is put on its webhook's due list, where the lanes find it. Most
//! deliveries are sent before anybody looks, and cost no list an entry. Decides nothing about who sends.

use super::backlog::in_background;
use crate::id::WebhookId;
use crate::store::Readers;
use crate::store::deliveries::{self, Unlisted};
use crate::store::writer::Writer;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Deliveries that are looked at in one go: few enough to be listed in milliseconds of the writer.
const AT_ONCE: usize = 2_048;
/// How long to leave the file alone when it could not be read or written.
const SETBACK: Duration = Duration::from_secs(1);

/// What one look came to.
pub(super) struct Listed {
    /// Whose lists have grown.
    pub(super) webhooks: HashSet<WebhookId>,
    /// Whether there may be more that was not looked at.
    pub(super) is_full: bool,
}

/// Looks at the deliveries after the last one that was looked at, and lists those that wait. Keeps at it
/// while the file is locked or full; `None` when the box stops.
pub(super) async fn list_as_due(readers: &Readers, writer: &Writer) -> Option<Listed> {
    loop {
        match look(readers, writer).await {
            Ok(listed) => return Some(listed),
            Err(e) if writer.is_alive() => {
                tracing::error!(error = %e, "deliveries could not be put on the due lists yet");
                tokio::time::sleep(SETBACK).await;
            }
            Err(_) => return None,
        }
    }
}

async fn look(readers: &Readers, writer: &Writer) -> crate::error::Result<Listed> {
    let readers = readers.clone();
    let found = in_background(move || deliveries::unlisted(&*readers.get()?, AT_ONCE)).await?;
    let Some(unlisted) = found.map(Arc::new) else {
        return Ok(Listed {
            webhooks: HashSet::new(),
            is_full: false,
        });
    };
    let written = Arc::<Unlisted>::clone(&unlisted);
    writer
        .record(move |connection| deliveries::list_as_due(connection, &written))
        .await?;
    Ok(Listed {
        webhooks: unlisted
            .waiting
            .iter()
            .map(|(_, webhook)| *webhook)
            .collect(),
        is_full: unlisted.is_full,
    })
}
