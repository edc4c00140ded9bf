//! The body of a message in each format (webhooks.md, "On the wire"): one file per format, and what they
//! share in `data.rs`.

mod cloudevents;
mod data;
mod jimo;
mod standard;

pub use data::{MessageSource, Notice, NoticeOf};

use crate::event::StoredEvent;
use crate::webhook::Format;

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
        Format::Standard => standard::event(stored, source),
        Format::Jimo => jimo::event(stored, source),
        Format::CloudEvents => cloudevents::event(stored, source),
    }
}

/// The exact bytes that every webhook of `format` receives for a notice.
///
/// # Errors
/// Never in practice: what it says is a JSON value.
pub fn notice_body(format: Format, notice: &Notice, of: NoticeOf) -> serde_json::Result<Vec<u8>> {
    match format {
        Format::Standard => standard::notice(notice),
        Format::Jimo => jimo::notice(notice),
        Format::CloudEvents => cloudevents::notice(notice, of),
    }
}

/// The `content-type` of a body. It goes by the body itself: a webhook's format may have changed since the
/// message was made.
pub fn content_type(body: &[u8]) -> &'static str {
    if body.starts_with(cloudevents::BEGINNING) {
        cloudevents::CONTENT_TYPE
    } else {
        "application/json"
    }
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
