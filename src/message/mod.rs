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
    use crate::id::{EventId, MessageId, SourceId, WorkspaceId};
    use serde_json::{Value, json};

    /// What a JSON library would not write back as it came.
    const PROPERTIES: &str = r#"{"n":9007199254740993, "z":"\u0000","a":[1.0e2]}"#;

    fn stored(name: &str, properties: &str) -> StoredEvent {
        StoredEvent {
            id: EventId::from_i64(5),
            event: Event {
                workspace: WorkspaceId::from_i64(1),
                source: Some(SourceId::from_i64(9)),
                kind: EventKind::Track,
                name: name.into(),
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
        }
    }

    fn text(format: Format, stored: &StoredEvent) -> String {
        let source = MessageSource {
            id: SourceId::from_i64(9),
            name: "Shop",
        };
        String::from_utf8(body(format, stored, Some(source)).unwrap()).unwrap()
    }

    /// What the `data` of [`stored`] says in the formats that have one.
    fn data(properties: &str) -> String {
        format!(
            concat!(
                r#"{{"id":"evt_0000000000005","kind":"track","event":"Post Created","userId":"u\"1","properties":{},"#,
                r#""verification":"server","source":{{"id":"src_0000000000009","name":"Shop"}},"#,
                r#""receivedAt":"2024-01-01T12:00:00.250Z"}}"#
            ),
            properties
        )
    }

    #[test]
    fn a_standard_body_keeps_the_payload_to_the_byte() {
        assert_eq!(
            text(Format::Standard, &stored("Post Created", PROPERTIES)),
            format!(
                r#"{{"type":"Post Created","timestamp":"2024-01-01T12:00:00.000Z","data":{}}}"#,
                data(PROPERTIES)
            )
        );
    }

    #[test]
    fn a_cloud_event_is_the_standard_data_in_its_own_envelope() {
        assert_eq!(
            text(Format::CloudEvents, &stored("Post Created", PROPERTIES)),
            format!(
                concat!(
                    r#"{{"specversion":"1.0","id":"evt_0000000000005","source":"/w/ws_0000000000001/sources/src_0000000000009","#,
                    r#""type":"Post Created","time":"2024-01-01T12:00:00.000Z","datacontenttype":"application/json","data":{}}}"#
                ),
                data(PROPERTIES)
            )
        );
    }

    #[test]
    fn a_users_act_has_a_jimer_and_the_payload_to_the_byte() {
        let body = text(Format::Jimo, &stored("Post Created", PROPERTIES));
        let start =
            r#"{"event":"Post Created","version":"0","time":1704110400000,"jimer":{"uid":"u\"1","#;
        assert!(body.starts_with(start), "{body}");
        assert!(
            body.contains(&format!(r#""properties":{PROPERTIES},"#)),
            "{body}"
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        let jimer = json!({
            "uid": "u\"1", "identifyToken": "u\"1", "username": null, "email": null,
            "lastActivityAt": "2024-01-01T12:00:00.000Z"
        });
        assert_eq!((&body["jimer"], body.get("user")), (&jimer, None));
    }

    #[test]
    fn a_team_members_act_has_a_user_and_jimos_objects_stand_where_jimo_has_them() {
        let experience = r#"{"uid":"x", "title":"Onboarding","n":1.0e2}"#;
        let properties = format!(r#"{{"experience":{experience},"by":"hand"}}"#);
        let mut published = stored("tour.published", &properties);
        published.event.traits = Some(r#"{"firstName":"Sam","last_name":"Poe"}"#.into());
        let body = text(Format::Jimo, &published);
        let start = format!(
            r#"{{"event":"tour.published","version":"0","time":1704110400000,"experience":{experience},"user":{{"uid":"u\"1","#
        );
        assert!(body.starts_with(&start), "{body}");
        assert!(
            body.contains(&format!(r#""properties":{properties},"#)),
            "{body}"
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        let user = json!({"uid": "u\"1", "email": null, "firstName": "Sam", "lastName": "Poe"});
        assert_eq!((&body["user"], body.get("jimer")), (&user, None));
        // What a user does with the same tour is the user's.
        let completed = text(Format::Jimo, &stored("tour.completed", &properties));
        assert!(completed.contains(r#""jimer":{"#) && !completed.contains(r#""user":{"#));
    }

    #[test]
    fn a_name_that_comes_twice_leaves_jimos_objects_where_they_were() {
        let properties = r#"{"step":{"uid":"a"},"step":{"uid":"b"}}"#;
        let body = text(Format::Jimo, &stored("tour.completed", properties));
        assert!(
            body.contains(&format!(r#""properties":{properties},"#)),
            "{body}"
        );
        assert_eq!(body.matches(r#""step":"#).count(), 2, "{body}");
    }

    #[test]
    fn a_notice_has_every_format() {
        let notice = Notice {
            event_type: "profile.created",
            at_ms: 1_704_110_400_000,
            data: json!({
                "profile": {
                    "id": "prf_1", "kind": "person",
                    "identifiers": {"email": ["ada@example.com", "a@example.com"], "userId": ["u1"]},
                    "traits": {"name": "Ada", "plan": "pro"}
                },
                "by": {"kind": "user", "id": "usr_1"}
            }),
        };
        let of = NoticeOf {
            workspace: WorkspaceId::from_i64(1),
            message: MessageId::from_i64(7),
        };
        let written = |format| -> Value {
            serde_json::from_slice(&notice_body(format, &notice, of).unwrap()).unwrap()
        };
        let time = "2024-01-01T12:00:00.000Z";
        assert_eq!(
            written(Format::Standard),
            json!({"type": "profile.created", "timestamp": time, "data": notice.data})
        );
        assert_eq!(
            written(Format::CloudEvents),
            json!({
                "specversion": "1.0", "id": "msg_0000000000007", "source": "/w/ws_0000000000001",
                "type": "profile.created", "time": time, "datacontenttype": "application/json", "data": notice.data
            })
        );
        assert_eq!(
            written(Format::Jimo),
            json!({
                "event": "profile.created", "version": "0", "time": 1_704_110_400_000_i64,
                "jimer": {
                    "uid": "u1", "identifyToken": "u1", "username": "Ada", "email": "ada@example.com", "lastActivityAt": null
                },
                "user": {"uid": "usr_1", "email": null, "firstName": null, "lastName": null},
                "data": notice.data
            })
        );
    }

    #[test]
    fn a_notice_about_nobody_has_neither_jimer_nor_user() {
        for data in [
            json!({"limit": 5}),
            json!({"profile": {"id": "prf_1", "kind": "account", "identifiers": {}}, "by": {"kind": "command_line"}}),
            json!({"profile": "prf_1", "by": "visitorId"}),
            json!({"profile": {"id": "prf_1", "kind": "person"}, "by": {"kind": "visitorId", "value": "v"}}),
        ] {
            let notice = Notice {
                event_type: "profile.merged",
                at_ms: 0,
                data: data.clone(),
            };
            let of = NoticeOf {
                workspace: WorkspaceId::from_i64(1),
                message: MessageId::from_i64(7),
            };
            let body = notice_body(Format::Jimo, &notice, of).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body.get("user"), None, "{data}");
            // A person of whom no identifier is told is known by the profile.
            let uid = body.get("jimer").map(|jimer| jimer["uid"].clone());
            let is_person = data["profile"]["kind"] == "person";
            assert_eq!(uid, is_person.then(|| json!("prf_1")), "{data}");
        }
    }

    #[test]
    fn a_bodys_type_goes_by_the_body() {
        let stored = stored("specversion", "{}");
        for (format, content_type) in [
            (Format::Standard, "application/json"),
            (Format::Jimo, "application/json"),
            (Format::CloudEvents, "application/cloudevents+json"),
        ] {
            assert_eq!(
                super::content_type(text(format, &stored).as_bytes()),
                content_type
            );
        }
    }
}
