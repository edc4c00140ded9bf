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

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// So many of the kind belong to one profile at most. One user, customer and group is the rule of
    /// wire.md, "Identity"; the other two keep what many people share (a kiosk's browser, a support
    /// team's mailbox) from drawing everybody together.
    pub fn limit(self) -> u32 {
        match self {
            Self::CustomerId | Self::UserId | Self::GroupId => 1,
            Self::Email => 20,
            Self::VisitorId => 200,
        }
    }
}

/// Values that apps send where they have none: they would merge strangers into one profile.
const NEVER_IDENTIFIERS: [&str; 6] = ["null", "undefined", "anonymous", "guest", "-1", "0"];

/// The form in which a value is compared and kept, or `None` when it identifies nobody.
pub fn canonical(kind: IdentifierKind, value: &str) -> Option<Cow<'_, str>> {
    let trimmed = value.trim();
    // Some libraries send numbers: 0.0 and -0 are as much nobody as 0 is.
    let is_zeros = !trimmed.is_empty()
        && (trimmed.bytes().all(|b| b == b'0' || b == b'-')
            || trimmed.parse::<f64>().is_ok_and(|n| n == 0.0 || n == -1.0));
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

/// What a profile stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProfileKind {
    /// One person.
    Person,
    /// A company, a team: what persons are members of.
    Account,
}

impl ProfileKind {
    /// The word in the file and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Account => "account",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Person, Self::Account]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// An identifier in the form in which it is compared.
pub type Key<'a> = (IdentifierKind, Cow<'a, str>);

/// What names the event's person, strongest first.
pub fn person<'a, S: AsRef<str>>(
    ids: &'a Identifiers<S>,
    customer_is_account: bool,
) -> impl Iterator<Item = Key<'a>> {
    let customer = ids.customer_id.as_ref().filter(|_| !customer_is_account);
    keys([
        (IdentifierKind::CustomerId, customer),
        (IdentifierKind::UserId, ids.user_id.as_ref()),
        (IdentifierKind::Email, ids.email.as_ref()),
        (IdentifierKind::VisitorId, ids.visitor_id.as_ref()),
    ])
}

/// What names the event's account, strongest first.
pub fn account<'a, S: AsRef<str>>(
    ids: &'a Identifiers<S>,
    customer_is_account: bool,
) -> impl Iterator<Item = Key<'a>> {
    let customer = ids.customer_id.as_ref().filter(|_| customer_is_account);
    keys([
        (IdentifierKind::CustomerId, customer),
        (IdentifierKind::GroupId, ids.group_id.as_ref()),
    ])
}

/// Which of the kinds that name the event's person a browser's signature vouches for: it covers the
/// strongest one (wire.md, "Churnkey"), and its visitor id is the browser's own. What else stands beside
/// these, anybody could have written there.
pub fn signed_person<S: AsRef<str>>(
    ids: &Identifiers<S>,
    customer_is_account: bool,
) -> impl Fn(IdentifierKind) -> bool {
    let strongest = if ids.customer_id.is_some() {
        IdentifierKind::CustomerId
    } else if ids.user_id.is_some() {
        IdentifierKind::UserId
    } else {
        IdentifierKind::Email
    };
    // An account's customer id vouches for the account alone.
    let is_accounts = customer_is_account && strongest == IdentifierKind::CustomerId;
    move |kind| kind == IdentifierKind::VisitorId || (kind == strongest && !is_accounts)
}

/// Whether nothing but a browser's own id says whom an event is about.
pub fn names_only_a_visitor<S: AsRef<str>>(
    ids: &Identifiers<S>,
    customer_is_account: bool,
) -> bool {
    let strongest = person(ids, customer_is_account).next();
    strongest.is_some_and(|(kind, _)| kind == IdentifierKind::VisitorId)
}

fn keys<'a, S: AsRef<str> + 'a, const N: usize>(
    found: [(IdentifierKind, Option<&'a S>); N],
) -> impl Iterator<Item = Key<'a>> {
    found
        .into_iter()
        .filter_map(|(kind, value)| Some((kind, canonical(kind, value?.as_ref())?)))
}

/// Profiles that were merged into one, at most.
pub const MAX_PARTS: u32 = 200;

/// What a profile holds, as far as merging asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Identifiers of each kind, in the order of [`IdentifierKind::ALL`].
    held: [u32; IdentifierKind::ALL.len()],
    /// Profiles that were merged into it.
    pub parts: u32,
}

impl Holdings {
    /// How many of a kind are held.
    pub fn held(&self, kind: IdentifierKind) -> u32 {
        self.held[kind as usize]
    }

    /// Adds identifiers of a kind.
    pub fn add(&mut self, kind: IdentifierKind, count: u32) {
        let held = &mut self.held[kind as usize];
        *held = held.saturating_add(count);
    }

    /// Whether one more of the kind may come to it.
    pub fn has_room_for(&self, kind: IdentifierKind) -> bool {
        self.held(kind) < kind.limit()
    }

    /// The two as one, or `None` where they must stay two: each has a user id, say, and nobody has two.
    pub fn joined(&self, other: &Self) -> Option<Self> {
        let mut both = Self {
            parts: self.parts.saturating_add(other.parts).saturating_add(1),
            ..*self
        };
        for kind in IdentifierKind::ALL {
            both.add(kind, other.held(kind));
            if both.held(kind) > kind.limit() {
                return None;
            }
        }
        (both.parts <= MAX_PARTS).then_some(both)
    }

    /// Whether `other` says better who this is, so that it is the one that stays when they merge: what is
    /// known by a stronger identifier is.
    pub fn yields_to(&self, other: &Self) -> bool {
        let strongest = |holdings: &Self| {
            IdentifierKind::ALL
                .into_iter()
                .find(|kind| holdings.held(*kind) > 0)
        };
        match (strongest(self), strongest(other)) {
            (Some(own), Some(others)) => others < own,
            (own, others) => own.is_none() && others.is_some(),
        }
    }
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
            "0.0",
            "-0",
            "0e5",
            "-1.0",
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

    fn holding(kinds: &[IdentifierKind]) -> Holdings {
        let mut holdings = Holdings::default();
        for kind in kinds {
            holdings.add(*kind, 1);
        }
        holdings
    }

    #[test]
    fn what_an_event_names_comes_strongest_first() {
        let ids = Identifiers {
            user_id: Some("u"),
            visitor_id: Some("undefined"),
            email: Some("A@B.c"),
            customer_id: Some("cus"),
            group_id: Some("g"),
        };
        let said = |keys: Vec<Key<'_>>| {
            keys.into_iter()
                .map(|(_, value)| value.into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(said(person(&ids, false).collect()), ["cus", "u", "a@b.c"]);
        assert_eq!(said(account(&ids, false).collect()), ["g"]);
        assert_eq!(said(person(&ids, true).collect()), ["u", "a@b.c"]);
        assert_eq!(said(account(&ids, true).collect()), ["cus", "g"]);
    }

    #[test]
    fn two_users_never_become_one() {
        use IdentifierKind::{CustomerId, Email, UserId, VisitorId};
        let user = holding(&[UserId, VisitorId]);
        assert_eq!(user.joined(&holding(&[UserId])), None);
        assert!(!user.has_room_for(UserId));
        assert!(user.has_room_for(CustomerId));
        let both = user.joined(&holding(&[CustomerId, Email])).unwrap();
        assert_eq!((both.held(UserId), both.held(Email), both.parts), (1, 1, 1));
    }

    #[test]
    fn what_many_share_does_not_grow_without_end() {
        use IdentifierKind::VisitorId;
        let mut many = Holdings::default();
        many.add(VisitorId, VisitorId.limit());
        assert!(!many.has_room_for(VisitorId));
        assert_eq!(many.joined(&holding(&[VisitorId])), None);
        let parts = Holdings {
            parts: MAX_PARTS,
            ..Holdings::default()
        };
        assert_eq!(parts.joined(&Holdings::default()), None);
    }

    #[test]
    fn the_anonymous_one_yields() {
        use IdentifierKind::{CustomerId, Email, UserId, VisitorId};
        let (visitor, user) = (holding(&[VisitorId]), holding(&[UserId, VisitorId]));
        assert!(visitor.yields_to(&user));
        assert!(!user.yields_to(&visitor));
        assert!(!visitor.yields_to(&visitor));
        assert!(holding(&[Email]).yields_to(&holding(&[CustomerId])));
        assert!(Holdings::default().yields_to(&visitor));
    }

    #[test]
    fn a_signature_vouches_for_the_strongest_and_for_nothing_beside_it() {
        use IdentifierKind::{CustomerId, Email, UserId, VisitorId};
        let all = Identifiers {
            user_id: Some("u"),
            visitor_id: Some("v"),
            email: Some("e"),
            customer_id: Some("c"),
            group_id: None,
        };
        let vouched = |ids: &Identifiers<&str>, is_account| {
            let is_signed = signed_person(ids, is_account);
            let kinds = [CustomerId, UserId, Email, VisitorId];
            kinds
                .into_iter()
                .filter(|kind| is_signed(*kind))
                .collect::<Vec<_>>()
        };
        assert_eq!(vouched(&all, false), [CustomerId, VisitorId]);
        assert_eq!(vouched(&all, true), [VisitorId]);
        let user = Identifiers {
            customer_id: None,
            ..all
        };
        assert_eq!(vouched(&user, false), [UserId, VisitorId]);
        let email = Identifiers {
            user_id: None,
            ..user
        };
        assert_eq!(vouched(&email, false), [Email, VisitorId]);
    }
}
