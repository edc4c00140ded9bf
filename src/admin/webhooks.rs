//! Webhooks: the list, and what pauses, wakes or ends one of them.

use super::answer::{Page, ok, page, see_other};
use super::flash::{self, Flash, Said};
use super::format::{bounded_number, number};
use super::forms::{Form, Refusals};
use super::overview::share;
use super::session::Visitor;
use super::view::{Section, Shell, State, When};
use super::webhook_form::webhook_id;
use super::webhook_page;
use crate::access::Role;
use crate::error::{Error, Result};
use crate::manage::{self, Held};
use crate::store::health::{self, Health};
use crate::store::history::{self, COUNT_LIMIT, RecentOutcomes, Waiting};
use crate::store::webhooks::{self, WebhookRow};
use crate::webhook::{Webhook, WebhookState};
use actix_web::web;
use askama::Template;

/// Webhooks that the list shows.
const MAX_WEBHOOKS: usize = 200;
/// Event patterns that a row of the list shows.
const SHOWN_PATTERNS: usize = 3;

struct Row {
    href: String,
    name: String,
    url: String,
    patterns: Vec<String>,
    more: usize,
    state: State,
    is_active: bool,
    why: Option<String>,
    success: String,
    waiting: String,
    next: Option<When>,
    last: Option<When>,
}

/// Why a row is in its state, in a few words; its page says more.
fn why(state: WebhookState, reason: Option<String>, failing: Option<Health>) -> Option<String> {
    match (state, failing) {
        (WebhookState::Disabled, _) => reason,
        (WebhookState::Active, Some(failing)) => Some(match failing.failures {
            1 => "1 attempt failed".to_owned(),
            n => format!("{} attempts in a row failed", number(n.into())),
        }),
        _ => None,
    }
}

/// What is read of a webhook for its row.
struct Found {
    webhook: WebhookRow,
    failing: Option<Health>,
    outcomes: RecentOutcomes,
    waiting: Waiting,
}

impl Row {
    fn new(found: Found, base: &str, now_ms: i64) -> Self {
        let Found {
            webhook,
            failing,
            outcomes,
            waiting,
        } = found;
        let reason = webhook.state_reason;
        let Webhook {
            id,
            state,
            settings,
            ..
        } = webhook.webhook;
        let patterns = settings.patterns.iter();
        Self {
            href: format!("{base}/webhooks/{id}"),
            name: settings.name.into(),
            url: settings.url.into(),
            more: settings.patterns.len().saturating_sub(SHOWN_PATTERNS),
            patterns: patterns
                .take(SHOWN_PATTERNS)
                .map(ToString::to_string)
                .collect(),
            state: webhook_page::standing(state, failing.as_ref()),
            is_active: state == WebhookState::Active,
            why: why(state, reason, failing),
            success: share(outcomes.succeeded, outcomes.failed + outcomes.retrying),
            waiting: bounded_number(waiting.pending + waiting.held, COUNT_LIMIT),
            next: waiting.next_attempt_at_ms.map(|at| When::due(at, now_ms)),
            last: outcomes.last_attempt_at_ms.map(|at| When::new(at, now_ms)),
        }
    }
}

#[derive(Template)]
#[template(path = "webhooks.html")]
struct List {
    shell: Shell,
    rows: Vec<Row>,
    /// How many there are, where not all of them are shown.
    cut_from: Option<usize>,
    may_change: bool,
}

/// The webhooks of the workspace.
pub(super) async fn list(visitor: Visitor, flash: web::Query<Flash>) -> Page {
    let workspace = visitor.membership.workspace;
    let vault = visitor.desk().vault.clone();
    let (count, found) = visitor
        .desk()
        .read(move |connection| {
            let all = webhooks::list(connection, &vault, workspace)?;
            let count = all.len();
            let shown = all
                .into_iter()
                .take(MAX_WEBHOOKS)
                .map(|webhook| {
                    let id = webhook.webhook.id;
                    Ok(Found {
                        failing: health::of(connection, id)?,
                        outcomes: history::recent_outcomes(connection, id)?,
                        waiting: history::waiting(connection, id)?,
                        webhook,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            Ok((count, shown))
        })
        .await?;
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    ok(&List {
        shell: Shell::new(&visitor, Section::Webhooks, "Webhooks", &flash),
        rows: found
            .into_iter()
            .map(|found| Row::new(found, &base, now_ms))
            .collect(),
        cut_from: (count > MAX_WEBHOOKS).then_some(count),
        may_change: visitor.is_at_least(Role::Member),
    })
}

/// Pauses a webhook.
pub(super) async fn pause(visitor: Visitor, path: web::Path<(String, String)>, form: Form) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    form.open_signed(&visitor.person.form_token, &[])?;
    let held = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::pause_webhook(connection, actor, workspace, id)
        })
        .await?;
    let shown = format!("{}/webhooks/{id}", visitor.base());
    Ok(see_other(&flash::to(&shown, Said::Paused, held)))
}

/// What is there to be woken or ended.
struct Subject {
    webhook: Webhook,
    waiting: Waiting,
}

async fn subject(visitor: &Visitor, path: &(String, String)) -> Result<Subject> {
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    let vault = visitor.desk().vault.clone();
    visitor
        .desk()
        .read(move |connection| {
            Ok(Subject {
                webhook: webhooks::get(connection, &vault, workspace, id)?.webhook,
                waiting: history::waiting(connection, id)?,
            })
        })
        .await
}

#[derive(Template)]
#[template(path = "webhook_activate.html")]
struct AskActivate {
    shell: Shell,
    name: String,
    href: String,
    has_held: bool,
    held: String,
    refusals: Refusals,
}

fn activate_page(visitor: &Visitor, subject: Subject, refusals: Refusals) -> Page {
    let status = refusals.status();
    let ask = AskActivate {
        shell: Shell::new(
            visitor,
            Section::Webhooks,
            "Activate webhook",
            &Flash::default(),
        ),
        href: format!("{}/webhooks/{}", visitor.base(), subject.webhook.id),
        name: subject.webhook.settings.name.into(),
        has_held: subject.waiting.held > 0,
        held: bounded_number(subject.waiting.held, COUNT_LIMIT),
        refusals,
    };
    page(status, &ask)
}

/// Asks what becomes of what was held.
pub(super) async fn ask_activate(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    visitor.must_be(Role::Member)?;
    let subject = subject(&visitor, &path).await?;
    activate_page(&visitor, subject, Refusals::default())
}

/// Lets a webhook send again.
pub(super) async fn activate(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let subject = subject(&visitor, &path).await?;
    let fields = form.open_signed(&visitor.person.form_token, &["held"])?;
    let held = match fields.one("held") {
        "send" => Held::Send,
        "discard" => Held::Discard,
        // With nothing held both come to the same; what arrives meanwhile is then sent.
        "" if subject.waiting.held == 0 => Held::Send,
        _ => {
            let refusal = Error::field(
                "/held",
                "required",
                "Choose what becomes of the deliveries that were held.",
            );
            return activate_page(&visitor, subject, Refusals::of(refusal)?);
        }
    };
    let (workspace, id) = (visitor.membership.workspace, subject.webhook.id);
    let count = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::activate_webhook(connection, actor, workspace, id, held)
        })
        .await?;
    let said = match held {
        Held::Send => Said::ActivatedSent,
        Held::Discard => Said::ActivatedDiscarded,
    };
    let shown = format!("{}/webhooks/{id}", visitor.base());
    Ok(see_other(&flash::to(&shown, said, count)))
}

#[derive(Template)]
#[template(path = "webhook_delete.html")]
struct AskDelete {
    shell: Shell,
    name: String,
    href: String,
    owed: Option<String>,
    refusals: Refusals,
}

fn delete_page(visitor: &Visitor, subject: Subject, refusals: Refusals) -> Page {
    let owed = subject.waiting.pending + subject.waiting.held;
    let status = refusals.status();
    let ask = AskDelete {
        shell: Shell::new(
            visitor,
            Section::Webhooks,
            "Delete webhook",
            &Flash::default(),
        ),
        href: format!("{}/webhooks/{}", visitor.base(), subject.webhook.id),
        name: subject.webhook.settings.name.into(),
        owed: (owed > 0).then(|| bounded_number(owed, COUNT_LIMIT)),
        refusals,
    };
    page(status, &ask)
}

/// Asks before a webhook goes, and says what goes with it.
pub(super) async fn ask_delete(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    visitor.must_be(Role::Member)?;
    let subject = subject(&visitor, &path).await?;
    delete_page(&visitor, subject, Refusals::default())
}

/// Deletes a webhook whose name was typed.
pub(super) async fn delete(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let subject = subject(&visitor, &path).await?;
    let fields = form.open_signed(&visitor.person.form_token, &["confirm"])?;
    if fields.one("confirm").trim() != &*subject.webhook.settings.name {
        let refusal = Error::field(
            "/confirm",
            "not_confirmed",
            "This is not the webhook's name, so nothing was deleted. Type it exactly as it stands above.",
        );
        return delete_page(&visitor, subject, Refusals::of(refusal)?);
    }
    let (workspace, id) = (visitor.membership.workspace, subject.webhook.id);
    let vault = visitor.desk().vault.clone();
    let cancelled = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::delete_webhook(connection, actor, &vault, workspace, id)
        })
        .await?;
    let list = format!("{}/webhooks", visitor.base());
    Ok(see_other(&flash::to(&list, Said::Deleted, cancelled)))
}
