//! Events: what came, and one of them in full with what became of it.

use super::answer::{Page, ok};
use super::deliveries::state;
use super::delivery::ExpungedView;
use super::flash::Flash;
use super::format::number;
use super::json_view::BodyView;
use super::session::Visitor;
use super::view::{Cursor, IdText, PAGE_ROWS, Section, Shell, State, When, cut_page};
use crate::access::Role;
use crate::delivery::Origin;
use crate::error::{Error, Result};
use crate::event::{Event, StoredEvent};
use crate::id::{EventId, ProfileId, WebhookId, WorkspaceId};
use crate::identity;
use crate::message;
use crate::store::catalog::Catalog;
use crate::store::past::{self, Expunged};
use crate::store::{events, history, projection};
use crate::webhook::{Format, Webhook, WebhookState};
use actix_web::web;
use askama::Template;
use rusqlite::Connection;

/// Stands where a number is not known any more.
const UNKNOWN: &str = "–";
/// Webhooks that an event's page names.
const MAX_RECEIVERS: usize = 200;
/// An event goes to at most this many webhooks on its page.
const MAX_DELIVERIES: usize = 200;

struct Row {
    href: String,
    name: String,
    kind: &'static str,
    who: Option<IdText>,
    source: String,
    verification: &'static str,
    deliveries: String,
    failed: String,
    when: When,
}

#[derive(Template)]
#[template(path = "events.html")]
struct List {
    shell: Shell,
    rows: Vec<Row>,
    is_first: bool,
    next: Option<String>,
}

/// The newest events.
pub(super) async fn list(visitor: Visitor, cursor: web::Query<Cursor>) -> Page {
    let workspace = visitor.membership.workspace;
    let before: Option<EventId> = cursor.before();
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let mut found = visitor
        .desk()
        .read(move |connection| {
            events::page(connection, workspace, before, PAGE_ROWS + 1)?
                .into_iter()
                .map(|stored| {
                    let outcomes = history::outcomes_of_event(connection, workspace, stored.id)?;
                    Ok((stored, outcomes))
                })
                .collect::<Result<Vec<_>>>()
        })
        .await?;
    let next = cut_page(&mut found, |(stored, _)| stored.id.to_string());
    let catalog = visitor.desk().catalog.current();
    let rows = found
        .into_iter()
        .map(|(StoredEvent { id, event }, outcomes)| Row {
            href: format!("{base}/events/{id}"),
            who: who(&event).map(IdText::new),
            kind: event.kind.as_str(),
            source: event
                .source
                .and_then(|source| catalog.source_name(source))
                .unwrap_or("")
                .to_owned(),
            verification: event.verification.as_str(),
            // "0" would say that nobody was told.
            deliveries: match outcomes.deliveries {
                0 if is_older_than_deliveries(&visitor, id) => UNKNOWN.to_owned(),
                deliveries => number(deliveries),
            },
            failed: match outcomes.failed {
                0 => String::new(),
                failed => number(failed),
            },
            when: When::new(event.received_at_ms, now_ms),
            name: event.name.into(),
        })
        .collect();
    ok(&List {
        shell: Shell::new(&visitor, Section::Events, "Events", &Flash::default()),
        rows,
        is_first: before.is_none(),
        next,
    })
}

/// Whether the event's deliveries may be gone already.
fn is_older_than_deliveries(visitor: &Visitor, event: EventId) -> bool {
    let desk = visitor.desk();
    event.unix_ms() < desk.now_ms - desk.settings.keep_deliveries_ms
}

/// The identifier that says most to a person.
fn who(event: &Event) -> Option<&str> {
    let ids = &event.identifiers;
    [
        &ids.user_id,
        &ids.email,
        &ids.customer_id,
        &ids.group_id,
        &ids.visitor_id,
    ]
    .into_iter()
    .find_map(|id| id.as_deref())
}

struct DeliveryLine {
    href: String,
    webhook: String,
    /// Why it was made, where not with the event.
    origin: &'static str,
    state: State,
    attempts: String,
    /// When the last attempt began, if one was made.
    last: Option<When>,
}

/// A webhook that the event can be sent to.
struct Receiver {
    id: String,
    name: String,
    href: String,
    /// Whether it was sent the event already.
    had_it: bool,
    /// Why it did not get the event when it came, or that it does not send.
    note: String,
}

struct Part {
    title: &'static str,
    body: BodyView,
}

struct Fact {
    name: &'static str,
    value: String,
}

struct ProfileLink {
    title: &'static str,
    href: String,
}

#[derive(Template)]
#[template(path = "event.html")]
struct Show {
    shell: Shell,
    id: String,
    name: String,
    kind: &'static str,
    verification: &'static str,
    replaces_traits: bool,
    occurred: When,
    received: When,
    identifiers: Vec<Fact>,
    facts: Vec<Fact>,
    profiles: Vec<ProfileLink>,
    parts: Vec<Part>,
    deliveries: Vec<DeliveryLine>,
    why_none: &'static str,
    receivers: Vec<Receiver>,
    expunged: Option<ExpungedView>,
    href: String,
    may_resend: bool,
    may_expunge: bool,
}

/// The event that a path names.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub(super) fn event_id(path: &(String, String)) -> Result<EventId> {
    path.1.parse().map_err(|_| Error::not_found("event"))
}

/// One event.
pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    flash: web::Query<Flash>,
) -> Page {
    let (workspace, id) = (visitor.membership.workspace, event_id(&path)?);
    let (stored, owed, about, expunged) = visitor
        .desk()
        .read(move |connection| {
            let stored = events::get(connection, workspace, id)?;
            let owed = history::of_event(connection, workspace, id, MAX_DELIVERIES)?;
            let about = profiles(connection, workspace, &stored.event)?;
            let expunged = past::event_expunged(connection, id)?;
            Ok((stored, owed, about, expunged))
        })
        .await?;
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let catalog = visitor.desk().catalog.current();
    let receivers = receivers(&catalog, &stored, &owed, expunged.as_ref(), &base);
    let event = stored.event;
    let source = event.source.and_then(|source| catalog.source_name(source));
    let facts = [
        ("Source", source.map(str::to_owned)),
        ("Channel", event.channel.as_deref().map(str::to_owned)),
    ];
    let deliveries: Vec<_> = owed
        .into_iter()
        .map(|row| DeliveryLine {
            href: format!("{base}/deliveries/{}", row.id),
            state: state(&row),
            origin: match row.origin {
                None => "",
                Some(Origin::Resend) => "sent again",
                Some(Origin::Test) => "test",
            },
            attempts: number(row.attempts),
            last: row.last_attempt_at_ms.map(|at| When::new(at, now_ms)),
            webhook: row.webhook_name,
        })
        .collect();
    let why_none = if is_older_than_deliveries(&visitor, id) {
        "The event is older than the box keeps deliveries, so what became of it is not known any more."
    } else if catalog.webhooks_of(workspace).is_empty() {
        "This workspace has no webhook, so nobody was told."
    } else {
        "No webhook wanted this event when it came, so nobody was told."
    };
    ok(&Show {
        shell: Shell::new(&visitor, Section::Events, &event.name, &flash),
        href: format!("{base}/events/{id}"),
        may_resend: visitor.is_at_least(Role::Member) && expunged.is_none(),
        may_expunge: visitor.is_at_least(Role::Admin) && expunged.is_none(),
        expunged: expunged.map(|expunged| ExpungedView::new(expunged, now_ms)),
        receivers,
        id: stored.id.to_string(),
        kind: event.kind.as_str(),
        verification: event.verification.as_str(),
        replaces_traits: event.replace_traits,
        occurred: When::new(event.occurred_at_ms, now_ms),
        received: When::new(event.received_at_ms, now_ms),
        identifiers: identifiers(&event),
        facts: facts
            .into_iter()
            .filter_map(|(name, value)| {
                Some(Fact {
                    name,
                    value: value?,
                })
            })
            .collect(),
        profiles: about
            .into_iter()
            .map(|(title, id)| ProfileLink {
                title,
                href: format!("{base}/profiles/{id}"),
            })
            .collect(),
        parts: parts(&event),
        deliveries,
        why_none,
        name: event.name.into(),
    })
}

/// The workspace's webhooks: which got the event, and why the others did not.
fn receivers(
    catalog: &Catalog,
    stored: &StoredEvent,
    owed: &[history::DeliveryRow],
    expunged: Option<&Expunged>,
    base: &str,
) -> Vec<Receiver> {
    let data = message::body(Format::Standard, stored, None)
        .ok()
        .and_then(|body| serde_json::from_slice::<serde_json::Value>(&body).ok())
        .and_then(|mut message| message.get_mut("data").map(serde_json::Value::take));
    let had_it = |webhook: WebhookId| {
        let is_its =
            |row: &history::DeliveryRow| row.webhook == webhook && row.origin != Some(Origin::Test);
        owed.iter().any(is_its)
    };
    catalog
        .webhooks_of(stored.event.workspace)
        .iter()
        .take(MAX_RECEIVERS)
        .map(|webhook| {
            let had_it = had_it(webhook.id);
            let note = match webhook.state {
                _ if !had_it && expunged.is_some() => String::new(),
                _ if !had_it => why_not(webhook, stored, data.as_ref()),
                WebhookState::Active => "It was sent this event.".to_owned(),
                WebhookState::Paused => "It was sent this event, and is paused now.".to_owned(),
                WebhookState::Disabled => "It was sent this event, and is disabled now.".to_owned(),
            };
            Receiver {
                id: webhook.id.to_string(),
                name: webhook.settings.name.to_string(),
                href: format!("{base}/webhooks/{}", webhook.id),
                had_it,
                note,
            }
        })
        .collect()
}

/// Why a webhook did not get an event.
fn why_not(webhook: &Webhook, stored: &StoredEvent, data: Option<&serde_json::Value>) -> String {
    if webhook.id.as_i64() > stored.id.as_i64() {
        return "It was made after the event.".to_owned();
    }
    if !webhook.wants(&stored.event.name) {
        return "It does not listen for this event type.".to_owned();
    }
    let unmet = webhook
        .settings
        .filters
        .iter()
        .find(|filter| !data.is_some_and(|data| filter.matches(data)));
    match unmet {
        Some(filter) => format!("Its filter {filter} did not match."),
        None => "It would get this event today, so it was changed since, or what it got is older than the box keeps deliveries.".to_owned(),
    }
}

fn identifiers(event: &Event) -> Vec<Fact> {
    let ids = &event.identifiers;
    [
        ("User id", &ids.user_id),
        ("Email", &ids.email),
        ("Customer id", &ids.customer_id),
        ("Group id", &ids.group_id),
        ("Visitor id", &ids.visitor_id),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        let value = value.as_deref()?.to_owned();
        Some(Fact { name, value })
    })
    .collect()
}

fn parts(event: &Event) -> Vec<Part> {
    [
        ("Properties", &event.properties),
        ("Traits", &event.traits),
        ("Context", &event.context),
    ]
    .into_iter()
    .filter_map(|(title, json)| {
        let body = BodyView::of(json.as_deref()?.as_bytes());
        Some(Part { title, body })
    })
    .collect()
}

/// The profiles that the event is about, once it is projected: its person's and its account's.
fn profiles(
    connection: &Connection,
    workspace: WorkspaceId,
    event: &Event,
) -> Result<Vec<(&'static str, ProfileId)>> {
    let (ids, customer_is_account) = (&event.identifiers, event.customer_is_account);
    let person: Vec<_> = identity::person(ids, customer_is_account).collect();
    let account: Vec<_> = identity::account(ids, customer_is_account).collect();
    let mut found = Vec::new();
    for (title, keys) in [("Profile", person), ("Account", account)] {
        for (kind, value) in keys {
            if let Some(profile) = projection::profile_of(connection, workspace, kind, &value)? {
                found.push((title, profile));
                break;
            }
        }
    }
    Ok(found)
}
