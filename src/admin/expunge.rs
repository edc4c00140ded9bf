//! Taking a payload out of the file: the page that says what goes and what stays, and the doing of it.

use super::answer::{Page, page, see_other};
use super::deliveries::forget;
use super::delivery::delivery_id;
use super::events::event_id;
use super::flash::{self, Flash, Said};
use super::forms::{Form, Refusals};
use super::session::Visitor;
use super::view::{Section, Shell};
use crate::access::Role;
use crate::deliver::AttemptRequests;
use crate::error::{Error, Result};
use crate::id::{DeliveryId, EventId};
use crate::manage::{self, EXPUNGE_WORD};
use crate::store::{events, history};
use actix_web::web;
use askama::Template;

/// Whose payload it is.
#[derive(Clone, Copy)]
enum Subject {
    Event(EventId),
    Delivery(DeliveryId),
}

#[derive(Template)]
#[template(path = "expunge.html")]
struct Ask {
    shell: Shell,
    list: &'static str,
    list_href: String,
    /// Whether it is a message's own, without an event.
    is_of_message: bool,
    name: String,
    href: String,
    word: &'static str,
    refusals: Refusals,
}

impl Subject {
    fn href(self, visitor: &Visitor) -> String {
        match self {
            Self::Event(id) => format!("{}/events/{id}", visitor.base()),
            Self::Delivery(id) => format!("{}/deliveries/{id}", visitor.base()),
        }
    }

    async fn ask(self, visitor: &Visitor, refusals: Refusals) -> Page {
        let workspace = visitor.membership.workspace;
        let (name, is_of_message) = visitor
            .desk()
            .read(move |connection| match self {
                Self::Event(id) => {
                    let name = events::get(connection, workspace, id)?.event.name;
                    Ok((String::from(name), false))
                }
                Self::Delivery(id) => {
                    let row = history::get(connection, workspace, id)?;
                    Ok((row.event_type, row.event.is_none()))
                }
            })
            .await?;
        let (section, list, list_path) = match self {
            Self::Event(_) => (Section::Events, "Events", "events"),
            Self::Delivery(_) => (Section::Deliveries, "Deliveries", "deliveries"),
        };
        let status = refusals.status();
        let ask = Ask {
            shell: Shell::new(visitor, section, "Expunge the payload", &Flash::default()),
            list,
            list_href: format!("{}/{list_path}", visitor.base()),
            is_of_message,
            name,
            href: self.href(visitor),
            word: EXPUNGE_WORD,
            refusals,
        };
        page(status, &ask)
    }

    async fn expunge(self, visitor: &Visitor, attempts: &AttemptRequests, form: Form) -> Page {
        let fields = form.open_signed(&visitor.person.form_token, &["confirm"])?;
        if fields.one("confirm").trim() != EXPUNGE_WORD {
            let refusal = Error::field(
                "/confirm",
                "not_confirmed",
                format!("Type the word {EXPUNGE_WORD}; nothing was changed."),
            );
            return self.ask(visitor, Refusals::of(refusal)?).await;
        }
        let workspace = visitor.membership.workspace;
        let cancelled = visitor
            .desk()
            .change(visitor.user(), move |connection, actor| match self {
                Self::Event(id) => manage::expunge_event(connection, actor, workspace, id),
                Self::Delivery(id) => manage::expunge_delivery(connection, actor, workspace, id),
            })
            .await?;
        forget(attempts, cancelled).await;
        let shown = self.href(visitor);
        Ok(see_other(&flash::to(&shown, Said::Expunged, 1)))
    }
}

fn event_of(visitor: &Visitor, path: &(String, String)) -> Result<Subject> {
    visitor.must_be(Role::Admin)?;
    Ok(Subject::Event(event_id(path)?))
}

fn delivery_of(visitor: &Visitor, path: &(String, String)) -> Result<Subject> {
    visitor.must_be(Role::Admin)?;
    Ok(Subject::Delivery(delivery_id(path)?))
}

/// Asks before an event's payload goes.
pub(super) async fn ask_event(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    event_of(&visitor, &path)?
        .ask(&visitor, Refusals::default())
        .await
}

/// Takes an event's payload out.
pub(super) async fn event(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    attempts: web::Data<AttemptRequests>,
    form: Form,
) -> Page {
    event_of(&visitor, &path)?
        .expunge(&visitor, &attempts, form)
        .await
}

/// Asks before a delivery's payload goes.
pub(super) async fn ask_delivery(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    delivery_of(&visitor, &path)?
        .ask(&visitor, Refusals::default())
        .await
}

/// Takes a delivery's payload out.
pub(super) async fn delivery(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    attempts: web::Data<AttemptRequests>,
    form: Form,
) -> Page {
    delivery_of(&visitor, &path)?
        .expunge(&visitor, &attempts, form)
        .await
}
