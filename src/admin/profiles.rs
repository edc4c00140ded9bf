//! Profiles: whom the events are about. A list, found by any identifier, and one of them with
//! where each of its facts came from.

use super::answer::{Page, ok};
use super::flash::Flash;
use super::format::number;
use super::session::Visitor;
use super::view::{Cursor, PAGE_ROWS, Section, Shell, When, cut_page};
use crate::error::Error;
use crate::id::{EventId, ProfileId};
use crate::store::profiles;
use actix_web::web;
use askama::Template;
use serde::Deserialize;

/// What is searched for has at most this many characters; no identifier is longer.
const MAX_QUERY_CHARS: usize = 512;

#[derive(Deserialize)]
pub(super) struct Search {
    q: Option<String>,
}

struct Row {
    href: String,
    name: String,
    kind: &'static str,
    events: String,
    first: When,
    last: When,
}

impl Row {
    fn new(row: profiles::ProfileRow, base: &str, now_ms: i64) -> Self {
        Self {
            href: format!("{base}/profiles/{}", row.id),
            name: row.identifier.unwrap_or_else(|| row.id.to_string()),
            kind: row.kind.as_str(),
            events: number(row.events),
            first: When::new(row.first_seen_at_ms, now_ms),
            last: When::new(row.last_seen_at_ms, now_ms),
        }
    }
}

#[derive(Template)]
#[template(path = "profiles.html")]
struct List {
    shell: Shell,
    query: String,
    rows: Vec<Row>,
    is_first: bool,
    next: Option<String>,
}

/// The newest profiles, or those with an identifier.
pub(super) async fn list(
    visitor: Visitor,
    search: web::Query<Search>,
    cursor: web::Query<Cursor>,
) -> Page {
    let workspace = visitor.membership.workspace;
    let query: String = search
        .into_inner()
        .q
        .unwrap_or_default()
        .trim()
        .chars()
        .take(MAX_QUERY_CHARS)
        .collect();
    let before: Option<ProfileId> = cursor.before();
    let wanted = query.clone();
    let mut found = visitor
        .desk()
        .read(move |connection| {
            if wanted.is_empty() {
                profiles::page(connection, workspace, before, PAGE_ROWS + 1)
            } else {
                profiles::find(connection, workspace, &wanted)
            }
        })
        .await?;
    let next = cut_page(&mut found, |row| row.id.to_string());
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    ok(&List {
        shell: Shell::new(&visitor, Section::Profiles, "Profiles", &Flash::default()),
        rows: found
            .into_iter()
            .map(|row| Row::new(row, &base, now_ms))
            .collect(),
        is_first: before.is_none(),
        // A search finds the few that hold the identifier; it has no second page.
        next: next.filter(|_| query.is_empty()),
        query,
    })
}

struct Fact {
    name: String,
    value: String,
    event: String,
    since: When,
}

struct Moment {
    href: String,
    name: String,
    when: When,
}

#[derive(Template)]
#[template(path = "profile.html")]
struct Show {
    shell: Shell,
    id: String,
    profile: Row,
    identifiers: Vec<Fact>,
    traits: Vec<Fact>,
    timeline: Vec<Moment>,
    is_first: bool,
    next: Option<String>,
}

/// One profile.
pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    cursor: web::Query<Cursor>,
) -> Page {
    let id: ProfileId = path.1.parse().map_err(|_| Error::not_found("profile"))?;
    let workspace = visitor.membership.workspace;
    let before: Option<EventId> = cursor.before();
    let (row, identifiers, traits, mut timeline) = visitor
        .desk()
        .read(move |connection| {
            let row = profiles::get(connection, workspace, id)?;
            let parts = profiles::parts(connection, id)?;
            Ok((
                row,
                profiles::identifiers(connection, workspace, id)?,
                profiles::traits(connection, id)?,
                profiles::timeline(connection, &parts, before, PAGE_ROWS + 1)?,
            ))
        })
        .await?;
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let next = cut_page(&mut timeline, |row| row.event.to_string());
    let fact = |name: String, value: String, event: EventId| Fact {
        name,
        value,
        event: format!("{base}/events/{event}"),
        since: When::new(event.unix_ms(), now_ms),
    };
    let profile = Row::new(row, &base, now_ms);
    ok(&Show {
        shell: Shell::new(
            &visitor,
            Section::Profiles,
            &profile.name,
            &Flash::default(),
        ),
        id: id.to_string(),
        identifiers: identifiers
            .into_iter()
            .map(|row| fact(row.kind, row.value, row.event))
            .collect(),
        traits: traits
            .into_iter()
            .map(|row| fact(row.name, row.value, row.event))
            .collect(),
        timeline: timeline
            .into_iter()
            .map(|row| Moment {
                href: format!("{base}/events/{}", row.event),
                name: row.name,
                when: When::new(row.occurred_at_ms, now_ms),
            })
            .collect(),
        is_first: before.is_none(),
        next,
        profile,
    })
}
