//! `{"type","timestamp","data"}`, as Standard Webhooks suggests.

use super::data::{EventData, MessageSource, Notice};
use crate::event::StoredEvent;
use crate::time::rfc3339;
use serde::Serialize;

#[derive(Serialize)]
struct Standard<'a, D> {
    r#type: &'a str,
    timestamp: String,
    data: D,
}

pub(super) fn event(
    stored: &StoredEvent,
    source: Option<MessageSource<'_>>,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Standard {
        r#type: &stored.event.name,
        timestamp: rfc3339(stored.event.occurred_at_ms),
        data: EventData::of(stored, source)?,
    })
}

pub(super) fn notice(notice: &Notice) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Standard {
        r#type: notice.event_type,
        timestamp: rfc3339(notice.at_ms),
        data: &notice.data,
    })
}
