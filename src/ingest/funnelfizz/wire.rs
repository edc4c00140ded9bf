//! What a request in FunnelFizz's dialect looks like (seed "Server-side events"; wire.md, "FunnelFizz").
//! Owns its fields and their refusals, and nothing that holds for other dialects too.

use crate::admin::Member;
use crate::channel::Touch;
use crate::error::{Error, FieldError, Result};
use crate::event::{Credential, Event, EventKind, FieldNames, Identifiers, RawEvent, Verification};
use crate::id::{SourceId, UserId};
use crate::ingest::fields::{Refused, given};
use crate::json;
use crate::normalize::normalize;
use crate::store::catalog::{Catalog, KnownSource};
use crate::time::parse_with_offset;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A request has at most this many events (seed, "Constraints").
const MAX_EVENTS: usize = 50;
/// An event's `props` have at most this many bytes of JSON (seed, "Constraints": 8 KB).
const MAX_PROPS_BYTES: usize = 8_192;
/// So many refusals of one request are named.
const MAX_REFUSALS: usize = 20;

const NAMES: FieldNames = FieldNames {
    kind: "type",
    name: "type",
    user_id: "userId",
    visitor_id: "visitorId",
    email: "email",
    customer_id: "customerId",
    group_id: "groupId",
    dedup_key: "messageId",
};

/// The fields as raw JSON, so that each can be refused by name. Unknown ones are ignored, here and below.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    site_id: Option<&'a RawValue>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventWire<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    visitor_id: Option<&'a RawValue>,
    #[serde(borrow)]
    email: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    path: Option<&'a RawValue>,
    #[serde(borrow)]
    referrer: Option<&'a RawValue>,
    #[serde(borrow)]
    utm: Option<&'a RawValue>,
    #[serde(borrow)]
    props: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UtmWire<'a> {
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    medium: Option<&'a RawValue>,
    #[serde(borrow)]
    campaign: Option<&'a RawValue>,
    #[serde(borrow)]
    term: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// The events of a body, every rule applied.
pub(super) fn read(
    body: &[u8],
    catalog: &Catalog,
    member: Member,
    now_ms: i64,
) -> Result<Vec<Event>> {
    let text = json::check(body)?;
    if !text.trim_start().starts_with('{') {
        json::read::<&RawValue>(text)?;
        let detail = "The body must be one JSON object: {\"siteId\", \"events\": [...]}.";
        return Err(Error::field("", "wrong_type", detail));
    }
    let wire: Wire<'_> = json::read(text)?;
    let mut refused = Refused::default();
    let site = refused.required_string("siteId", wire.site_id, "the id of a source");
    let events = events(&mut refused, wire.events);
    let (Some(site), true) = (site, refused.0.is_empty()) else {
        return Err(Error::fields(refused.0));
    };
    let source = site
        .parse::<SourceId>()
        .ok()
        .and_then(|id| catalog.source(id))
        .filter(|source| source.workspace == member.workspace)
        .ok_or_else(|| Error::not_found("site"))?;
    let credential = Credential {
        workspace: member.workspace,
        source: Some(source.id),
        key: None,
        verification: Verification::Session,
        customers_are_accounts: false,
    };
    let mut accepted = Vec::with_capacity(events.len());
    let mut refused = Vec::new();
    for (index, raw) in events.into_iter().enumerate() {
        match event(raw, source, member.user)
            .and_then(|event| normalize(event, &credential, now_ms))
        {
            Ok(event) => accepted.push(event),
            Err(error) => refused.extend(error.field_errors().iter().map(|field| FieldError {
                pointer: format!("/events/{index}{}", field.pointer),
                ..field.clone()
            })),
        }
    }
    if refused.is_empty() {
        return Ok(accepted);
    }
    refused.truncate(MAX_REFUSALS);
    Err(Error::fields(refused))
}

fn events<'a>(refused: &mut Refused, raw: Option<&'a RawValue>) -> Vec<&'a RawValue> {
    let Some(raw) = given(raw) else {
        refused.add(
            "events",
            "required",
            "events is required: an array of 1 to 50 events.",
        );
        return Vec::new();
    };
    let Ok(events) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        refused.add("events", "wrong_type", "events must be an array of events.");
        return Vec::new();
    };
    if events.is_empty() {
        refused.add("events", "required", "events is empty; send at least one.");
    }
    if events.len() > MAX_EVENTS {
        refused.add(
            "events",
            "too_many_events",
            "events has more than 50 events; nothing was stored. Send the rest in another request.",
        );
    }
    events
}

/// One event as the rules want it.
fn event<'a>(raw: &'a RawValue, source: &KnownSource, user: UserId) -> Result<RawEvent<'a>> {
    if !raw.get().starts_with('{') {
        return Err(Error::field(
            "",
            "wrong_type",
            "An event must be an object.",
        ));
    }
    // It is JSON, so what is refused here is a field that is given twice.
    let wire: EventWire<'a> = serde_json::from_str(raw.get())
        .map_err(|_| Error::field("", "duplicate_field", "A field is given more than once."))?;
    let mut refused = Refused::default();
    let user = user.to_string();
    let name = refused.required_string("type", wire.r#type, "the name of what happened");
    let visitor_id = refused.optional_string("visitorId", wire.visitor_id, "the visitor's id");
    let email = refused.optional_string("email", wire.email, "the visitor's email");
    check_user(&mut refused, wire.user_id, &user);
    let names_nobody = given(wire.visitor_id).is_none() && given(wire.email).is_none();
    let came = Came {
        path: refused.optional_string("path", wire.path, "where it happened"),
        referrer: refused.optional_string("referrer", wire.referrer, "the page before"),
        campaign: campaign(&mut refused, wire.utm)?,
    };
    Ok(RawEvent {
        kind: name.as_deref().map(kind),
        name,
        identifiers: Identifiers {
            user_id: names_nobody.then(|| Cow::Owned(user.clone())),
            visitor_id,
            email,
            ..Identifiers::default()
        },
        properties: props(&mut refused, wire.props),
        traits: None,
        context: Some(Cow::Owned(came.context(&user)?)),
        replace_traits: false,
        customer_is_account: false,
        occurred_at_ms: timestamp(&mut refused, wire.timestamp),
        touch: came.touch(source),
        dedup_key: refused.optional_string(
            "messageId",
            wire.message_id,
            "the sender's own id of the event",
        ),
        names: &NAMES,
        refused: refused.0,
    })
}

/// What sort of thing a type is: two have a meaning of their own.
fn kind(name: &str) -> EventKind {
    match name {
        "identify" => EventKind::Identify,
        "pageview" | "page" => EventKind::Page,
        _ => EventKind::Track,
    }
}

fn check_user(refused: &mut Refused, raw: Option<&RawValue>, user: &str) {
    let what = "the signed-in user's own id";
    if let Some(said) = refused.optional_string("userId", raw, what)
        && said != user
    {
        refused.add(
            "userId",
            "foreign_user_id",
            format!(
                "userId is always the signed-in user's, {user}. Leave it out, and say whom it is about with visitorId \
                 or email."
            ),
        );
    }
}

fn props<'a>(refused: &mut Refused, raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    let props = refused.optional_object("props", raw)?;
    if props.len() > MAX_PROPS_BYTES {
        refused.add(
            "props",
            "props_too_large",
            format!(
                "props has {} bytes of JSON; at most {MAX_PROPS_BYTES} are taken.",
                props.len()
            ),
        );
    }
    Some(Cow::Borrowed(props))
}

fn timestamp(refused: &mut Refused, raw: Option<&RawValue>) -> Option<i64> {
    let text = refused.optional_string("timestamp", raw, "when it happened")?;
    let time = parse_with_offset(&text);
    if time.is_none() {
        refused.add(
            "timestamp",
            "invalid_timestamp",
            "timestamp must be an ISO 8601 date and time with its offset, such as 2024-01-01T12:00:00Z.",
        );
    }
    time
}

// HOW THE VISITOR CAME ----------------------------------------------------------------------

/// What an event says of how its visitor came.
struct Came<'a> {
    path: Option<Cow<'a, str>>,
    referrer: Option<Cow<'a, str>>,
    campaign: Option<Campaign<'a>>,
}

/// The `utm` of an event, in the words of a context.
#[derive(Serialize)]
struct Campaign<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    medium: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
}

/// What stands in an event's row, in the shape that libraries of browsers send.
#[derive(Serialize)]
struct Context<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<Page<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<&'a Campaign<'a>>,
    session: Session<'a>,
}

#[derive(Serialize)]
struct Page<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'a str>,
}

/// Who recorded the event; whom it is about is another matter.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    user_id: &'a str,
}

impl<'a> Came<'a> {
    fn context(&self, user: &str) -> Result<String> {
        let page = Page {
            path: self.path.as_deref(),
            referrer: self.referrer.as_deref(),
        };
        let says_page = page.path.is_some() || page.referrer.is_some();
        let context = Context {
            page: says_page.then_some(page),
            campaign: self.campaign.as_ref(),
            session: Session { user_id: user },
        };
        serde_json::to_string(&context).map_err(Error::internal)
    }

    fn touch(self, source: &KnownSource) -> Option<Touch<'a>> {
        let says_nothing =
            self.path.is_none() && self.referrer.is_none() && self.campaign.is_none();
        if says_nothing {
            return None;
        }
        let touch = Touch::of_page(self.path, self.referrer)
            .with_own_sites(source.origins.iter().map(|origin| &**origin));
        Some(match self.campaign {
            Some(utm) => touch.with_utm(utm.source, utm.medium, utm.name),
            None => touch,
        })
    }
}

fn campaign<'a>(refused: &mut Refused, raw: Option<&'a RawValue>) -> Result<Option<Campaign<'a>>> {
    let Some(text) = refused.optional_object("utm", raw) else {
        return Ok(None);
    };
    let wire: UtmWire<'a> = serde_json::from_str(text).map_err(|_| {
        Error::field(
            "/utm",
            "duplicate_field",
            "A field is given more than once.",
        )
    })?;
    let mut said = |name: &str, raw| {
        refused.optional_string(&format!("utm/{name}"), raw, "as in the page's address")
    };
    Ok(Some(Campaign {
        name: said("campaign", wire.campaign),
        source: said("source", wire.source),
        medium: said("medium", wire.medium),
        term: said("term", wire.term),
        content: said("content", wire.content),
    }))
}
