//! One webhook: why it is in its state, how it goes, what it was told, its event history, and ways to try it.

use super::answer::{Page, ok};
use super::deliveries::DeliveryLine;
use super::flash::Flash;
use super::format::{bounded_number, number};
use super::overview::share;
use super::session::Visitor;
use super::view::{Cursor, PAGE_ROWS, Section, Shell, State, When, cut_page};
use super::webhook_draft::{format_words, signing_words};
use super::webhook_form::webhook_id;
use crate::access::Role;
use crate::deliver::BREAKER_FAILURES;
use crate::id::DeliveryId;
use crate::store::health::{self, Health};
use crate::store::history::{self, COUNT_LIMIT, DeliveryFilter};
use crate::store::webhooks;
use crate::webhook::{Webhook, WebhookInput, WebhookState};
use actix_web::web;
use askama::Template;

/// A webhook is said to fail from this many failed attempts in a row on (webhooks.md, "Event types"): before
/// that, the schedule is expected to get over it.
const FAILING_FROM: u32 = 4;

/// How a webhook stands, in a word.
pub(super) fn standing(state: WebhookState, health: Option<&Health>) -> State {
    let fails = health.is_some_and(|health| health.failures >= FAILING_FROM);
    if state == WebhookState::Active && fails {
        State::failing()
    } else {
        State::of_webhook(state)
    }
}

/// Why a webhook is as it is.
struct Trouble {
    text: String,
    since: Option<When>,
    then: &'static str,
}

impl Trouble {
    fn new(
        state: WebhookState,
        reason: Option<String>,
        failing: Option<Health>,
        now_ms: i64,
    ) -> Option<Self> {
        let since = |failing: Health| When::new(failing.failing_since_ms, now_ms);
        match (state, failing) {
            (WebhookState::Disabled, failing) => Some(Self {
                text: reason.unwrap_or_else(|| "The box has stopped it.".to_owned()),
                since: failing.map(since),
                then: "Nothing is sent until somebody activates it; new events are held for it.",
            }),
            (WebhookState::Active, Some(failing)) if failing.failures >= FAILING_FROM => {
                Some(Self {
                    text: format!(
                        "{} attempts in a row have failed.",
                        number(failing.failures.into())
                    ),
                    since: Some(since(failing)),
                    then: if failing.failures >= BREAKER_FAILURES {
                        "It is probed with one delivery at a time until one succeeds; the rest waits."
                    } else {
                        "What failed is tried again by the schedule."
                    },
                })
            }
            _ => None,
        }
    }
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct Show {
    shell: Shell,
    id: String,
    href: String,
    format: &'static str,
    signing: &'static str,
    two_sign_until: Option<When>,
    input: WebhookInput,
    has_credentials: bool,
    attempts: usize,
    state: State,
    trouble: Option<Trouble>,
    is_active: bool,
    created: When,
    updated: When,
    success: String,
    pending: String,
    held: String,
    next_attempt: Option<When>,
    last_attempt: Option<When>,
    history: Vec<DeliveryLine>,
    is_first: bool,
    next: Option<String>,
    may_change: bool,
}

/// One webhook and its event history.
pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    cursor: web::Query<Cursor>,
    flash: web::Query<Flash>,
) -> Page {
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    let before: Option<DeliveryId> = cursor.before();
    let vault = visitor.desk().vault.clone();
    let (row, failing, outcomes, waiting, mut rows) = visitor
        .desk()
        .read(move |connection| {
            let filter = DeliveryFilter::Webhook(id);
            Ok((
                webhooks::get(connection, &vault, workspace, id)?,
                health::of(connection, id)?,
                history::recent_outcomes(connection, id)?,
                history::waiting(connection, id)?,
                history::page(connection, workspace, filter, before, PAGE_ROWS + 1)?,
            ))
        })
        .await?;
    let next = cut_page(&mut rows, |row| row.id.to_string());
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let Webhook {
        state,
        settings,
        key,
        retired_key,
        ..
    } = row.webhook;
    ok(&Show {
        shell: Shell::new(&visitor, Section::Webhooks, &settings.name, &flash),
        id: id.to_string(),
        href: format!("{base}/webhooks/{id}"),
        format: format_words(settings.format).0,
        signing: signing_words(key.signing).0,
        two_sign_until: retired_key
            .filter(|retired| retired.until_ms > now_ms)
            .map(|retired| When::due(retired.until_ms, now_ms)),
        has_credentials: settings.credentials.is_some(),
        input: WebhookInput::of(&settings),
        attempts: visitor.desk().settings.attempts,
        state: standing(state, failing.as_ref()),
        trouble: Trouble::new(state, row.state_reason, failing, now_ms),
        is_active: state == WebhookState::Active,
        created: When::new(row.created_at_ms, now_ms),
        updated: When::new(row.updated_at_ms, now_ms),
        success: share(outcomes.succeeded, outcomes.failed + outcomes.retrying),
        pending: bounded_number(waiting.pending, COUNT_LIMIT),
        held: bounded_number(waiting.held, COUNT_LIMIT),
        next_attempt: waiting.next_attempt_at_ms.map(|at| When::due(at, now_ms)),
        last_attempt: outcomes.last_attempt_at_ms.map(|at| When::new(at, now_ms)),
        history: rows
            .into_iter()
            .map(|row| DeliveryLine::new(row, &base, now_ms))
            .collect(),
        is_first: before.is_none(),
        next,
        may_change: visitor.is_at_least(Role::Member),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_in_trouble_says_why_and_since_when() {
        let failing = |failures| Health {
            failures,
            failing_since_ms: 0,
        };
        let trouble = |state, failing| Trouble::new(state, None, failing, 60_000);
        assert!(trouble(WebhookState::Active, None).is_none());
        assert!(trouble(WebhookState::Active, Some(failing(3))).is_none());
        assert!(trouble(WebhookState::Paused, Some(failing(9))).is_none());
        let active = trouble(WebhookState::Active, Some(failing(1_234))).unwrap();
        assert!(active.text.starts_with("1,234 attempts in a row") && active.since.is_some());
        assert!(active.then.contains("probed with one delivery"));
        let soon = trouble(WebhookState::Active, Some(failing(4))).unwrap();
        assert!(soon.then.contains("by the schedule"));
        let reason = Some("The receiver answered 410.".to_owned());
        let disabled = Trouble::new(WebhookState::Disabled, reason, None, 0).unwrap();
        assert_eq!(disabled.text, "The receiver answered 410.");
        assert!(disabled.since.is_none());
    }
}
