//! Events: what came, and one of them in full with what became of it.

use super::answer::{Page, ok};
use super::flash::Flash;
use super::format::number;
use super::json_view::BodyView;
use super::session::Visitor;
use super::view::{Cursor, IdText, PAGE_ROWS, Section, Shell, State, When, cut_page};
use crate::error::{Error, Result};
use crate::event::{Event, StoredEvent};
use crate::id::{EventId, ProfileId, WorkspaceId};
use crate::identity;
use crate::store::{events, history, projection};
use actix_web::web;
use askama::Template;
use rusqlite::Connection;

/// Stands where a number is not known any more.
const UNKNOWN: &str = "–";
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
    state: State,
    attempts: String,
    /// When the last attempt began, if one was made.
    last: Option<When>,
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
}

/// One event.
pub(super) async fn show(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    let id: EventId = path.1.parse().map_err(|_| Error::not_found("event"))?;
    let workspace = visitor.membership.workspace;
    let (stored, owed, about) = visitor
        .desk()
        .read(move |connection| {
            let stored = events::get(connection, workspace, id)?;
            let owed = history::of_event(connection, workspace, id, MAX_DELIVERIES)?;
            let about = profiles(connection, workspace, &stored.event)?;
            Ok((stored, owed, about))
        })
        .await?;
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let event = stored.event;
    let catalog = visitor.desk().catalog.current();
    let source = event.source.and_then(|source| catalog.source_name(source));
    let facts = [
        ("Source", source.map(str::to_owned)),
        ("Channel", event.channel.as_deref().map(str::to_owned)),
    ];
    let deliveries: Vec<_> = owed
        .into_iter()
        .map(|row| DeliveryLine {
            href: format!("{base}/deliveries/{}", row.id),
            state: State::of_delivery(row.state, row.attempts),
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
        "No webhook listened for this event type when the event came, so nobody was told."
    };
    ok(&Show {
        shell: Shell::new(&visitor, Section::Events, &event.name, &Flash::default()),
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
