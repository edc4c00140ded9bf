//! What counts as an identifier, and how two spellings of one are the same (wire.md, "Identity").
//! Pure: which profile holds an identifier is the store's to say.

use crate::event::Identifiers;
use std::borrow::Cow;

/// What an identifier identifies by, strongest first; `group_id` belongs to accounts only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifierKind {
    /// The billing provider's id.
    CustomerId,
    /// The app's own id of the person.
    UserId,
    /// An email address.
    Email,
    /// A browser's id of a visitor.
    VisitorId,
    /// The app's own id of an account.
    GroupId,
}

impl IdentifierKind {
    /// Every kind, strongest first.
    pub const ALL: [Self; 5] = [
        Self::CustomerId,
        Self::UserId,
        Self::Email,
        Self::VisitorId,
        Self::GroupId,
    ];

    /// The word in the file and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CustomerId => "customer_id",
            Self::UserId => "user_id",
            Self::Email => "email",
            Self::VisitorId => "visitor_id",
            Self::GroupId => "group_id",
        }
    }
}

/// Values that apps send where they have none: they would merge strangers into one profile.
const NEVER_IDENTIFIERS: [&str; 6] = ["null", "undefined", "anonymous", "guest", "-1", "0"];

/// The form in which a value is compared and kept, or `None` when it identifies nobody.
pub fn canonical(kind: IdentifierKind, value: &str) -> Option<Cow<'_, str>> {
    let trimmed = value.trim();
    let is_zeros = !trimmed.is_empty() && trimmed.bytes().all(|b| b == b'0' || b == b'-');
    let is_blocked = NEVER_IDENTIFIERS
        .iter()
        .any(|never| trimmed.eq_ignore_ascii_case(never));
    if trimmed.is_empty() || is_zeros || is_blocked {
        return None;
    }
    Some(match kind {
        IdentifierKind::Email => Cow::Owned(trimmed.to_lowercase()),
        _ => Cow::Borrowed(value),
    })
}

/// The identifier that names the event's person today: the app's own user id.
///
/// The other kinds are kept on the event row and join in when merging does.
pub fn person<S: AsRef<str>>(
    identifiers: &Identifiers<S>,
) -> Option<(IdentifierKind, Cow<'_, str>)> {
    let kind = IdentifierKind::UserId;
    let value = identifiers.user_id.as_ref()?;
    canonical(kind, value.as_ref()).map(|value| (kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_identify_nobody() {
        for value in [
            "",
            "  ",
            "null",
            "NULL",
            "undefined",
            "Anonymous",
            "guest",
            "-1",
            "0",
            "000",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(canonical(IdentifierKind::UserId, value), None, "{value:?}");
        }
        for value in ["1", "00001", "null-island", "guest7"] {
            assert_eq!(
                canonical(IdentifierKind::UserId, value).as_deref(),
                Some(value)
            );
        }
    }

    #[test]
    fn emails_are_compared_in_lower_case() {
        assert_eq!(
            canonical(IdentifierKind::Email, " Jane@Example.COM ").as_deref(),
            Some("jane@example.com")
        );
        assert_eq!(
            canonical(IdentifierKind::UserId, "Jane").as_deref(),
            Some("Jane")
        );
    }
}
