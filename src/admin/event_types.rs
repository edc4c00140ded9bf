//! Event types: what is declared and what was seen, with the families that every workspace knows, and the
//! way to one of them.

use super::answer::{Page, page, see_other};
use super::flash::Flash;
use super::format::number;
use super::forms::Refusals;
use super::session::Visitor;
use super::view::{PAGE_ROWS, Section, Shell, State, When};
use crate::access::Role;
use crate::event_type::{FAMILIES, Family, builtin_description, example_data};
use crate::normalize;
use crate::store::event_types::{self, TypeRow};
use actix_web::web;
use askama::Template;
use serde::Deserialize;
use serde_json::json;

/// What the list is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// The name behind which the page begins.
    after: Option<String>,
    /// The name to go to.
    name: Option<String>,
}

struct Row {
    href: String,
    name: String,
    description: String,
    check: Option<State>,
    violations: Option<String>,
    events: String,
    first: Option<When>,
    last: Option<When>,
}

impl Row {
    fn new((name, row): (String, TypeRow), base: &str, now_ms: i64) -> Self {
        let declared = row.declared;
        let description = declared
            .as_ref()
            .map(|declared| declared.description.clone())
            .filter(|description| !description.is_empty())
            .or_else(|| builtin_description(&name).map(str::to_owned));
        Self {
            href: href(base, &name),
            description: description.unwrap_or_default(),
            check: declared
                .filter(|declared| declared.schema.is_some())
                .map(|declared| State::of_mode(declared.mode)),
            violations: (row.violations > 0).then(|| number(row.violations)),
            events: number(row.seen.map_or(0, |seen| seen.events)),
            first: row
                .seen
                .map(|seen| When::new(seen.first_seen_at_ms, now_ms)),
            last: row.seen.map(|seen| When::new(seen.last_seen_at_ms, now_ms)),
            name,
        }
    }
}

/// Stands before a name that could not stand in a path for itself.
const MARK: char = '~';

/// Whether [`MARK`] stands before a name: dots alone lead elsewhere, escaped too.
fn is_marked(name: &str) -> bool {
    matches!(name, "." | "..") || name.starts_with(MARK)
}

/// The name that [`href`] has put into a path.
pub(super) fn name_in(path: &str) -> &str {
    path.strip_prefix(MARK)
        .filter(|name| is_marked(name))
        .unwrap_or(path)
}

/// The path of a type's page. Its name is the app's own and may hold anything.
pub(super) fn href(base: &str, name: &str) -> String {
    let mut path = String::new();
    if is_marked(name) {
        path.push(MARK);
    }
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("{base}/event-types/{path}")
}

/// A family, with an example of what a webhook gets of each of its types.
struct Known {
    family: &'static Family,
    types: Vec<(&'static str, &'static str, String)>,
}

fn known() -> Vec<Known> {
    let families = FAMILIES.iter().map(|family| Known {
        family,
        types: family
            .types
            .iter()
            .map(|(name, about)| (*name, *about, example(name)))
            .collect(),
    });
    families.collect()
}

/// The body of an example message.
fn example(name: &str) -> String {
    let body =
        json!({"type": name, "timestamp": "2026-01-01T12:00:00.000Z", "data": example_data(name)});
    format!("{body:#}")
}

#[derive(Template)]
#[template(path = "event_types.html")]
struct List {
    shell: Shell,
    rows: Vec<Row>,
    name: String,
    refusals: Refusals,
    families: Vec<Known>,
    is_first: bool,
    next: Option<String>,
    may_change: bool,
}

/// The types by name; with the name of one, on to its page.
pub(super) async fn list(
    visitor: Visitor,
    wanted: web::Query<Wanted>,
    flash: web::Query<Flash>,
) -> Page {
    let Wanted { after, name } = wanted.into_inner();
    let mut refusals = Refusals::default();
    if let Some(name) = &name {
        match normalize::check_name(name.trim(), "name") {
            Ok(()) => return Ok(see_other(&href(&visitor.base(), name.trim()))),
            Err(refusal) => refusals = Refusals::of(refusal)?,
        }
    }
    let workspace = visitor.membership.workspace;
    let from = after.clone().unwrap_or_default();
    let mut found = visitor
        .desk()
        .read(move |connection| event_types::page(connection, workspace, &from, PAGE_ROWS + 1))
        .await?;
    let has_more = found.len() > PAGE_ROWS;
    found.truncate(PAGE_ROWS);
    let next = has_more.then(|| found.last().map(|(name, _)| by_name(name)));
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let status = refusals.status();
    let list = List {
        shell: Shell::new(&visitor, Section::EventTypes, "Event types", &flash),
        rows: found
            .into_iter()
            .map(|found| Row::new(found, &base, now_ms))
            .collect(),
        name: name.unwrap_or_default(),
        refusals,
        families: if after.is_none() { known() } else { Vec::new() },
        is_first: after.is_none(),
        next: next.flatten(),
        may_change: visitor.is_at_least(Role::Member),
    };
    page(status, &list)
}

/// The query of the page that begins behind a name.
fn by_name(name: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("after", name)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_from_its_path() {
        for (name, path) in [
            (".", "~."),
            ("..", "~.."),
            ("~", "~~"),
            ("~.", "~~."),
            ("~~", "~~~"),
            ("~a", "~~a"),
            ("...", "..."),
            (" a ", " a "),
        ] {
            let escaped = path.replace('.', "%2E").replace(' ', "%20");
            assert_eq!(href("/w/a", name), format!("/w/a/event-types/{escaped}"));
            assert_eq!(name_in(path), name);
        }
        assert_eq!(name_in("~a"), "~a");
    }

    #[test]
    fn any_name_fits_into_a_path() {
        assert_eq!(
            href("/w/a", "Post Created"),
            "/w/a/event-types/Post%20Created"
        );
        assert_eq!(
            href("/w/a", "a/../?é"),
            "/w/a/event-types/a%2F%2E%2E%2F%3F%C3%A9"
        );
    }
}
