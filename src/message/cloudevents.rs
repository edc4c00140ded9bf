//! CloudEvents 1.0 in structured mode, with the `data` of the standard format. `source` is a reference to the
//! page of the source, or of the workspace, as it stands behind the box's own URL; together with `id` it is
//! unique, as the specification demands.

use super::data::{EventData, MessageSource, Notice, NoticeOf};
use crate::event::StoredEvent;
use crate::time::rfc3339;
use serde::Serialize;
use std::fmt::Display;

/// How every body of this format begins, and no other's.
pub(super) const BEGINNING: &[u8] = br#"{"specversion":"#;
/// The media type of structured mode (CloudEvents 1.0, "HTTP Protocol Binding").
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

#[derive(Serialize)]
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: &'a str,
    time: String,
    datacontenttype: &'static str,
    data: D,
}

pub(super) fn event(
    stored: &StoredEvent,
    source: Option<MessageSource<'_>>,
) -> serde_json::Result<Vec<u8>> {
    let event = &stored.event;
    let workspace = format!("/w/{}", event.workspace);
    let from = match event.source {
        Some(source) => format!("{workspace}/sources/{source}"),
        None => workspace,
    };
    let data = EventData::of(stored, source)?;
    write(stored.id, from, &event.name, event.occurred_at_ms, data)
}

pub(super) fn notice(notice: &Notice, of: NoticeOf) -> serde_json::Result<Vec<u8>> {
    let from = format!("/w/{}", of.workspace);
    write(
        of.message,
        from,
        notice.event_type,
        notice.at_ms,
        &notice.data,
    )
}

fn write(
    id: impl Display,
    source: String,
    event_type: &str,
    at_ms: i64,
    data: impl Serialize,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&CloudEvent {
        specversion: "1.0",
        id: id.to_string(),
        source,
        r#type: event_type,
        time: rfc3339(at_ms),
        datacontenttype: "application/json",
        data,
    })
}
