//! The workspace's settings: so far, how many people may be active in a month before somebody is told.

use super::answer::{Page, page, see_other};
use super::flash::{self, Flash, Said};
use super::format::number;
use super::forms::{Form, Refusals};
use super::session::Visitor;
use super::view::{Section, Shell};
use crate::access::Role;
use crate::error::{Error, Result};
use crate::manage;
use crate::store::{journal, workspaces};
use crate::time::{month, month_text};
use actix_web::web;
use askama::Template;

/// Nobody counts further.
const MAX_LIMIT: i64 = 1_000_000_000;

#[derive(Template)]
#[template(path = "settings.html")]
struct Show {
    shell: Shell,
    limit: String,
    active: String,
    month: String,
    refusals: Refusals,
}

async fn render(visitor: &Visitor, flash: &Flash, refused: Option<(String, Refusals)>) -> Page {
    let (workspace, month) = (visitor.membership.workspace, month(visitor.desk().now_ms));
    let (limit, active) = visitor
        .desk()
        .read(move |connection| {
            let limit = workspaces::mau_limit(connection, workspace)?;
            Ok((limit, journal::active(connection, workspace, month)?))
        })
        .await?;
    let stored = limit.map_or(String::new(), |limit| limit.to_string());
    let (limit, refusals) = refused.unwrap_or((stored, Refusals::default()));
    let status = refusals.status();
    let show = Show {
        shell: Shell::new(visitor, Section::Settings, "Settings", flash),
        limit,
        active: number(active),
        month: month_text(month),
        refusals,
    };
    page(status, &show)
}

/// The settings.
pub(super) async fn show(visitor: Visitor, flash: web::Query<Flash>) -> Page {
    visitor.must_be(Role::Admin)?;
    render(&visitor, &flash, None).await
}

/// Sets the limit; nothing for none.
pub(super) async fn save(visitor: Visitor, form: Form) -> Page {
    visitor.must_be(Role::Admin)?;
    let fields = form.open_signed(&visitor.person.form_token, &["mau_limit"])?;
    let text = fields.one("mau_limit").trim().to_owned();
    let limit = match limit(&text) {
        Ok(limit) => limit,
        Err(error) => {
            let refusals = Refusals::of(error)?;
            return render(&visitor, &Flash::default(), Some((text, refusals))).await;
        }
    };
    let workspace = visitor.membership.workspace;
    visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::set_mau_limit(connection, actor, workspace, limit)
        })
        .await?;
    let settings = format!("{}/settings", visitor.base());
    Ok(see_other(&flash::to(&settings, Said::LimitSet, 0)))
}

fn limit(text: &str) -> Result<Option<i64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let limit = text
        .parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit));
    match limit {
        Some(limit) => Ok(Some(limit)),
        None => Err(Error::field(
            "/mau_limit",
            "invalid_number",
            "Write a whole number of people, such as 10000, or nothing for no limit.",
        )),
    }
}
