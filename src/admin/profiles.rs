//! Profiles: whom the events are about. A list, found by any identifier; one of them is in `profile.rs`.

use super::answer::{Page, ok};
use super::flash::Flash;
use super::format::number;
use super::session::Visitor;
use super::view::{Cursor, PAGE_ROWS, Section, Shell, When, cut_page};
use crate::id::ProfileId;
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
