//! One event type: how often it was seen, what did not match, and the form in which it is declared.

use super::answer::{Page, ok, page, see_other};
use super::event_types::{href, name_in};
use super::flash::{self, Flash, Said};
use super::format::number;
use super::forms::{Form, Refusals};
use super::session::Visitor;
use super::view::{Section, Shell, When};
use crate::access::Role;
use crate::error::{Error, Kind, Result};
use crate::event_type::{
    Declaration, MAX_DESCRIPTION_CHARS, Mode, SCHEMA_VIOLATION, builtin_description,
};
use crate::manage;
use crate::normalize;
use crate::store::event_types::{self, DeclaredRow, SeenRow, ViolationRow};
use actix_web::web;
use askama::Template;

/// What is known of a type.
struct Known {
    declared: Option<DeclaredRow>,
    seen: Option<SeenRow>,
    violations: Option<ViolationRow>,
}

/// The name in a path.
///
/// # Errors
/// [`Kind::NotFound`] for what no event may be called.
fn name_of(path: &(String, String)) -> Result<String> {
    let name = name_in(&path.1);
    match normalize::check_name(name, "name") {
        Ok(()) => Ok(name.to_owned()),
        Err(_) => Err(Error::not_found("event type")),
    }
}

async fn known(visitor: &Visitor, name: &str) -> Result<Known> {
    let (workspace, name) = (visitor.membership.workspace, name.to_owned());
    visitor
        .desk()
        .read(move |connection| {
            Ok(Known {
                declared: event_types::declared(connection, workspace, &name)?,
                seen: event_types::seen(connection, workspace, &name)?,
                violations: event_types::violations(connection, workspace, &name)?,
            })
        })
        .await
}

struct Violated {
    events: String,
    last: When,
    event: Option<String>,
    pointer: String,
    detail: String,
}

#[derive(Template)]
#[template(path = "event_type.html")]
struct Show {
    shell: Shell,
    name: String,
    href: String,
    about: Option<&'static str>,
    events: String,
    first: Option<When>,
    last: Option<When>,
    declared: Option<(When, When)>,
    violated: Option<Violated>,
    rejects: String,
    draft: Declaration,
    enforces: bool,
    max_description: usize,
    refusals: Refusals,
    may_change: bool,
}

fn render(
    visitor: &Visitor,
    flash: &Flash,
    known: Known,
    draft: Declaration,
    refusals: Refusals,
) -> Page {
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let when = |at_ms| When::new(at_ms, now_ms);
    let status = refusals.status();
    let show = Show {
        shell: Shell::new(visitor, Section::EventTypes, &draft.name, flash),
        href: href(&base, &draft.name),
        about: builtin_description(&draft.name),
        events: number(known.seen.map_or(0, |seen| seen.events)),
        first: known.seen.map(|seen| when(seen.first_seen_at_ms)),
        last: known.seen.map(|seen| when(seen.last_seen_at_ms)),
        declared: known
            .declared
            .map(|row| (when(row.created_at_ms), when(row.updated_at_ms))),
        violated: known.violations.map(|row| Violated {
            events: number(row.events),
            last: when(row.last_at_ms),
            event: row.last_event.map(|event| format!("{base}/events/{event}")),
            pointer: row.last_pointer,
            detail: row.last_detail,
        }),
        rejects: format!("{base}/rejects?code={SCHEMA_VIOLATION}"),
        enforces: draft.mode == Mode::Enforce.as_str(),
        max_description: MAX_DESCRIPTION_CHARS,
        name: draft.name.clone(),
        draft,
        refusals,
        may_change: visitor.is_at_least(Role::Member),
    };
    page(status, &show)
}

/// One type, whether it is declared, was seen or is neither yet.
pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    flash: web::Query<Flash>,
) -> Page {
    let name = name_of(&path)?;
    let known = known(&visitor, &name).await?;
    let declared = known.declared.as_ref().map(|row| row.declared.clone());
    let draft = match declared {
        None => Declaration {
            name,
            ..Declaration::default()
        },
        Some(declared) => Declaration {
            name,
            description: declared.description,
            schema: declared.schema.unwrap_or_default(),
            mode: declared.mode.as_str().to_owned(),
            example: declared.example.unwrap_or_default(),
        },
    };
    render(&visitor, &flash, known, draft, Refusals::default())
}

/// Declares a type, or changes what is declared of it.
pub(super) async fn save(visitor: Visitor, path: web::Path<(String, String)>, form: Form) -> Page {
    visitor.must_be(Role::Member)?;
    let name = name_of(&path)?;
    let fields = form.open_signed(
        &visitor.person.form_token,
        &["description", "schema", "mode", "example"],
    )?;
    let draft = Declaration {
        name: name.clone(),
        description: fields.one("description").to_owned(),
        schema: fields.one("schema").to_owned(),
        mode: fields.one("mode").to_owned(),
        example: fields.one("example").to_owned(),
    };
    let workspace = visitor.membership.workspace;
    let saved = match draft.check() {
        Err(refusal) => Err(refusal),
        Ok(declared) => {
            visitor
                .desk()
                .change_catalog(visitor.user(), move |connection, actor| {
                    manage::declare_event_type(connection, actor, workspace, &declared)
                })
                .await
        }
    };
    match saved {
        Ok(()) => {
            let shown = href(&visitor.base(), &name);
            Ok(see_other(&flash::to(&shown, Said::Declared, 0)))
        }
        Err(error) if error.kind() == Kind::Invalid => {
            let refusals = Refusals::of(error)?;
            let known = known(&visitor, &name).await?;
            render(&visitor, &Flash::default(), known, draft, refusals)
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "event_type_remove.html")]
struct AskRemove {
    shell: Shell,
    name: String,
    href: String,
    enforces: bool,
}

/// Asks before what is declared of a type goes.
pub(super) async fn ask_remove(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    visitor.must_be(Role::Member)?;
    let name = name_of(&path)?;
    let known = known(&visitor, &name).await?;
    let declared = known
        .declared
        .ok_or_else(|| Error::not_found("event type"))?;
    ok(&AskRemove {
        shell: Shell::new(
            &visitor,
            Section::EventTypes,
            "Remove declaration",
            &Flash::default(),
        ),
        href: href(&visitor.base(), &name),
        enforces: declared.declared.mode == Mode::Enforce,
        name,
    })
}

/// Removes what is declared of a type.
pub(super) async fn remove(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let name = name_of(&path)?;
    form.open_signed(&visitor.person.form_token, &[])?;
    let workspace = visitor.membership.workspace;
    visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::remove_event_type(connection, actor, workspace, &name)
        })
        .await?;
    let list = format!("{}/event-types", visitor.base());
    Ok(see_other(&flash::to(&list, Said::Undeclared, 0)))
}
