//! From what a dialect understood to the canonical event, or a refusal that names the field.
//! The rules that hold for every dialect stand here once; a dialect decides none of them.

use crate::channel::channel;
use crate::error::{Error, FieldError, Result};
use crate::event::{Credential, Event, EventKind, FieldNames, Identifiers, RawEvent, Verification};
use std::borrow::Cow;

/// An event's name has at most this many characters.
pub const MAX_NAME_CHARS: usize = 200;
/// An identifier has at most this many bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 512;
/// A sender's own id of an event has at most this many bytes.
pub const MAX_DEDUP_KEY_BYTES: usize = 255;
/// An event has at most this many bytes of text in all, however many come in one body.
pub const MAX_EVENT_BYTES: usize = 64 * 1_024;
/// Families that only the box itself sends, so that nobody can forge a notice (webhooks.md).
pub const RESERVED_PREFIXES: [&str; 4] = ["profile.", "customer.", "admin.", "system."];

/// The family of what the payment provider has signed, so that nobody can forge a payment.
pub const PROVIDER_PREFIX: &str = "stripe.";
/// What a test of a webhook is called in the body that it sends.
pub const TEST_NAME: &str = "webhook.test";

/// The canonical event of `raw`, sent by `credential` and received at `received_at_ms`.
///
/// # Errors
/// [`crate::error::Kind::Invalid`] with every field that the dialect or a rule refuses.
pub fn normalize(raw: RawEvent<'_>, credential: &Credential, received_at_ms: i64) -> Result<Event> {
    let names = raw.names;
    let mut refused = Refused(raw.refused);
    let is_provider = credential.verification == Verification::Billing;
    let name = name(&mut refused, raw.kind, raw.name, names, is_provider);
    let ids = raw.identifiers;
    let mut identifier =
        |value, field| bounded_text(&mut refused, value, field, MAX_IDENTIFIER_BYTES);
    let identifiers = Identifiers {
        user_id: identifier(ids.user_id, names.user_id),
        visitor_id: identifier(ids.visitor_id, names.visitor_id),
        email: identifier(ids.email, names.email),
        customer_id: identifier(ids.customer_id, names.customer_id),
        group_id: identifier(ids.group_id, names.group_id),
    };
    let has_customer = identifiers.customer_id.is_some();
    let dedup_key = bounded_text(
        &mut refused,
        raw.dedup_key,
        names.dedup_key,
        MAX_DEDUP_KEY_BYTES,
    );
    if raw.kind.is_none() {
        refused.add(
            names.kind,
            "required",
            format!("{} is required.", names.kind),
        );
    }
    let kind = refused.or(raw.kind)?.unwrap_or(EventKind::Track);
    let event = Event {
        workspace: credential.workspace,
        source: credential.source,
        kind,
        name,
        identifiers,
        properties: raw.properties.map(boxed),
        traits: raw.traits.map(boxed),
        context: raw.context.map(boxed),
        replace_traits: raw.replace_traits,
        customer_is_account: raw.customer_is_account
            || (has_customer && credential.customers_are_accounts),
        occurred_at_ms: raw.occurred_at_ms.unwrap_or(received_at_ms),
        received_at_ms,
        verification: credential.verification,
        channel: raw.touch.map(|touch| channel(&touch).as_str().into()),
        dedup_key,
    };
    if event.text_bytes() > MAX_EVENT_BYTES {
        let detail = format!("The event holds more than {MAX_EVENT_BYTES} bytes of text.");
        return Err(Error::field("", "event_too_large", detail));
    }
    Ok(event)
}

fn boxed(text: Cow<'_, str>) -> Box<str> {
    text.into_owned().into_boxed_str()
}

/// What is wrong with an event, at most once a field: the first word on it is the closest one.
struct Refused(Vec<FieldError>);

impl Refused {
    fn add(&mut self, field: &str, code: &'static str, detail: String) {
        let pointer = format!("/{field}");
        if !self.0.iter().any(|refusal| refusal.pointer == pointer) {
            self.0.push(FieldError {
                pointer,
                code,
                detail,
            });
        }
    }

    fn or<T>(self, value: T) -> Result<T> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Error::fields(self.0))
        }
    }
}

/// The event's type: its own name for what was tracked, the kind for the rest.
fn name(
    refused: &mut Refused,
    kind: Option<EventKind>,
    name: Option<Cow<'_, str>>,
    names: &FieldNames,
    is_provider: bool,
) -> Box<str> {
    let field = names.name;
    match (kind, name) {
        (Some(EventKind::Track), Some(name)) => {
            if let Some((code, detail)) = name_refusal(&name, field, is_provider) {
                refused.add(field, code, detail);
            }
            name.into_owned().into_boxed_str()
        }
        (Some(EventKind::Track), None) => {
            refused.add(
                field,
                "required",
                format!("{field} is required: the name of what happened."),
            );
            Box::default()
        }
        (Some(kind), _) => kind.as_str().into(),
        (None, _) => Box::default(),
    }
}

/// Checks an event's name that stands in `field`.
///
/// # Errors
/// A refusal of that field.
pub fn check_name(name: &str, field: &str) -> Result<()> {
    match name_refusal(name, field, false) {
        None => Ok(()),
        Some((code, detail)) => Err(Error::field(format!("/{field}"), code, detail)),
    }
}

fn name_refusal(name: &str, field: &str, is_provider: bool) -> Option<(&'static str, String)> {
    if name.trim().is_empty() {
        return Some(("required", format!("{field} must not be empty.")));
    }
    if name.chars().count() > MAX_NAME_CHARS {
        return Some((
            "too_long",
            format!("{field} has more than {MAX_NAME_CHARS} characters."),
        ));
    }
    if name.chars().any(char::is_control) {
        return Some((
            "control_character",
            format!("{field} holds a control character; remove it."),
        ));
    }
    if begins_with(name, PROVIDER_PREFIX) && !is_provider {
        let detail = format!(
            "Names that start with \"{PROVIDER_PREFIX}\" are those of events that Stripe has signed; choose another."
        );
        return Some(("reserved_name", detail));
    }
    if visible(name).eq(TEST_NAME.chars()) {
        let detail =
            format!("\"{TEST_NAME}\" is what the box's own tests are called; choose another.");
        return Some(("reserved_name", detail));
    }
    let reserved = RESERVED_PREFIXES
        .iter()
        .find(|prefix| begins_with(name, prefix))?;
    let detail = format!("Names that start with \"{reserved}\" are the box's own; choose another.");
    Some(("reserved_name", detail))
}

/// Whether a name looks as if it began so, to people and to receivers that are not strict.
fn begins_with(name: &str, prefix: &str) -> bool {
    let mut visible = visible(name);
    prefix.chars().all(|c| visible.next() == Some(c))
}

/// What is to be seen of a name, in small letters. By way of the large ones: a few letters and ligatures of
/// their own have the same, and receivers may compare by those.
fn visible(name: &str) -> impl Iterator<Item = char> {
    name.chars()
        .filter(|c| !c.is_whitespace() && !is_invisible(*c))
        .map(narrow)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

/// The ASCII character that a wide one is a form of.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    }
}

/// Characters that take no room, and marks of the direction of writing.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn bounded_text(
    refused: &mut Refused,
    value: Option<Cow<'_, str>>,
    field: &str,
    max_bytes: usize,
) -> Option<Box<str>> {
    let value = value?;
    if value.trim().is_empty() {
        refused.add(field, "required", format!("{field} must not be empty."));
        return None;
    }
    if value.len() > max_bytes {
        refused.add(
            field,
            "too_long",
            format!("{field} is longer than {max_bytes} bytes."),
        );
        return None;
    }
    Some(value.into_owned().into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ApiKeyId, WorkspaceId};

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

    const CREDENTIAL: Credential = Credential {
        workspace: WorkspaceId::from_i64(1),
        source: None,
        key: Some(ApiKeyId::from_i64(2)),
        verification: Verification::Server,
        customers_are_accounts: false,
    };

    fn raw_track<'a>(name: Option<&'a str>, user_id: &'a str) -> RawEvent<'a> {
        RawEvent {
            kind: Some(EventKind::Track),
            name: name.map(Cow::Borrowed),
            identifiers: Identifiers {
                user_id: Some(Cow::Borrowed(user_id)),
                ..Identifiers::default()
            },
            properties: Some(Cow::Borrowed(r#"{ "b":1,"a":2.50 }"#)),
            traits: None,
            context: None,
            replace_traits: false,
            customer_is_account: false,
            occurred_at_ms: None,
            touch: None,
            dedup_key: None,
            names: &NAMES,
            refused: Vec::new(),
        }
    }

    fn track(name: &str, user_id: &str) -> Result<Event> {
        normalize(raw_track(Some(name), user_id), &CREDENTIAL, 7)
    }

    #[test]
    fn properties_are_kept_byte_for_byte() {
        let event = track("a", "u").unwrap();
        assert_eq!(event.properties.as_deref(), Some(r#"{ "b":1,"a":2.50 }"#));
        assert_eq!(event.occurred_at_ms, 7);
    }

    #[test]
    fn an_event_has_a_largest_size() {
        let sized = |len: usize| {
            let properties = format!(r#"{{"a":"{}"}}"#, "x".repeat(len - 10));
            let raw = RawEvent {
                properties: Some(Cow::Borrowed(&properties)),
                ..raw_track(Some("a"), "u")
            };
            normalize(raw, &CREDENTIAL, 7)
        };
        assert_eq!(
            sized(MAX_EVENT_BYTES).unwrap().text_bytes(),
            MAX_EVENT_BYTES
        );
        let error = sized(MAX_EVENT_BYTES + 1).unwrap_err();
        assert_eq!(error.code(), "event_too_large");
        assert_eq!(error.field_errors()[0].pointer, "");
    }

    #[test]
    fn a_name_of_the_boxs_own_is_refused() {
        for name in [
            "system.mau_limit_reached",
            "profile.created",
            "admin.x",
            "customer.y",
            " system.x",
            "stripe.invoice.paid",
            "Profile.created",
            "SYSTEM.x",
            "admin .x",
            "\u{a0}\u{200b}cus\u{ad}tomer\u{2009}.y",
            "\u{feff}Stripe.invoice.paid",
            "webhook.test",
            "Webhook. Test ",
        ] {
            assert_eq!(
                track(name, "u").unwrap_err().code(),
                "reserved_name",
                "{name:?}"
            );
        }
        for name in [
            "system",
            "profiles.created",
            "administrator.x",
            "webhook.tested",
            "my.system.x",
        ] {
            assert!(track(name, "u").is_ok(), "{name}");
        }
    }

    #[test]
    fn what_the_dialect_refused_is_named_beside_what_the_rules_refuse() {
        let raw = RawEvent {
            refused: vec![FieldError {
                pointer: "/event".to_owned(),
                code: "wrong_type",
                detail: "event must be a string.".to_owned(),
            }],
            ..raw_track(None, "")
        };
        let error = normalize(raw, &CREDENTIAL, 7).unwrap_err();
        let said: Vec<_> = error
            .field_errors()
            .iter()
            .map(|f| (f.pointer.as_str(), f.code))
            .collect();
        assert_eq!(said, [("/event", "wrong_type"), ("/userId", "required")]);
    }

    #[test]
    fn every_refused_field_is_named() {
        let error = track("", &"u".repeat(513)).unwrap_err();
        let pointers: Vec<_> = error
            .field_errors()
            .iter()
            .map(|f| f.pointer.as_str())
            .collect();
        assert_eq!(pointers, ["/event", "/userId"]);
        assert_eq!(track(&"n".repeat(201), "u").unwrap_err().code(), "too_long");
        assert!(track(&"ñ".repeat(200), "u").is_ok());
        assert_eq!(
            track("a\u{7}", "u").unwrap_err().code(),
            "control_character"
        );
    }
}
