//! Jimo's server-side events: `POST /sse/webhook` (seed "Server-Side Events"; wire.md, "Jimo").
//! Owns the shape on the wire and its refusals, and nothing that holds for other dialects too.

use super::fields::{Members, Refused, escaped};
use super::rejects::{Endpoint, Rejects, Watch};
use super::request::{self, Admission, Bodies, Body};
use crate::accept::Acceptor;
use crate::access::Scope;
use crate::error::{Error, Result};
use crate::event::{Credential, EventKind, FieldNames, Identifiers, RawEvent};
use crate::json::{self, Place};
use crate::normalize::normalize;
use crate::store::catalog::CatalogHandle;
use crate::time::{now_ms, parse_utc};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A trait's text has at most this many characters (wire.md, "Jimo").
const MAX_TRAIT_CHARS: usize = 700;

const ADMISSION: Admission = Admission {
    takes_bearer: false,
    scopes: &[Scope::WriteEvents],
};

const NAMES: FieldNames = FieldNames {
    kind: "type",
    name: "event",
    user_id: "userId",
    visitor_id: "visitorId",
    email: "email",
    customer_id: "customerId",
    group_id: "groupId",
    dedup_key: "messageId",
};

#[derive(Serialize)]
struct Answer {
    success: bool,
    id: crate::id::EventId,
}

/// Takes one event; answers after it is on disk.
pub(super) async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> Result<HttpResponse> {
    let received_at_ms = now_ms();
    let credential = request::credential(&request, &catalog.current(), &ADMISSION)?;
    let endpoint = Endpoint::with_key_in("/sse/webhook", "x-api-key");
    let mut watch = rejects.watch(endpoint, credential, received_at_ms);
    let body = bodies.event(&request, payload).await;
    let answer = take(body, &credential, received_at_ms, &acceptor, &mut watch).await;
    watch.finish(&answer);
    answer
}

async fn take(
    body: Result<Body<'_>>,
    credential: &Credential,
    received_at_ms: i64,
    acceptor: &Acceptor,
    watch: &mut Watch<'_>,
) -> Result<HttpResponse> {
    let body = body?;
    let event = watch.read(&body, |body| {
        normalize(parse(json::check(body)?)?, credential, received_at_ms)
    })?;
    let id = acceptor.accept_one(event).await?;
    Ok(HttpResponse::Ok().json(Answer { success: true, id }))
}

/// The fields as raw JSON, so that each can be refused by name. Unknown ones are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    r#type: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    properties: Option<&'a RawValue>,
    traits: Option<&'a RawValue>,
    remove_unspecified: Option<&'a RawValue>,
}

fn parse(text: &str) -> Result<RawEvent<'_>> {
    if !text.trim_start().starts_with('{') {
        json::read::<&RawValue>(text)?;
        return Err(Error::field(
            "",
            "wrong_type",
            "The body must be one JSON object, the event.",
        ));
    }
    let wire: Wire<'_> = json::read(text)?;
    let mut refused = Refused::default();
    let user_id =
        refused.required_string("userId", wire.user_id, "the user's unique id in your app");
    let kind = kind(&mut refused, wire.r#type);
    let occurred_at_ms = timestamp(&mut refused, wire.timestamp);
    let replace_traits = match wire.remove_unspecified.map(RawValue::get) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            refused.add(
                "removeUnspecified",
                "wrong_type",
                "removeUnspecified must be true or false.",
            );
            false
        }
    };
    let mut raw = RawEvent {
        kind,
        name: None,
        identifiers: Identifiers {
            user_id,
            ..Identifiers::default()
        },
        properties: None,
        traits: None,
        context: None,
        replace_traits: false,
        customer_is_account: false,
        occurred_at_ms,
        touch: None,
        dedup_key: None,
        names: &NAMES,
        refused: Vec::new(),
    };
    match kind {
        Some(EventKind::Identify) => {
            raw.traits = traits(&mut refused, wire.traits).map(Cow::Borrowed);
            raw.replace_traits = replace_traits;
        }
        Some(_) => {
            raw.name = refused.required_string("event", wire.event, "the name of what happened");
            raw.properties = refused
                .optional_object("properties", wire.properties)
                .map(Cow::Borrowed);
        }
        None => {}
    }
    raw.refused = refused.0;
    Ok(raw)
}

fn kind(refused: &mut Refused, raw: Option<&RawValue>) -> Option<EventKind> {
    let text = refused.required_string("type", raw, "identify or track")?;
    match &*text {
        "identify" => Some(EventKind::Identify),
        "track" => Some(EventKind::Track),
        _ => {
            refused.add(
                "type",
                "invalid_type",
                "type must be \"identify\" or \"track\".",
            );
            None
        }
    }
}

fn timestamp(refused: &mut Refused, raw: Option<&RawValue>) -> Option<i64> {
    let text = refused.required_string("timestamp", raw, "when it happened")?;
    let time = parse_utc(&text);
    if time.is_none() {
        refused.add(
            "timestamp",
            "invalid_timestamp",
            "timestamp must be an ISO 8601 date and time in UTC, such as 2024-01-01T12:00:00Z.",
        );
    }
    time
}

fn traits<'a>(refused: &mut Refused, raw: Option<&'a RawValue>) -> Option<&'a str> {
    let Some(raw) = raw else {
        refused.add(
            "traits",
            "required",
            "traits is required for identify: an object of what is known of the user.",
        );
        return None;
    };
    let text = refused.optional_object("traits", Some(raw))?;
    // What is kept are the bytes, so every member counts, also one whose name comes again.
    let Place(members) = json::read::<Place<Members<'_>>>(text).ok()?;
    let mut names = BTreeSet::new();
    for (name, value) in members?.all() {
        let pointer = format!("traits/{}", escaped(&name));
        if let Some((code, detail)) = trait_refusal(value) {
            refused.add(&pointer, code, detail);
        }
        if !names.insert(name) {
            refused.add(
                &pointer,
                "duplicate_field",
                "This trait is given more than once.",
            );
        }
    }
    Some(text)
}

/// Text, number, boolean, an array of these, or `null` to delete (wire.md, "Jimo").
fn trait_refusal(value: &RawValue) -> Option<(&'static str, &'static str)> {
    const OBJECT: (&str, &str) = (
        "invalid_trait",
        "A trait is text, a number, true or false, or an array of these; an object is not kept.",
    );
    match value.get().as_bytes().first() {
        Some(b'{') => Some(OBJECT),
        Some(b'"') => {
            let text: String = json::value(value)?;
            (text.chars().count() > MAX_TRAIT_CHARS)
                .then_some(("too_long", "A trait's text has at most 700 characters."))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            items
                .into_iter()
                .find_map(|item| match item.get().as_bytes().first() {
                    Some(b'[' | b'{') => Some(OBJECT),
                    _ => trait_refusal(item),
                })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(body: &str) -> Vec<(String, &'static str)> {
        let refused = match parse(body) {
            Ok(raw) => raw.refused,
            Err(e) => e.field_errors().to_vec(),
        };
        refused
            .iter()
            .map(|f| (f.pointer.clone(), f.code))
            .collect()
    }

    #[test]
    fn both_kinds_are_read() {
        let track = parse(
            r#"{"userId":"12345","type":"track","timestamp":"2024-01-01T12:05:00Z","event":"button_clicked",
                "properties":{"button_name":"Subscribe"},"unknown":1}"#,
        )
        .unwrap();
        assert_eq!(
            (track.kind, track.name.as_deref()),
            (Some(EventKind::Track), Some("button_clicked"))
        );
        assert_eq!(
            track.properties.as_deref(),
            Some(r#"{"button_name":"Subscribe"}"#)
        );
        let identify = parse(
            r#"{"userId":"1\u0032","type":"identify","timestamp":"2024-01-01T12:00:00Z",
                "traits":{"plan":"premium","tags":["a",1,true],"gone":null},"removeUnspecified":true}"#,
        )
        .unwrap();
        assert_eq!(identify.identifiers.user_id.as_deref(), Some("12"));
        assert!(identify.replace_traits);
    }

    #[test]
    fn the_sample_that_people_are_shown_is_taken() {
        assert_eq!(refusals(&crate::sample::event(1_704_110_400_000)), []);
    }

    #[test]
    fn every_missing_field_is_named_at_once() {
        let names = |pointers: &[&str]| {
            pointers
                .iter()
                .map(|p| ((*p).to_owned(), "required"))
                .collect::<Vec<_>>()
        };
        assert_eq!(refusals("{}"), names(&["/userId", "/type", "/timestamp"]));
        assert_eq!(
            refusals(r#"{"userId":"u","type":"track","timestamp":"2024-01-01T12:00:00Z"}"#),
            names(&["/event"])
        );
        assert_eq!(
            refusals(r#"{"userId":null,"type":"identify","timestamp":"2024-01-01T12:00:00Z"}"#),
            names(&["/userId", "/traits"])
        );
    }

    #[test]
    fn a_body_that_is_no_object_is_refused_as_such() {
        for body in ["[]", "[\"u\",\"track\"]", "1", "\"x\"", "null"] {
            assert_eq!(refusals(body), [(String::new(), "wrong_type")], "{body}");
        }
        assert_eq!(parse("[1").unwrap_err().code(), "invalid_json");
    }

    #[test]
    fn traits_hold_no_objects_and_no_endless_text() {
        let identify = |traits: String| {
            format!(
                r#"{{"userId":"u","type":"identify","timestamp":"2024-01-01T12:00:00Z","traits":{traits}}}"#
            )
        };
        assert_eq!(
            refusals(&identify(r#"{"a/b":{}}"#.into())),
            [("/traits/a~1b".into(), "invalid_trait")]
        );
        assert_eq!(
            refusals(&identify(r#"{"a":[[1]]}"#.into())),
            [("/traits/a".into(), "invalid_trait")]
        );
        assert_eq!(
            refusals(&identify(format!(r#"{{"a":"{}"}}"#, "x".repeat(701)))),
            [("/traits/a".into(), "too_long")]
        );
        assert_eq!(
            refusals(&identify(format!(r#"{{"a":"{}"}}"#, "\\u00e9".repeat(700)))),
            []
        );
        // The bytes are kept, so none of them hides behind another of its name.
        let hidden = r#"{"a":{"b":1},"\u0061":1}"#;
        assert_eq!(
            refusals(&identify(hidden.into())),
            [
                ("/traits/a".into(), "invalid_trait"),
                ("/traits/a".into(), "duplicate_field")
            ]
        );
        assert_eq!(
            refusals(&identify("[]".into())),
            [("/traits".into(), "wrong_type")]
        );
    }
}
