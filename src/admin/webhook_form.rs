//! The form of a webhook, new or known: shown, checked against the network on request, and kept.

use super::answer::{Page, page, see_other};
use super::flash::{self, Flash, Said};
use super::forms::{Form, Refusals};
use super::session::Visitor;
use super::view::{CopyBlock, Section, Shell};
use super::webhook_catalog::{Catalog, MAX_SEEN};
use super::webhook_check::{self, Findings};
use super::webhook_draft::{self, Alternative, Draft, KNOWN_FIELDS, NEW_FIELDS, Row};
use crate::access::Role;
use crate::deliver::check::{CHECK_TIMEOUT, UrlChecker};
use crate::delivery::{MAX_ATTEMPTS, MAX_DELAY};
use crate::error::{Error, FieldError, Result};
use crate::id::WebhookId;
use crate::manage;
use crate::store::profiles;
use crate::store::webhooks;
use crate::webhook::{
    MAX_CONCURRENCY, MAX_FILTERS, MAX_HEADERS, MAX_RATE, Signing, Webhook, WebhookInput,
    WebhookSettings,
};
use actix_web::http::StatusCode;
use actix_web::web;
use askama::Template;

/// The bounds of what few need, in words.
struct Hints {
    filters: usize,
    headers: usize,
    schedule: String,
    concurrency: String,
    rate: String,
}

impl Hints {
    fn new(attempts: usize) -> Self {
        let days = MAX_DELAY.as_secs() / 86_400;
        Self {
            filters: MAX_FILTERS,
            headers: MAX_HEADERS,
            schedule: format!(
                "The delay before each attempt, with commas between them: at most {MAX_ATTEMPTS}, of up to {days} days. Empty: the box’s own, with {attempts} attempts."
            ),
            concurrency: format!(
                "On their way at the same time, 1 to {MAX_CONCURRENCY}. Empty: the box’s own."
            ),
            rate: format!("At most, 1 to {MAX_RATE}. Empty: no limit."),
        }
    }
}

#[derive(Template)]
#[template(path = "webhook_form.html")]
struct Editor {
    shell: Shell,
    title: &'static str,
    action: String,
    back: String,
    submit: &'static str,
    is_new: bool,
    has_credentials: bool,
    as_of: Option<i64>,
    input: WebhookInput,
    catalog: Catalog,
    formats: Vec<Alternative>,
    signings: Vec<Alternative>,
    filters: Vec<Row>,
    headers: Vec<Row>,
    keeps_values: bool,
    is_open: bool,
    hints: Hints,
    findings: Option<Findings>,
    refusals: Refusals,
}

/// A webhook that is there already.
#[derive(Clone)]
struct Known {
    id: WebhookId,
    changed_at_ms: i64,
    settings: WebhookSettings,
}

/// What is said beside what stands in the form.
#[derive(Default)]
struct Told {
    refusals: Refusals,
    findings: Option<Findings>,
}

async fn render(visitor: &Visitor, known: Option<&Known>, draft: Draft, told: Told) -> Page {
    let workspace = visitor.membership.workspace;
    let seen = visitor
        .desk()
        .read(move |connection| profiles::event_types(connection, workspace, MAX_SEEN))
        .await?;
    let Told { refusals, findings } = told;
    let list = format!("{}/webhooks", visitor.base());
    let (title, submit, action) = match known {
        None => ("New webhook", "Create webhook", list.clone()),
        Some(known) => (
            "Edit webhook",
            "Save changes",
            format!("{list}/{}", known.id),
        ),
    };
    let status = refusals.status();
    let editor = Editor {
        shell: Shell::new(visitor, Section::Webhooks, title, &Flash::default()),
        title,
        back: known.map_or(list, |_| action.clone()),
        action,
        submit,
        is_new: known.is_none(),
        // Who was told that it was changed has been shown the way to look; who was not saves on the old terms.
        as_of: known.map(|known| match draft.as_of {
            Some(seen) if !refusals.has("as_of") => seen,
            _ => known.changed_at_ms,
        }),
        has_credentials: known.is_some_and(|known| known.settings.credentials.is_some()),
        catalog: Catalog::new(&seen, &draft.input.events),
        formats: webhook_draft::formats(draft.input.format),
        signings: webhook_draft::signings(draft.signing),
        filters: webhook_draft::filter_rows(&draft.input, &refusals),
        headers: webhook_draft::header_rows(&draft.input, &refusals),
        keeps_values: webhook_draft::keeps_values(&draft.input),
        is_open: draft.has_advanced(),
        hints: Hints::new(visitor.desk().settings.attempts),
        input: draft.input,
        findings,
        refusals,
    };
    page(status, &editor)
}

/// The form of a new webhook.
pub(super) async fn new(visitor: Visitor) -> Page {
    visitor.must_be(Role::Member)?;
    render(&visitor, None, Draft::default(), Told::default()).await
}

/// The form of a known webhook.
pub(super) async fn edit(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    visitor.must_be(Role::Member)?;
    let known = known(&visitor, &path.1).await?;
    let draft = Draft {
        input: WebhookInput::of(&known.settings),
        ..Draft::default()
    };
    render(&visitor, Some(&known), draft, Told::default()).await
}

/// The id in a path.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub(super) fn webhook_id(text: &str) -> Result<WebhookId> {
    text.parse().map_err(|_| Error::not_found("webhook"))
}

async fn known(visitor: &Visitor, id: &str) -> Result<Known> {
    let (workspace, id) = (visitor.membership.workspace, webhook_id(id)?);
    let vault = visitor.desk().vault.clone();
    let row = visitor
        .desk()
        .read(move |connection| webhooks::get(connection, &vault, workspace, id))
        .await?;
    let Webhook {
        changed_at_ms,
        settings,
        ..
    } = row.webhook;
    Ok(Known {
        id,
        changed_at_ms,
        settings,
    })
}

/// Everything that is wrong with the draft, as far as it can be said without dialling.
fn check(visitor: &Visitor, known: Option<&Known>, draft: &Draft) -> Result<()> {
    let before = known.map(|known| &known.settings);
    let checked = webhook_check::check(&draft.input, before, &visitor.desk().settings);
    let mut refused: Vec<FieldError> = draft.wrong.clone();
    match checked {
        Ok(_) if refused.is_empty() => return Ok(()),
        Ok(_) => {}
        Err(e) if e.field_errors().is_empty() => return Err(e),
        Err(e) => refused.extend(e.field_errors().to_vec()),
    }
    Err(Error::fields(refused))
}

/// The form again, with what dialling its URL has found; nothing is kept. Only what is wrong with the URL
/// is said: the rest may not be written yet.
async fn try_url(
    visitor: &Visitor,
    checker: &UrlChecker,
    known: Option<&Known>,
    draft: Draft,
) -> Page {
    let wrong_url = check(visitor, known, &draft).err().and_then(|e| {
        let mut fields = e.field_errors().iter();
        fields.find(|field| field.pointer == "/url").cloned()
    });
    let told = match (wrong_url, url::Url::parse(draft.input.url.trim())) {
        (None, Ok(url)) => Told {
            findings: Some(Findings::new(
                &checker.check(&url, CHECK_TIMEOUT).await?,
                visitor.desk().now_ms,
            )),
            ..Told::default()
        },
        (wrong, _) => Told {
            refusals: Refusals::of(Error::fields(wrong.into_iter().collect()))?,
            ..Told::default()
        },
    };
    render(visitor, known, draft, told).await
}

#[derive(Template)]
#[template(path = "webhook_created.html")]
struct Created {
    shell: Shell,
    name: String,
    href: String,
    is_shared: bool,
    secret: CopyBlock,
    findings: Option<Findings>,
}

/// Makes a webhook and shows its secret, this once: the answer to the form is the page itself.
pub(super) async fn create(visitor: Visitor, checker: web::Data<UrlChecker>, form: Form) -> Page {
    visitor.must_be(Role::Member)?;
    let fields = form.open_signed(&visitor.person.form_token, &NEW_FIELDS)?;
    let draft = Draft::read(&fields);
    if fields.has("check") {
        return try_url(&visitor, &checker, None, draft).await;
    }
    let workspace = visitor.membership.workspace;
    let signing = draft.signing;
    let made = match check(&visitor, None, &draft) {
        Err(refusal) => Err(refusal),
        Ok(()) => {
            let (vault, wanted) = (visitor.desk().vault.clone(), draft.input.clone());
            visitor
                .desk()
                .change_catalog(visitor.user(), move |connection, actor| {
                    manage::create_webhook(connection, actor, &vault, workspace, &wanted, signing)
                })
                .await
        }
    };
    let made = match made {
        Ok(made) => made,
        Err(error) => return refuse(&visitor, None, draft, error).await,
    };
    let shown = Created {
        shell: Shell::new(
            &visitor,
            Section::Webhooks,
            "Webhook created",
            &Flash::default(),
        ),
        name: draft.input.name.trim().to_owned(),
        href: format!("{}/webhooks/{}", visitor.base(), made.id),
        is_shared: signing == Signing::Hmac,
        secret: CopyBlock::new("what it is verified with", made.secret),
        findings: Findings::of_saved(&checker, &draft.input.url, visitor.desk().now_ms).await,
    };
    page(StatusCode::CREATED, &shown)
}

/// Whether nothing can be sent to the URL, as things are.
async fn is_out_of_reach(visitor: &Visitor, checker: &UrlChecker, draft: &Draft) -> bool {
    let now_ms = visitor.desk().now_ms;
    let found = Findings::of_saved(checker, &draft.input.url, now_ms).await;
    found.is_some_and(|found| found.are_bad())
}

/// The form again, with what was refused at its fields.
async fn refuse(visitor: &Visitor, known: Option<&Known>, draft: Draft, error: Error) -> Page {
    let told = Told {
        refusals: Refusals::of(error)?,
        ..Told::default()
    };
    render(visitor, known, draft, told).await
}

/// Changes a webhook.
pub(super) async fn save(
    visitor: Visitor,
    checker: web::Data<UrlChecker>,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    // A webhook that is not there is said before anything in the form is.
    let known = known(&visitor, &path.1).await?;
    let fields = form.open_signed(&visitor.person.form_token, &KNOWN_FIELDS)?;
    let draft = Draft::read(&fields);
    if fields.has("check") {
        return try_url(&visitor, &checker, Some(&known), draft).await;
    }
    let (workspace, id) = (visitor.membership.workspace, known.id);
    let saved = match check(&visitor, Some(&known), &draft) {
        Err(refusal) => Err(refusal),
        Ok(()) => {
            let (vault, wanted) = (visitor.desk().vault.clone(), draft.input.clone());
            let as_of = draft.as_of;
            visitor
                .desk()
                .change_catalog(visitor.user(), move |connection, actor| {
                    manage::edit_webhook(connection, actor, &vault, workspace, id, &wanted, as_of)
                })
                .await
        }
    };
    match saved {
        Ok(()) => {
            let shown = format!("{}/webhooks/{id}", visitor.base());
            let has_moved = draft.input.url.trim() != known.settings.url.as_str();
            let said = match has_moved {
                true if is_out_of_reach(&visitor, &checker, &draft).await => Said::SavedOutOfReach,
                _ => Said::Saved,
            };
            Ok(see_other(&flash::to(&shown, said, 0)))
        }
        Err(error) => refuse(&visitor, Some(&known), draft, error).await,
    }
}
