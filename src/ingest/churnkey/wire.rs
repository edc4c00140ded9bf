//! What Churnkey's endpoints take and what it means: the fields, their refusals, and the canonical events
//! that they become. A customer is a person, or, with a `user` beside it or where the source says so, the
//! account that the person belongs to. Knows no credential and no answer.

use crate::error::Result;
use crate::event::{EventKind, FieldNames, Identifiers, RawEvent};
use crate::ingest::fields::{self, Refused, given, string};
use crate::time::{in_range, parse_or_utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A bulk request has at most this many events (seed "Event Tracking").
const MAX_EVENTS: usize = 100;

/// Where a customer is a person.
const PERSON: FieldNames = FieldNames {
    kind: "event",
    name: "event",
    user_id: "uid",
    visitor_id: "visitorId",
    email: "customerEmail",
    customer_id: "customerId",
    group_id: "groupId",
    dedup_key: "messageId",
};

/// Where a customer is an account.
const ACCOUNT: FieldNames = FieldNames {
    user_id: "user/uid",
    group_id: "uid",
    ..PERSON
};

/// The fields as raw JSON, so that each can be refused by name. Unknown ones are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    customer_id: Option<&'a RawValue>,
    uid: Option<&'a RawValue>,
    event_date: Option<&'a RawValue>,
    event_data: Option<&'a RawValue>,
    customer_data: Option<&'a RawValue>,
    user: Option<&'a RawValue>,
}

/// The one of a customer's users that did something.
#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    uid: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

/// The events of `POST new`: what happened, and before it what was said of the account.
pub(super) fn new(text: &str, customers_are_accounts: bool) -> Result<Vec<RawEvent<'_>>> {
    let wire: Wire<'_> = fields::object(text, "The event")?;
    let mut refused = Refused::default();
    let about = About::read(&mut refused, &wire, customers_are_accounts);
    let event = about.event(refused, &wire);
    Ok(about.account_update().into_iter().chain([event]).collect())
}

/// The events of `POST bulk`, each refused by itself.
pub(super) fn bulk(
    text: &str,
    customers_are_accounts: bool,
) -> Result<impl Iterator<Item = Result<RawEvent<'_>>>> {
    let items = fields::events::<MAX_EVENTS>(text, "")?;
    Ok(items
        .into_iter()
        .map(move |item| bulk_event(item, customers_are_accounts)))
}

fn bulk_event(item: &RawValue, customers_are_accounts: bool) -> Result<RawEvent<'_>> {
    let mut wire: Wire<'_> = fields::object(item.get(), "An event")?;
    let mut refused = Refused::default();
    for (field, value) in [
        ("customerData", wire.customer_data.take()),
        ("user", wire.user.take()),
    ] {
        if given(value).is_some() {
            let detail = format!(
                "{field} is not taken in bulk; send it with POST new or POST customer-update."
            );
            refused.add(field, "not_allowed_in_bulk", detail);
        }
    }
    let about = About::read(&mut refused, &wire, customers_are_accounts);
    Ok(about.event(refused, &wire))
}

/// The events of `POST customer-update`: what is known of the account, and then of the person.
pub(super) fn customer_update(
    text: &str,
    customers_are_accounts: bool,
) -> Result<Vec<RawEvent<'_>>> {
    let wire: Wire<'_> = fields::object(text, "The update")?;
    let mut refused = Refused::default();
    let about = About::read(&mut refused, &wire, customers_are_accounts);
    if given(wire.customer_data).is_none() && given(wire.user).is_none() {
        refused.add(
            "customerData",
            "required",
            "There is nothing to update: give customerData, or user.",
        );
    }
    let account = about.account_update();
    // A user without data still says whose user it is, which the account's event says as well.
    let person = (account.is_none() || about.person_data.is_some()).then(|| RawEvent {
        traits: about.person_data.map(Cow::Borrowed),
        ..about.raw(EventKind::Identify)
    });
    let mut events: Vec<_> = account.into_iter().chain(person).collect();
    if let Some(last) = events.last_mut() {
        last.refused = refused.0;
    }
    Ok(events)
}

// WHOM IT IS ABOUT --------------------------------------------------------------------------

/// Whom a request is about, and what it says of them.
struct About<'a> {
    identifiers: Identifiers<Cow<'a, str>>,
    customer_is_account: bool,
    /// What is known of the account.
    account_data: Option<&'a str>,
    /// What is known of the person.
    person_data: Option<&'a str>,
}

impl<'a> About<'a> {
    fn read(refused: &mut Refused, wire: &Wire<'a>, customers_are_accounts: bool) -> Self {
        let customer_id =
            refused.optional_string("customerId", wire.customer_id, "the billing provider's id");
        let uid = refused.optional_string("uid", wire.uid, "your own id of the customer");
        if given(wire.customer_id).is_none() && given(wire.uid).is_none() {
            refused.add_whole(
                "missing_identifier",
                "Say whom it is about: give customerId, uid or both.",
            );
        }
        let customer_data = refused.optional_object("customerData", wire.customer_data);
        if given(wire.user).is_none() && !customers_are_accounts {
            return Self {
                identifiers: Identifiers {
                    customer_id,
                    user_id: uid,
                    ..Identifiers::default()
                },
                customer_is_account: false,
                account_data: None,
                person_data: customer_data,
            };
        }
        let (user_id, person_data) = user(refused, wire.user);
        Self {
            identifiers: Identifiers {
                customer_id,
                group_id: uid,
                user_id,
                ..Identifiers::default()
            },
            customer_is_account: true,
            account_data: customer_data,
            person_data,
        }
    }

    /// An event about them that says nothing yet.
    fn raw(&self, kind: EventKind) -> RawEvent<'a> {
        RawEvent {
            kind: Some(kind),
            name: None,
            identifiers: self.identifiers.clone(),
            properties: None,
            traits: None,
            context: None,
            replace_traits: false,
            customer_is_account: self.customer_is_account,
            touch: None,
            occurred_at_ms: None,
            dedup_key: None,
            names: if self.customer_is_account {
                &ACCOUNT
            } else {
                &PERSON
            },
            refused: Vec::new(),
        }
    }

    /// What was said of the account: an event of its own, since an event has one object of traits.
    fn account_update(&self) -> Option<RawEvent<'a>> {
        let traits = Some(Cow::Borrowed(self.account_data?));
        Some(RawEvent {
            traits,
            ..self.raw(EventKind::Group)
        })
    }

    /// What happened, with what was said of the person.
    fn event(&self, mut refused: Refused, wire: &Wire<'a>) -> RawEvent<'a> {
        RawEvent {
            name: name(&mut refused, wire.event),
            properties: object(&mut refused, "eventData", wire.event_data),
            traits: self.person_data.map(Cow::Borrowed),
            occurred_at_ms: event_date(&mut refused, wire.event_date),
            refused: refused.0,
            ..self.raw(EventKind::Track)
        }
    }
}

/// The user's id and what is known of it.
fn user<'a>(
    refused: &mut Refused,
    raw: Option<&'a RawValue>,
) -> (Option<Cow<'a, str>>, Option<&'a str>) {
    let Some(text) = refused.optional_object("user", raw) else {
        return (None, None);
    };
    match serde_json::from_str::<User<'_>>(text) {
        Ok(user) => (
            refused.required_string("user/uid", user.uid, "your own id of the user"),
            refused.optional_object("user/data", user.data),
        ),
        // It is an object, and raw JSON is any value.
        Err(_) => {
            refused.add("user", "duplicate_field", "user has a field twice.");
            (None, None)
        }
    }
}

fn name<'a>(refused: &mut Refused, raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    refused.required_string("event", raw, "the name of what happened")
}

fn object<'a>(
    refused: &mut Refused,
    field: &str,
    raw: Option<&'a RawValue>,
) -> Option<Cow<'a, str>> {
    refused.optional_object(field, raw).map(Cow::Borrowed)
}

fn event_date(refused: &mut Refused, raw: Option<&RawValue>) -> Option<i64> {
    let raw = given(raw)?;
    let time = match string(raw) {
        Some(text) => parse_or_utc(&text),
        None => raw.get().parse().ok().and_then(in_range),
    };
    if time.is_none() {
        refused.add(
            "eventDate",
            "invalid_timestamp",
            "eventDate must be an ISO 8601 date such as 2022-05-01, a date and time such as \
             2022-05-01T12:00:00Z (UTC where it has no offset), or Unix milliseconds.",
        );
    }
    time
}

// FROM BROWSERS -----------------------------------------------------------------------------

/// The fields of `POST client`, as raw JSON. Unknown ones are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Client<'a> {
    /// Names the source.
    #[serde(borrow)]
    pub(super) app_id: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    customer_id: Option<&'a RawValue>,
    customer_email: Option<&'a RawValue>,
    auth_hash: Option<&'a RawValue>,
    event_data: Option<&'a RawValue>,
    event_date: Option<&'a RawValue>,
    /// The box's own: its script sends an event again that was not answered.
    message_id: Option<&'a RawValue>,
}

/// What a browser said.
pub(super) struct Said<'a> {
    /// The event.
    pub(super) raw: RawEvent<'a>,
    auth_hash: Option<Cow<'a, str>>,
}

impl<'a> Client<'a> {
    /// # Errors
    /// What is no JSON, and what is no object.
    pub(super) fn read(text: &'a str) -> Result<Self> {
        fields::object(text, "The event")
    }

    /// What it means for a source.
    pub(super) fn into_said(self, customers_are_accounts: bool) -> Said<'a> {
        let mut refused = Refused::default();
        let customer_id =
            refused.optional_string("customerId", self.customer_id, "the billing provider's id");
        let email =
            refused.optional_string("customerEmail", self.customer_email, "the email address");
        if given(self.customer_id).is_none() && given(self.customer_email).is_none() {
            refused.add_whole(
                "missing_identifier",
                "Say whom it is about: give customerId or customerEmail.",
            );
        }
        let auth_hash =
            refused.optional_string("authHash", self.auth_hash, "the signature of the id");
        let about = About {
            identifiers: Identifiers {
                customer_id,
                email,
                ..Identifiers::default()
            },
            customer_is_account: customers_are_accounts,
            account_data: None,
            person_data: None,
        };
        let raw = RawEvent {
            name: name(&mut refused, self.event),
            properties: object(&mut refused, "eventData", self.event_data),
            occurred_at_ms: event_date(&mut refused, self.event_date),
            dedup_key: refused.optional_string(
                "messageId",
                self.message_id,
                "what tells this event from others, so that it is stored once",
            ),
            refused: refused.0,
            ..about.raw(EventKind::Track)
        };
        Said { raw, auth_hash }
    }
}

impl Said<'_> {
    /// The id that a signature is of: the customer's, or the email address where there is none.
    pub(super) fn who(&self) -> Option<&str> {
        let ids = &self.raw.identifiers;
        ids.customer_id.as_deref().or(ids.email.as_deref())
    }

    /// The signature, where one was sent.
    pub(super) fn auth_hash(&self) -> Option<&str> {
        self.auth_hash.as_deref()
    }
}
