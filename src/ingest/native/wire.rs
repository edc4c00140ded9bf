//! The native dialect's shape on the wire (wire.md, "Native"): one event, or `{"events": [...]}`, read in
//! one pass over the body. Owns its fields and their refusals, and nothing that holds for other dialects too.

use crate::error::{Error, Result};
use crate::event::{EventKind, FieldNames, Identifiers, RawEvent};
use crate::ingest::fields::{Refused, escaped};
use crate::json::{self, FromContainer, Place};
use crate::time::parse_with_offset;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A batch has at most this many events (wire.md, "Native").
const MAX_EVENTS: usize = 1_000;

const UNKNOWN_FIELD: &str = "There is no such field. An event has event, kind, userId, visitorId, email, \
     customerId, groupId, timestamp, properties, traits, context and messageId.";
const MISSING_IDENTIFIER: &str = "Say whom it is about: give at least one of userId, visitorId, email, \
     customerId and groupId.";

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

/// How a body holds its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is the event.
    One,
    /// Under `events`.
    Batch,
}

/// Reads the events of a body in either shape; what is no object is `None`.
pub(super) fn parse(text: &str) -> Result<(Shape, Vec<Place<Wire<'_>>>)> {
    let Place(Some(members)) = json::read::<Place<Members<'_>>>(text)? else {
        return Err(Error::field(
            "",
            "wrong_type",
            "The body must be one JSON object: an event, or {\"events\": [...]}.",
        ));
    };
    let Members { event, events } = members;
    let Some(Place(events)) = events else {
        return Ok((Shape::One, vec![Place(Some(event))]));
    };
    let refused = |code, detail: &str| Err(Error::field("/events", code, detail));
    match events {
        _ if !event.refused.0.is_empty() => Err(Error::fields(event.refused.0)),
        _ if event.has_fields => refused(
            "both_shapes",
            "The body holds events and a field of a single event; send one or the other.",
        ),
        None => refused("wrong_type", "events must be an array of events."),
        Some(Events(events)) if events.is_empty() => {
            refused("required", "events is empty; send at least one.")
        }
        Some(Events(events)) if events.len() > MAX_EVENTS => refused(
            "too_many_events",
            "events has more than 1,000 events; send the rest in another request.",
        ),
        Some(Events(events)) => Ok((Shape::Batch, events)),
    }
}

/// The members of a body, in both shapes.
struct Members<'a> {
    event: Wire<'a>,
    events: Option<Place<Events<'a>>>,
}

impl<'de> FromContainer<'de> for Members<'de> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut event = Wire::default();
        let mut events = None;
        while let Some(Name(name)) = object.next_key()? {
            if name != "events" {
                event.take(&name, object.next_value()?);
            } else if events.is_none() {
                events = Some(object.next_value()?);
            } else {
                event.refuse_repeated(&name);
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Some(Self { event, events }))
    }
}

/// The events of a batch. What is no object is `None`.
#[derive(Debug)]
struct Events<'a>(Vec<Place<Wire<'a>>>);

impl<'de> FromContainer<'de> for Events<'de> {
    fn from_array<A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = array.next_element()? {
            // One too many is kept, to tell; the rest would only cost memory.
            if events.len() <= MAX_EVENTS {
                events.push(event);
            }
        }
        Ok(Some(Self(events)))
    }
}

/// The name of a member, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

// ONE EVENT ---------------------------------------------------------------------------------

/// A member that was given, and its value where that is not `null`, which says as much as leaving
/// the member out.
type Member<'a> = Option<Option<&'a RawValue>>;

/// The fields of an event as raw JSON, so that each can be refused by name.
#[derive(Debug, Default)]
pub(super) struct Wire<'a> {
    event: Member<'a>,
    kind: Member<'a>,
    user_id: Member<'a>,
    visitor_id: Member<'a>,
    email: Member<'a>,
    customer_id: Member<'a>,
    group_id: Member<'a>,
    timestamp: Member<'a>,
    properties: Member<'a>,
    traits: Member<'a>,
    context: Member<'a>,
    message_id: Member<'a>,
    /// The members that are not fields, or were given before.
    refused: Refused,
    has_fields: bool,
}

impl<'de> FromContainer<'de> for Wire<'de> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut wire = Self::default();
        while let Some(Name(name)) = object.next_key()? {
            wire.take(&name, object.next_value()?);
        }
        Ok(Some(wire))
    }
}

impl<'a> Wire<'a> {
    /// Takes a member in, or refuses it.
    fn take(&mut self, name: &str, value: Option<&'a RawValue>) {
        match self.field(name) {
            Some(field @ None) => {
                *field = Some(value);
                self.has_fields = true;
            }
            Some(Some(_)) => self.refuse_repeated(name),
            None => self
                .refused
                .add(&escaped(name), "unknown_field", UNKNOWN_FIELD),
        }
    }

    fn refuse_repeated(&mut self, name: &str) {
        let detail = format!("{name} is given more than once.");
        self.refused.add(name, "duplicate_field", detail);
    }

    fn field(&mut self, name: &str) -> Option<&mut Member<'a>> {
        Some(match name {
            "event" => &mut self.event,
            "kind" => &mut self.kind,
            "userId" => &mut self.user_id,
            "visitorId" => &mut self.visitor_id,
            "email" => &mut self.email,
            "customerId" => &mut self.customer_id,
            "groupId" => &mut self.group_id,
            "timestamp" => &mut self.timestamp,
            "properties" => &mut self.properties,
            "traits" => &mut self.traits,
            "context" => &mut self.context,
            "messageId" => &mut self.message_id,
            _ => return None,
        })
    }

    /// The event as the rules want it.
    pub(super) fn into_raw(self) -> RawEvent<'a> {
        let mut refused = self.refused;
        let mut id = |name, member: Member<'a>| {
            refused.optional_string(name, member.flatten(), "an id in your app")
        };
        let identifiers = Identifiers {
            user_id: id("userId", self.user_id),
            visitor_id: id("visitorId", self.visitor_id),
            email: id("email", self.email),
            customer_id: id("customerId", self.customer_id),
            group_id: id("groupId", self.group_id),
        };
        let ids = [
            self.user_id,
            self.visitor_id,
            self.email,
            self.customer_id,
            self.group_id,
        ];
        if ids.iter().all(|id| id.flatten().is_none()) {
            refused.add_whole("missing_identifier", MISSING_IDENTIFIER);
        }
        let text = "the sender's own id of the event";
        let dedup_key = refused.optional_string("messageId", self.message_id.flatten(), text);
        let text = "the name of what happened";
        let name = refused.optional_string("event", self.event.flatten(), text);
        RawEvent {
            kind: kind(&mut refused, self.kind.flatten()),
            name,
            identifiers,
            properties: refused.optional_object("properties", self.properties.flatten()),
            traits: refused.optional_object("traits", self.traits.flatten()),
            context: refused.optional_object("context", self.context.flatten()),
            replace_traits: false,
            occurred_at_ms: timestamp(&mut refused, self.timestamp.flatten()),
            dedup_key,
            names: &NAMES,
            refused: refused.0,
        }
    }
}

fn kind(refused: &mut Refused, raw: Option<&RawValue>) -> Option<EventKind> {
    let Some(raw) = raw else {
        return Some(EventKind::Track);
    };
    let text = refused.optional_string("kind", Some(raw), "track where it is left out")?;
    let kind = EventKind::parse(&text);
    if kind.is_none() {
        refused.add(
            "kind",
            "invalid_kind",
            "kind must be track, identify, page, screen, group or alias.",
        );
    }
    kind
}

fn timestamp(refused: &mut Refused, raw: Option<&RawValue>) -> Option<i64> {
    let text = refused.optional_string("timestamp", raw, "when it happened")?;
    let time = parse_with_offset(&text);
    if time.is_none() {
        refused.add(
            "timestamp",
            "invalid_timestamp",
            "timestamp must be an ISO 8601 date and time with its offset, such as \
             2024-01-01T12:00:00Z or 2024-01-01T14:00:00+02:00.",
        );
    }
    time
}
