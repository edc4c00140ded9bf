//! One delivery: every attempt with its exact request and response, the cause in plain words, when the next
//! one is due and why then, and what can be done about it.

use super::answer::{Page, ok, see_other};
use super::attempt_view::{AttemptView, CHART_WIDTH, Difference, Dot};
use super::curl;
use super::deliveries::{forget, state};
use super::flash::{self, Flash, Said};
use super::format::{bytes, number};
use super::forms::Form;
use super::json_view::BodyView;
use super::session::Visitor;
use super::view::{CopyBlock, Section, Shell, State, When};
use crate::access::Role;
use crate::deliver::AttemptRequests;
use crate::delivery::{DeliveryState, Origin, Trigger};
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, EventId};
use crate::manage;
use crate::store::attempts::{self, AttemptRow};
use crate::store::events;
use crate::store::history::{self, DeliveryRow};
use crate::store::past::{self, Expunged};
use actix_web::web;
use askama::Template;
use serde::Deserialize;

/// Attempts that the page shows; a schedule has thirty at most.
const MAX_ATTEMPTS: usize = 50;
/// A page whose next attempt is nearer than this asks often.
const SOON_MS: i64 = 60_000;
const POLL_SOON: &str = "every 2s";
const POLL_LATER: &str = "every 20s";
/// A test that has no attempt after this time was lost: the box was stopped when it should have been sent.
const TEST_IS_LOST_AFTER_MS: i64 = 60_000;

/// What was taken out, when, and by whom.
pub(super) struct ExpungedView {
    /// Who.
    pub(super) by: String,
    /// When.
    pub(super) when: When,
}

impl ExpungedView {
    /// As it is said on pages.
    pub(super) fn new(expunged: Expunged, now_ms: i64) -> Self {
        Self {
            by: expunged.by.unwrap_or_else(|| "somebody".to_owned()),
            when: When::new(expunged.at_ms, now_ms),
        }
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Show {
    shell: Shell,
    id: String,
    href: String,
    event_type: String,
    state: State,
    origin: Option<&'static str>,
    event: Option<String>,
    webhook: Option<String>,
    webhook_name: String,
    message: String,
    summary: String,
    next_attempt: Option<When>,
    why_then: &'static str,
    poll: Option<&'static str>,
    poll_href: String,
    dots: Vec<Dot>,
    attempt: Option<AttemptView>,
    chart_width: i64,
    difference: Option<Difference>,
    /// The attempts that the shown one can be compared with: number and address.
    compare_with: Vec<(String, String)>,
    expunged: Option<ExpungedView>,
    body: BodyView,
    body_size: String,
    curl: Option<CopyBlock>,
    may_retry: bool,
    may_cancel: bool,
    may_expunge: bool,
    /// Whether it is over without need of a person: sending it again is possible, but not called for.
    is_over: bool,
}

/// Which attempt is shown, and with which it is compared.
#[derive(Deserialize)]
pub(super) struct AttemptQuery {
    attempt: Option<i64>,
    with: Option<i64>,
}

/// The delivery that a path names.
///
/// # Errors
/// [`Kind::NotFound`].
pub(super) fn delivery_id(path: &(String, String)) -> Result<DeliveryId> {
    path.1.parse().map_err(|_| Error::not_found("delivery"))
}

/// What the page is made of.
struct Found {
    row: DeliveryRow,
    body: Vec<u8>,
    attempts: Vec<AttemptRow>,
    event: Option<EventId>,
    expunged: Option<Expunged>,
}

async fn find(visitor: &Visitor, id: DeliveryId) -> Result<Found> {
    let workspace = visitor.membership.workspace;
    visitor
        .desk()
        .read(move |connection| {
            let row = history::get(connection, workspace, id)?;
            // An event may be swept before its deliveries are.
            let event = match row.event {
                Some(event) => events::find(connection, workspace, event)?.map(|stored| stored.id),
                None => None,
            };
            Ok(Found {
                body: history::message_body(connection, workspace, row.message)?,
                attempts: attempts::of_delivery(connection, id, MAX_ATTEMPTS)?,
                expunged: past::message_expunged(connection, row.message)?,
                event,
                row,
            })
        })
        .await
}

/// One delivery.
pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    query: web::Query<AttemptQuery>,
    flash: web::Query<Flash>,
) -> Page {
    let found = find(&visitor, delivery_id(&path)?).await?;
    ok(&page_of(&visitor, found, &query, &flash))
}

fn page_of(visitor: &Visitor, found: Found, query: &AttemptQuery, flash: &Flash) -> Show {
    let Found {
        row,
        body,
        attempts,
        event,
        expunged,
    } = found;
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let href = format!("{base}/deliveries/{}", row.id);
    let place = |number: i64| attempts.iter().position(|attempt| attempt.number == number);
    let shown = query.attempt.and_then(place).unwrap_or(0);
    let newest = attempts.first().map(|attempt| attempt.number);
    let dots = attempts
        .iter()
        .enumerate()
        .map(|(place, attempt)| Dot::new(attempt, &href, now_ms, place == shown, newest))
        .rev()
        .collect();
    let difference = difference(&attempts, shown, query.with, &href);
    let is_asked_for = flash
        .attempts_before_retry()
        .is_some_and(|before| row.attempts <= before);
    let is_member = visitor.is_at_least(Role::Member);
    let curl = (is_member && expunged.is_none())
        .then(|| signed_curl(visitor, &row, &body))
        .flatten();
    Show {
        shell: Shell::new(visitor, Section::Deliveries, &row.event_type, flash),
        id: row.id.to_string(),
        state: state(&row),
        origin: row.origin.map(|origin| match origin {
            Origin::Resend => "A person sent the event to this webhook after it came.",
            Origin::Test => {
                "A person tried the webhook with it. Tests do not count in the webhook's health."
            }
        }),
        event: event.map(|event| format!("{base}/events/{event}")),
        webhook: (!row.webhook_deleted).then(|| format!("{base}/webhooks/{}", row.webhook)),
        message: row.message.to_string(),
        summary: summary(&row, schedule(visitor, &row), now_ms),
        next_attempt: row.next_attempt_at_ms.map(|at| When::due(at, now_ms)),
        why_then: why_then(&row, attempts.first()),
        poll: poll(&row, is_asked_for, now_ms),
        poll_href: poll_href(&href, &row, query, is_asked_for),
        dots,
        difference,
        compare_with: compare_with(&attempts, shown, &href),
        attempt: attempts
            .into_iter()
            .nth(shown)
            .map(|attempt| AttemptView::new(attempt, now_ms, expunged.is_some())),
        chart_width: CHART_WIDTH,
        body: BodyView::of(&body),
        body_size: bytes(body.len()),
        curl,
        may_retry: is_member && !row.webhook_deleted && expunged.is_none(),
        may_cancel: is_member && waits(row.state),
        may_expunge: visitor.is_at_least(Role::Admin) && expunged.is_none(),
        expunged: expunged.map(|expunged| ExpungedView::new(expunged, now_ms)),
        is_over: matches!(
            row.state,
            DeliveryState::Succeeded | DeliveryState::Cancelled
        ),
        event_type: row.event_type,
        webhook_name: row.webhook_name,
        href,
    }
}

fn waits(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Pending | DeliveryState::Held)
}

/// How many attempts the schedule has that the delivery goes by.
fn schedule(visitor: &Visitor, row: &DeliveryRow) -> usize {
    let catalog = visitor.desk().catalog.current();
    let own = catalog.webhook(row.webhook).and_then(|webhook| {
        let schedule = webhook.settings.schedule.as_ref()?;
        Some(schedule.attempts())
    });
    own.unwrap_or(visitor.desk().settings.attempts)
}

fn signed_curl(visitor: &Visitor, row: &DeliveryRow, body: &[u8]) -> Option<CopyBlock> {
    let catalog = visitor.desk().catalog.current();
    let webhook = catalog.webhook(row.webhook)?;
    let command = curl::signed(webhook, row.message, body, visitor.desk().now_ms)?;
    Some(CopyBlock::new("the command", command))
}

fn difference(
    attempts: &[AttemptRow],
    shown: usize,
    with: Option<i64>,
    href: &str,
) -> Option<Difference> {
    let shown = attempts.get(shown)?;
    let other = attempts
        .iter()
        .find(|attempt| Some(attempt.number) == with && attempt.number != shown.number)?;
    let alone = format!("{href}?attempt={}", shown.number);
    Some(Difference::new(other, shown, alone))
}

fn compare_with(attempts: &[AttemptRow], shown: usize, href: &str) -> Vec<(String, String)> {
    let Some(number_shown) = attempts.get(shown).map(|attempt| attempt.number) else {
        return Vec::new();
    };
    attempts
        .iter()
        .rev()
        .filter(|attempt| attempt.number != number_shown)
        .map(|other| {
            let href = format!("{href}?attempt={number_shown}&with={}", other.number);
            (number(other.number), href)
        })
        .collect()
}

fn count(attempts: i64) -> usize {
    usize::try_from(attempts).unwrap_or(0)
}

/// How often the page asks again: while something is to come, and after an attempt was asked for.
fn poll(row: &DeliveryRow, is_asked_for: bool, now_ms: i64) -> Option<&'static str> {
    match row.next_attempt_at_ms {
        _ if is_asked_for || is_test_under_way(row, now_ms) => Some(POLL_SOON),
        Some(at) if at - now_ms < SOON_MS => Some(POLL_SOON),
        Some(_) => Some(POLL_LATER),
        None => None,
    }
}

fn is_test_under_way(row: &DeliveryRow, now_ms: i64) -> bool {
    let is_recent = now_ms - row.id.unix_ms() < TEST_IS_LOST_AFTER_MS;
    row.origin == Some(Origin::Test) && row.attempts == 0 && is_recent
}

/// What the page asks for again: itself, as it is shown.
fn poll_href(href: &str, row: &DeliveryRow, query: &AttemptQuery, is_asked_for: bool) -> String {
    match (query.attempt, query.with) {
        _ if is_asked_for => flash::to(href, Said::Retrying, count(row.attempts)),
        (Some(shown), Some(with)) => format!("{href}?attempt={shown}&with={with}"),
        (Some(shown), None) => format!("{href}?attempt={shown}"),
        (None, _) => href.to_owned(),
    }
}

/// Why the next attempt is when it is.
fn why_then(row: &DeliveryRow, newest: Option<&AttemptRow>) -> &'static str {
    let is_asked_for = newest.is_some_and(|attempt| {
        attempt.is_next_asked_for && attempt.next_attempt_at_ms == row.next_attempt_at_ms
    });
    if is_asked_for {
        "The receiver asked for that time with Retry-After."
    } else if row.automatic_attempts > 0 {
        "The schedule says so, give or take a fifth."
    } else {
        ""
    }
}

/// Where the delivery stands, in a sentence.
fn summary(row: &DeliveryRow, schedule: usize, now_ms: i64) -> String {
    let of_schedule = format!("{} of {schedule}", number(row.automatic_attempts));
    let is_test = row.origin == Some(Origin::Test);
    match row.state {
        _ if is_test_under_way(row, now_ms) => "The test is on its way.".to_owned(),
        DeliveryState::Failed if is_test && row.attempts == 0 => {
            "This test was not sent: the box stopped just then. Retry it now.".to_owned()
        }
        DeliveryState::Failed if is_test => {
            "The test did not get a 2xx answer. Tests are not sent again by themselves.".to_owned()
        }
        DeliveryState::Pending if row.attempts == 0 => {
            "The first attempt is due as soon as the webhook's turn comes.".to_owned()
        }
        DeliveryState::Pending => format!(
            "{of_schedule} automatic attempts are made; the last one did not get a 2xx answer, so the schedule goes on."
        ),
        DeliveryState::Succeeded => match row.attempts {
            1 => "The receiver answered 2xx at the first attempt.".to_owned(),
            attempts => format!("The receiver answered 2xx after {} attempts.", number(attempts)),
        },
        DeliveryState::Failed => format!(
            "All {of_schedule} automatic attempts are used up. It is not sent again unless somebody asks for it."
        ),
        DeliveryState::Held => {
            "The webhook does not send, so this delivery waits. Activating the webhook asks what becomes of it.".to_owned()
        }
        DeliveryState::Cancelled => {
            "This delivery was given up: somebody cancelled it or discarded what was held, or the webhook was deleted.".to_owned()
        }
    }
}

/// Asks for an attempt at once; the schedule stays as it is.
pub(super) async fn retry(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    attempts: web::Data<AttemptRequests>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, delivery_id(&path)?);
    let (row, expunged) = visitor
        .desk()
        .read(move |connection| {
            let row = history::get(connection, workspace, id)?;
            let expunged = past::message_expunged(connection, row.message)?;
            Ok((row, expunged))
        })
        .await?;
    form.open_signed(&visitor.person.form_token, &[])?;
    if row.webhook_deleted {
        let message = "The webhook of this delivery is deleted, so there is nowhere to send it.";
        return Err(Error::new(Kind::Conflict, "webhook_deleted", message).into());
    }
    if expunged.is_some() {
        let message = "The payload was expunged, so there is nothing to send any more.";
        return Err(Error::new(Kind::Conflict, "expunged", message).into());
    }
    attempts.request(id, Trigger::Manual, None)?;
    visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            manage::note_retry(connection, actor, workspace, id)
        })
        .await?;
    let shown = format!("{}/deliveries/{id}", visitor.base());
    Ok(see_other(&flash::to(
        &shown,
        Said::Retrying,
        count(row.attempts),
    )))
}

/// Gives it up.
pub(super) async fn cancel(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    attempts: web::Data<AttemptRequests>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, delivery_id(&path)?);
    form.open_signed(&visitor.person.form_token, &[])?;
    let cancelled = visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            manage::cancel_deliveries(connection, actor, workspace, &[id])
        })
        .await?;
    let count = cancelled.len();
    forget(&attempts, cancelled).await;
    let shown = format!("{}/deliveries/{id}", visitor.base());
    Ok(see_other(&flash::to(&shown, Said::Cancelled, count)))
}
