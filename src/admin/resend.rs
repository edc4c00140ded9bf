//! What is sent because a person asks: a past event to chosen webhooks, and tests of a webhook.

use super::answer::{Page, see_other};
use super::events::event_id;
use super::flash::{self, Said};
use super::forms::Form;
use super::session::Visitor;
use super::webhook_form::webhook_id;
use crate::access::Role;
use crate::deliver::AttemptRequests;
use crate::delivery::Trigger;
use crate::error::{Error, Result};
use crate::id::WebhookId;
use crate::manage;
use crate::store::{events, webhooks};
use actix_web::web;

/// Webhooks that an event can be sent to at once.
const MAX_WEBHOOKS: usize = 200;

/// Sends a past event to the webhooks that were chosen.
pub(super) async fn event(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    attempts: web::Data<AttemptRequests>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, event_id(&path)?);
    visitor
        .desk()
        .read(move |connection| events::get(connection, workspace, id))
        .await?;
    let fields = form.open_signed(&visitor.person.form_token, &["webhook"])?;
    let chosen = chosen(fields.all("webhook"))?;
    let catalog = visitor.desk().catalog.clone();
    let resent = visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            let catalog = catalog.current();
            manage::resend_event(connection, actor, &catalog, workspace, id, &chosen)
        })
        .await?;
    let count = resent.count();
    for delivery in resent.again {
        attempts
            .request_in_turn(delivery, Trigger::Manual, None)
            .await;
    }
    for owed in resent.new {
        attempts.send(owed).await;
    }
    let shown = format!("{}/events/{id}", visitor.base());
    Ok(see_other(&flash::to(&shown, Said::Resent, count)))
}

fn chosen(mut texts: Vec<String>) -> Result<Vec<WebhookId>> {
    texts.sort_unstable();
    texts.dedup();
    if texts.is_empty() || texts.len() > MAX_WEBHOOKS {
        let detail = format!("Choose at least one webhook, and at most {MAX_WEBHOOKS}.");
        return Err(Error::field("/webhook", "required", detail));
    }
    texts.iter().map(|text| webhook_id(text)).collect()
}

/// Tries a webhook: whatever it listens for and whether it sends, once.
pub(super) async fn test(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    attempts: web::Data<AttemptRequests>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    let vault = visitor.desk().vault.clone();
    visitor
        .desk()
        .read(move |connection| webhooks::get(connection, &vault, workspace, id))
        .await?;
    let fields = form.open_signed(&visitor.person.form_token, &["what"])?;
    let what = fields.one("what").to_owned();
    let catalog = visitor.desk().catalog.clone();
    let delivery = visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            let catalog = catalog.current();
            manage::test_webhook(connection, actor, &catalog, workspace, id, &what)
        })
        .await?;
    attempts
        .request_in_turn(delivery, Trigger::Test, None)
        .await;
    let shown = format!("{}/deliveries/{delivery}", visitor.base());
    Ok(see_other(&flash::to(&shown, Said::Tested, 0)))
}
