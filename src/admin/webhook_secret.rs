//! What a webhook signs with: how a receiver verifies it, the secret shown to who types the password again, and
//! its change, with a time in which both sign.

use super::answer::{Page, page, see_other};
use super::flash::{self, Flash, Said};
use super::forms::{Form, Refusals};
use super::gate::{Gate, guessers};
use super::login;
use super::session::Visitor;
use super::view::{CopyBlock, Section, Shell, When};
use super::webhook_draft::{self, Alternative};
use super::webhook_form::webhook_id;
use crate::access::Role;
use crate::error::{Error, Result};
use crate::manage::{self, KeyChange};
use crate::snippets;
use crate::store::webhooks;
use crate::webhook::{
    DEFAULT_OVERLAP_HOURS, MAX_OVERLAP_HOURS, RetiredKey, Signing, Webhook, check_overlap,
};
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web;
use askama::Template;

/// A key that is shown on this page, this once.
struct Shown {
    is_new: bool,
    block: CopyBlock,
}

#[derive(Template)]
#[template(path = "webhook_secret.html")]
struct Secret {
    shell: Shell,
    name: String,
    href: String,
    title: &'static str,
    about: &'static str,
    is_shared: bool,
    shown: Option<Shown>,
    /// Shown to whoever may see the page: nobody can sign with it.
    public_key: Option<CopyBlock>,
    before: Option<(&'static str, When)>,
    guides: Vec<(&'static str, CopyBlock)>,
    signings: Vec<Alternative>,
    as_of: i64,
    overlap: String,
    overlap_hint: String,
    refusals: Refusals,
}

/// What is said beyond what is so of the webhook.
#[derive(Default)]
struct Told {
    shown: Option<Shown>,
    /// What was written into the form of the change, where it was refused.
    overlap: Option<String>,
    refusals: Refusals,
}

async fn subject(visitor: &Visitor, path: &(String, String)) -> Result<Webhook> {
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    let vault = visitor.desk().vault.clone();
    visitor
        .desk()
        .read(move |connection| Ok(webhooks::get(connection, &vault, workspace, id)?.webhook))
        .await
}

fn render(visitor: &Visitor, webhook: Webhook, told: Told) -> Page {
    let now_ms = visitor.desk().now_ms;
    let signing = webhook.key.signing;
    let (title, about) = webhook_draft::signing_words(signing);
    let still_signs = |retired: &RetiredKey| {
        let (title, _) = webhook_draft::signing_words(retired.key.signing);
        (title, When::due(retired.until_ms, now_ms))
    };
    let is_shared = signing == Signing::Hmac;
    let public_key = (!is_shared && told.shown.is_none())
        .then(|| webhook.key.reveal())
        .transpose()?
        .map(|key| CopyBlock::new("the public key", key));
    let status = told.refusals.status();
    let shown = Secret {
        shell: Shell::new(visitor, Section::Webhooks, "Signature", &Flash::default()),
        href: format!("{}/webhooks/{}", visitor.base(), webhook.id),
        name: webhook.settings.name.into(),
        title,
        about,
        is_shared,
        public_key,
        before: webhook
            .retired_key
            .as_ref()
            .filter(|retired| retired.until_ms > now_ms)
            .map(still_signs),
        guides: snippets::verification(signing)
            .into_iter()
            .map(|code| (code.language, CopyBlock::new(code.what, code.text)))
            .collect(),
        signings: webhook_draft::signings(signing),
        as_of: webhook.changed_at_ms,
        overlap: told
            .overlap
            .unwrap_or_else(|| DEFAULT_OVERLAP_HOURS.to_string()),
        overlap_hint: format!(
            "Whole hours, from 0 to {MAX_OVERLAP_HOURS} (7 days). Until then both sign, so that the receiver can change over."
        ),
        shown: told.shown,
        refusals: told.refusals,
    };
    page(status, &shown)
}

/// How to verify, and what can be done with the secret.
pub(super) async fn show(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    visitor.must_be(Role::Member)?;
    let webhook = subject(&visitor, &path).await?;
    render(&visitor, webhook, Told::default())
}

fn wrong_password(visitor: &Visitor, webhook: Webhook, detail: String) -> Page {
    let told = Told {
        refusals: Refusals::of(Error::field("/password", "wrong_password", detail))?,
        ..Told::default()
    };
    render(visitor, webhook, told)
}

/// Shows what it signs with to who types the password again: a session alone, left open somewhere, is not
/// enough. Wrong ones count as they do at the door (promise 24).
pub(super) async fn reveal(
    visitor: Visitor,
    gate: web::Data<Gate>,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let desk = visitor.desk();
    login::must_be_private(&desk.settings)?;
    let webhook = subject(&visitor, &path).await?;
    let fields = form.open_signed(&visitor.person.form_token, &["password"])?;
    let user = &visitor.person.user;
    let guessers = guessers(&user.email, desk.address);
    if let Err(too_many) = gate.admit(&guessers, desk.now_ms) {
        let detail = Error::from(too_many).message().to_owned();
        let mut response = wrong_password(&visitor, webhook, detail)?;
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response
            .headers_mut()
            .insert(RETRY_AFTER, too_many.retry_after_s.into());
        return Ok(response);
    }
    let hash = Some(user.password_hash.clone());
    if !gate.verify(fields.one("password").to_owned(), hash).await? {
        let detail =
            "This is not your password, so nothing is shown. Type the one you sign in with.";
        return wrong_password(&visitor, webhook, detail.to_owned());
    }
    gate.forgive(&guessers);
    let (workspace, id) = (visitor.membership.workspace, webhook.id);
    // It is written down before it is shown.
    desk.change(visitor.user(), move |connection, actor| {
        manage::note_reveal(connection, actor, workspace, id)
    })
    .await?;
    let told = Told {
        shown: Some(Shown {
            is_new: false,
            block: CopyBlock::new("what it is verified with", webhook.key.reveal()?),
        }),
        ..Told::default()
    };
    render(&visitor, webhook, told)
}

/// Signs with a new key from now on, and shows it, this once: the answer to the form is the page itself.
pub(super) async fn rotate(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let webhook = subject(&visitor, &path).await?;
    let fields = form.open_signed(&visitor.person.form_token, &["signing", "overlap", "as_of"])?;
    let overlap = check_overlap(fields.one("overlap"));
    let signing = match fields.one("signing") {
        "" => Some(webhook.key.signing),
        word => Signing::parse(word),
    };
    let (Ok(overlap), Some(signing)) = (&overlap, signing) else {
        let refusal = overlap.err().unwrap_or_else(|| {
            let detail = "This is none of the ways to sign; choose one of those below.";
            Error::field("/signing", "unknown_choice", detail)
        });
        let told = Told {
            overlap: Some(fields.one("overlap").to_owned()),
            refusals: Refusals::of(refusal)?,
            ..Told::default()
        };
        return render(&visitor, webhook, told);
    };
    let (workspace, id) = (visitor.membership.workspace, webhook.id);
    let change = KeyChange {
        signing,
        overlap: *overlap,
        as_of: webhook_draft::as_of(&fields),
    };
    let vault = visitor.desk().vault.clone();
    let made = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::rotate_key(connection, actor, &vault, workspace, id, change)
        })
        .await;
    let told = match made {
        Ok(key) => Told {
            shown: Some(Shown {
                is_new: true,
                block: CopyBlock::new("what it is verified with", key),
            }),
            ..Told::default()
        },
        Err(refusal) => Told {
            overlap: Some(fields.one("overlap").to_owned()),
            refusals: Refusals::of(refusal)?,
            ..Told::default()
        },
    };
    let webhook = subject(&visitor, &path).await?;
    render(&visitor, webhook, told)
}

/// Signs with the newest key alone from now on.
pub(super) async fn end_overlap(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    form.open_signed(&visitor.person.form_token, &[])?;
    let vault = visitor.desk().vault.clone();
    visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::end_overlap(connection, actor, &vault, workspace, id)
        })
        .await?;
    let shown = format!("{}/webhooks/{id}", visitor.base());
    Ok(see_other(&flash::to(&shown, Said::OverlapEnded, 0)))
}
