//! What every format has to say of an event or a notice, before it is arranged. Values that came as JSON are
//! copied byte for byte; everything else is written by serde_json.

use crate::event::StoredEvent;
use crate::id::{EventId, MessageId, SourceId, WorkspaceId};
use crate::time::rfc3339;
use serde::Serialize;
use serde_json::value::RawValue;

/// The source's public side, as a message names it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MessageSource<'a> {
    /// Its id.
    pub id: SourceId,
    /// What people call it.
    pub name: &'a str,
}

/// Something that the box itself has to say (webhooks.md, "Event types").
#[derive(Debug, Clone)]
pub struct Notice {
    /// Its type, of a family that no app may use.
    pub event_type: &'static str,
    /// When it came about, Unix milliseconds.
    pub at_ms: i64,
    /// What it says.
    pub data: serde_json::Value,
}

/// Which message a notice goes out as, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct NoticeOf {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The message; a notice has no id of its own.
    pub message: MessageId,
}

/// The `data` of an event in the standard format; absent fields are left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventData<'a> {
    id: EventId,
    kind: &'static str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visitor_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traits: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    verification: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<MessageSource<'a>>,
    received_at: String,
}

impl<'a> EventData<'a> {
    pub(super) fn of(
        stored: &'a StoredEvent,
        source: Option<MessageSource<'a>>,
    ) -> serde_json::Result<Self> {
        let event = &stored.event;
        let ids = &event.identifiers;
        Ok(Self {
            id: stored.id,
            kind: event.kind.as_str(),
            event: &event.name,
            user_id: ids.user_id.as_deref(),
            visitor_id: ids.visitor_id.as_deref(),
            email: ids.email.as_deref(),
            customer_id: ids.customer_id.as_deref(),
            group_id: ids.group_id.as_deref(),
            properties: raw_json(event.properties.as_deref())?,
            traits: raw_json(event.traits.as_deref())?,
            context: raw_json(event.context.as_deref())?,
            channel: event.channel.as_deref(),
            verification: event.verification.as_str(),
            source,
            received_at: rfc3339(event.received_at_ms),
        })
    }
}

/// JSON text as it stands.
pub(super) fn raw_json(text: Option<&str>) -> serde_json::Result<Option<&RawValue>> {
    text.map(serde_json::from_str).transpose()
}
