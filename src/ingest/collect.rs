//! What the box's own browser script sends: `POST /collect` (wire.md, "Browser snippet"), up to 50 events of
//! one visitor, from pages of the sites that a source lists. Owns the shape on the wire, its refusals and its
//! answer; what the script does is in `static/pillarbox.js`.

use super::browser;
use super::context::touch;
use super::fields::{self, Members, Refused, all_or_none, given};
use super::rejects::{Endpoint, Rejects};
use super::request::Bodies;
use crate::accept::Acceptor;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, FieldNames, Identifiers, RawEvent, Verification};
use crate::json::{self, Place};
use crate::normalize::normalize;
use crate::store::catalog::{CatalogHandle, KnownSource};
use crate::time::{now_ms, parse_with_offset, without_skew};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A request has at most this many events (wire.md, "Browser snippet").
const MAX_EVENTS: usize = 50;

const BODY_FIELDS: [&str; 3] = ["source", "events", "sentAt"];
const EVENT_FIELDS: [&str; 12] = [
    "kind",
    "event",
    "visitorId",
    "userId",
    "email",
    "customerId",
    "traits",
    "properties",
    "context",
    "timestamp",
    "messageId",
    "authHash",
];

const NAMES: FieldNames = FieldNames {
    kind: "kind",
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
    /// The events that are in the log, those that were there before too.
    accepted: usize,
}

/// Takes the events of a page, all or none; answers after they are on disk. The content type is not looked
/// at: what is sent while a page goes away comes as text.
pub(super) async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> HttpResponse {
    let answer = take(&request, payload, &bodies, &catalog, &acceptor, &rejects).await;
    browser::readable(&request, answer)
}

async fn take(
    request: &HttpRequest,
    payload: web::Payload,
    bodies: &Bodies,
    catalog: &CatalogHandle,
    acceptor: &Acceptor,
    rejects: &Rejects,
) -> Result<HttpResponse> {
    let received_at_ms = now_ms();
    let body = bodies.event(request, payload).await?;
    let posted = Posted::read(json::check(&body)?)?;
    let (watch, events) = {
        let catalog = catalog.current();
        let source = browser::named_source(&catalog, posted.source, "source")?;
        let credential = browser::credential(source, Verification::Unverified);
        let endpoint = Endpoint::new("/collect");
        let mut watch = rejects.watch(endpoint, credential, received_at_ms);
        let events = watch.read(&body, |_| {
            browser::check_origin(request, source)?;
            posted.events(source, received_at_ms)
        });
        (watch, events)
    };
    let answer = match events {
        Ok(events) => store(events, acceptor).await,
        Err(refusal) => Err(refusal),
    };
    watch.finish(&answer);
    answer
}

async fn store(events: Vec<Event>, acceptor: &Acceptor) -> Result<HttpResponse> {
    let place = |index| format!("/events/{index}");
    // One messageId is one event. Sent again it may be a few milliseconds older by the box's clock, which
    // is another event to the log; to the script it is the one that it sent.
    let accepted = acceptor.accept(events, place).await?.len();
    Ok(HttpResponse::Ok().json(Answer { accepted }))
}

/// The members of a body.
struct Posted<'a> {
    source: Option<&'a RawValue>,
    events: Option<&'a RawValue>,
    sent_at: Option<&'a RawValue>,
    refused: Refused,
}

impl<'a> Posted<'a> {
    fn read(text: &'a str) -> Result<Self> {
        let Place(Some(members)) = json::read::<Place<Members<'_>>>(text)? else {
            return Err(Error::field(
                "",
                "wrong_type",
                "The body must be one JSON object: {\"source\": …, \"events\": [...]}.",
            ));
        };
        let ([source, events, sent_at], refused) = members.fields(&BODY_FIELDS);
        Ok(Self {
            source,
            events,
            sent_at,
            refused,
        })
    }

    /// Its events, every rule applied.
    fn events(mut self, source: &KnownSource, received_at_ms: i64) -> Result<Vec<Event>> {
        let refused = &mut self.refused;
        let sent_at_ms = timestamp(refused, "sentAt", self.sent_at, "when it was sent");
        if given(self.events).is_none() {
            refused.add("events", "required", "events is required: what happened.");
        }
        let (true, Some(events)) = (refused.0.is_empty(), self.events) else {
            return Err(Error::fields(self.refused.0));
        };
        let items = fields::events::<MAX_EVENTS>(events.get(), "/events")?;
        all_or_none(
            "/events",
            items.into_iter().map(|item| {
                let Place(Some(members)) = json::read::<Place<Members<'_>>>(item.get())? else {
                    let detail = "An event must be an object.";
                    return Err(Error::field("", "wrong_type", detail));
                };
                let mut said = Said::read(members);
                if let (Some(sent), Some(occurred)) = (sent_at_ms, said.raw.occurred_at_ms) {
                    let occurred = without_skew(received_at_ms, sent, occurred);
                    said.raw.occurred_at_ms = Some(occurred);
                }
                let verification =
                    browser::verification(source, said.who(), said.auth_hash.as_deref())?;
                let credential = browser::credential(source, verification);
                normalize(said.raw, &credential, received_at_ms)
            }),
        )
    }
}

// ONE EVENT ---------------------------------------------------------------------------------

/// What the script said in one event.
struct Said<'a> {
    raw: RawEvent<'a>,
    auth_hash: Option<Cow<'a, str>>,
}

impl<'a> Said<'a> {
    fn read(members: Members<'a>) -> Self {
        let (fields, mut refused) = members.fields(&EVENT_FIELDS);
        let [
            kind,
            name,
            visitor_id,
            user_id,
            email,
            customer_id,
            rest @ ..,
        ] = fields;
        let [traits, properties, context, time, message_id, auth_hash] = rest;
        let kind = self::kind(&mut refused, kind);
        let name = refused.optional_string("event", name, "the name of what happened");
        let identifiers = Identifiers {
            visitor_id: refused.required_string("visitorId", visitor_id, "the browser's own id"),
            user_id: refused.optional_string("userId", user_id, "an id in your app"),
            email: refused.optional_string("email", email, "an email address"),
            customer_id: refused.optional_string("customerId", customer_id, "the billing id"),
            group_id: None,
        };
        let mut object = |field: &str, raw: Option<&'a RawValue>| {
            refused.optional_object(field, raw).map(Cow::Borrowed)
        };
        let traits = object("traits", traits);
        let properties = object("properties", properties);
        let context = refused.optional_object("context", context);
        let occurred_at_ms = timestamp(&mut refused, "timestamp", time, "when it happened");
        let dedup_key =
            refused.optional_string("messageId", message_id, "the script's own id of the event");
        let auth_hash = refused.optional_string("authHash", auth_hash, "the signature of the id");
        let raw = RawEvent {
            kind,
            name,
            identifiers,
            properties,
            traits,
            context: context.map(Cow::Borrowed),
            replace_traits: false,
            customer_is_account: false,
            touch: context.and_then(touch),
            occurred_at_ms,
            dedup_key,
            names: &NAMES,
            refused: refused.0,
        };
        Self { raw, auth_hash }
    }

    /// The id that a signature is of: the strongest that names a person.
    fn who(&self) -> Option<&str> {
        let ids = &self.raw.identifiers;
        let id = ids.customer_id.as_deref().or(ids.user_id.as_deref());
        id.or(ids.email.as_deref())
    }
}

fn kind(refused: &mut Refused, raw: Option<&RawValue>) -> Option<EventKind> {
    let text = refused.required_string("kind", raw, "track, page or identify")?;
    let kind = EventKind::parse(&text).filter(|kind| {
        matches!(
            kind,
            EventKind::Track | EventKind::Page | EventKind::Identify
        )
    });
    if kind.is_none() {
        refused.add(
            "kind",
            "invalid_kind",
            "kind must be track, page or identify.",
        );
    }
    kind
}

fn timestamp(
    refused: &mut Refused,
    field: &str,
    raw: Option<&RawValue>,
    what: &str,
) -> Option<i64> {
    let text = refused.optional_string(field, raw, what)?;
    let time = parse_with_offset(&text);
    if time.is_none() {
        refused.add(
            field,
            "invalid_timestamp",
            format!(
                "{field} must be an ISO 8601 date and time with its offset, such as \
                 2024-01-01T12:00:00Z."
            ),
        );
    }
    time
}
