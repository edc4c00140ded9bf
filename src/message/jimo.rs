//! The shape of Jimo's own webhooks: `{"event","version":"0","time":<ms>, …}` with `jimer` for a user's act
//! and `user` for a team member's, so that receivers that were written for Jimo keep working. What such an
//! event's properties say under the names of Jimo's objects stands at the top, where Jimo has it; the
//! properties stand there whole as well.

use super::data::{MessageSource, Notice, raw_json};
use crate::event::{Event, StoredEvent};
use crate::id::EventId;
use crate::time::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The version of Jimo's webhooks.
const VERSION: &str = "0";
/// Jimo's experiences, as its event types begin.
const EXPERIENCES: [&str; 6] = ["tour", "survey", "checklist", "hint", "banner", "post"];
/// What a team member does to one of them; everything else is done by a user.
const TEAM_ACTS: [&str; 4] = ["created", "published", "deleted", "status-changed"];

/// Jimo's objects, where an app put them among the properties.
#[derive(Default, Serialize, Deserialize)]
struct Objects<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    project: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    experience: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    step: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    answer: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    answers: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    task: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    comment: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Jimo<'a> {
    event: &'a str,
    version: &'static str,
    time: i64,
    #[serde(flatten)]
    objects: Objects<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jimer: Option<Jimer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User<'a>>,
    id: EventId,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    visitor_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traits: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<MessageSource<'a>>,
}

/// A user of the app. Jimo writes what it does not know as null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Jimer<'a> {
    uid: &'a str,
    identify_token: Option<&'a str>,
    username: Option<&'a RawValue>,
    email: Option<&'a str>,
    last_activity_at: String,
}

/// A member of the team.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct User<'a> {
    uid: &'a str,
    email: Option<&'a str>,
    first_name: Option<&'a RawValue>,
    last_name: Option<&'a RawValue>,
}

/// What traits may say of somebody's name.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names<'a> {
    #[serde(borrow)]
    username: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow, alias = "first_name")]
    first_name: Option<&'a RawValue>,
    #[serde(borrow, alias = "last_name")]
    last_name: Option<&'a RawValue>,
}

pub(super) fn event(
    stored: &StoredEvent,
    source: Option<MessageSource<'_>>,
) -> serde_json::Result<Vec<u8>> {
    let event = &stored.event;
    let ids = &event.identifiers;
    let properties = event.properties.as_deref();
    let objects: Objects<'_> = properties.and_then(read).unwrap_or_default();
    let names: Names<'_> = event.traits.as_deref().and_then(read).unwrap_or_default();
    let (jimer, user) = match who(event) {
        Some(uid) if is_of_the_team(&event.name) => {
            let user = User {
                uid,
                email: ids.email.as_deref(),
                first_name: names.first_name,
                last_name: names.last_name,
            };
            (None, Some(user))
        }
        Some(uid) => {
            let jimer = Jimer {
                uid,
                identify_token: ids.user_id.as_deref(),
                username: names.username.or(names.name),
                email: ids.email.as_deref(),
                last_activity_at: rfc3339(event.occurred_at_ms),
            };
            (Some(jimer), None)
        }
        None => (None, None),
    };
    serde_json::to_vec(&Jimo {
        event: &event.name,
        version: VERSION,
        time: event.occurred_at_ms,
        objects,
        jimer,
        user,
        id: stored.id,
        kind: event.kind.as_str(),
        visitor_id: ids.visitor_id.as_deref(),
        customer_id: ids.customer_id.as_deref(),
        group_id: ids.group_id.as_deref(),
        properties: raw_json(properties)?,
        traits: raw_json(event.traits.as_deref())?,
        context: raw_json(event.context.as_deref())?,
        source,
    })
}

/// Some members of an object. A name that comes twice leaves it unread: which of the two is meant is not to
/// be guessed, and the whole is sent beside it.
fn read<'a, T: Deserialize<'a>>(object: &'a str) -> Option<T> {
    serde_json::from_str(object).ok()
}

/// The person that an event is about, by the strongest identifier; an account is none.
fn who(event: &Event) -> Option<&str> {
    let ids = &event.identifiers;
    let customer = ids
        .customer_id
        .as_deref()
        .filter(|_| !event.customer_is_account);
    ids.user_id
        .as_deref()
        .or(ids.visitor_id.as_deref())
        .or(ids.email.as_deref())
        .or(customer)
}

fn is_of_the_team(event_type: &str) -> bool {
    event_type.split_once('.').is_some_and(|(experience, act)| {
        EXPERIENCES.contains(&experience) && TEAM_ACTS.contains(&act)
    })
}

#[derive(Serialize)]
struct JimoNotice<'a> {
    event: &'a str,
    version: &'static str,
    time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jimer: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Value>,
    data: &'a Value,
}

/// A notice about a person has a jimer, and one of what a team member did a user. What it says stands there
/// whole as well, as `data`.
pub(super) fn notice(notice: &Notice) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&JimoNotice {
        event: notice.event_type,
        version: VERSION,
        time: notice.at_ms,
        jimer: notice.data.get("profile").and_then(noticed_jimer),
        user: notice.data.get("by").and_then(noticed_user),
        data: &notice.data,
    })
}

/// The person of a profile, known by the same identifier as in events; an account is none.
fn noticed_jimer(profile: &Value) -> Option<Value> {
    if profile.get("kind")? != "person" {
        return None;
    }
    let first = |kind| profile.get("identifiers")?.get(kind)?.get(0);
    let known = ["userId", "visitorId", "email", "customerId"];
    let name = |name| profile.get("traits")?.get(name);
    Some(json!({
        "uid": known.into_iter().find_map(first).or(profile.get("id"))?,
        "identifyToken": first("userId"),
        "username": name("username").or(name("name")),
        "email": first("email"),
        "lastActivityAt": null,
    }))
}

fn noticed_user(by: &Value) -> Option<Value> {
    let is_user = by.get("kind")? == "user";
    is_user.then(|| json!({"uid": by.get("id"), "email": by.get("email"), "firstName": null, "lastName": null}))
}
