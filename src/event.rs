//! The one canonical event, and what a dialect hands in before it is one. Data only: the rules
//! that turn a [`RawEvent`] into an [`Event`] are in `normalize.rs`.

use crate::channel::Touch;
use crate::error::FieldError;
use crate::id::{ApiKeyId, EventId, SourceId, WorkspaceId};
use std::borrow::Cow;

/// What sort of thing happened (wire.md, "The canonical event").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Something was done.
    Track,
    /// Something is known of a person.
    Identify,
    /// A page was seen.
    Page,
    /// A screen was seen.
    Screen,
    /// Something is known of a group.
    Group,
    /// Two ids are one.
    Alias,
}

impl EventKind {
    /// The word in the file, on the wire and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Identify => "identify",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Track,
            Self::Identify,
            Self::Page,
            Self::Screen,
            Self::Group,
            Self::Alias,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// How sure the box is of who sent an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// With a secret key.
    Server,
    /// From a browser, with a valid HMAC.
    Signed,
    /// From a browser, without one.
    Unverified,
    /// By a signed-in user.
    Session,
    /// Signed by the payment provider.
    Billing,
}

impl Verification {
    /// The word in the file, on the wire and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Signed => "signed",
            Self::Unverified => "unverified",
            Self::Session => "session",
            Self::Billing => "billing",
        }
    }

    /// The verification of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Server,
            Self::Signed,
            Self::Unverified,
            Self::Session,
            Self::Billing,
        ]
        .into_iter()
        .find(|verification| verification.as_str() == text)
    }
}

/// Whose ids of events are compared with one another: what a browser makes up must not stand in the way of
/// what an app or the payment provider sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySpace {
    /// Apps with a key, and signed-in users.
    App,
    /// Browsers.
    Browser,
    /// The payment provider.
    Provider,
}

impl Verification {
    /// Whose ids such a sender's ids are compared with.
    pub fn key_space(self) -> KeySpace {
        match self {
            Self::Server | Self::Session => KeySpace::App,
            Self::Signed | Self::Unverified => KeySpace::Browser,
            Self::Billing => KeySpace::Provider,
        }
    }
}

/// Who an event is about, in the caller's own ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identifiers<S> {
    /// The app's own id of the person.
    pub user_id: Option<S>,
    /// A browser's id of a visitor.
    pub visitor_id: Option<S>,
    /// An email address.
    pub email: Option<S>,
    /// The billing provider's id.
    pub customer_id: Option<S>,
    /// The app's own id of an account.
    pub group_id: Option<S>,
}

/// The workspace and source that a credential stands for; never taken from a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The site or app, where the key belongs to one.
    pub source: Option<SourceId>,
    /// The key that was shown, where it was one.
    pub key: Option<ApiKeyId>,
    /// What the credential proves.
    pub verification: Verification,
    /// Whether the source's customers are accounts and not persons (wire.md, "Churnkey").
    pub customers_are_accounts: bool,
}

/// What one dialect calls the fields, so that a refusal points at the caller's own.
#[derive(Debug)]
pub struct FieldNames {
    /// What sort of thing happened.
    pub kind: &'static str,
    /// The event's name.
    pub name: &'static str,
    /// Identifier `user_id`.
    pub user_id: &'static str,
    /// Identifier `visitor_id`.
    pub visitor_id: &'static str,
    /// Identifier `email`.
    pub email: &'static str,
    /// Identifier `customer_id`.
    pub customer_id: &'static str,
    /// Identifier `group_id`.
    pub group_id: &'static str,
    /// The sender's own id of the event.
    pub dedup_key: &'static str,
}

/// An event as a dialect understood it, before the rules. Objects are the JSON text as it came.
#[derive(Debug)]
pub struct RawEvent<'a> {
    /// What sort of thing happened, where that could be understood.
    pub kind: Option<EventKind>,
    /// The event's name; `None` for kinds that have none.
    pub name: Option<Cow<'a, str>>,
    /// Who it is about.
    pub identifiers: Identifiers<Cow<'a, str>>,
    /// JSON object, byte for byte.
    pub properties: Option<Cow<'a, str>>,
    /// JSON object, byte for byte; what is known of the account for kind `group`, else of the person.
    pub traits: Option<Cow<'a, str>>,
    /// JSON object, byte for byte.
    pub context: Option<Cow<'a, str>>,
    /// Whether traits that are not named go away.
    pub replace_traits: bool,
    /// Whether `customer_id` names the account and not the person (wire.md, "Churnkey").
    pub customer_is_account: bool,
    /// When it happened, Unix milliseconds; `None` is "now".
    pub occurred_at_ms: Option<i64>,
    /// How whoever it is about came, where it says anything of that.
    pub touch: Option<Touch<'a>>,
    /// The sender's own id of the event: the same one again is the same event.
    pub dedup_key: Option<Cow<'a, str>>,
    /// What the dialect calls its fields.
    pub names: &'static FieldNames,
    /// What the dialect could not understand, so that the rules can name all that is wrong at once.
    pub refused: Vec<FieldError>,
}

/// An event that has passed every rule. It has no id yet: the writer gives it one, so that the
/// log's order is the order of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The site or app that sent it.
    pub source: Option<SourceId>,
    /// What sort of thing happened.
    pub kind: EventKind,
    /// The event's type: its own name, or the kind's for kinds that have none.
    pub name: Box<str>,
    /// Who it is about, exactly as it came.
    pub identifiers: Identifiers<Box<str>>,
    /// JSON object, byte for byte as it came.
    pub properties: Option<Box<str>>,
    /// JSON object, byte for byte as it came.
    pub traits: Option<Box<str>>,
    /// JSON object, byte for byte as it came.
    pub context: Option<Box<str>>,
    /// Whether traits that are not named go away.
    pub replace_traits: bool,
    /// Whether `customer_id` names the account and not the person.
    pub customer_is_account: bool,
    /// When it happened, Unix milliseconds.
    pub occurred_at_ms: i64,
    /// When the box had it, Unix milliseconds.
    pub received_at_ms: i64,
    /// How sure the box is of the sender.
    pub verification: Verification,
    /// The marketing channel, where one was found.
    pub channel: Option<Box<str>>,
    /// The sender's own id of the event, unique in its workspace for a day at least.
    pub dedup_key: Option<Box<str>>,
}

impl Event {
    /// Whether `self`, sent again under the same key, is what was stored as `other`: everything the
    /// sender said, to the byte. A time that was left out is the time of receipt, which differs.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.says_the_same_but_for_payload(other)
            && self.properties == other.properties
            && self.traits == other.traits
            && self.context == other.context
    }

    /// As [`Event::says_the_same_as`], of one of which the payload is not there any more.
    pub fn says_the_same_but_for_payload(&self, other: &Self) -> bool {
        let same_time = self.occurred_at_ms == other.occurred_at_ms
            || (self.occurred_at_ms == self.received_at_ms
                && other.occurred_at_ms == other.received_at_ms);
        same_time
            && self.kind == other.kind
            && self.name == other.name
            && self.identifiers == other.identifiers
            && self.replace_traits == other.replace_traits
            && self.customer_is_account == other.customer_is_account
    }

    /// The bytes of text that it holds.
    pub fn text_bytes(&self) -> usize {
        let ids = &self.identifiers;
        [
            &ids.user_id,
            &ids.visitor_id,
            &ids.email,
            &ids.customer_id,
            &ids.group_id,
            &self.properties,
            &self.traits,
            &self.context,
            &self.channel,
            &self.dedup_key,
        ]
        .into_iter()
        .flatten()
        .map(|text| text.len())
        .sum::<usize>()
            + self.name.len()
    }
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its id.
    pub id: EventId,
    /// The event.
    pub event: Event,
}
