//! The body of a message in each format (webhooks.md, "On the wire"). Values that came as JSON
//! are copied byte for byte; everything else is written by serde_json.

use crate::event::StoredEvent;
use crate::id::SourceId;
use crate::time::rfc3339;
use crate::webhook::Format;
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

/// The exact bytes that every webhook of `format` receives for `stored`.
///
/// # Errors
/// Only when the stored JSON text is not JSON, which the way in rules out.
pub fn body(
    format: Format,
    stored: &StoredEvent,
    source: Option<MessageSource<'_>>,
) -> serde_json::Result<Vec<u8>> {
    match format {
        Format::Standard => standard(stored, source),
    }
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

/// The exact bytes that every webhook of `format` receives for a notice.
///
/// # Errors
/// Never in practice: what it says is a JSON value.
pub fn notice_body(format: Format, notice: &Notice) -> serde_json::Result<Vec<u8>> {
    match format {
        Format::Standard => serde_json::to_vec(&Standard {
            r#type: notice.event_type,
            timestamp: rfc3339(notice.at_ms),
            data: &notice.data,
        }),
    }
}

#[derive(Serialize)]
struct Standard<'a, D> {
    r#type: &'a str,
    timestamp: String,
    data: D,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventData<'a> {
    id: crate::id::EventId,
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

fn standard(
    stored: &StoredEvent,
    source: Option<MessageSource<'_>>,
) -> serde_json::Result<Vec<u8>> {
    let event = &stored.event;
    let ids = &event.identifiers;
    serde_json::to_vec(&Standard {
        r#type: &event.name,
        timestamp: rfc3339(event.occurred_at_ms),
        data: EventData {
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
        },
    })
}

fn raw_json(text: Option<&str>) -> serde_json::Result<Option<&RawValue>> {
    text.map(serde_json::from_str).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventKind, Identifiers, Verification};
    use crate::id::{EventId, WorkspaceId};

    #[test]
    fn a_standard_body_keeps_the_payload_to_the_byte() {
        let properties = r#"{"n":9007199254740993, "z":"\u0000","a":[1.0e2]}"#;
        let stored = StoredEvent {
            id: EventId::from_i64(5),
            event: Event {
                workspace: WorkspaceId::from_i64(1),
                source: None,
                kind: EventKind::Track,
                name: "Post Created".into(),
                identifiers: Identifiers {
                    user_id: Some("u\"1".into()),
                    ..Identifiers::default()
                },
                properties: Some(properties.into()),
                traits: None,
                context: None,
                replace_traits: false,
                customer_is_account: false,
                occurred_at_ms: 1_704_110_400_000,
                received_at_ms: 1_704_110_400_250,
                verification: Verification::Server,
                channel: None,
                dedup_key: None,
            },
        };
        let source = MessageSource {
            id: SourceId::from_i64(9),
            name: "Shop",
        };
        let body =
            String::from_utf8(body(Format::Standard, &stored, Some(source)).unwrap()).unwrap();
        assert_eq!(
            body,
            format!(
                concat!(
                    r#"{{"type":"Post Created","timestamp":"2024-01-01T12:00:00.000Z","data":{{"id":"evt_0000000000005","#,
                    r#""kind":"track","event":"Post Created","userId":"u\"1","properties":{},"verification":"server","#,
                    r#""source":{{"id":"src_0000000000009","name":"Shop"}},"receivedAt":"2024-01-01T12:00:00.250Z"}}}}"#
                ),
                properties
            )
        );
    }
}
