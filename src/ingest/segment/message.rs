//! One message of the Segment-compatible dialect: its fields, how they become an event, and their refusals.
//! Knows no request and no batch beyond what a batch says for all of its messages.

use crate::channel::Touch;
use crate::error::{Error, Result};
use crate::event::{EventKind, FieldNames, Identifiers, RawEvent};
use crate::ingest::context::touch;
use crate::ingest::fields::{Refused, given};
use crate::json::{self, FromContainer, Place};
use crate::normalize::MAX_IDENTIFIER_BYTES;
use crate::time::{in_range, parse_with_offset};
use serde::Deserialize;
use serde::de::MapAccess;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A messageId has at most this many characters (wire.md, "Segment-compatible").
const MAX_MESSAGE_ID_CHARS: usize = 100;

const NAMES: FieldNames = FieldNames {
    kind: "type",
    name: "event",
    user_id: "userId",
    visitor_id: "anonymousId",
    email: "traits/email",
    customer_id: "customerId",
    group_id: "groupId",
    dedup_key: "messageId",
};

/// An alias names its visitor in another field.
const ALIAS_NAMES: FieldNames = FieldNames {
    visitor_id: "previousId",
    ..NAMES
};

/// What holds for all messages of a request.
#[derive(Debug, Default)]
pub(super) struct Common<'a> {
    /// When the box had them, Unix milliseconds.
    pub(super) received_at_ms: i64,
    /// When the sender's clock says that it sent the batch, Unix milliseconds.
    pub(super) sent_at_ms: Option<i64>,
    /// The batch's context.
    pub(super) context: Option<Context<'a>>,
}

/// A batch's context: the object as it came, and its members.
#[derive(Debug)]
pub(super) struct Context<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Context<'a> {
    /// The context in an object's text.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub(super) fn read(text: &'a str) -> Result<Self> {
        let Place(members) = json::read::<Place<Members<'a>>>(text)?;
        let members = members.map(|members| members.0).unwrap_or_default();
        Ok(Self { text, members })
    }

    /// The bytes that it adds to a message, at most.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// `own` and the members that it lacks. Every value keeps its bytes.
    fn merged_into(&self, own: &str) -> Option<String> {
        let named: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(own).ok()?;
        let mut merged = own.strip_suffix('}')?.trim_end().to_owned();
        let mut is_first = named.is_empty();
        for (name, value) in &self.members {
            if named.contains_key(name) {
                continue;
            }
            if !is_first {
                merged.push(',');
            }
            is_first = false;
            merged.push_str(&serde_json::to_string(name).ok()?);
            merged.push(':');
            merged.push_str(value.get());
        }
        merged.push('}');
        Some(merged)
    }
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> FromContainer<'de> for Members<'de> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = object.next_entry()? {
            members.push((name, value));
        }
        Ok(Some(Self(members)))
    }
}

/// The name of a member, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields as raw JSON, so that each can be refused by name. Unknown ones are ignored; of one that is
/// given twice the last one counts, as in most readers: RudderStack's library for Rust writes the type twice.
#[derive(Debug, Default)]
struct Wire<'a> {
    r#type: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    anonymous_id: Option<&'a RawValue>,
    previous_id: Option<&'a RawValue>,
    group_id: Option<&'a RawValue>,
    properties: Option<&'a RawValue>,
    traits: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
    message_id: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    original_timestamp: Option<&'a RawValue>,
    sent_at: Option<&'a RawValue>,
}

impl<'de> FromContainer<'de> for Wire<'de> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut wire = Self::default();
        while let Some((Name(name), value)) = object.next_entry()? {
            let field = match &*name {
                "type" => &mut wire.r#type,
                "event" => &mut wire.event,
                "userId" => &mut wire.user_id,
                "anonymousId" => &mut wire.anonymous_id,
                "previousId" => &mut wire.previous_id,
                "groupId" => &mut wire.group_id,
                "properties" => &mut wire.properties,
                "traits" => &mut wire.traits,
                "context" => &mut wire.context,
                "name" => &mut wire.name,
                "category" => &mut wire.category,
                "messageId" => &mut wire.message_id,
                "timestamp" => &mut wire.timestamp,
                "originalTimestamp" => &mut wire.original_timestamp,
                "sentAt" => &mut wire.sent_at,
                _ => continue,
            };
            *field = Some(value);
        }
        Ok(Some(wire))
    }
}

/// The event that a message, JSON text, says. `kind` is what its path says; in a batch its own type does.
///
/// # Errors
/// When the text is no JSON object.
pub(super) fn read<'a>(
    text: &'a str,
    kind: Option<EventKind>,
    common: &Common<'a>,
) -> Result<RawEvent<'a>> {
    let Place(Some(wire)) = json::read::<Place<Wire<'a>>>(text)? else {
        let detail = "A message must be a JSON object.";
        return Err(Error::field("", "wrong_type", detail));
    };
    let mut refused = Refused::default();
    let kind = kind.or_else(|| own_kind(&mut refused, wire.r#type));
    let context = context(&mut refused, wire.context, common.context.as_ref());
    let mut raw = RawEvent {
        kind,
        name: None,
        identifiers: identifiers(&mut refused, kind, &wire),
        properties: None,
        traits: None,
        context,
        replace_traits: false,
        customer_is_account: false,
        touch: how_it_came(wire.context, common.context.as_ref().map(|own| own.text)),
        occurred_at_ms: occurred_at(&mut refused, &wire, common),
        dedup_key: message_id(&mut refused, wire.message_id),
        names: match kind {
            Some(EventKind::Alias) => &ALIAS_NAMES,
            _ => &NAMES,
        },
        refused: Vec::new(),
    };
    let mut object = |field, member| {
        refused
            .optional_object(field, member)
            .map(Cow::<'a, str>::Borrowed)
    };
    match kind {
        Some(EventKind::Track) => {
            raw.properties = object("properties", wire.properties);
            raw.name = refused.required_string("event", wire.event, "the name of what happened");
        }
        Some(EventKind::Page | EventKind::Screen) => {
            let properties = object("properties", wire.properties);
            raw.properties = with_titles(properties, &wire);
        }
        Some(EventKind::Identify) => {
            raw.traits = object("traits", given(wire.traits).or(traits_in(wire.context)));
            raw.identifiers.email = raw.traits.as_deref().and_then(email).map(Cow::Owned);
        }
        Some(EventKind::Group) => raw.traits = object("traits", wire.traits),
        Some(EventKind::Alias) | None => {}
    }
    raw.refused = refused.0;
    Ok(raw)
}

fn own_kind(refused: &mut Refused, raw: Option<&RawValue>) -> Option<EventKind> {
    const KINDS: &str = "track, identify, page, screen, group or alias";
    let text = refused.required_string("type", raw, KINDS)?;
    let kind = EventKind::parse(&text);
    if kind.is_none() {
        refused.add("type", "invalid_type", format!("type must be {KINDS}."));
    }
    kind
}

fn identifiers<'a>(
    refused: &mut Refused,
    kind: Option<EventKind>,
    wire: &Wire<'a>,
) -> Identifiers<Cow<'a, str>> {
    let user_id = id(refused, "userId", wire.user_id);
    let mut visitor_id = id(refused, "anonymousId", wire.anonymous_id);
    let mut group_id = None;
    match kind {
        Some(EventKind::Alias) => {
            // analytics.js leaves previousId out where the visitor is still anonymous.
            visitor_id = id(refused, "previousId", wire.previous_id).or(visitor_id);
            required(refused, "userId", user_id.as_ref(), "the person's new id");
            let what = "the id that the person had before";
            required(refused, "previousId", visitor_id.as_ref(), what);
        }
        Some(EventKind::Group) => {
            group_id = id(refused, "groupId", wire.group_id);
            required(refused, "groupId", group_id.as_ref(), "the account's id");
            require_person(refused, user_id.as_ref().or(visitor_id.as_ref()));
        }
        _ => require_person(refused, user_id.as_ref().or(visitor_id.as_ref())),
    }
    Identifiers {
        user_id,
        visitor_id,
        group_id,
        ..Identifiers::default()
    }
}

/// An id: text, or a number, which is kept as it was written. An empty one is none, as senders mean it.
fn id<'a>(refused: &mut Refused, field: &str, raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    let raw = given(raw)?;
    if raw
        .get()
        .starts_with(|c: char| c == '-' || c.is_ascii_digit())
    {
        return Some(Cow::Borrowed(raw.get()));
    }
    let text = refused.optional_string(field, Some(raw), "an id, as text or as a number")?;
    (!text.trim().is_empty()).then_some(text)
}

fn required(refused: &mut Refused, field: &str, id: Option<&Cow<'_, str>>, what: &str) {
    // What was refused was given.
    if id.is_none() && refused.0.is_empty() {
        refused.add(field, "required", format!("{field} is required: {what}."));
    }
}

fn require_person(refused: &mut Refused, id: Option<&Cow<'_, str>>) {
    if id.is_none() && refused.0.is_empty() {
        refused.add(
            "userId",
            "required",
            "Say whom it is about: give userId or anonymousId.",
        );
    }
}

fn message_id<'a>(refused: &mut Refused, raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    let key = id(refused, "messageId", raw)?;
    if key.chars().count() > MAX_MESSAGE_ID_CHARS {
        refused.add(
            "messageId",
            "too_long",
            format!("messageId has more than {MAX_MESSAGE_ID_CHARS} characters."),
        );
        return None;
    }
    Some(key)
}

/// The message's context with what the batch's adds to it. Whoever wants to know what a context says
/// finds it whole here.
fn context<'a>(
    refused: &mut Refused,
    own: Option<&'a RawValue>,
    batch: Option<&Context<'a>>,
) -> Option<Cow<'a, str>> {
    let own = refused.optional_object("context", own);
    match (own, batch) {
        (None, batch) => batch.map(|batch| Cow::Borrowed(batch.text)),
        (Some(own), None) => Some(Cow::Borrowed(own)),
        (Some(own), Some(batch)) => Some(
            batch
                .merged_into(own)
                .map_or(Cow::Borrowed(own), Cow::Owned),
        ),
    }
}

/// How the visitor came, as a message's own context tells it, or else the batch's.
fn how_it_came<'a>(own: Option<&'a RawValue>, batch: Option<&'a str>) -> Option<Touch<'a>> {
    let own = own.and_then(|own| touch(own.get()));
    own.or_else(|| touch(batch?))
}

/// The properties of a page or screen with the name and category that libraries for servers put beside
/// them; those for browsers put them among the properties too, and these stand.
fn with_titles<'a>(properties: Option<Cow<'a, str>>, wire: &Wire<'a>) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Titles<'a> {
        #[serde(borrow)]
        name: Option<&'a RawValue>,
        #[serde(borrow)]
        category: Option<&'a RawValue>,
    }
    let members = properties.as_deref().unwrap_or("{}");
    let Some(titles) = member::<Titles<'_>>(members) else {
        return properties;
    };
    let missing: Vec<String> = [
        ("name", titles.name, wire.name),
        ("category", titles.category, wire.category),
    ]
    .into_iter()
    .filter(|(_, there, _)| there.is_none())
    .filter_map(|(title, _, beside)| Some(format!("\"{title}\":{}", given(beside)?.get())))
    .collect();
    if missing.is_empty() {
        return properties;
    }
    let rest = members.trim_start().trim_start_matches('{').trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    Some(Cow::Owned(format!("{{{}{comma}{rest}", missing.join(","))))
}

/// RudderStack's libraries put what is known of a person into the context.
fn traits_in(context: Option<&RawValue>) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Traits<'a> {
        #[serde(borrow)]
        traits: Option<&'a RawValue>,
    }
    member::<Traits<'_>>(context?.get())?.traits
}

/// The email address among what is known of a person.
fn email(traits: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Email<'a> {
        #[serde(borrow)]
        email: Option<&'a RawValue>,
    }
    let email: String = json::value(member::<Email<'_>>(traits)?.email?)?;
    // A trait may be anything; what can be no identifier stays a trait.
    let is_identifier = !email.trim().is_empty() && email.len() <= MAX_IDENTIFIER_BYTES;
    is_identifier.then_some(email)
}

/// Reads one member of an object's text; `None` where it is no object or gives the member twice.
fn member<'a, T: Deserialize<'a>>(object: &'a str) -> Option<T> {
    object
        .starts_with('{')
        .then(|| serde_json::from_str(object).ok())?
}

/// When it happened: what the sender's clock said, moved by as much as that clock is wrong, where the
/// message also says when it was sent (wire.md, "Segment-compatible").
fn occurred_at(refused: &mut Refused, wire: &Wire<'_>, common: &Common<'_>) -> Option<i64> {
    let sent_at = timestamp(refused, "sentAt", wire.sent_at).or(common.sent_at_ms);
    let timestamp_ms = timestamp(refused, "timestamp", wire.timestamp);
    let original =
        timestamp(refused, "originalTimestamp", wire.original_timestamp).or(timestamp_ms)?;
    let corrected =
        sent_at.and_then(|sent_at| in_range(common.received_at_ms - (sent_at - original)));
    Some(corrected.unwrap_or(original))
}

/// A time with its offset, Unix milliseconds.
pub(super) fn timestamp(refused: &mut Refused, field: &str, raw: Option<&RawValue>) -> Option<i64> {
    let text = refused.optional_string(field, raw, "an ISO 8601 date and time")?;
    let time = parse_with_offset(&text);
    if time.is_none() {
        let detail = format!(
            "{field} must be an ISO 8601 date and time with its offset, such as 2024-01-01T12:00:00.000Z."
        );
        refused.add(field, "invalid_timestamp", detail);
    }
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pages_name_is_among_its_properties() {
        let properties = |text: &str| {
            let raw = read(text, Some(EventKind::Page), &Common::default()).unwrap();
            raw.properties.map(Cow::into_owned)
        };
        let said = |text: &str| properties(text).unwrap();
        assert_eq!(
            said(r#"{"userId":"u","name":"Home","properties":{ "a":1.0 }}"#),
            r#"{"name":"Home","a":1.0 }"#
        );
        assert_eq!(
            said(r#"{"userId":"u","name":"Home","category":"Docs","properties":{}}"#),
            r#"{"name":"Home","category":"Docs"}"#
        );
        assert_eq!(
            said(r#"{"userId":"u","name":"Home"}"#),
            r#"{"name":"Home"}"#
        );
        let own = r#"{"name":"Own"}"#;
        assert_eq!(
            said(&format!(
                r#"{{"userId":"u","name":"Home","properties":{own}}}"#
            )),
            own
        );
        assert_eq!(properties(r#"{"userId":"u"}"#), None);
    }
    use proptest::prelude::*;

    fn track<'a>(text: &'a str, common: &Common<'a>) -> RawEvent<'a> {
        read(text, Some(EventKind::Track), common).unwrap()
    }

    #[test]
    fn a_field_that_is_given_twice_counts_as_it_was_given_last() {
        let text = r#"{"type":"page","userId":"u","type":"track","user\u0049d":"v","event":"A"}"#;
        let raw = read(text, None, &Common::default()).unwrap();
        assert_eq!(raw.kind, Some(EventKind::Track));
        assert_eq!(raw.identifiers.user_id.as_deref(), Some("v"));
    }

    #[test]
    fn a_clock_that_is_ahead_is_set_right() {
        let common = Common {
            received_at_ms: 1_704_110_400_000,
            ..Common::default()
        };
        let said = |times: &str| {
            let text = format!(r#"{{"event":"A","userId":"u",{times}}}"#);
            track(&text, &common).occurred_at_ms
        };
        let ahead = r#""timestamp":"2024-01-01T18:00:00Z","sentAt":"2024-01-01T18:00:02Z""#;
        assert_eq!(said(ahead), Some(1_704_110_398_000));
        let alone = r#""timestamp":"2024-01-01T18:00:00Z""#;
        assert_eq!(said(alone), Some(1_704_132_000_000));
        assert_eq!(said(r#""sentAt":"2024-01-01T18:00:02Z""#), None);
    }

    proptest! {
        #[test]
        fn any_json_is_answered(
            text in r#"(\{|\}|\[|\]|,|:|"(type|userId|context|traits|email|track)"|null|1e5|"t"|true){0,24}"#
        ) {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            let read = read(&text, None, &Common::default());
            let is_malformed = read.is_err_and(|e| e.code() == "invalid_json");
            prop_assert_eq!(is_json, !is_malformed);
        }

        #[test]
        fn a_merged_context_is_json_and_the_messages_own_members_win(
            own in proptest::collection::btree_map("[a-c\"\\\\ ]{0,2}", any::<i32>(), 0..4),
            batch in proptest::collection::btree_map("[a-c\"\\\\ ]{0,2}", any::<i32>(), 0..4),
        ) {
            let text = serde_json::to_string(&batch).unwrap();
            let merged = Context::read(&text)
                .unwrap()
                .merged_into(&serde_json::to_string(&own).unwrap())
                .unwrap();
            let merged: BTreeMap<String, i32> = serde_json::from_str(&merged).unwrap();
            let mut wanted = batch;
            wanted.extend(own);
            prop_assert_eq!(merged, wanted);
        }
    }
}
