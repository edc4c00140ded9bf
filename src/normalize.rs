//! From what a dialect understood to the canonical event, or a refusal that names the field.
//! The rules that hold for every dialect stand here once; a dialect decides none of them.

use crate::error::{Error, FieldError, Result};
use crate::event::{Credential, Event, EventKind, FieldNames, Identifiers, RawEvent};
use std::borrow::Cow;

/// An event's name has at most this many characters.
pub const MAX_NAME_CHARS: usize = 200;
/// An identifier has at most this many bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 512;
/// Families that only the box itself sends, so that nobody can forge a notice (webhooks.md).
pub const RESERVED_PREFIXES: [&str; 4] = ["profile.", "customer.", "admin.", "system."];

/// The canonical event of `raw`, sent by `credential` and received at `received_at_ms`.
///
/// # Errors
/// [`crate::error::Kind::Invalid`] with every field that a rule refuses.
pub fn normalize(raw: RawEvent<'_>, credential: &Credential, received_at_ms: i64) -> Result<Event> {
    let mut refused = Vec::new();
    let names = raw.names;
    let name = match (raw.kind, raw.name) {
        (EventKind::Track, Some(name)) => {
            check_name(&name, names, &mut refused);
            name.into_owned().into_boxed_str()
        }
        (EventKind::Track, None) => {
            refused.push(FieldError {
                pointer: format!("/{}", names.name),
                code: "required",
                detail: format!("{} is required: the name of what happened.", names.name),
            });
            Box::default()
        }
        (kind, _) => kind.as_str().into(),
    };
    let identifiers = Identifiers {
        user_id: identifier(raw.identifiers.user_id, names.user_id, &mut refused),
        visitor_id: identifier(raw.identifiers.visitor_id, names.visitor_id, &mut refused),
        email: identifier(raw.identifiers.email, names.email, &mut refused),
        customer_id: identifier(raw.identifiers.customer_id, names.customer_id, &mut refused),
        group_id: identifier(raw.identifiers.group_id, names.group_id, &mut refused),
    };
    if !refused.is_empty() {
        return Err(Error::fields(refused));
    }
    Ok(Event {
        workspace: credential.workspace,
        source: credential.source,
        kind: raw.kind,
        name,
        identifiers,
        properties: raw.properties.map(Into::into),
        traits: raw.traits.map(Into::into),
        context: raw.context.map(Into::into),
        replace_traits: raw.replace_traits,
        occurred_at_ms: raw.occurred_at_ms.unwrap_or(received_at_ms),
        received_at_ms,
        verification: credential.verification,
        channel: None,
    })
}

fn check_name(name: &str, names: &FieldNames, refused: &mut Vec<FieldError>) {
    let field = names.name;
    let refusal = if name.trim().is_empty() {
        Some(("required", format!("{field} must not be empty.")))
    } else if name.chars().count() > MAX_NAME_CHARS {
        Some((
            "too_long",
            format!("{field} has more than {MAX_NAME_CHARS} characters."),
        ))
    } else if name.chars().any(char::is_control) {
        Some((
            "control_character",
            format!("{field} holds a control character; remove it."),
        ))
    } else {
        RESERVED_PREFIXES
            .iter()
            .find(|prefix| name.starts_with(**prefix))
            .map(|prefix| {
                (
                    "reserved_name",
                    format!(
                        "Names that start with \"{prefix}\" are the box's own; choose another."
                    ),
                )
            })
    };
    if let Some((code, detail)) = refusal {
        refused.push(FieldError {
            pointer: format!("/{field}"),
            code,
            detail,
        });
    }
}

fn identifier(
    value: Option<Cow<'_, str>>,
    field: &str,
    refused: &mut Vec<FieldError>,
) -> Option<Box<str>> {
    let value = value?;
    let refusal = if value.trim().is_empty() {
        ("required", format!("{field} must not be empty."))
    } else if value.len() > MAX_IDENTIFIER_BYTES {
        (
            "too_long",
            format!("{field} is longer than {MAX_IDENTIFIER_BYTES} bytes."),
        )
    } else {
        return Some(value.into_owned().into_boxed_str());
    };
    refused.push(FieldError {
        pointer: format!("/{field}"),
        code: refusal.0,
        detail: refusal.1,
    });
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Verification;
    use crate::id::{ApiKeyId, WorkspaceId};

    const NAMES: FieldNames = FieldNames {
        name: "event",
        user_id: "userId",
        visitor_id: "visitorId",
        email: "email",
        customer_id: "customerId",
        group_id: "groupId",
    };

    fn track(name: &str, user_id: &str) -> Result<Event> {
        let raw = RawEvent {
            kind: EventKind::Track,
            name: Some(Cow::Borrowed(name)),
            identifiers: Identifiers {
                user_id: Some(Cow::Borrowed(user_id)),
                ..Identifiers::default()
            },
            properties: Some(r#"{ "b":1,"a":2.50 }"#),
            traits: None,
            context: None,
            replace_traits: false,
            occurred_at_ms: None,
            names: &NAMES,
        };
        let credential = Credential {
            workspace: WorkspaceId::from_i64(1),
            source: None,
            key: ApiKeyId::from_i64(2),
            verification: Verification::Server,
        };
        normalize(raw, &credential, 7)
    }

    #[test]
    fn properties_are_kept_byte_for_byte() {
        let event = track("a", "u").unwrap();
        assert_eq!(event.properties.as_deref(), Some(r#"{ "b":1,"a":2.50 }"#));
        assert_eq!(event.occurred_at_ms, 7);
    }

    #[test]
    fn a_name_of_the_boxs_own_is_refused() {
        for name in [
            "system.mau_limit_reached",
            "profile.created",
            "admin.x",
            "customer.y",
        ] {
            assert_eq!(track(name, "u").unwrap_err().code(), "reserved_name");
        }
        assert!(track("system", "u").is_ok());
        assert!(track("Profile.created", "u").is_ok());
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
