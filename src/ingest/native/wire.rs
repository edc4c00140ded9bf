//! The native dialect's shape on the wire (wire.md, "Native"): one event, or `{"events": [...]}`, read in
//! one pass over the body. Owns its fields and their refusals, and nothing that holds for other dialects too.

use crate::error::{Error, Result};
use crate::event::{EventKind, FieldNames, Identifiers, RawEvent};
use crate::ingest::context::touch;
use crate::ingest::fields::{Name, Refused, escaped, given, no_such_field};
use crate::json::{self, FromContainer, Place};
use crate::time::parse_with_offset;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A batch has at most this many events (wire.md, "Native").
pub(super) const MAX_EVENTS: usize = 1_000;

const FIELDS: &str = "an event has event, kind, userId, visitorId, email, \
     customerId, groupId, timestamp, properties, traits, context and messageId";
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

// ONE EVENT ---------------------------------------------------------------------------------

/// The fields of an event as raw JSON, so that each can be refused by name.
#[derive(Debug, Default)]
pub(super) struct Wire<'a> {
    event: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    visitor_id: Option<&'a RawValue>,
    email: Option<&'a RawValue>,
    customer_id: Option<&'a RawValue>,
    group_id: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    properties: Option<&'a RawValue>,
    traits: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
    message_id: Option<&'a RawValue>,
    /// The members that are not fields, or were given before.
    refused: Refused,
    has_fields: bool,
    has_unknown: bool,
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
    fn take(&mut self, name: &str, value: &'a RawValue) {
        match self.field(name) {
            Some(field @ None) => {
                *field = Some(value);
                self.has_fields = true;
            }
            Some(Some(_)) => self.refuse_repeated(name),
            None => {
                // The fields are named once.
                let known = std::mem::replace(&mut self.has_unknown, true);
                let detail = no_such_field(name, (!known).then_some(FIELDS));
                self.refused.add(&escaped(name), "unknown_field", detail);
            }
        }
    }

    fn refuse_repeated(&mut self, name: &str) {
        let detail = format!("{name} is given more than once.");
        self.refused.add(name, "duplicate_field", detail);
    }

    fn field(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
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

    /// One of its values, to tell where in the body it stands.
    pub(super) fn any_value(&self) -> Option<&'a RawValue> {
        [
            self.event,
            self.user_id,
            self.visitor_id,
            self.email,
            self.customer_id,
            self.group_id,
            self.kind,
            self.properties,
            self.traits,
        ]
        .into_iter()
        .flatten()
        .next()
    }

    /// The event as the rules want it.
    pub(super) fn into_raw(self) -> RawEvent<'a> {
        let mut refused = self.refused;
        let mut id = |name, member: Option<&'a RawValue>| {
            refused.optional_string(name, member, "an id in your app")
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
        if ids.into_iter().all(|id| given(id).is_none()) {
            refused.add_whole("missing_identifier", MISSING_IDENTIFIER);
        }
        let text = "the sender's own id of the event";
        let dedup_key = refused.optional_string("messageId", self.message_id, text);
        let text = "the name of what happened";
        let name = refused.optional_string("event", self.event, text);
        let context = refused.optional_object("context", self.context);
        RawEvent {
            kind: kind(&mut refused, self.kind),
            name,
            identifiers,
            properties: refused
                .optional_object("properties", self.properties)
                .map(Cow::Borrowed),
            traits: refused
                .optional_object("traits", self.traits)
                .map(Cow::Borrowed),
            context: context.map(Cow::Borrowed),
            replace_traits: false,
            customer_is_account: false,
            occurred_at_ms: timestamp(&mut refused, self.timestamp),
            touch: context.and_then(touch),
            dedup_key,
            names: &NAMES,
            refused: refused.0,
        }
    }
}

fn kind(refused: &mut Refused, raw: Option<&RawValue>) -> Option<EventKind> {
    if given(raw).is_none() {
        return Some(EventKind::Track);
    }
    let text = refused.optional_string("kind", raw, "track where it is left out")?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `pointer code` of what is refused of a body, or of its first event.
    fn refusals(body: &str) -> Vec<String> {
        let refused = match parse(body) {
            Ok((_, events)) => match events.into_iter().next() {
                Some(Place(Some(event))) => event.into_raw().refused,
                _ => return vec!["no object".to_owned()],
            },
            Err(e) => e.field_errors().to_vec(),
        };
        refused
            .iter()
            .map(|field| format!("{} {}", field.pointer, field.code))
            .collect()
    }

    #[test]
    fn both_shapes_are_read() {
        let event = r#"{"event":"A","userId":"u\u0031","timestamp":null,"properties":{ "a":1.0 }}"#;
        let (shape, events) = parse(event).unwrap();
        assert_eq!((shape, events.len()), (Shape::One, 1));
        let batch = format!(r#"{{"events":[{event},7,[{{}}],{{}}]}}"#);
        let (shape, events) = parse(&batch).unwrap();
        assert_eq!(shape, Shape::Batch);
        let are_objects: Vec<_> = events.iter().map(|place| place.0.is_some()).collect();
        assert_eq!(are_objects, [true, false, false, true]);
        let Some(Place(Some(first))) = events.into_iter().next() else {
            panic!("an event")
        };
        let raw = first.into_raw();
        assert_eq!(raw.identifiers.user_id.as_deref(), Some("u1"));
        assert_eq!(raw.properties.as_deref(), Some(r#"{ "a":1.0 }"#));
        assert_eq!(
            (raw.kind, raw.occurred_at_ms),
            (Some(EventKind::Track), None)
        );
    }

    #[test]
    fn a_name_is_the_same_however_it_is_escaped() {
        let body = r#"{"event":"A","userId":"u","user\u0049d":"v"}"#;
        assert_eq!(refusals(body), ["/userId duplicate_field"]);
        assert_eq!(refusals(r#"{"\u0065vents":[]}"#), ["/events required"]);
    }

    proptest! {
        #[test]
        fn any_json_is_answered(
            text in r#"(\{|\}|\[|\]|,|:|"(event|events|userId|kind|x)"|null|1e5|"t"|true){0,24}"#
        ) {
            refusals_or_malformed(&text);
            refusals_or_malformed(&format!(r#"{{"events":{text}}}"#));
            refusals_or_malformed(&format!(r#"{{"events":[{text}],"kind":{text}}}"#));
        }
    }

    fn refusals_or_malformed(text: &str) {
        // What is read is JSON, and what is JSON is read.
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let is_malformed = parse(text).is_err_and(|e| e.code() == "invalid_json");
        assert_eq!(is_json, !is_malformed, "{text}");
    }
}
