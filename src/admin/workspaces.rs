//! Workspaces: which ones there are for a person, a new one, another name.

use super::answer::{Page, ok, page, see_other};
use super::flash::{self, Flash, Said};
use super::format::number;
use super::forms::{Form, Refusals};
use super::session::{Person, Visitor};
use super::view::{Section, Shell};
use crate::access::Role;
use crate::error::{Error, Kind};
use crate::manage;
use crate::store::profiles;
use actix_web::http::StatusCode;
use askama::Template;

/// A workspace's size is counted over this many hours.
const RECENT_HOURS: i64 = 24;
const MS_PER_HOUR: i64 = 3_600_000;

struct Row {
    href: String,
    name: String,
    role: &'static str,
    events: String,
    may_rename: bool,
}

#[derive(Template)]
#[template(path = "workspaces.html")]
struct List {
    shell: Shell,
    rows: Vec<Row>,
    may_create: bool,
    name: String,
    refusals: Refusals,
}

async fn show(person: &Person, name: String, refusals: Refusals, status: StatusCode) -> Page {
    let workspaces = person.workspaces.clone();
    let from_hour = person.desk.now_ms / MS_PER_HOUR - RECENT_HOURS + 1;
    let rows = person
        .desk
        .read(move |connection| {
            workspaces
                .into_iter()
                .map(|membership| {
                    let usage =
                        profiles::usage(connection, membership.workspace, from_hour, RECENT_HOURS)?;
                    Ok(Row {
                        href: super::session::base(&membership),
                        role: membership.role.as_str(),
                        may_rename: membership.role >= Role::Admin,
                        events: number(usage.iter().map(|(_, events)| events).sum()),
                        name: membership.name,
                    })
                })
                .collect::<crate::error::Result<Vec<_>>>()
        })
        .await?;
    let list = List {
        shell: Shell::outside(person, "Workspaces"),
        rows,
        may_create: person.user.is_operator,
        name,
        refusals,
    };
    page(status, &list)
}

/// The person's workspaces.
pub(super) async fn list(person: Person) -> Page {
    show(&person, String::new(), Refusals::default(), StatusCode::OK).await
}

/// Makes a workspace; operators only.
pub(super) async fn create(person: Person, form: Form) -> Page {
    if !person.user.is_operator {
        return Err(Error::not_found("page").into());
    }
    let fields = form.open_signed(&person.form_token, &["name"])?;
    let name = fields.one("name").to_owned();
    let (owner, wanted) = (person.user.id, name.clone());
    let made = person
        .desk
        .change(Some(owner), move |connection, actor| {
            manage::create_workspace(connection, actor, &wanted, Some(owner))
        })
        .await;
    match made {
        Ok((_, slug)) => Ok(see_other(&format!("/w/{slug}"))),
        Err(error) => {
            let refusals = Refusals::of(error)?;
            show(&person, name, refusals, StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}

#[derive(Template)]
#[template(path = "workspace_rename.html")]
struct Rename {
    shell: Shell,
    name: String,
    refusals: Refusals,
}

/// Asks for another name.
pub(super) async fn rename_form(visitor: Visitor) -> Page {
    visitor.must_be(Role::Admin)?;
    ok(&Rename {
        shell: Shell::new(
            &visitor,
            Section::None,
            "Rename workspace",
            &Flash::default(),
        ),
        name: visitor.membership.name.clone(),
        refusals: Refusals::default(),
    })
}

/// Gives the workspace another name.
pub(super) async fn rename(visitor: Visitor, form: Form) -> Page {
    visitor.must_be(Role::Admin)?;
    let fields = form.open_signed(&visitor.person.form_token, &["name"])?;
    let name = fields.one("name").to_owned();
    let (membership, wanted) = (visitor.membership.clone(), name.clone());
    let renamed = visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            manage::rename_workspace(connection, actor, &membership, &wanted)
        })
        .await;
    match renamed {
        Ok(()) => Ok(see_other(&flash::to(&visitor.base(), Said::Renamed, 0))),
        Err(error) if error.kind() == Kind::Invalid => {
            let again = Rename {
                shell: Shell::new(
                    &visitor,
                    Section::None,
                    "Rename workspace",
                    &Flash::default(),
                ),
                name,
                refusals: Refusals::of(error)?,
            };
            page(StatusCode::UNPROCESSABLE_ENTITY, &again)
        }
        Err(error) => Err(error.into()),
    }
}
